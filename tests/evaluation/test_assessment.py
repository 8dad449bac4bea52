"""What an evaluation cannot do, or could not read, is said before hours of predictions."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import assessment
from lbunet_tf.evaluation import choices
from lbunet_tf.evaluation import contour_choice
from lbunet_tf.evaluation import mask_contours
from lbunet_tf.evaluation import pixel_histograms
from lbunet_tf.runs import frozen
from lbunet_tf.runs import mask_threshold
from lbunet_tf.serving import calibrated
from lbunet_tf.serving import chosen
from lbunet_tf.serving import outlines
from lbunet_tf.settings import output_group
from lbunet_tf.settings import score_group
from lbunet_tf.storage import whole_files

OUTLINES = output_group.Outputs(heads=("mask", "melanoma"), mask_source="lesion")
SETS = {
    "benign": 0.6,
    "melanoma": 0.1,
    "coverage": 0.9,
    "chosen_on": "val",
    "num_melanoma": 20,
    "num_patients_melanoma": 20,
    "num_benign": 20,
    "num_patients_benign": 20,
}
CONTOURS = {
    "outer": mask_contours.probability(50),
    "inner": mask_contours.probability(80),
    "coverage": 0.95,
    "confidence": 0.95,
    "chosen_on": "val",
    "num_masks": 40,
    "num_patients": 40,
    "num_empty": 0,
}
RULE = outlines.MaskRule()
CALIBRATION = {"kind": "platt", "parameters": [1.0, 0.0], "chosen_on": "val", "prevalence": 0.5}


@pytest.fixture
def rows():
    """40 images of val and 40 of test, half of them melanomas, with masks."""
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(80)],
            "split": np.repeat(["val", "test"], 40),
            "label": np.tile([1.0, 0.0], 40),
            "mask": "m.png",
        }
    )


@pytest.fixture
def run(tmp_path):
    """A run for which everything is frozen."""
    (tmp_path / "model.keras").write_bytes(b"a model")
    frozen.write(tmp_path, "conformal.json", {**SETS, "mask_contours": CONTOURS})
    frozen.write(tmp_path, "calibration.json", CALIBRATION)
    return tmp_path


def of_test(rows):
    return rows[rows["split"] == "test"]


def check(rows, target=None, outputs=OUTLINES, **flags):
    assessment.check(rows, score_group.Score(**flags), outputs, target or choices.Target())


@pytest.mark.parametrize("is_own", [True, False])
def test_coverages_that_can_be_met_are_let_through(rows, run, is_own):
    flags = {"set_coverage": 0.8, "contour_coverage": 0.7}

    check(rows, choices.Target(run, is_own, is_own), **flags)
    # A mean, of which nothing is frozen, is measured all the same.
    check(rows, choices.Target(None), **flags)


def test_without_val_images_a_coverage_is_refused_and_what_the_run_has_is_not(rows, run):
    target = choices.Target(run, is_own=False)

    check(of_test(rows), target)
    for name in ("set_coverage", "contour_coverage"):
        with pytest.raises(ValueError, match=f'^"--{name}" needs .*Leave it out.* 0 images'):
            check(of_test(rows), target, **{name: 0.8})
        with pytest.raises(ValueError, match=f'^"--{name}" needs'):
            check(of_test(rows), choices.Target(), **{name: 0.8})


def test_sets_of_one_class_or_of_no_score_are_refused(rows):
    with pytest.raises(ValueError, match='"--set_coverage" needs .* 0 melanomas of 40 images'):
        check(rows.assign(label=0.0), set_coverage=0.8)
    with pytest.raises(ValueError, match='"--set_coverage" needs .*--set_coverage=0.8, 0 mel'):
        check(rows.assign(label=np.nan), set_coverage=0.8)
    outputs = output_group.Outputs(heads=("mask",), mask_source="lesion")
    with pytest.raises(ValueError, match='"--set_coverage" needs a melanoma score: train with'):
        check(rows, outputs=outputs, set_coverage=0.8)


def test_contours_without_masks_or_of_labels_are_refused(rows):
    is_val = rows["split"] == "val"
    with pytest.raises(ValueError, match='"--contour_coverage" needs images with masks.* of 40 im'):
        check(rows.assign(mask=rows["mask"].mask(is_val, "")), contour_coverage=0.8)
    outputs = output_group.Outputs(heads=("mask", "melanoma"), mask_source="label")
    with pytest.raises(ValueError, match='"--contour_coverage" needs .*--mask_source=lesion'):
        check(rows, outputs=outputs, contour_coverage=0.8)


def test_damaged_choices_are_named_where_they_would_be_used_and_only_there(rows, run):
    target = choices.Target(run, may_freeze=True)
    frozen.write(run, "calibration.json", {**CALIBRATION, "parameters": [float("nan"), 0.0]})
    # It is fitted again, on val.
    check(rows, target)
    with pytest.raises(ValueError, match="calibration.json must hold finite parameters"):
        check(of_test(rows), target)

    frozen.write(run, "conformal.json", {**SETS, "coverage": "x", "mask_contours": CONTOURS})
    check(rows, target, set_coverage=0.8)
    with pytest.raises(ValueError, match='"coverage". Received'):
        check(rows, target)

    frozen.write(run, "conformal.json", {**SETS, "mask_contours": {**CONTOURS, "outer": 0.99}})
    check(rows, target, contour_coverage=0.8)
    with pytest.raises(ValueError, match="an outer mask contour outside the inner one"):
        check(rows, target)


def test_a_file_to_which_nothing_can_be_added_is_named(rows, run):
    whole_files.write_text(run / "conformal.json", "{")

    with pytest.raises(ValueError, match="conformal.json must be JSON"):
        check(rows, choices.Target(run, True), set_coverage=0.8, contour_coverage=0.8)


def test_masks_that_turn_out_to_be_empty_make_no_contours_in_silence(rows, run):
    table = rows.assign(mask_tp=0.0, mask_fn=0.0, mask_fp=0.0, mask_tn=256.0)
    counts = np.zeros((80, 2, mask_contours.NUM_BINS), "uint32")
    counts[:, 0, 3] = 256
    path = run / "mask_histograms.npz"
    np.savez(path, image_id=table["image_id"].to_numpy(str), counts=counts)

    assert contour_choice.make(table, path, 0.5, None, choices.Target()) == {}
    with pytest.raises(ValueError, match='"--contour_coverage" needs images with masks'):
        contour_choice.make(table, path, 0.5, 0.8, choices.Target())


def test_contours_without_cleanup_are_measured_and_not_kept(rows, run):
    frozen.add(run, "conformal.json", {"mask_contours": {**CONTOURS, "threshold": 0.35}})
    before = (run / "conformal.json").read_bytes()
    table = rows.assign(score=np.nan, score_logit=np.nan, mask_fn=0.0, mask_fp=0.0)
    table = table.assign(mask_tp=200.0, mask_tn=56.0)
    counts = np.zeros((80, 2, mask_contours.NUM_BINS), "uint32")
    counts[:, 0, 3], counts[:, 1, 120] = 56, 200
    image_id = table["image_id"].to_numpy(str)
    np.savez(run / "mask_histograms.npz", image_id=image_id, counts=counts)
    empty = np.zeros((2, pixel_histograms.NUM_BINS), "int64")
    np.savez(run / "pixel_histograms.npz", val=empty, test=empty)

    score = score_group.Score(contour_coverage=0.9)

    metrics, _ = assessment.assess(
        table, run, OUTLINES, score, outlines.PLAIN, choices.Target(run, True)
    )

    found = metrics["test"]["mask_contours"]
    # Around the outline of this evaluation.
    assert (found["outer"], found["inner"]) == (0.5, 0.5)
    assert (run / "conformal.json").read_bytes() == before


def test_contours_of_test_images_without_masks_are_stated_and_not_measured(rows, run):
    table = rows.assign(mask_tp=np.nan, mask_fn=np.nan, mask_fp=np.nan, mask_tn=np.nan)

    found = contour_choice.make(table, run / "none.npz", 0.5, None, choices.Target(run))

    assert found["mask_contours"] == {
        **{"asked": 0.95, "outer": CONTOURS["outer"], "inner": CONTOURS["inner"]},
        **{"confidence": 0.95, "chosen_on": "val"},
        **{"num_masks": 0, "num_empty": 0, "is_promised": True},
    }


def test_scores_that_turn_out_to_be_missing_make_no_sets_in_silence(rows):
    table = rows.assign(score=np.nan)

    assert choices.make_sets(table, None, choices.Target()) == ({}, None)
    with pytest.raises(ValueError, match='"--set_coverage" needs .* 0 melanomas of 0 images'):
        choices.make_sets(table, 0.8, choices.Target())


def test_a_calibration_that_was_fitted_again_is_still_that_of_the_run(run):
    kept = {"kind": "platt", "parameters": [0.7, -0.4], "offset": -1.5}
    frozen.write(run, "calibration.json", kept)

    def has(*parameters):
        found = chosen.Chosen(calibration=calibrated.Calibration("platt", parameters))
        return assessment.kept({}, found, RULE, run)["calibrated"]

    # In its last digits it depends on the CPU; the offset is what another prevalence adds.
    assert has(0.7 + 1e-7, -0.4) and not has(0.8, -0.4)
    nothing = dict.fromkeys(("calibrated", "prediction_sets", "mask_contours"), False)
    assert assessment.kept({}, chosen.NOTHING, RULE, run) == nothing
    assert assessment.kept({}, chosen.NOTHING, RULE, None) == {}


def test_a_point_of_another_rule_or_a_damaged_one_is_not_that_of_the_run(run, caplog):
    point = {"threshold": 0.5, "rule": "Youden", "chosen_on": "val"}
    frozen.write(run, "operating_point.json", point | {"num_melanoma": 20, "num_other": 20})

    def has(measured):
        found = assessment.kept({"operating_point": measured}, chosen.NOTHING, RULE, run)
        return found.get("operating_point")

    assert has(point) is True
    assert has(point | {"rule": "sensitivity of at least 0.8"}) is False
    (run / "operating_point.json").write_text("damaged")
    assert has(point) is None and "operating_point.json" in caplog.text


def test_nothing_is_promised_of_a_test_part_of_other_sources(rows):
    is_test = rows["split"] == "test"
    same = rows.assign(source="ham10000")
    other = same.assign(source=same["source"].mask(is_test, "ph2"))

    assert choices.is_promised(same, choices.Target())
    assert not choices.is_promised(other, choices.Target())
    # Of one of two sources: it is like images on which choices were made.
    both = other.assign(source=other["source"].where(other.index % 2 == 0, "ham10000"))
    assert choices.is_promised(both, choices.Target())


def test_a_mask_threshold_that_the_run_does_not_have_is_not_kept(run):
    chosen_here = outlines.MaskRule(0.4, "one_region")

    def has():
        return assessment.kept({}, chosen.NOTHING, chosen_here, run).get("mask_threshold")

    found = [has()]
    for threshold in (0.3, 0.4):
        mask_threshold.write(run, outlines.MaskRule(threshold, "one_region"), 9)
        found.append(has())

    assert found == [None, False, True]
