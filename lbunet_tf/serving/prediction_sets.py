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
