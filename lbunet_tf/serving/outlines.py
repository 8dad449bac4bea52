"""From the logits of a mask to an outline as ISIC defines it: one region without holes.

Two forms of one rule, tested to agree: of NumPy for what runs here, of TensorFlow's operations for
what travels inside an exported model.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf
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

    def clean_in_graph(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns what `clean` does, of a batch (B, S, S, 1), as TensorFlow's operations."""
        if self.cleanup == "none":
            return logits
        region = one_region_in_graph(logits[..., 0], self.logit)[..., tf.newaxis]
        mirrored = 2 * self.logit - logits
        lowest = np.nextafter(np.float32(self.logit), np.float32(-np.inf))
        below = tf.minimum(tf.minimum(logits, mirrored), lowest)
        return tf.where(region, tf.maximum(logits, mirrored), below)


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


def one_region_in_graph(logits: tf.Tensor, threshold: float) -> tf.Tensor:
    """Returns (B, S, S) bool: what `one_region` says of each image, as TensorFlow's operations.

    Args:
        logits: (B, S, S) float32.
        threshold: A logit.
    """
    above = logits >= threshold
    batch, height, width = tf.unstack(tf.shape(logits))
    size = tf.size(logits)
    numbers = tf.reshape(tf.range(size), tf.shape(logits))
    regions = _spread(tf.where(above, numbers, -1), above)
    probabilities = tf.where(above, tf.sigmoid(logits), 0.0)
    in_row = tf.reshape(tf.maximum(regions, 0), (-1,))
    sums = tf.math.unsorted_segment_sum(tf.reshape(probabilities, (-1,)), in_row, size)
    best = tf.argmax(tf.reshape(sums, (batch, height * width)), 1, tf.int32)
    best += tf.range(batch) * height * width
    kept = above & (regions == best[:, tf.newaxis, tf.newaxis])
    inner = tf.zeros((batch, height - 2, width - 2), tf.int32)
    border = tf.pad(inner, ((0, 0), (1, 1), (1, 1)), constant_values=1)
    return _spread(tf.where(kept, 0, border), ~kept) == 0


def _spread(values, region):
    """Returns, for each pixel of a region, the largest of the values (B, S, S) that it holds.

    Along rows and columns in turn, until nothing changes: a lesion takes a few rounds.
    """
    across, down = _runs(region), _runs(_turned(region))
    # All pixels as one row: other frameworks' segments have one dimension.
    shape = tf.shape(region)
    turned_shape = tf.stack((shape[0], shape[2], shape[1]))
    count = tf.size(region)

    def largest(values, runs):
        return tf.gather(tf.math.unsorted_segment_max(values, runs, count), runs)

    def turned(values, shape):
        return tf.reshape(_turned(tf.reshape(values, shape)), (-1,))

    def spread(values, _):
        wider = turned(largest(values, across), shape)
        wider = turned(largest(wider, down), turned_shape)
        return wider, tf.reduce_any(wider != values, axis=0)

    start = (tf.reshape(values, (-1,)), True)
    shapes = (tf.TensorShape((None,)), tf.TensorShape(()))
    ended = tf.while_loop(lambda _, changed: changed, spread, start, shapes)
    return tf.reshape(ended[0], shape)


def _turned(values):
    return tf.transpose(values, (0, 2, 1))


def _runs(region):
    """Returns (B * S * S,) int32: a number for each run of a row's pixels, and each pixel else."""
    before = tf.pad(region[..., :-1], ((0, 0), (0, 0), (1, 0)))
    starts = tf.reshape(~(region & before), (-1,))
    return tf.cumsum(tf.cast(starts, tf.int32)) - 1
