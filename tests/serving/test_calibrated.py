"""A calibration says the same in NumPy and in an exported graph."""

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


@pytest.mark.parametrize("calibration", CALIBRATIONS, ids=lambda one: one.kind)
def test_both_forms_agree(calibration):
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
