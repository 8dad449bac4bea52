"""What `outlines` does, of a batch and as TensorFlow's operations, for exported models."""

import numpy as np
import tensorflow as tf

from lbunet_tf.serving import outlines


def clean(rule: outlines.MaskRule, logits: tf.Tensor) -> tf.Tensor:
    """Returns what `MaskRule.clean` does, of a batch (B, S, S, 1)."""
    if rule.cleanup == "none":
        return logits
    region = one_region(logits[..., 0], rule.logit)[..., tf.newaxis]
    mirrored = 2 * rule.logit - logits
    lowest = np.nextafter(np.float32(rule.logit), np.float32(-np.inf))
    below = tf.minimum(tf.minimum(logits, mirrored), lowest)
    return tf.where(region, tf.maximum(logits, mirrored), below)


def one_region(logits: tf.Tensor, threshold: float) -> tf.Tensor:
    """Returns (B, S, S) bool: what `outlines.one_region` says of each image.

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
