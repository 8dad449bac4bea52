"""A function of a melanoma score that makes a calibrated probability of it.

In two forms, tested to agree: of NumPy for what runs here, of TensorFlow's operations for what
travels inside an exported model.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

KINDS = ("none", "temperature", "platt", "beta", "isotonic")


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A function from the logit of a score to a probability, by kind and parameters.

    Attributes:
        kind: One of `KINDS`.
        parameters: temperature (T,): logit / T; platt (a, b): a logit + b; beta (a, b, c):
            a ln p - b ln(1 - p) + c; isotonic: the logits of its corners, then the probabilities,
            linear between two and constant outside.
        offset: Added to the logit of the probability: what another prevalence changes. 0 for the
            prevalence of the images that it was fitted on.
    """

    kind: str
    parameters: tuple[float, ...] = ()
    offset: float = 0.0

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Returns (N,) probabilities of (N,) logits."""
        logits = np.asarray(logits, "float64")
        if self.kind == "isotonic":
            found = np.interp(logits, *np.split(np.array(self.parameters), 2))
            return _shift_odds(found, self.offset)
        found = margin(self.kind, logits, self.parameters) + self.offset
        return np.exp(_log_expit(found))

    def apply_in_graph(self, logits):
        """Returns what `apply` does, of a tensor (B,) float32, as TensorFlow's operations."""
        import tensorflow as tf

        if self.kind != "isotonic":
            found = margin(self.kind, logits, self.parameters, tf.math.log_sigmoid)
            return tf.sigmoid(found + self.offset)
        parts = np.split(np.array(self.parameters), 2)
        corners, values = (tf.constant(part, tf.float32) for part in parts)
        inside = tf.clip_by_value(logits, corners[0], corners[-1])
        right = tf.clip_by_value(tf.searchsorted(corners, inside), 1, len(corners) - 1)
        left = right - 1
        width = tf.gather(corners, right) - tf.gather(corners, left)
        share = tf.math.divide_no_nan(inside - tf.gather(corners, left), width)
        low, high = tf.gather(values, left), tf.gather(values, right)
        return _shift_odds(low + share * (high - low), self.offset)


def margin(kind: str, logits, parameters: Sequence[float], log_expit=None):
    """Returns the logits that a kind but isotonic makes of (N,) logits.

    Args:
        kind: One of `KINDS`.
        logits: (N,), of any array library.
        parameters: As in `Calibration`.
        log_expit: Of that library, NumPy's by default.
    """
    if kind == "temperature":
        return logits / parameters[0]
    if kind == "platt":
        return parameters[0] * logits + parameters[1]
    if kind == "beta":
        log_expit = log_expit or _log_expit
        a, b, c = parameters
        return a * log_expit(logits) - b * log_expit(-logits) + c
    return logits


def _shift_odds(probabilities, offset):
    """Returns probabilities whose logit is larger by an offset; 0 and 1, without one, stay."""
    if not offset:
        return probabilities
    melanoma = probabilities * math.exp(offset)
    # In this order 1 stays 1.
    return melanoma / (melanoma + (1 - probabilities))


def _log_expit(x):
    return -np.logaddexp(0, -x)
