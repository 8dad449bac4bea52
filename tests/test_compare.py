"""Comparisons: of finished runs made of files alone, and of a real training."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest

from lbunet_tf import compare
from lbunet_tf.runs import frozen
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import released_runs
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import whole_files

FLAGS = config.make(source=("isic2020",), mask_source="label", split_by="image", encoder="resnet34")


def write_run(folder, settings=FLAGS, auc=0.75, split=("train", "val", "test", "test")):
    """Writes what a finished, evaluated run leaves, as far as a comparison reads it."""
    folder.mkdir(parents=True)
    lines = flagfiles.flag_lines(settings.replace(run=str(folder)))
    (folder / "flags.cfg").write_text("\n".join(lines))
    table = pd.DataFrame({"image_id": list("abcd"), "split": split, "label": [0, 1, 0, 1]})
    table.assign(image="x.jpg").to_csv(folder / "manifest.csv", index=False)
    table.assign(score=[0.1, 0.9, 0.2, 0.8]).to_csv(folder / "predictions.csv", index=False)
    training = {"epochs": 5, "best_epoch": 3, "val_loss": 0.5, "training_seconds": 60.0}
    training["trainable_parameters"] = 24_436_369
    whole_files.write_json(folder / "training.json", training)
    scores = {"num_scored": 2, "num_melanoma": 1, "num_masks": 2, "accuracy": 0.7, "auc": auc}
    scores["label_as_mask_dice"] = 0.6
    whole_files.write_json(folder / "evaluation" / "metrics.json", {"val": scores, "test": scores})
    (folder / "evaluation" / "report.html").write_text("written last")
    return folder


def config_of(folder, *experiments, seeds=(0,)):
    return config.make(
        run=str(folder / "compared"), experiments=tuple(map(str, experiments)), seeds=seeds
    )


def write_flagfile(path, *lines):
    path.write_text("\n".join(("--source=isic2020", "--mask_source=label", *lines)))
    return path


@pytest.fixture
def compared(tmp_path):
    """The folder of a comparison of two finished runs."""
    runs = [
        write_run(tmp_path / "small"),
        write_run(tmp_path / "large", FLAGS.replace(encoder="resnet101"), auc=0.875),
    ]
    compare.compare(config_of(tmp_path, *runs), {})
    return tmp_path / "compared"


def test_finished_runs_are_compared_as_they_are(compared):
    table = pd.read_csv(compared / "table.csv")

    assert table["experiment"].tolist() == ["small", "large"]
    assert table["auc"].tolist() == [0.75, 0.875]


def test_a_comparison_leaves_table_runs_curves_and_report(compared):
    names = {path.name for path in compared.iterdir()}

    files = {"table.md", "table.csv", "runs.csv", "roc.png", "report.html", "tensorboard"}
    files |= {"differences.csv"}
    assert names == {*files, output_folder.MARKER}


def test_the_report_and_the_markdown_hold_the_same_cells(compared):
    markdown = (compared / "table.md").read_text()
    report = (compared / "report.html").read_text()

    cells = [cell.strip() for cell in markdown.splitlines()[5].strip("|").split("|")]
    assert cells[0] == "large" and "0.9047, 0.941, 0.86" in cells
    row = re.search(r"<tr><th[^>]*>large</th>.*?</tr>", report)[0]
    assert [cell for cell in cells if f">{cell}</t" not in row] == []


def test_a_second_comparison_leaves_one_hparams_row_a_run(tmp_path, compared):
    compare.compare(config_of(tmp_path, tmp_path / "small", tmp_path / "large"), {})

    folders = [path for path in (compared / "tensorboard").iterdir() if path.is_dir()]
    assert sorted(path.name for path in folders) == ["large-seed-0", "small-seed-0"]
    assert [len(list(path.iterdir())) for path in folders] == [1, 1]


def test_a_comparison_of_others_leaves_no_file_of_the_earlier_one(tmp_path, compared):
    assert (compared / "differences.csv").is_file()

    compare.compare(config_of(tmp_path, tmp_path / "small"), {})

    assert not (compared / "differences.csv").exists()
    assert (compared / "table.md").is_file()


def raises(message):
    return pytest.raises(ValueError, match=re.escape(message))


def test_a_comparison_does_not_replace_the_report_of_somebody_else(tmp_path):
    run = write_run(tmp_path / "small")
    (tmp_path / "compared").mkdir()
    (tmp_path / "compared" / "report.html").write_text("mine")

    with raises('"--run" must be a new or empty folder'):
        compare.compare(config_of(tmp_path, run), {})

    assert (tmp_path / "compared" / "report.html").read_text() == "mine"


def test_nothing_to_compare_is_an_error(tmp_path):
    with raises('"--experiments" must name flagfiles or finished run directories'):
        compare.compare(config_of(tmp_path), {})


def test_a_missing_flagfile_is_named(tmp_path):
    with raises(f"There is no {tmp_path / 'none.cfg'}"):
        compare.compare(config_of(tmp_path, tmp_path / "none.cfg"), {})


@pytest.mark.parametrize("name", ["isic2017", released_runs.FOLDER / "isic2017"])
def test_the_network_of_the_package_is_refused_since_it_has_no_images(tmp_path, name):
    with raises("The network of the package comes without them: name its flagfile"):
        compare.compare(config_of(tmp_path, name), {})


def test_a_folder_that_is_no_finished_run_is_named(tmp_path):
    with raises(f"{tmp_path} is a folder without training.json"):
        compare.compare(config_of(tmp_path, tmp_path), {})


def test_a_wrong_value_in_a_flagfile_names_file_and_flag(tmp_path):
    path = write_flagfile(tmp_path / "x.cfg", "--encoder=resnt50")

    with raises(f'{path}: "--encoder" must be one of'):
        compare.compare(config_of(tmp_path, path), {})


def test_two_experiments_of_one_name_are_an_error(tmp_path):
    write_run(tmp_path / "a" / "run")
    write_run(tmp_path / "b" / "run")

    with raises("Received twice: run"):
        compare.compare(config_of(tmp_path, tmp_path / "a" / "run", tmp_path / "b" / "run"), {})


def test_a_run_of_another_comparison_has_the_name_of_its_experiment(tmp_path):
    run = write_run(tmp_path / "table1" / "paper_unet" / "seed-0")

    table = compare.compare(config_of(tmp_path, run), {})

    assert table["experiment"].tolist() == ["paper_unet"]


def test_a_finished_run_has_its_own_seed_only(tmp_path):
    run = write_run(tmp_path / "run")

    with raises(f'{run} has one seed, so "--seeds" must be 0. Received: --seeds=0,1'):
        compare.compare(config_of(tmp_path, run, seeds=(0, 1)), {})


def test_the_flag_seed_is_refused(tmp_path):
    with raises('compare takes "--seeds=0,1,2". Received: --seed=3'):
        compare.compare(config_of(tmp_path, "x.cfg"), {"seed": 3})


def test_a_comparison_is_not_written_into_a_run(tmp_path):
    run = write_run(tmp_path / "compared")

    with raises(f'"--run" must be a folder for the comparison. {run} is a run'):
        compare.compare(config_of(tmp_path, run), {})


@pytest.mark.parametrize(
    "line",
    [
        "--epochs=5",
        "--patience=9",
        "--split_by=patient",
        "--source=isic2019",
        "--near_duplicates=2",
    ],
)
def test_another_budget_or_split_is_an_error_that_names_the_flag(tmp_path, line):
    one = write_flagfile(tmp_path / "one.cfg", "--split_by=image")
    two = write_flagfile(tmp_path / "two.cfg", "--split_by=image", line)

    with raises(f'one split and one budget. "{line.partition("=")[0]}" is '):
        compare.compare(config_of(tmp_path, one, two), {})


def test_a_flag_that_is_given_replaces_that_of_every_flagfile(tmp_path):
    one = write_flagfile(tmp_path / "one.cfg", "--epochs=3")
    two = write_flagfile(tmp_path / "two.cfg", "--epochs=4")

    with raises("Kaggle's train.csv") as error:
        # The budget agrees now; what stops it is the folder without images.
        compare.compare(
            config_of(tmp_path, one, two),
            {"epochs": 1, "data_dir": (str(tmp_path),), "encoder": "efficientnet_lite0"},
        )
    assert "--epochs" not in str(error.value)


def test_runs_of_other_images_are_an_error_that_names_one(tmp_path):
    one = write_run(tmp_path / "one")
    two = write_run(tmp_path / "two", split=("train", "val", "val", "test"))

    with raises("experiments must share one split. 1 images, c among them"):
        compare.compare(config_of(tmp_path, one, two), {})


def test_a_finished_run_of_other_flags_is_not_taken_for_this_one(tmp_path):
    flagfile = write_flagfile(tmp_path / "x.cfg", "--learning_rate=0.01")
    write_run(tmp_path / "compared" / "x" / "seed-0")
    output_folder.mark(tmp_path / "compared", compare.WORK)

    with raises("is finished with other flags: ") as error:
        compare.compare(config_of(tmp_path, flagfile), {})
    assert "--learning_rate was 0.0001, is 0.01" in str(error.value)


def test_missing_weights_are_known_before_anything_is_trained(tmp_path):
    good = write_flagfile(tmp_path / "good.cfg", "--encoder=efficientnet_lite0")
    bad = write_flagfile(tmp_path / "bad.cfg", "--encoder_weights=/nowhere/weights.h5")

    with raises("/nowhere/weights.h5"):
        compare.compare(config_of(tmp_path, good, bad), {"encoder": "efficientnet_lite0"})
    assert not (tmp_path / "compared" / "good").exists()


@pytest.mark.slow
def test_a_training_inside_a_comparison_gives_the_digits_of_one_alone(evaluated, tmp_path):
    settings, run, metrics = evaluated
    flagfile = tmp_path / "again.cfg"
    flagfile.write_text((run / "flags.cfg").read_text())
    comparison = config_of(tmp_path, run, flagfile)

    table = compare.compare(comparison, {})

    assert table["experiment"].tolist() == ["run", "again"]
    assert table["auc"].tolist() == [metrics["test"]["auc"]] * 2
    np.testing.assert_allclose(table["dice"], metrics["test"]["dice"], atol=1e-6)

    # Again: nothing is trained; an evaluation that was cut off is made again.
    again = tmp_path / "compared" / "again" / "seed-0"
    before = os.stat(again / "model.keras").st_mtime_ns
    (again / "evaluation" / "report.html").unlink()
    compare.compare(comparison, {})
    assert os.stat(again / "model.keras").st_mtime_ns == before
    assert json.loads((again / "evaluation" / "metrics.json").read_text())["test"]
    assert (again / "evaluation" / "report.html").is_file()


def test_a_finished_run_that_was_evaluated_with_symmetries_is_evaluated_anew(tmp_path):
    run = write_run(tmp_path / "small")
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    metrics["test"]["tta"] = "flips"
    whole_files.write_json(run / "evaluation" / "metrics.json", metrics)

    # The run has no model to evaluate again.
    with pytest.raises(ValueError, match="small/model.keras must be there"):
        compare.compare(config_of(tmp_path, run), {})


def test_a_finished_run_whose_evaluation_was_stopped_after_its_predictions_is_evaluated_again(
    tmp_path,
):
    run = write_run(tmp_path / "small")
    written = os.stat(run / "evaluation" / "report.html").st_mtime
    os.utime(run / "predictions.csv", (written + 5, written + 5))

    # The run has no model to evaluate again.
    with pytest.raises(ValueError, match="small/model.keras must be there"):
        compare.compare(config_of(tmp_path, run), {})


def write_run_of_classes(folder, low=0.6):
    """Writes a run whose only head is the diagnosis: no scores, no masks."""
    run = write_run(folder)
    interval = {"value": 0.7, "low": low, "high": 0.8, "method": ""}
    diagnosis = {
        "classes": ["nv", "rest"],
        "absent": [],
        "num_with_class": 2,
        "balanced_accuracy": 0.7,
        "intervals": {"balanced_accuracy": interval},
    }
    part = {"num_images": 2, "mask_source": "none", "diagnosis": diagnosis}
    whole_files.write_json(run / "evaluation" / "metrics.json", {"val": part, "test": part})
    table = pd.read_csv(run / "predictions.csv").drop(columns="score")
    table = table.assign(true_class=["nv", "rest"] * 2, p_nv=0.8, p_rest=0.2)
    table.assign(predicted="nv").to_csv(run / "predictions.csv", index=False)
    (run / "evaluation" / "report.html").touch()
    return run


def test_runs_of_classes_alone_are_compared_by_their_balanced_accuracy(tmp_path):
    runs = [write_run_of_classes(tmp_path / name) for name in ("one", "two")]

    table = compare.compare(config_of(tmp_path, *runs), {})

    assert table["balanced_accuracy"].tolist() == [0.7, 0.7]
    folder = tmp_path / "compared"
    assert not (folder / "roc.png").exists()
    page = (folder / "report.html").read_text()
    assert "0.700 (0.600 to 0.800)" in page and "2 of a known class, of 2 classes" in page
    assert not re.search(r"\bnan\b", page)
    assert {"balanced_accuracy_low", "balanced_accuracy_high"} <= set(
        pd.read_csv(folder / "runs.csv")
    )


def test_a_run_of_classes_is_compared_with_one_of_scores_and_masks(tmp_path):
    runs = [write_run(tmp_path / "scores"), write_run_of_classes(tmp_path / "classes")]

    table = compare.compare(config_of(tmp_path, *runs), {})

    assert table["auc"].tolist()[0] == 0.75 and np.isnan(table["auc"].tolist()[1])
    assert not re.search(r"\bnan\b", (tmp_path / "compared" / "report.html").read_text())


def test_a_comparison_keeps_the_prevalence_of_the_clinic_for_which_a_run_is_calibrated(
    tmp_path, monkeypatch
):
    run = write_run(tmp_path / "small")
    (run / "model.keras").write_bytes(b"a model")
    facts = {"kind": "none", "parameters": [], "chosen_on": "val", "prevalence": 0.5}
    frozen.write(run, "calibration.json", facts | {"clinic_prevalence": 0.02, "offset": -3.9})
    os.utime(run / "predictions.csv", (2e9, 2e9))
    asked = []
    monkeypatch.setattr(compare.evaluate, "evaluate", lambda settings: asked.append(settings))

    compare._train_and_evaluate(config.make(run=str(run)), is_finished=True)

    assert [settings.score.clinic_prevalence for settings in asked] == [0.02]
