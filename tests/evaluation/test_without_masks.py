"""An evaluation counts what a table has: masks, scores, a diagnosis, and nothing that it lacks."""

import json

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import assessment
from lbunet_tf.evaluation import choices
from lbunet_tf.evaluation import logged_numbers
from lbunet_tf.evaluation import pixel_histograms
from lbunet_tf.evaluation import subgroups
from lbunet_tf.serving import chosen
from lbunet_tf.serving import outlines
from lbunet_tf.settings import output_group
from lbunet_tf.settings import score_group
from tests.evaluation import diagnoses
from tests.evaluation import pages

# What test has without a diagnosis, by what a table has.
SCORES = """num_images mask_source num_scored num_melanoma accuracy auc average_precision at_0.5
auc_sens_80 kaggle_2024_pauc at_val_threshold by_prevalence""".split()
MASKS = """pixel_accuracy pixel_auc num_masks dice iou thresholded_jaccard share_below_iou_0.65
pooled_dice pooled_iou""".split()
UNITS = ["patient_key", "num_patients", "num_unscored", "intervals"]
CHOICES = ["operating_point", "calibration", "calibrated", "prediction_sets"]


@pytest.fixture
def assess(tmp_path):
    """A function: metrics of a table, with the histograms of its pixels where it has masks."""

    def run(table):
        logged = pages.with_logit(table)
        if "mask_tp" in table:
            histogram = np.arange(2 * pixel_histograms.NUM_BINS).reshape((2, -1)) % 7
            np.savez(tmp_path / "pixel_histograms.npz", val=histogram, test=histogram)
        metrics, found = assessment.assess(
            logged,
            tmp_path,
            output_group.Outputs(heads=("mask", "melanoma")),
            score_group.Score(),
            outlines.PLAIN,
            choices.Target(),
        )
        return metrics, found

    return run


@pytest.fixture
def table(whole_table):
    return whole_table.assign(mask_tn=9.0)


def test_a_table_of_before_has_the_numbers_of_before(assess, table):
    metrics, _ = assess(table)

    assert list(metrics["test"]) == [*SCORES, *MASKS, *UNITS, *CHOICES]


def test_a_diagnosis_adds_its_numbers_and_changes_no_others_byte(assess, table):
    before, _ = assess(table)
    after, _ = assess(diagnoses.add(table))

    assert after["test"].pop("diagnosis")["num_with_class"] == 60
    assert after["val"].pop("diagnosis")["num_with_class"] == 60
    assert json.dumps(after) == json.dumps(before)


def test_without_masks_nothing_is_said_of_pixels(assess, table):
    metrics, found = assess(diagnoses.alone(table, has_scores=True))

    kept = [name for name in [*SCORES, *UNITS, *CHOICES] if name != "by_prevalence"]
    assert set(metrics["test"]) - {"diagnosis", "by_prevalence"} == set(kept)
    assert metrics["test"]["mask_source"] == "none"
    assert found.threshold is not None


def test_without_masks_and_scores_there_is_the_diagnosis(assess, table):
    metrics, found = assess(diagnoses.alone(table))

    assert list(metrics["test"]) == [
        *("num_images", "mask_source", "diagnosis", "patient_key", "num_patients", "intervals"),
    ]
    assert found == chosen.Chosen(None, None, None)


def test_without_labels_of_test_what_was_chosen_is_stated_and_not_measured(assess, table):
    metrics, found = assess(table.assign(label=table["label"].where(table["split"] == "val")))

    test = metrics["test"]
    assert test["operating_point"]["threshold"] == found.threshold
    assert test["operating_point"]["chosen_on"] == "val"
    assert set(test["calibrated"]) == {"kind", "chosen_on", "prevalence"}
    assert test["prediction_sets"] == {"asked": 0.9, "is_promised": True}
    assert not {"calibration", "num_scored", "at_val_threshold"} & set(test)


def test_metrics_have_no_nan(assess, table):
    one_class = diagnoses.alone(table.assign(label=0.0), has_scores=True)

    for part in (diagnoses.alone(table), one_class, one_class.assign(true_class="")):
        json.dumps(assess(part)[0], allow_nan=False)


def test_groups_have_their_balanced_accuracy_and_counts(table):
    test = diagnoses.alone(table)[table["split"] == "test"]
    # Of one class alone, and of none that is known.
    test = test.assign(site=np.where(test["true_class"] == "nv", "back", "leg"))
    test.loc[test.index[:2], ["site", "true_class"]] = ["face", ""]

    found = subgroups.measure(test, chosen.Chosen(None), ("sex", "site"))

    assert found["num_with_class"].tolist() == [29, 29, 29, 0, 29]
    by_group = found.set_index("group")
    assert (
        by_group.loc["female", "balanced_accuracy_low"]
        < by_group.loc["female", "balanced_accuracy"]
    )
    assert by_group.loc["back", "balanced_accuracy_note"].endswith("1 of 2 classes")
    assert pd.isna(by_group.loc["face", "balanced_accuracy"])
    assert not [name for name in found if name.startswith(("auc", "dice"))]


def test_sources_have_their_balanced_accuracy(assess, table):
    source = np.where(np.arange(len(table)) % 3, "ham10000", "isic2019")
    metrics, _ = assess(diagnoses.alone(table).assign(source=source))

    found = metrics["test"]["by_source"]
    assert set(found["ham10000"]) == {"num_images", "num_with_class", "balanced_accuracy"}


def test_the_log_has_a_line_of_the_balanced_accuracy(assess, table, caplog):
    metrics, _ = assess(diagnoses.alone(table))

    logged_numbers.log(metrics)

    found = metrics["test"]["diagnosis"]["intervals"]["balanced_accuracy"]
    (line,) = (one for one in caplog.messages if one.startswith("test: balanced accuracy"))
    ends = f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
    assert line == f"test: balanced accuracy {ends}, 60 images of 2 classes"


def test_the_log_says_which_classes_are_missing(caplog):
    interval = {"value": 0.5, "low": None, "high": None, "method": "too few"}
    diagnosis = {
        "classes": ["nv", "df", "vasc"],
        "absent": ["df", "vasc"],
        "num_with_class": 7,
        "balanced_accuracy": 0.5,
        "intervals": {"balanced_accuracy": interval},
    }

    logged_numbers.log({"test": {"diagnosis": diagnosis}, "val": {"diagnosis": {"classes": []}}})

    assert (
        "test: balanced accuracy 0.500 (interval not estimable: too few), 7 images of 1 class, "
        "none of df, vasc"
    ) in caplog.messages
    assert "val: no image has a known class" in caplog.messages
