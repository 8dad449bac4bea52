"""A shift to a clinic's prevalence is as by hand, says what it assumes, and is refused in words."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from lbunet_tf.evaluation import choices
from lbunet_tf.evaluation import clinic
from lbunet_tf.evaluation.reports import report_sentences
from lbunet_tf.runs import frozen
from lbunet_tf.storage import whole_files


def rows(melanomas=20, others=20):
    count = melanomas + others
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(count)],
            "label": np.repeat([1.0, 0.0], [melanomas, others]),
        }
    )


def test_the_shift_is_that_of_the_logit_and_its_assumption_is_printed(caplog):
    found = clinic.shift(584 / 1144, 584 / 33126)

    assert found["clinic_prevalence"] == 584 / 33126
    shifted = special.expit(special.logit([0.5, 0.9]) + found["offset"])
    assert shifted == pytest.approx([0.016917, 0.134107], abs=1e-6)
    assert clinic.ASSUMPTION in caplog.text and "0.5105 to 0.0176" in caplog.text


def test_predictive_values_are_those_of_the_prevalence():
    found = clinic.describe(0.5, 0.02, {"sensitivity": 0.8, "specificity": 0.9})

    assert found["ppv"] == pytest.approx(0.8 * 0.02 / (0.8 * 0.02 + 0.1 * 0.98))
    assert found["npv"] == pytest.approx(0.9 * 0.98 / (0.9 * 0.98 + 0.2 * 0.02))
    assert found["half_becomes"] == pytest.approx(0.02)
    assert found["assumption"] == clinic.ASSUMPTION
    without = clinic.describe(0.5, 0.02, None)
    assert without["ppv"] is without["npv"] is None


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"is_own": False}, "own source: images of another.*Leave out --source"),
        ({"may_freeze": False}, "calibration.json of one run as it is"),
        ({"has_score": False}, "needs a melanoma score"),
        ({"rows": rows(melanomas=9)}, "n = 9 patients with melanoma images, 10 needed"),
        ({"rows": rows(melanomas=0)}, "n = 0 patients with melanoma images, 10 needed"),
    ],
)
def test_what_cannot_be_shifted_is_refused_by_the_name_of_the_flag(changes, words):
    asked = {"rows": rows(), "has_score": True, "is_own": True, "may_freeze": True} | changes

    clinic.check(0.0, **asked)
    with pytest.raises(ValueError, match=f'^"--clinic_prevalence" .*{words}'):
        clinic.check(0.02, **asked)


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    labels = np.tile([1.0, 0.0, 0.0], 100)
    logits = rng.normal(size=300) + labels
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(300)],
            "split": np.repeat(["val", "test"], 150),
            "label": labels,
            "score_logit": logits,
            "score": special.expit(logits),
        }
    )


@pytest.fixture
def run(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"a model")
    return tmp_path


def test_only_what_is_frozen_is_shifted(table, run):
    plain, function = choices.calibrate(table, choices.Target(run, True))
    before = frozen.read_calibration(run)

    measured, same = choices.calibrate(table, choices.Target(run, True), 0.02)

    after = frozen.read_calibration(run)
    assert same == function == before and before.offset == 0
    offset = special.logit(0.02) - special.logit(1 / 3)
    assert after.offset == pytest.approx(offset)
    expected = special.expit(special.logit(before.apply(0.3)) + offset)
    assert float(after.apply(0.3)) == pytest.approx(expected)
    # Test has the prevalence of the data, so its calibration is measured there.
    facts = measured["calibrated"].pop("clinic_prevalence")
    assert measured == plain and facts["of_calibration"] == pytest.approx(1 / 3)


def test_a_calibration_without_an_offset_is_read_and_a_damaged_offset_is_named(table, run):
    choices.calibrate(table, choices.Target(run, True))
    kept = whole_files.read_json(run / "calibration.json")
    assert "offset" not in kept and frozen.read_calibration(run).offset == 0

    for offset in ("much", 1, None):
        whole_files.write_json(run / "calibration.json", {**kept, "offset": offset})
        with pytest.raises(ValueError, match="calibration.json must hold a finite number"):
            frozen.read_calibration(run)


def test_a_prevalence_without_scores_to_calibrate_is_refused(table):
    with pytest.raises(ValueError, match='"--clinic_prevalence" needs a calibration.* in val'):
        choices.calibrate(table.assign(score=np.nan), choices.Target(), 0.02)


def test_an_evaluation_that_keeps_nothing_says_for_which_clinic_the_run_is_calibrated(table, run):
    choices.calibrate(table, choices.Target(run, True), 0.02)

    elsewhere, _ = choices.calibrate(table, choices.Target(run))
    again, _ = choices.calibrate(table, choices.Target(run, True))

    assert elsewhere["calibrated"]["kept_for_prevalence"] == 0.02
    # Asked without it, the run keeps what is at the prevalence of val.
    assert "kept_for_prevalence" not in again["calibrated"]
    text = report_sentences.clinic(elsewhere)
    assert "for a clinic where 2.00% of lesions are melanomas" in text
    assert "Here they are at 33.33%" in text


def test_a_damaged_calibration_costs_no_evaluation_elsewhere(table, run, caplog):
    choices.calibrate(table, choices.Target(run, True), 0.02)
    kept = whole_files.read_json(run / "calibration.json")
    whole_files.write_json(run / "calibration.json", {**kept, "prevalence": "much"})

    measured, _ = choices.calibrate(table, choices.Target(run))

    assert "kept_for_prevalence" not in measured["calibrated"]
    assert "calibration.json must hold a number above 0 and below 1" in caplog.text
