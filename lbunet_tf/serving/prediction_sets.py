"""The classes that a melanoma score cannot rule out, in one word an image."""

import dataclasses

import numpy as np

SETS = ("neither", "benign", "melanoma", "refer")


@dataclasses.dataclass(frozen=True)
class BinarySets:
    """Prediction sets of a melanoma score: LAC with a quantile for each class.

    Attributes:
        benign: The largest melanoma probability of a set with "benign".
        melanoma: The smallest of a set with "melanoma".
    """

    benign: float
    melanoma: float

    def names(self, scores: np.ndarray) -> np.ndarray:
        """Returns (N,) of `SETS`: refer holds both classes."""
        scores = np.asarray(scores, float)
        return np.array(SETS)[(scores <= self.benign) + 2 * (scores >= self.melanoma)]

    def names_in_graph(self, scores):
        """Returns what `names` does, of a tensor (B,) float64, as TensorFlow's operations."""
        import tensorflow as tf

        may_be_benign, may_be_melanoma = scores <= self.benign, scores >= self.melanoma
        number = tf.cast(may_be_benign, tf.int32) + 2 * tf.cast(may_be_melanoma, tf.int32)
        return tf.gather(tf.constant(SETS), number)
