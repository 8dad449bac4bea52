"""Colour constancy: an image as it would look under white light."""

import tensorflow as tf

MINKOWSKI_NORM = 6


def shades_of_gray(image: tf.Tensor) -> tf.Tensor:
    """Returns the (H, W, 3) uint8 image, its channels scaled to equal Minkowski means.

    Shades of Gray (Finlayson and Trezzi, 2004): the light's colour e is the channels' mean of
    order 6, and channel c is multiplied by mean(e) / e_c, so that the brightness stays. Black
    corners add nothing to any channel. What passes 255 is cut.
    """
    pixels = tf.cast(image, tf.float32)
    powers = tf.reduce_mean((pixels / 255.0) ** MINKOWSKI_NORM, axis=(0, 1))
    light = powers ** (1 / MINKOWSKI_NORM)
    # A channel that is black everywhere stays black.
    gains = tf.math.divide_no_nan(tf.reduce_mean(light), light)
    return tf.cast(tf.clip_by_value(tf.round(pixels * gains), 0.0, 255.0), tf.uint8)
