"""What was chosen for a model after its training, on images that it did not learn from."""

import dataclasses

from lbunet_tf.serving import calibrated
from lbunet_tf.serving import prediction_sets


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What is made of a melanoma score, each None where it was not chosen.

    Attributes:
        threshold: Melanoma probability from which an image is flagged: the operating point.
        calibration: What makes calibrated probabilities.
        sets: The prediction sets.
    """

    threshold: float | None = None
    calibration: calibrated.Calibration | None = None
    sets: prediction_sets.BinarySets | None = None


NOTHING = Chosen()
