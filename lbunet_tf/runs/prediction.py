"""What a run says of one image."""

import dataclasses
import functools

import numpy as np

from lbunet_tf.serving import outlines
from lbunet_tf.serving import postprocessing


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a run says of one image.

    Attributes:
        score: Melanoma probability in 0..1; None where the run scores nothing.
        size: (height, width) of the image as a viewer shows it, in pixels.
        mask_logits: (S, S, 1), of the square that the network saw; None without a mask head, or
            where it learnt the label on every pixel (label-as-mask), which is no outline.
        mask_rule: How these become a mask.
        flagged: Whether the score reaches the run's operating point; None without one.
        calibrated_score: The calibrated probability, where that is asked for.
        prediction_set: "benign", "melanoma", "refer" (either may be) or "neither", where the run
            has prediction sets.
        class_probabilities: Probability by class of the diagnosis head; they add up to 1. None
            without that head.
        contours: Two thresholds around that of the mask, where the run has them: `outer_mask` and
            `inner_mask` are made of them.
    """

    score: float | None
    size: tuple[int, int]
    mask_logits: np.ndarray | None
    mask_rule: outlines.MaskRule = outlines.MaskRule()
    flagged: bool | None = None
    calibrated_score: float | None = None
    prediction_set: str | None = None
    contours: outlines.Contours | None = None
    class_probabilities: dict[str, float] | None = None

    @property
    def predicted_class(self) -> str | None:
        """The class of the largest probability; None without a diagnosis head."""
        found = self.class_probabilities
        return max(found, key=found.get) if found else None

    @functools.cached_property
    def mask(self) -> np.ndarray | None:
        """(H, W) bool at the image's own size: the lesion, by the run's threshold, one region."""
        return None if self.mask_logits is None else self.mask_at(self.size)

    def mask_at(self, size: tuple[int, int]) -> np.ndarray:
        """Returns the mask at another size: (height, width) bool. Needs `mask_logits`."""
        logits = self.mask_rule.clean(self.mask_logits)
        return postprocessing.mask_at_size(logits, size, self.mask_rule.logit).numpy()[..., 0]

    @property
    def outer_mask(self) -> np.ndarray | None:
        """(H, W) bool: the outline and all that may be lesion too; None without contours."""
        return None if self.contours is None else self.masks_around(self.size)[0]

    @property
    def inner_mask(self) -> np.ndarray | None:
        """(H, W) bool: the pixels that are surely lesion; None without contours."""
        return None if self.contours is None else self.masks_around(self.size)[1]

    def masks_around(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns (outer, inner) at another size: (height, width) bool each. Needs `contours`."""
        outer, inner = (
            self._region(size, end) for end in (self.contours.outer, self.contours.inner)
        )
        # A hole of the outline that was filled belongs to what may be lesion.
        return outer | self.mask_at(size), inner

    def _region(self, size, probability):
        """Returns (height, width) bool: every pixel of this lesion probability or more."""
        if not 0 < probability < 1:
            return np.full(size, probability <= 0)
        threshold = outlines.MaskRule(probability).logit
        return postprocessing.mask_at_size(self.mask_logits, size, threshold).numpy()[..., 0]

    @property
    def lesion_fraction(self) -> float | None:
        """The mask's fraction of the image, 0..1; None without a mask."""
        if self.mask_logits is None:
            return None
        return float(np.count_nonzero(self.mask) / self.mask.size)

    @property
    def probabilities(self) -> np.ndarray | None:
        """(H, W) float32 at the image's own size: each pixel's probability of being lesion.

        Computed each time: it takes four times the memory of the mask.
        """
        if self.mask_logits is None:
            return None
        logits = postprocessing.logits_at_size(self.mask_logits, self.size).numpy()[..., 0]
        return postprocessing.sigmoid(logits).astype("float32")

    def __repr__(self):
        height, width = self.size
        return (
            f"Prediction(score={self.score}, flagged={self.flagged}, "
            f"lesion_fraction={self.lesion_fraction}, "
            f"{height} x {width} px)"
        )
