"""From the logits of a mask to an outline as ISIC defines it: one region without holes.

Of NumPy, for what runs here. `outlines_in_graph` has the same rule for what travels inside an
exported model; the two are tested to agree.
"""

import dataclasses
import math

import numpy as np
from scipy import ndimage


@dataclasses.dataclass(frozen=True)
class MaskRule:
    """How the logits of a mask become an outline.

    Attributes:
        threshold: Probability from which a pixel is lesion, between 0 and 1.
        cleanup: "one_region", that of the most lesion probability without holes; or "none".
    """

    threshold: float = 0.5
    cleanup: str = "none"

    @property
    def logit(self) -> float:
        """The threshold's logit."""
        return math.log(self.threshold / (1 - self.threshold))

    def clean(self, logits: np.ndarray) -> np.ndarray:
        """Returns (S, S, 1) logits, where those that reach the threshold are the outline.

        A pixel that changes sides is mirrored at the threshold, so that an outline which is
        resized from them stays smooth, and one region.
        """
        if self.cleanup == "none":
            return logits
        region = one_region(logits[..., 0], self.logit)[..., None]
        mirrored = 2 * self.logit - logits
        below = np.minimum(np.minimum(logits, mirrored), np.nextafter(self.logit, -np.inf))
        return np.where(region, np.maximum(logits, mirrored), below)


# Every pixel of probability 0.5 or more.
PLAIN = MaskRule()


@dataclasses.dataclass(frozen=True)
class Contours:
    """Two probabilities around that of the outline, with promises (`evaluation.mask_contours`).

    Attributes:
        outer: Pixels of this lesion probability or more hold the lesion; 0 is the whole image.
        inner: Pixels of this or more are lesion; above 1 there is no such region.
    """

    outer: float
    inner: float

    def around(self, threshold: float) -> "Contours":
        """Returns them on both sides of an outline, which keeps both promises.

        A lower outer end misses less of the lesion, and every higher inner end was tested.

        Args:
            threshold: Probability from which a pixel belongs to the outline.
        """
        return Contours(min(self.outer, threshold), max(self.inner, threshold))


def one_region(logits: np.ndarray, threshold: float) -> np.ndarray:
    """Returns (S, S) bool: one region without holes, or nothing where no logit is high enough.

    Of the regions of pixels at or above the threshold, which touch by their sides, the one with
    the largest sum of probabilities. A hole is what no path from side to side joins with the
    border of the image.

    Args:
        logits: (S, S).
        threshold: A logit.
    """
    regions, count = ndimage.label(logits >= threshold)
    if not count:
        return np.zeros(logits.shape, bool)
    kept = regions > 0
    if count > 1:
        # In the range of exp: the sum of a region is that of its certain pixels.
        probabilities = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        sums = ndimage.sum_labels(probabilities, regions, np.arange(1, count + 1))
        kept = regions == 1 + np.argmax(sums)
    outside, _ = ndimage.label(~kept)
    at_border = np.concatenate([outside[0], outside[-1], outside[:, 0], outside[:, -1]])
    return ~np.isin(outside, at_border[at_border > 0])
