"""Worked values of calibration, and what is fitted to scores of a known fault corrects it."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from lbunet_tf.evaluation import calibration
from lbunet_tf.evaluation import intervals
from lbunet_tf.serving import calibrated

LABELS = np.array([0, 0, 1, 0, 1, 1, 0, 1, 1, 1])
PROBABILITIES = np.array([0.05, 0.15, 0.15, 0.35, 0.45, 0.55, 0.65, 0.75, 0.95, 1.0])
NEARLY = np.r_[PROBABILITIES[:-1], 0.99]


@pytest.mark.parametrize("num_bins, expected", [(10, 0.305), (5, 0.245)])
def test_the_expected_error_is_that_of_equal_bins_of_the_positive_class(num_bins, expected):
    found = calibration.expected_error(LABELS, PROBABILITIES, num_bins)

    assert found == pytest.approx(expected, abs=1e-12)


def test_slope_intercept_and_calibration_in_the_large():
    logits = special.logit(NEARLY)

    slope, intercept = calibration.slope_and_intercept(LABELS, logits)

    assert (slope, intercept) == pytest.approx((0.800827, 0.546832), abs=1e-6)
    assert calibration.in_the_large(LABELS, logits) == pytest.approx(0.639141, abs=1e-6)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_a_slope_is_not_cut_however_little_logits_differ(scale):
    logits = special.logit(NEARLY) * scale + 3

    slope, intercept = calibration.slope_and_intercept(LABELS, logits)

    expected = 0.800827 / scale
    assert slope == pytest.approx(expected, rel=1e-6)
    assert intercept == pytest.approx(0.546832 - 3 * expected, abs=1e-4)
    assert calibration.fit("platt", logits, LABELS).parameters == (slope, intercept)


def test_the_brier_score_is_the_sum_of_its_parts():
    found = calibration.brier_parts(LABELS, NEARLY)

    assert found == pytest.approx(
        {
            "brier": 0.18626,
            "miscalibration": 0.052927,
            "discrimination": 0.106667,
            "uncertainty": 0.24,
        },
        abs=1e-6,
    )
    parts = found["miscalibration"] - found["discrimination"] + found["uncertainty"]
    assert found["brier"] == pytest.approx(parts, abs=1e-12)


def test_ties_are_one_step_of_the_diagram():
    x, fractions = calibration.reliability(np.array([1, 0, 0, 1]), np.array([0.2, 0.2, 0.2, 0.9]))

    assert x.tolist() == [0.2, 0.2, 0.2, 0.9]
    assert fractions == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])


@pytest.fixture(scope="module")
def too_sure():
    """Labels and logits of 3,000 patients whose logits are twice too large, and 0.7 too high."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=3000) - 1
    return (rng.random(3000) < special.expit(true)).astype(int), 2 * true + 0.7


@pytest.mark.parametrize("kind", ["platt", "beta", "isotonic"])
def test_a_fit_corrects_slope_and_level(too_sure, kind):
    labels, logits = too_sure
    half = np.arange(3000) < 1500

    found = calibration.fit(kind, logits[half], labels[half]).apply(logits[~half])

    before = calibration.measure(labels[~half], logits[~half], np.arange(1500))
    p = np.clip(found, 1e-6, 1 - 1e-6)
    after = calibration.measure(labels[~half], special.logit(p), np.arange(1500))
    assert after["log_loss"] < before["log_loss"] and abs(after["in_the_large"]) < 0.2
    assert before["slope"] == pytest.approx(0.5, abs=0.06)
    if kind != "isotonic":
        # Its first and last steps are 0 and 1, whose logits are as large as we let them be.
        assert after["slope"] == pytest.approx(1, abs=0.2)


def test_a_temperature_corrects_the_slope_alone(too_sure):
    labels, logits = too_sure

    (temperature,) = calibration.fit("temperature", logits - 0.7, labels).parameters

    assert temperature == pytest.approx(2, abs=0.15)


def test_platt_finds_what_was_done_to_the_logits(too_sure):
    labels, logits = too_sure

    slope, intercept = calibration.fit("platt", logits, labels).parameters

    assert (slope, intercept) == pytest.approx((0.5, -0.35), abs=0.08)


@pytest.mark.parametrize("kind", calibrated.KINDS)
def test_a_calibration_keeps_the_order_of_scores(too_sure, kind):
    labels, logits = too_sure
    found = calibration.fit(kind, logits, labels).apply(np.sort(logits))

    assert (np.diff(found) >= -1e-12).all() and 0 <= found.min() and found.max() <= 1


@pytest.mark.parametrize(
    "logits",
    [
        np.repeat([-1.0, 1.0], 30),
        np.repeat([1.0, -1.0], 30),
        np.zeros(60),
        np.full(60, 0.3) + np.tile([0.0, 1e-15], 30),
        np.concatenate([np.linspace(-1, 0.001, 30), np.linspace(0, 1, 30)]),
    ],
    ids=["apart", "the wrong way round", "alike", "alike except for rounding", "nearly apart"],
)
def test_where_there_is_no_slope_none_is_stated(logits):
    labels = np.repeat([0, 1], 30)

    found = calibration.measure(labels, logits, np.arange(60))

    assert found["slope"] is None and found["intercept"] is None
    assert 0 <= found["expected_calibration_error"] <= 1


def test_certain_scores_are_measured_as_they_are():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    logits = 30 * (labels - 0.5) + 60 * rng.normal(size=400)
    table = pd.DataFrame(
        {
            "image_id": [str(number) for number in range(400)],
            "label": labels,
            "score": special.expit(logits),
            "score_logit": logits,
        }
    )

    found = calibration.measure_table(table)

    assert (np.abs(logits) > 40).mean() > 0.3
    assert found["slope"] == pytest.approx(
        calibration.slope_and_intercept(labels, np.clip(logits, -100, 100))[0]
    )
    assert found["slope"] < 0.03


@pytest.mark.parametrize("kind", calibrated.KINDS)
def test_a_score_that_ranks_the_wrong_way_is_not_turned_round(kind):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    logits = rng.normal(size=300) - 2 * labels

    found = calibration.fit(kind, logits, labels).apply(np.sort(logits))

    assert (np.diff(found) >= -1e-12).all()


def test_the_kinds_are_compared_on_images_that_they_were_not_fitted_on(too_sure):
    labels, logits = too_sure
    patients = np.arange(3000) // 2

    losses = calibration.choose(logits, labels, patients)

    assert losses.keys() == set(calibrated.KINDS)
    assert min(losses, key=losses.get) in ("platt", "beta")
    # In sample isotonic is the best of all.
    fitted = calibration.fit("isotonic", logits, labels).apply(logits)
    assert calibration.log_loss(labels, fitted) < min(losses.values())


def test_too_few_patients_give_no_calibration():
    labels, logits = np.repeat([1, 0], [9, 40]), np.linspace(1, -1, 49)
    table = pd.DataFrame(
        {
            "image_id": [str(number) for number in range(49)],
            "label": labels,
            "score": special.expit(logits),
            "score_logit": logits,
        }
    )

    assert calibration.choose(logits, labels, np.arange(49)) == {}
    assert calibration.fit_table(table) is None
    found = calibration.measure_table(table)
    assert found == {
        "not_estimable": f"n = 9 patients with melanoma images, {intervals.LEAST} needed"
    }


def test_the_band_of_the_diagram_encloses_it_and_narrows_with_patients():
    rng = np.random.default_rng(0)
    widths = []
    for count in (100, 1000):
        logits = rng.normal(size=count)
        labels = (rng.random(count) < special.expit(logits)).astype(int)
        table = pd.DataFrame(
            {
                "image_id": [str(number) for number in range(count)],
                "label": labels,
                "score": special.expit(logits),
                "score_logit": logits,
            }
        )
        x, fractions, low, high = calibration.curve_of_table(table)
        assert (low <= high).all() and len(x) == len(fractions) == count
        assert (low <= fractions).mean() > 0.9 and (fractions <= high).mean() > 0.9
        widths.append((high - low).mean())
    assert widths[1] < 0.6 * widths[0]
