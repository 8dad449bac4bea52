"""What stands before a lesion in dermoscopy, drawn on an image: hair, ruler marks, dark corners.

Every function: (H, W, 3) float32 in 0..255 and a seed -> the same, with one artefact drawn.
Lengths are shares of the shorter side, so an artefact looks alike at every size.
"""

import math

import tensorflow as tf

MAX_HAIRS = 8


def draw_hair(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the image with one to `MAX_HAIRS` thin, dark, curved hairs.

    A hair is an arc of a parabola. The distance to it is taken to first order, which is
    exact enough for a stroke of a pixel or two.
    """
    seeds = tf.random.split(seed, 2)
    # A line a hair: direction, how far off the middle, bend, start, length, half width, dark.
    low = (0.0, -0.6, -0.9, -0.7, 0.25, 0.001, 0.4)
    high = (2 * math.pi, 0.6, 0.9, 0.3, 1.1, 0.0035, 0.9)
    numbers = tf.random.stateless_uniform((MAX_HAIRS, len(low)), seeds[0], low, high)
    numbers = tf.transpose(numbers)[:, :, None, None]
    angle, off, bend, start, length, half_width, dark = tf.unstack(numbers)
    side, x, y = _grid(image)
    along = x * tf.cos(angle) + y * tf.sin(angle)
    across = y * tf.cos(angle) - x * tf.sin(angle)
    distance = tf.abs(across - off - bend * along**2) * tf.math.rsqrt(1 + (2 * bend * along) ** 2)
    beyond = tf.maximum(start - along, along - start - length)
    cover = dark * _stroke(distance, half_width, side) * _stroke(beyond, 0.0, side)
    count, tone = tf.unstack(tf.random.stateless_uniform((2,), seeds[1]))
    is_drawn = tf.range(MAX_HAIRS, dtype=tf.float32) < 1 + tf.floor(count * MAX_HAIRS)
    cover = tf.reduce_max(tf.where(is_drawn[:, None, None], cover, 0.0), axis=0)
    # From black to brown.
    return _blend(image, cover, (25 + 55 * tone, 20 + 35 * tone, 18 + 25 * tone))


def draw_ruler(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the image with the dark marks of a scale along one side, each fifth one longer."""
    low = (0.0, -0.08, 0.36, 0.035, 0.0022, 0.5)
    high = (4.0, 0.08, 0.48, 0.08, 0.004, 0.85)
    turn, tilt, off, step, half_width, dark = tf.unstack(
        tf.random.stateless_uniform((len(low),), seed, low, high)
    )
    side, x, y = _grid(image)
    angle = tf.floor(turn) * (math.pi / 2) + tilt
    along = (x * tf.cos(angle) + y * tf.sin(angle)) / step
    across = y * tf.cos(angle) - x * tf.sin(angle)
    number = tf.round(along)
    length = tf.where(tf.equal(tf.math.floormod(number, 5.0), 0.0), 0.07, 0.035)
    beyond = tf.maximum(off - across, across - off - length)
    cover = _stroke(tf.abs(along - number) * step, half_width, side) * _stroke(beyond, 0.0, side)
    return _blend(image, dark * cover, (30.0, 30.0, 35.0))


def draw_dark_corners(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the image as through a round aperture, black beyond it.

    The circle is an ellipse at times: images of 4:3 are squeezed to a square.
    """
    low = (0.53, 0.85, -0.06, -0.06, 0.008)
    high = (0.68, 1.18, 0.06, 0.06, 0.05)
    radius, squeeze, right, down, softness = tf.unstack(
        tf.random.stateless_uniform((len(low),), seed, low, high)
    )
    _, x, y = _grid(image)
    distance = tf.sqrt(((x - right) * squeeze) ** 2 + ((y - down) / squeeze) ** 2)
    return _blend(image, tf.sigmoid((distance - radius) / softness), (8.0, 6.0, 6.0))


def _grid(image):
    """Returns the shorter side in pixels, and (1, W) x and (H, 1) y in shares of it from -1/2."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    side = tf.minimum(height, width)
    x = (tf.range(width) - (width - 1) / 2) / side
    y = (tf.range(height) - (height - 1) / 2) / side
    return side, x[None, :], y[:, None]


def _stroke(distance, half_width, side):
    """Returns how much of a pixel lies within `half_width`, from its distance; 0..1."""
    return tf.clip_by_value((half_width - distance) * side + 0.5, 0.0, 1.0)


def _blend(image, cover, colour):
    cover = cover[..., None]
    return image + cover * (tf.stack(colour) - image)
