"""Augmentation for dermoscopy: what a lesion looks like under another dermatoscope and hand.

TensorFlow ops only, each decided by the seed alone. The order is that of the camera: the
scene moves, hair, ruler and aperture stand before it, then exposure, colour and focus.
"""

import math

import tensorflow as tf

from lbunet_tf.data.augmentation import artefacts

ROTATION, ZOOM, SHIFT = 0.5, 0.5, 0.5
HAIR, RULER, DARK_CORNERS = 0.25, 0.1, 0.15
EXPOSURE, CONTRAST, SATURATION, HUE, WHITE_BALANCE = 0.5, 0.5, 0.5, 0.3, 0.5
BLUR = 0.2
# How far each goes at most. Colours stay within what dermatoscopes differ by.
MAX_ROTATION_DEGREES = 45.0
MAX_ZOOM, MAX_SHIFT = 1.3, 0.1
MAX_EXPOSURE, MAX_CONTRAST, MAX_SATURATION = 1.2, 1.25, 1.25
MAX_HUE_DEGREES, MAX_GAIN = 5.0, 1.06
# Of the Gaussian, as a share of the side: 0.4 to 1 px at 128 px. Its kernel ends at BLUR_RADIUS px,
# which from about 200 px on makes the widest ones narrower.
MIN_BLUR, MAX_BLUR = 0.003, 0.008
BLUR_RADIUS = 3
GREY = (0.299, 0.587, 0.114)
# RGB to YIQ, where hue is the angle of the last two.
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def dermoscopy(example: dict, seed: tf.Tensor) -> dict:
    """Returns the example moved, coloured and blurred at random, with artefacts at times.

    Args:
        example: `image` (H, W, 3) uint8, `mask` (H, W, 1) uint8, and what is no picture.
        seed: (2,) integers.

    Returns:
        The same, of the same shapes and types. What comes in from beyond an edge is the
        image and its mask, mirrored.
    """
    seeds = tf.unstack(tf.random.split(seed, 6))
    image, mask = _move(tf.cast(example["image"], tf.float32), example["mask"], seeds[0])
    image = _sometimes(artefacts.draw_hair, HAIR, image, seeds[1])
    image = _sometimes(artefacts.draw_ruler, RULER, image, seeds[2])
    image = _sometimes(artefacts.draw_dark_corners, DARK_CORNERS, image, seeds[3])
    image = _recolour(image, seeds[4])
    image = _sometimes(_blur, BLUR, image, seeds[5])
    image = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
    return {**example, "image": tf.ensure_shape(image, example["image"].shape), "mask": mask}


def _sometimes(change, probability, image, seed):
    seeds = tf.random.split(seed, 2)
    is_drawn = tf.random.stateless_uniform((), seeds[0]) < probability
    return tf.cond(is_drawn, lambda: change(image, seeds[1]), lambda: image)


def _draw(seed, probabilities, limits):
    """Returns (K,) numbers in -limit..limit, 0 except with its probability."""
    chances, numbers = tf.unstack(tf.random.stateless_uniform((2, len(limits)), seed))
    return tf.where(chances < probabilities, (2 * numbers - 1) * limits, 0.0)


def _move(image, mask, seed):
    """Returns image and mask flipped, turned, zoomed and shifted by one affine resampling."""
    transform = _affine(tf.shape(image), seed)
    return _resample(image, transform, "BILINEAR"), _resample(mask, transform, "NEAREST")


def _affine(shape, seed):
    """Returns the (8,) of ImageProjectiveTransformV3: from a place in the result to its source."""
    seeds = tf.random.split(seed, 2)
    angle, zoom, right, down = tf.unstack(
        _draw(
            seeds[0],
            (ROTATION, ZOOM, SHIFT, SHIFT),
            (math.radians(MAX_ROTATION_DEGREES), math.log(MAX_ZOOM), MAX_SHIFT, MAX_SHIFT),
        )
    )
    flip, turns = tf.unstack(tf.random.stateless_uniform((2,), seeds[1], 0, (2, 4)))
    # -1 or 1. The quarter turns make the up-down flip of it.
    flip = 2 * tf.floor(flip) - 1
    angle += tf.floor(turns) * (math.pi / 2)
    shrink = tf.exp(-zoom)
    cos, sin = tf.cos(angle) * shrink, tf.sin(angle) * shrink
    height, width = tf.unstack(tf.cast(shape[:2], tf.float32))
    x, y = (width - 1) / 2, (height - 1) / 2
    to_x = (flip * cos, -sin, x + right * width - flip * cos * x + sin * y)
    to_y = (flip * sin, cos, y + down * height - flip * sin * x - cos * y)
    return tf.stack((*to_x, *to_y, 0.0, 0.0))


def _resample(picture, transform, interpolation):
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=picture[None],
        transforms=transform[None],
        output_shape=tf.shape(picture)[:2],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )
    return tf.ensure_shape(moved[0], picture.shape)


def _recolour(image, seed):
    """Returns the image under another exposure, contrast, saturation, hue and white balance.

    All five are linear in RGB, so they are one 3 x 3 matrix, and contrast an offset.
    """
    chances = (EXPOSURE, CONTRAST, SATURATION, HUE, *[WHITE_BALANCE] * 3)
    logarithms = [math.log(limit) for limit in (MAX_EXPOSURE, MAX_CONTRAST, MAX_SATURATION)]
    gains = [math.log(MAX_GAIN)] * 3
    numbers = _draw(seed, chances, (*logarithms, math.radians(MAX_HUE_DEGREES), *gains))
    exposure, contrast, saturation = tf.unstack(tf.exp(numbers[:3]))
    grey = tf.constant(GREY)[None, :]
    saturate = saturation * tf.eye(3) + (1 - saturation) * tf.tile(grey, (3, 1))
    matrix = tf.linalg.diag(exposure * tf.exp(numbers[4:])) @ _hue(numbers[3]) @ saturate
    # (N, 3) times the transpose: a matrix times each pixel is four times slower.
    pixels = tf.reshape(image, (-1, 3))
    mean = tf.reduce_mean(pixels, axis=0, keepdims=True)
    mixed = (contrast * pixels + (1 - contrast) * mean) @ tf.transpose(matrix)
    return tf.reshape(mixed, tf.shape(image))


def _hue(angle):
    """Returns the 3 x 3 matrix that turns the hue by an angle, of the same brightness."""
    cos, sin = tf.cos(angle), tf.sin(angle)
    turn = tf.stack(((1.0, 0.0, 0.0), (0.0, cos, -sin), (0.0, sin, cos)))
    yiq = tf.constant(YIQ)
    return tf.linalg.inv(yiq) @ turn @ yiq


def _blur(image, seed):
    """Returns the image out of focus: a Gaussian, its edges mirrored."""
    side = tf.cast(tf.reduce_min(tf.shape(image)[:2]), tf.float32)
    sigma = side * tf.random.stateless_uniform((), seed, MIN_BLUR, MAX_BLUR)
    steps = tf.range(-BLUR_RADIUS, BLUR_RADIUS + 1, dtype=tf.float32)
    kernel = tf.nn.softmax(-(steps**2) / (2 * sigma**2))
    # Channels as images: a convolution of one channel is faster than a depthwise one of three.
    planes = tf.transpose(image, (2, 0, 1))[..., None]
    around = [(BLUR_RADIUS, BLUR_RADIUS)] * 2
    planes = tf.pad(planes, ((0, 0), *around, (0, 0)), "SYMMETRIC")
    planes = tf.nn.conv2d(planes, kernel[:, None, None, None], 1, "VALID")
    planes = tf.nn.conv2d(planes, kernel[None, :, None, None], 1, "VALID")
    return tf.transpose(planes[..., 0], (1, 2, 0))
