import dataclasses
import re

import pandas as pd
import pytest

from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import whole_files
from lbunet_tf.tuning import results

TWO_HEADS = config.make(
    source=("isic2017",), data_dir=("/data/isic2017",), heads=("mask", "melanoma"), run="runs/tuned"
)
HISTORY = {
    "epoch": [1, 2, 3],
    "loss": [0.9, 0.8, 0.7],
    "val_loss": [0.9, 0.6, 0.7],
    "val_mask_auc": [0.1, 0.2, 0.3],
    "val_mask_dice": [0.7, 0.8, 0.9],
    "val_melanoma_auc": [0.5, 0.75, 0.6],
}


def finished(folder, settings, history, best_epoch=2):
    """Writes what a finished training leaves, as far as a search reads it."""
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
    training = {"epochs": 3, "best_epoch": best_epoch, "training_seconds": 60.0}
    whole_files.write_json(folder / "training.json", training)
    return settings.replace(run=str(folder))


def measure(settings):
    return results.measure(settings.paths.run, settings.search.objective, settings.outputs)


@pytest.mark.parametrize(("objective", "score"), [("dice", 0.8), ("auc", 0.75), ("loss", 0.6)])
def test_the_score_is_that_of_the_epoch_whose_weights_are_kept(tmp_path, objective, score):
    settings = finished(tmp_path, TWO_HEADS.replace(objective=objective), HISTORY)

    assert measure(settings)["score"] == score


def test_the_validation_scores_are_those_of_that_epoch_and_of_val_only(tmp_path):
    measured = measure(finished(tmp_path, TWO_HEADS, HISTORY, best_epoch=3))

    expected = {name: column[2] for name, column in HISTORY.items() if name.startswith("val_")}
    assert measured["validation"] == expected


@pytest.mark.parametrize(
    ("changes", "score"),
    [
        ({"objective": "dice"}, 0.8),
        ({"objective": "auc", "mask_source": "label"}, 0.7),
        ({"objective": "loss"}, 0.6),
    ],
)
def test_a_run_of_one_output_has_columns_without_its_name(tmp_path, changes, score):
    history = {"val_loss": [0.9, 0.6], "val_dice": [0.7, 0.8], "val_auc": [0.5, 0.7]}
    settings = finished(tmp_path, config.make().replace(**changes), history)

    assert measure(settings)["score"] == score


def test_a_score_by_the_mean_of_label_masks_is_the_mask_heads(tmp_path):
    settings = TWO_HEADS.replace(mask_source="label", image_score="mean", objective="auc")

    assert measure(finished(tmp_path, settings, HISTORY))["score"] == 0.2


def test_a_history_without_the_objective_names_file_and_columns(tmp_path):
    settings = finished(tmp_path, TWO_HEADS, {"val_loss": [1.0, 1.0]})

    with pytest.raises(ValueError, match=re.escape("needs the column val_mask_dice in")):
        measure(settings)


def raises(message):
    return pytest.raises(ValueError, match=re.escape(message))


def test_dice_of_painted_labels_is_no_objective():
    with raises('"--objective=dice" needs --mask_source=lesion'):
        results.check_objective(config.make(mask_source="label"), ())


def test_auc_without_a_melanoma_score_is_no_objective():
    with raises('"--objective=auc" needs a melanoma score: add melanoma to --heads'):
        results.check_objective(config.make(objective="auc"), ())


def test_losses_of_different_kinds_are_not_compared():
    settings = TWO_HEADS.replace(objective="loss", space="loss")

    with raises("set these flags on the command line: --mask_loss=bce --head_weights=1.0,1.0"):
        results.check_objective(settings, ("mask_loss", "head_weights"))


def test_losses_of_one_kind_are_compared():
    results.check_objective(TWO_HEADS.replace(objective="loss"), ("learning_rate",))


def trial(number, score, failure="", **changes):
    settings = TWO_HEADS.replace(run=f"runs/tuned/trials/{number:04d}", **changes)
    measured = {"score": score, "validation": {"val_mask_dice": score}}
    measured |= {"best_epoch": 2, "epochs": 3, "training_seconds": 60.0}
    return results.Trial(number, settings, {} if failure else measured, failure)


TRIALS = [
    trial(0, 0.70),
    trial(1, 0.0, failure="the loss must stay finite"),
    trial(2, 0.85, learning_rate=3e-4, augment="flips", class_weights=("mask",)),
    trial(3, 0.85, learning_rate=4e-4),
]
SEARCHED = ("learning_rate", "augment", "batch_size", "class_weights")


def test_the_earliest_of_the_best_is_the_best():
    assert results.best_of(TRIALS).number == 2


def test_a_loss_is_best_where_it_is_lowest():
    trials = [trial(0, 0.5, objective="loss"), trial(1, 0.4, objective="loss")]

    assert results.best_of(trials).number == 1


def test_of_failed_trials_none_is_best():
    assert results.best_of([TRIALS[1]]) is None


def test_best_cfg_repeats_the_flags_of_the_best_trial(tmp_path):
    path = tmp_path / "best.cfg"
    path.write_text(results.best_flagfile(TWO_HEADS, TRIALS, SEARCHED))

    best = TRIALS[2].settings
    assert (
        flagfiles.read_flagfile(path).replace(run=best.paths.run, data_dir=best.source.data_dir)
        == best
    )


def test_best_cfg_names_no_folder_of_this_machine_and_what_was_searched():
    lines = results.best_flagfile(TWO_HEADS, TRIALS, SEARCHED).splitlines()

    flags = [line for line in lines if not line.startswith("#")]
    assert not [line for line in flags if "/" in line or line.startswith("--run")]
    # At its default, but searched.
    assert "--batch_size=8" in flags and "--epochs=30" not in flags


def test_best_cfg_says_that_a_draw_was_searched_and_does_not_repeat_it():
    trial = dataclasses.replace(TRIALS[2], settings=TRIALS[2].settings.replace(max_images=40))

    text = results.best_flagfile(TWO_HEADS.replace(max_images=40), [trial], SEARCHED)

    assert "Searched on a draw of 40 images (--max_images)" in text
    assert "--max_images=" not in text


def test_best_cfg_opens_as_the_flagfiles_of_the_repository_do():
    header = results.best_flagfile(TWO_HEADS, TRIALS, SEARCHED).splitlines()[:5]

    assert header[0].startswith("# The best of 4 trials of lbunet_tf.tune (1 failed) on isic2017")
    assert header[1].startswith("# Command: python -m lbunet_tf.train --flagfile=runs/tuned/best")
    assert "score on val, dice 0.8500; 0.7000 with the flags as given" in header[3]


def test_a_failed_trial_has_a_row_without_a_score():
    row = results.to_table(TRIALS, SEARCHED).iloc[1]

    assert row["status"] == "failed" and row["error"] == "the loss must stay finite"
    assert pd.isna(row["val_dice"]) and row["learning_rate"] == "0.0001"


def test_epochs_are_whole_numbers_in_a_table_with_a_failed_trial(tmp_path):
    results.to_table(TRIALS, SEARCHED).to_csv(tmp_path / "trials.csv", index=False)

    first, second = (tmp_path / "trials.csv").read_text().splitlines()[1:3]
    assert first == "0,completed,0.7,2,3,60.0,0.0001,none,8,,"
    assert second == "1,failed,,,,,0.0001,none,8,,the loss must stay finite"


def test_where_all_trials_failed_the_table_has_its_columns():
    assert "best_epoch" in results.to_table([TRIALS[1]], SEARCHED)


def test_hparams_hold_the_searched_flags_and_scores_of_val():
    flags, scores = results.to_hparams(TRIALS[2], SEARCHED)

    assert flags == {
        "learning_rate": 3e-4,
        "augment": "flips",
        "batch_size": 8,
        "class_weights": "mask",
    }
    assert scores == {"val mask dice": 0.85}
