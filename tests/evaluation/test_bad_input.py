"""What cannot be known is said to be so, by name: never a wrong number.

Further cases stand with what they are about: scores, duplicates and patients in `test_contract`,
one class and empty masks in `test_scores` and `test_mask_scores`, tables of flags in
`test_subgroup_tables`.
"""

import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import special

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import calibration
from lbunet_tf.evaluation import choices
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import intervals
from lbunet_tf.evaluation import operating_point
from lbunet_tf.evaluation import subgroups
from lbunet_tf.evaluation import uncertainty
from lbunet_tf.runs import frozen
from lbunet_tf.serving import chosen
from lbunet_tf.storage import whole_files

COUNT = 120
FILES = ("operating_point.json", "calibration.json", "conformal.json")


def make_table():
    """60 images of val and 60 of test, of a patient each, with scores that know something."""
    rng = np.random.default_rng(0)
    labels = np.tile([1.0, 0.0, 0.0], COUNT // 3)
    logits = rng.normal(size=COUNT) + 2 * labels - 1
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(COUNT)],
            "patient_id": [f"p{number}" for number in range(COUNT)],
            "split": np.repeat(["val", "test"], COUNT // 2),
            "label": labels,
            "score": special.expit(logits),
            "score_logit": logits,
            "sex": np.tile(["female", "male"], COUNT // 2),
            "mask_tp": 1.0,
            "mask_fp": 0.0,
            "mask_fn": 0.0,
        }
    )


@pytest.fixture
def table():
    return make_table()


@pytest.fixture(scope="module")
def frozen_run(tmp_path_factory):
    """A run for which all three files are frozen."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "model.keras").write_bytes(b"a model")
    choices.take_point(make_table(), operating_point.Rule(), choices.Target(folder, True))
    choices.calibrate(make_table(), choices.Target(folder, True))
    choices.make_sets(make_table(), None, choices.Target(folder, True))
    return folder


@pytest.fixture
def run(frozen_run, tmp_path):
    """The same, to be changed."""
    return pathlib.Path(shutil.copytree(frozen_run, tmp_path / "run"))


def scored_alike(table):
    return table.assign(score=0.3, score_logit=special.logit(0.3))


def of_test(table):
    return table[table["split"] == "test"]


def test_val_without_melanomas_chooses_nothing(table, tmp_path):
    table.loc[table["split"] == "val", "label"] = 0.0

    assert choices.take_point(table, operating_point.Rule(), choices.Target(tmp_path, True)) is None
    measured, function = choices.calibrate(table, choices.Target(tmp_path, True))
    assert function is None and "calibrated" not in measured
    assert choices.make_sets(table, None, choices.Target(tmp_path, True)) == ({}, None)
    assert list(tmp_path.iterdir()) == []


def test_test_of_one_class_has_no_number_that_needs_both(table):
    table.loc[table["split"] == "test", "label"] = 0.0

    found = uncertainty.estimate(of_test(table), 0.5, "lesion")["intervals"]
    measured, _ = choices.calibrate(table, choices.Target())
    sets, _ = choices.make_sets(table, None, choices.Target())

    assert found["auc"]["value"] is None and found["sensitivity"]["value"] is None
    assert found["specificity"]["low"] is not None
    for name in ("calibration", "calibrated"):
        assert "n = 0 patients with melanoma" in measured[name]["not_estimable"]
    assert sets["prediction_sets"]["coverage_melanoma"] is None
    assert "band_melanoma" not in sets["prediction_sets"]


def test_images_without_a_score_are_counted_and_change_no_number(table):
    more = pd.concat([table, table.assign(score=np.nan, score_logit=np.nan)], ignore_index=True)
    more["image_id"] = [f"i{number}" for number in range(len(more))]
    contract.check(more, "predictions.csv")

    found = uncertainty.estimate(of_test(more), 0.5, "lesion")

    assert found["num_unscored"] == COUNT // 2
    expected = uncertainty.estimate(of_test(table), 0.5, "lesion")["intervals"]
    for name in ("auc", "accuracy", "sensitivity", "specificity"):
        assert found["intervals"][name] == expected[name]
    assert choices.calibrate(more, choices.Target()) == choices.calibrate(table, choices.Target())


@pytest.mark.parametrize("score", [np.inf, -np.inf, 1.0000001, -1e-9])
def test_a_score_that_is_no_probability_is_refused(table, score):
    table.loc[5, "score"] = score

    with pytest.raises(ValueError, match="a score in 0..1 or empty .* row 6, image 'i5'"):
        contract.check(table, "predictions.csv")


def test_a_score_without_its_logit_is_refused(table):
    table.loc[5, "score_logit"] = np.nan

    with pytest.raises(ValueError, match="a score_logit where there is a score .* row 6"):
        contract.check(table, "predictions.csv")


def test_one_patient_gives_values_without_intervals(table):
    table["patient_id"] = "p"

    found = uncertainty.estimate(of_test(table), 0.5, "lesion")

    assert found["num_patients"] == 1
    for name in ("auc", "accuracy", "sensitivity", "specificity", "dice"):
        one = found["intervals"][name]
        assert one["value"] is not None and one["low"] is None, name
        assert "n = 1 patients" in one["method"]
    assert choices.calibrate(table, choices.Target())[1] is None
    with pytest.raises(ValueError, match="59 needed. Received: 1 patients"):
        rule = operating_point.Rule(target_sensitivity=0.95, guarantee=0.95)
        choices.take_point(table, rule, choices.Target())


def test_one_patient_has_sets_that_rule_nothing_out(table, caplog):
    table["patient_id"] = "p"

    found, sets = choices.make_sets(table, None, choices.Target())

    assert found["prediction_sets"]["fraction_refer"] == 1
    assert (sets.benign, sets.melanoma) == (1, 0)
    assert "has 1 patients, 9 needed at alpha 0.1" in caplog.text


def test_scores_that_are_all_equal_tell_nothing_apart(table):
    alike = scored_alike(table)

    found = uncertainty.estimate(of_test(alike), 0.5, "lesion")["intervals"]["auc"]
    measured, function = choices.calibrate(alike, choices.Target())
    point = choices.take_point(alike, operating_point.Rule(), choices.Target())

    assert (found["value"], found["low"]) == (0.5, None) and "all scores are alike" in found[
        "method"
    ]
    assert measured["calibration"]["slope"] is None and measured["calibrated"]["slope"] is None
    # One calibrated probability for all: the fraction of melanomas in val.
    assert np.ptp(function.apply(of_test(alike)["score_logit"].to_numpy())) == 0
    flagged = of_test(alike)["score"] >= point["threshold"]
    assert flagged.all() or not flagged.any()


def test_the_calibration_of_equal_scores_is_one_that_can_be_read(run, table):
    choices.calibrate(scored_alike(table), choices.Target(run, True))

    found = frozen.read_calibration(run)

    val = table[table["split"] == "val"]["label"]
    assert found.kind in ("temperature", "platt")
    assert found.apply(special.logit(np.array([0.3]))) == pytest.approx(val.mean(), abs=1e-6)


def test_perfect_separation_has_no_interval_and_no_slope(table):
    table["score_logit"] = np.where(table["label"] == 1, 2.0, -2.0) + np.linspace(0, 1, COUNT)
    table["score"] = special.expit(table["score_logit"])

    found = uncertainty.estimate(of_test(table), 0.5, "lesion")["intervals"]
    measured, _ = choices.calibrate(table, choices.Target())

    assert found["auc"]["value"] == 1 and found["auc"]["low"] is None
    assert "perfect separation" in found["auc"]["method"]
    # 20 of 20 found leaves it open what others are like.
    assert found["sensitivity"]["value"] == 1 > found["sensitivity"]["low"] > 0.8
    assert measured["calibration"]["slope"] is None
    assert all(np.isfinite(measured["calibrated"][name]) for name in ("log_loss", "brier"))


def test_without_patients_every_image_is_one_and_that_is_said(table):
    found = uncertainty.estimate(of_test(table.drop(columns="patient_id")), 0.5, "lesion")

    assert (found["patient_key"], found["num_patients"]) == ("image", COUNT // 2)


def test_empty_masks_count_one_where_nothing_is_found_and_zero_where_something_is(table):
    table[["mask_tp", "mask_fp", "mask_fn"]] = 0.0
    table.loc[table.index % 2 == 1, "mask_fp"] = 7.0

    found = uncertainty.estimate(of_test(table), 0.5, "lesion")["intervals"]

    assert found["dice"]["value"] == found["iou"]["value"] == 0.5


def test_an_empty_group_is_none_and_a_group_without_scores_has_no_numbers(table):
    table["sex"] = pd.Categorical(table["sex"], ["female", "male", "other"])
    table.loc[table["sex"] == "male", ["score", "score_logit"]] = np.nan

    found = subgroups.measure(of_test(table), chosen.Chosen(0.5), ["sex"]).set_index("group")

    assert found.index.tolist() == ["female", "male"]
    assert pd.isna(found.loc["male", ["auc", "sensitivity", "observed_to_expected"]]).all()
    assert found[["auc_difference", "sensitivity_difference"]].isna().all(axis=None)
    assert found.loc["male", "auc_difference_note"] == "this group: n = 0 melanomas of 0 images"
    assert found.loc["female", "auc_difference_note"] == "the others: n = 0 melanomas of 0 images"


@pytest.mark.parametrize("file", FILES)
def test_what_was_frozen_for_another_model_is_not_used(run, file, caplog):
    (run / "model.keras").write_bytes(b"another model")

    read = {
        "operating_point.json": frozen.read_point,
        "calibration.json": frozen.read_calibration,
        "conformal.json": frozen.read_sets,
    }[file]

    assert read(run) is None
    assert f"{file} is of another model than the run's and is not used" in caplog.text


def test_probabilities_of_another_models_calibration_are_refused(run):
    (run / "model.keras").write_bytes(b"another model")

    with pytest.raises(ValueError, match='"--calibrated" needs .*calibration.json'):
        frozen.calibration_of([str(run)], "none")
    assert frozen.threshold_of([str(run)], "none") is None
    assert frozen.sets_of([str(run)], "none") is None


def test_another_models_choices_are_made_again(run, table):
    (run / "model.keras").write_bytes(b"another model")

    choices.take_point(table, operating_point.Rule(), choices.Target(run, True))
    choices.make_sets(table, None, choices.Target(run, True))

    crc32 = whole_files.crc32(run / "model.keras")
    for file in ("operating_point.json", "conformal.json"):
        assert whole_files.read_json(run / file)["model_crc32"] == crc32


def test_what_is_frozen_belongs_to_the_model_that_made_the_predictions(run, table):
    (run / "model.keras").write_bytes(b"a better epoch")
    target = choices.Target(run, True, model_crc32=whole_files.crc32(run / "operating_point.json"))

    choices.take_point(table, operating_point.Rule(), target)
    choices.calibrate(table, target)
    choices.make_sets(table, None, target)

    for file in FILES:
        assert whole_files.read_json(run / file)["model_crc32"] == target.model_crc32
    assert frozen.read_point(run) is None


def test_nothing_is_promised_of_another_source(run, table):
    own, _ = choices.make_sets(table, None, choices.Target(run))
    other, sets = choices.make_sets(table, None, choices.Target(run, is_own=False))

    assert own["prediction_sets"]["is_promised"]
    assert "band_melanoma" in own["prediction_sets"] and "band_benign" in own["prediction_sets"]
    found = other["prediction_sets"]
    assert not found["is_promised"]
    assert not [name for name in found if name.startswith("band_")]
    # What came of it is still stated, of the sets that the run has.
    assert found["coverage"] == own["prediction_sets"]["coverage"]
    assert sets == frozen.sets_of([str(run)], "none")


def test_only_a_point_with_a_guarantee_promises_something_and_only_of_its_own_source(table):
    sure, point = (
        {"rule": str(operating_point.Rule(target_sensitivity=0.9, guarantee=guarantee))}
        for guarantee in (0.95, None)
    )
    own, other = choices.Target(), choices.Target(is_own=False)

    assert choices.promise_of_point(sure, table, own) == {"is_promised": True}
    assert choices.promise_of_point(sure, table, other) == {"is_promised": False}
    assert choices.promise_of_point(point, table, other) == {}


@pytest.mark.parametrize("num_melanoma, is_ruled_out", [(8, False), (9, True)])
def test_fewer_melanomas_than_alpha_needs_rule_no_melanoma_out(table, num_melanoma, is_ruled_out):
    of_val = table["split"] == "val"
    spare = table[of_val & (table["label"] == 1)].index[num_melanoma:]

    _, sets = choices.make_sets(table.drop(spare), None, choices.Target())

    assert (sets.melanoma > 0) == is_ruled_out


def test_too_few_patients_have_no_calibration_and_no_interval(table):
    spare = table[table["label"] == 1].index
    few = table.drop(spare[9:-9])

    measured, function = choices.calibrate(few, choices.Target())

    assert function is None and "calibrated" not in measured
    assert "n = 9 patients with melanoma" in measured["calibration"]["not_estimable"]
    assert calibration.observed_to_expected(of_test(few)).value is None
    labels, scores, key = contract.scored(of_test(few))
    found = auc_intervals.auc(labels, scores, key)
    assert found.value is not None and found.low is None
    assert intervals.too_few(labels, key)


@pytest.mark.parametrize(
    "parts, is_promised",
    [
        ({"val": "train", "test": "val"}, False),
        ({"val": "train", "test": "train"}, True),
        ({"val": "train", "test": ""}, True),
        ({"val": "", "test": ""}, True),
    ],
)
def test_nothing_is_promised_of_another_official_part(parts, is_promised):
    table = make_table()
    table["official_part"] = table["split"].map(parts)

    found, _ = choices.make_sets(table, None, choices.Target())

    assert found["prediction_sets"]["is_promised"] is is_promised
    assert ("band_melanoma" in found["prediction_sets"]) is is_promised
