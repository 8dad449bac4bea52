"""A calibration says the same in NumPy and in an exported graph."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.serving import calibrated

CALIBRATIONS = (
    calibrated.Calibration("none"),
    calibrated.Calibration("temperature", (1.7,)),
    calibrated.Calibration("platt", (0.8, -0.3)),
    calibrated.Calibration("beta", (0.9, 1.2, 0.1)),
    calibrated.Calibration("isotonic", (-2.0, -1.0, 1.0, 1.0, 3.0, 0.0, 0.2, 0.2, 0.7, 1.0)),
)

# From 584 melanomas in 1,144 images (.51049) to 584 in 33,126 (.01763).
TO_A_CLINIC = np.log(584 / (33126 - 584)) - np.log(584 / (1144 - 584))


@pytest.mark.parametrize("offset", [0.0, TO_A_CLINIC, 3.0])
@pytest.mark.parametrize("calibration", CALIBRATIONS, ids=lambda one: one.kind)
def test_both_forms_agree(calibration, offset):
    calibration = dataclasses.replace(calibration, offset=offset)
    logits = np.concatenate([np.linspace(-6, 6, 97), [-80, 80]]).astype("float32")

    expected = calibration.apply(logits)
    found = tf.function(calibration.apply_in_graph)(tf.constant(logits)).numpy()

    # At a step of the isotonic one the two sides are as good as each other.
    is_step = logits == 1 if calibration.kind == "isotonic" else np.zeros(len(logits), bool)
    np.testing.assert_allclose(found[~is_step], expected[~is_step], atol=1e-6)


@pytest.mark.parametrize(
    "calibration, logit, expected",
    [
        (CALIBRATIONS[0], 0.0, 0.5),
        (CALIBRATIONS[1], 1.7, 1 / (1 + np.exp(-1))),
        (CALIBRATIONS[2], 1.0, 1 / (1 + np.exp(-0.5))),
        # 0.9 ln 0.5 - 1.2 ln 0.5 + 0.1
        (CALIBRATIONS[3], 0.0, 1 / (1 + np.exp(-(0.3 * np.log(2) + 0.1)))),
        (CALIBRATIONS[4], -1.5, 0.1),
        (CALIBRATIONS[4], 9.0, 1.0),
        (CALIBRATIONS[4], -9.0, 0.0),
    ],
)
def test_each_kind_is_as_by_hand(calibration, logit, expected):
    assert float(calibration.apply(logit)) == pytest.approx(expected)


@pytest.mark.parametrize("probability, expected", [(0.5, 0.016917), (0.9, 0.134107)])
def test_an_offset_shifts_the_prevalence_of_every_kind(probability, expected):
    logit = np.log(probability / (1 - probability))
    # An isotonic one that leaves this probability as it is.
    corners = (logit - 1, logit, logit + 1, 0.0, probability, 1.0)
    for kind, parameters in (("none", ()), ("platt", (1.0, 0.0)), ("isotonic", corners)):
        found = calibrated.Calibration(kind, parameters, TO_A_CLINIC).apply(logit)
        assert float(found) == pytest.approx(expected, abs=1e-6)


def test_a_certain_isotonic_probability_stays_certain_at_any_prevalence():
    shifted = dataclasses.replace(CALIBRATIONS[4], offset=TO_A_CLINIC)

    assert shifted.apply(np.array([-9.0, 9.0])).tolist() == [0, 1]
