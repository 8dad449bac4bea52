import pathlib
import re

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from lbunet_tf.evaluation import comparison
from lbunet_tf.evaluation import comparison_facts
from lbunet_tf.evaluation import reported
from lbunet_tf.settings import config

ROOT = pathlib.Path(__file__).parents[2]
LABEL = config.make(source=("isic2020",), mask_source="label", split_by="image")
TRAINING = {
    "trainable_parameters": 51513233,
    "epochs": 12,
    "best_epoch": 9,
    "val_loss": 0.5,
    "training_seconds": 1530.0,
}
TEST = {
    "num_scored": 163,
    "num_melanoma": 88,
    "num_masks": 163,
    "accuracy": 0.755,
    "auc": 0.813,
    "label_as_mask_dice": 0.75,
    "label_as_mask_iou": 0.7,
}


def make_runs(*aucs, experiment="paper", settings=LABEL):
    return [
        comparison.make_row(experiment, settings.replace(seed=seed), TRAINING, {**TEST, "auc": auc})
        for seed, auc in enumerate(aucs)
    ]


def summarise(*rows):
    return comparison.summarise(pd.DataFrame([row for part in rows for row in part]))


def test_a_row_has_the_numbers_of_the_run():
    (row,) = make_runs(0.813)

    assert row["label_as_mask_dice"] == 0.75
    assert (row["trainable_parameters"], row["epochs"], row["seed"]) == (51513233, 12, 0)


@pytest.mark.slow
@pytest.mark.parametrize("auc", [0.6, 0.8, 0.95])
def test_the_standard_error_is_the_spread_of_the_auc_over_drawn_test_sets(auc):
    # Exponential scores are those of which the formula is exact.
    rng = np.random.default_rng(3)
    labels = np.array([1] * 88 + [0] * 75)
    scale = np.where(labels == 1, auc / (1 - auc), 1.0)
    drawn = [sklearn_metrics.roc_auc_score(labels, rng.exponential(scale)) for _ in range(1500)]

    assert comparison.auc_standard_error(auc, 88, 75) == pytest.approx(np.std(drawn), rel=0.08)


def test_a_perfect_score_on_a_few_images_is_not_said_to_have_no_error():
    assert np.isnan(comparison.auc_standard_error(1.0, 5, 5))
    assert comparison.readable(summarise(make_runs(1.0))).loc[0, "AUC"] == "1.000"


def test_several_seeds_give_mean_and_standard_deviation():
    summary = summarise(make_runs(0.7, 0.8, 0.9))

    assert summary.loc[0, ["auc", "auc_spread"]].tolist() == pytest.approx([0.8, 0.1])
    assert comparison.readable(summary).loc[0, "AUC"] == "0.800 ± 0.100"
    assert summary.loc[0, "seeds"] == "0,1,2"


def test_the_mean_of_best_epochs_is_rounded():
    rows = make_runs(0.7, 0.8, 0.9)
    for row, best in zip(rows, (7, 7, 6), strict=True):
        row["best_epoch"] = best

    assert comparison.readable(summarise(rows)).loc[0, "epochs (best)"] == "12 (6.67)"


def test_one_seed_has_no_spread_but_a_standard_error():
    summary = summarise(make_runs(0.813))

    assert np.isnan(summary.loc[0, "auc_spread"])
    assert comparison.readable(summary).loc[0, "AUC"] == "0.813 (SE 0.033)"


def test_experiments_stay_in_the_order_in_which_they_were_named():
    summary = summarise(make_runs(0.9, experiment="z"), make_runs(0.8, experiment="a"))

    assert summary["experiment"].tolist() == ["z", "a"]


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({}, "0.9047, 0.941, 0.86"),
        ({"encoder": "resnet34"}, "0.8795, 0.902, 0.81"),
        ({"model": "unet", "encoder_weights": "none"}, "0.8523, 0.881, 0.78"),
        ({"encoder": "efficientnet_lite0"}, "-"),
        ({"source": ("isic2017",)}, "-"),
        ({"mask_source": "lesion"}, "-"),
    ],
)
def test_the_papers_numbers_stand_beside_its_own_models_and_recipe_only(changes, reported):
    # The first row has one, so the column is there.
    summary = summarise(
        make_runs(0.8, experiment="first"),
        make_runs(0.8, experiment="second", settings=LABEL.replace(**changes)),
    )

    assert comparison.readable(summary).iloc[1, -1] == reported


def test_without_the_papers_models_nothing_of_the_paper_is_said():
    settings = LABEL.replace(encoder="efficientnet_lite0")
    summary = summarise(make_runs(0.8, settings=settings))

    text = comparison.to_markdown(
        "Title",
        summary,
        comparison_facts.of_table(summary, settings.split.split_by, settings.budget, (0,)),
    )

    assert "paper" not in text.replace("| paper |", "").replace("as in the paper", "")


def test_the_notes_say_that_label_masks_measure_the_class():
    summary = summarise(make_runs(0.8))

    assert (
        "measure the class"
        in comparison_facts.of_table(summary, LABEL.split.split_by, LABEL.budget, (0,))[
            "Label-as-mask"
        ]
    )


def test_scores_of_lesion_masks_are_not_called_label_as_mask():
    settings = LABEL.replace(mask_source="lesion")
    test = {"num_masks": 20, "dice": 0.8, "iou": 0.7}
    summary = summarise([comparison.make_row("lesion", settings, TRAINING, test)])

    text = comparison.to_markdown(
        "Title",
        summary,
        comparison_facts.of_table(summary, settings.split.split_by, settings.budget, (0,)),
    )

    assert "abel-as-mask" not in text
    assert comparison.readable(summary).loc[0, "Dice"] == "0.800"


def test_a_run_without_a_score_has_a_dash_in_its_cell():
    summary = summarise(
        make_runs(0.8), [comparison.make_row("none", LABEL, TRAINING, {"num_masks": 3})]
    )

    assert comparison.readable(summary)["AUC"].tolist() == ["0.800 (SE 0.034)", "-"]


def test_the_notes_count_the_images_of_experiments_that_score():
    summary = summarise(
        [comparison.make_row("none", LABEL, TRAINING, {})], make_runs(0.8, experiment="scored")
    )

    text = comparison_facts.of_table(summary, LABEL.split.split_by, LABEL.budget, (0,))[
        "Test images"
    ]

    assert text.startswith("163 with label and score, 88 of them melanomas; 163 with a mask.")


def test_markdown_has_a_line_an_experiment_and_as_many_cells_as_its_head():
    summary = summarise(make_runs(0.8, experiment="a|b"), make_runs(0.7, experiment="c"))

    lines = comparison.to_markdown("Title", summary, {"Note": "text"}).splitlines()

    table = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert lines[-1] == "- Note: text"


def test_runs_are_sorted_by_scores_of_val_only():
    names = comparison.validation_scores({"auc": 0.8, "accuracy": 0.7}, TRAINING)

    assert set(names) == {"val auc", "val accuracy", "val loss", "training minutes"}


def diagnosed(value, low=0.6, high=0.8, **test):
    interval = {"value": value, "low": low, "high": high, "method": ""}
    diagnosis = {
        "classes": ["mel", "nv", "vasc"],
        "absent": ["vasc"],
        "num_with_class": 40,
        "balanced_accuracy": value,
        "intervals": {"balanced_accuracy": interval},
    }
    return {**test, "diagnosis": diagnosis}


def rows_of(*tests, experiment="classes"):
    return [
        comparison.make_row(experiment, LABEL.replace(seed=seed), TRAINING, test)
        for seed, test in enumerate(tests)
    ]


def test_balanced_accuracy_of_one_seed_has_its_interval_by_patient():
    summary = summarise(rows_of(diagnosed(0.7)))

    assert summary.loc[0, "balanced_accuracy"] == 0.7
    assert comparison.readable(summary).loc[0, "balanced accuracy of classes"] == (
        "0.700 (0.600 to 0.800)"
    )


def test_balanced_accuracy_without_an_interval_is_a_number_alone():
    summary = summarise(rows_of(diagnosed(0.7, None, None)))

    assert comparison.readable(summary).loc[0, "balanced accuracy of classes"] == "0.700"


def test_balanced_accuracy_of_several_seeds_has_mean_and_spread_and_no_interval_of_one_run():
    summary = summarise(rows_of(diagnosed(0.6), diagnosed(0.8)))

    cell = comparison.readable(summary).loc[0, "balanced accuracy of classes"]
    assert cell == "0.700 ± 0.141"
    assert "balanced_accuracy_low" not in summary


def test_experiments_without_a_diagnosis_have_a_dash_in_its_column():
    summary = summarise(rows_of(diagnosed(0.7)), make_runs(0.8))

    cells = comparison.readable(summary)["balanced accuracy of classes"].tolist()
    assert cells == ["0.700 (0.600 to 0.800)", "-"]
    notes = comparison_facts.of_table(summary, "image", LABEL.budget, (0,))
    assert notes["Test images"].startswith("40 of a known class, of 2 classes; 163 with label")


def test_without_a_diagnosis_there_is_no_column_of_it():
    summary = summarise(make_runs(0.8))

    assert not [name for name in summary if "balanced" in name or "class" in name]
    notes = comparison_facts.of_table(summary, "image", LABEL.budget, (0,))
    assert "alanced" not in " ".join(notes.values())


def test_networks_of_classes_alone_are_not_said_to_have_masks_or_an_auc():
    summary = summarise(rows_of(diagnosed(0.7)))

    notes = comparison_facts.of_table(summary, "image", LABEL.budget, (0,))

    assert notes["Test images"] == (
        "40 of a known class, of 2 classes. Nothing was chosen on them."
    )
    assert "AUC" not in notes["Scores"] and "Dice" not in notes["Scores"]
    assert "a rare class counts as much" in notes["Scores"]


def test_val_has_its_balanced_accuracy_too():
    found = comparison.validation_scores(diagnosed(0.7), TRAINING)

    assert found["val balanced accuracy"] == 0.7


def test_an_auc_with_an_interval_by_patient_shows_it_instead_of_its_standard_error():
    measured = {**TEST, "auc": 0.8, "intervals": {"auc": {"low": 0.71, "high": 0.87}}}
    summary = summarise([comparison.make_row("paper", LABEL, TRAINING, measured)])

    assert comparison.readable(summary).loc[0, "AUC"] == "0.800 (0.710 to 0.870)"
    words = " ".join(
        comparison_facts.of_table(summary, "patient", config.make().budget, (0,)).values()
    )
    assert "95 % interval by patient" in words and "standard error" not in words


@pytest.mark.parametrize(
    "encoder, fidelity, of_authors",
    [
        ("vgg16", "exact", "-"),
        ("ahmad_vit", "faithful-reading", "accuracy 1.0000 (Ahmad et al. 2024, HAM10000)"),
    ],
)
def test_a_classifier_says_how_close_it_is_to_what_was_published(encoder, fidelity, of_authors):
    rows = []
    for name in (encoder, "ahmad_vit"):
        size = 56 if name == "ahmad_vit" else 128
        flags = {"encoder": name, "image_size": size, "encoder_weights": "none"}
        settings = config.make(model="classifier", heads=("melanoma",), **flags)
        (row,) = make_runs(0.8, experiment=f"{name} {len(rows)}", settings=settings)
        rows.append({**row, "milliseconds": 12.34})

    cells = comparison.readable(summarise(rows)).loc[0]

    assert cells["fidelity"] == fidelity and cells["ms per image"] == "12.3"
    assert cells["reported by its authors, not run"] == of_authors


def test_every_flagfile_of_a_system_states_the_fidelity_of_its_row():
    files = [path for path in (ROOT / "flags" / "zoo").glob("*.cfg") if path.stem != "base"]

    assert {path.stem for path in files} == set(reported.CLASSIFIERS)
    for path in files:
        system = reported.CLASSIFIERS[path.stem]
        assert re.search(r"^# Fidelity: ([\w-]+)", path.read_text(), re.M)[1] == system.fidelity
