"""Takes thin dark hairs out of an image: finds them, and fills them from their surroundings.

The order of DullRazor (Lee et al., 1997), but hairs are found as long valleys instead of by
closings: at 128 pixels a closing is as deep in a lesion's own texture as on a hair.
TensorFlow ops only: what the network sees is prepared inside the exported model too.
"""

import math

import tensorflow as tf

NUM_DIRECTIONS = 16
# Shares of the image's side: from a hair's middle to its sides, and a length of nearly straight
# hair.
TO_SIDE, LENGTH = 0.016, 0.18
# How much darker than both its sides a hair is, of 255: on the mean along it, where a pixel
# counts up to MAX_DEPTH, and each of its pixels.
MIN_MEAN_DEPTH, MAX_DEPTH, MIN_DEPTH = 8.0, 12.0, 5.0
# Windows to fill from, as shares of the side; the smallest that knows enough counts.
WINDOWS = (0.024, 0.05, 0.1, 0.2)
MIN_KNOWN = 0.1


def remove_hair(image: tf.Tensor) -> tf.Tensor:
    """Returns the (S, S, 3) uint8 image, hairs and a ruler's line filled."""
    pixels = tf.cast(image, tf.float32)
    is_hair = find_hair(pixels)[..., None]
    filled = tf.where(is_hair, _from_surroundings(pixels, is_hair), pixels)
    return tf.cast(tf.round(filled), tf.uint8)


def find_hair(pixels: tf.Tensor) -> tf.Tensor:
    """Returns (S, S) bool of (S, S, 3) float32 in 0..255: where something thin, dark and long is.

    For each of `NUM_DIRECTIONS` a pixel's depth is how much darker it is than both of its sides
    across that direction, and a hair is where the depth goes on along it. So dots, the rim of a
    lesion and the meshes of a pigment network stay. A pixel around a hair is hair too.
    """
    grey = tf.image.rgb_to_grayscale(pixels)[..., 0]
    size_px = pixels.shape[0]
    to_side = max(2, round(TO_SIDE * size_px))
    doublings = max(0, round(math.log2(LENGTH * size_px / 3)))
    # As wide as the longest way that anything is rolled.
    margin = min(3 * 2**doublings + to_side, size_px)
    padded = tf.pad(grey, ((margin, margin), (margin, margin)), "SYMMETRIC")
    is_hair = tf.zeros_like(padded, tf.bool)
    for number in range(NUM_DIRECTIONS):
        angle = math.pi * number / NUM_DIRECTIONS
        is_hair |= _find_along(padded, math.sin(angle), math.cos(angle), to_side, doublings)
    is_hair = tf.cast(is_hair[margin:-margin, margin:-margin], tf.float32)
    return tf.nn.max_pool2d(is_hair[None, ..., None], 3, 1, "SAME")[0, ..., 0] > 0


def _find_along(grey, down, right, to_side, doublings):
    """Returns where a hair runs in the direction (down, right), which is of length 1."""
    one_side, other_side = (
        _rolled(grey, distance, right, -down) for distance in (to_side, -to_side)
    )
    # Less where the two differ: there an edge runs.
    sides = tf.minimum(one_side, other_side) - 0.5 * tf.abs(one_side - other_side)
    depth = sides - grey
    # A hair that bends may lie a pixel beside the line.
    beside = [_rolled(depth, distance, right, -down) for distance in (-1, 1)]
    deepest = tf.clip_by_value(tf.reduce_max([depth, *beside], axis=0), 0.0, MAX_DEPTH)
    total = _combined(deepest, tf.add, down, right, doublings)
    total = _combined(total, tf.maximum, -down, -right, doublings)
    return (total > MIN_MEAN_DEPTH * 3 * 2**doublings) & (depth > MIN_DEPTH)


def _combined(values, combine, down, right, doublings):
    """Returns for each pixel its 3 * 2**doublings values along (down, right), combined."""
    values = combine(
        combine(values, _rolled(values, 1, down, right)), _rolled(values, 2, down, right)
    )
    for number in range(doublings):
        values = combine(values, _rolled(values, 3 * 2**number, down, right))
    return values


def _rolled(values, distance, down, right):
    return tf.roll(values, (round(distance * down), round(distance * right)), (0, 1))


def _from_surroundings(pixels, is_hair):
    """Returns (S, S, 3): the mean of what is no hair nearby (a normalised convolution)."""
    known = tf.cast(~is_hair, tf.float32)
    planes = tf.concat([pixels * known, known], axis=-1)[None]
    filled = pixels
    for window in reversed(WINDOWS):
        size_px = _odd(window, pixels)
        means = tf.nn.avg_pool2d(planes, (size_px, 1), 1, "SAME")
        means = tf.nn.avg_pool2d(means, (1, size_px), 1, "SAME")[0]
        fraction = means[..., 3:]
        filled = tf.where(fraction > MIN_KNOWN, means[..., :3] / tf.maximum(fraction, 1e-6), filled)
    return filled


def _odd(fraction, pixels):
    """Returns an odd number of pixels of at least 3, a fraction of the side."""
    return 2 * max(1, round(fraction * pixels.shape[0] / 2)) + 1
