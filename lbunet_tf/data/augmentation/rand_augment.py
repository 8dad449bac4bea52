"""Flips and RandAugment's colours of a batch: keras_cv's layers, with numbers from a seed.

keras_cv draws its numbers inside its layers, from generators of its own: neither the same
seed nor a resumed run brings them back. So the numbers are drawn here and given to the
layers' `augment_images`. Left out of RandAugment's operations are shear and translation
(no XLA kernel, and Keras compiles a training step with XLA on a GPU), equalization (the
same, and like solarization it makes colours that no camera makes).
"""

import functools

import tensorflow as tf

NUM_OPERATIONS = 2
# At most: towards the stretched image (whole, it turns skin white), towards grey, contrast
# next to 1, brightness as a share of 255.
MAX_STRETCH, MAX_GREY, MAX_CONTRAST, MAX_BRIGHTNESS = 0.6, 0.5, 0.25, 0.1


def flip(images: tf.Tensor, maps: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns images and maps (B, S, S, any) flipped alike, each way with probability 1/2."""
    numbers = tf.random.stateless_uniform((2, tf.shape(images)[0], 1), seed)
    flips = {"flip_horizontals": numbers[0], "flip_verticals": numbers[1]}
    layer = _layers()["flip"]
    return layer.augment_images(images, flips), layer.augment_segmentation_masks(maps, flips)


def recolour(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns images through `NUM_OPERATIONS` operations, drawn for each image from four.

    Args:
        images: (B, S, S, 3) float32 in 0..255, and so is the result.
        seed: (2,) integers.
    """
    seeds = tf.random.split(seed, 2)
    count = tf.shape(images)[0]
    low = (0.0, 0.0, 1 - MAX_CONTRAST, -255 * MAX_BRIGHTNESS)
    high = (MAX_STRETCH, MAX_GREY, 1 + MAX_CONTRAST, 255 * MAX_BRIGHTNESS)
    numbers = tf.random.stateless_uniform((count, len(low)), seeds[0], low, high)
    numbers = tf.unstack(numbers[:, :, None, None, None], axis=1)
    order = tf.argsort(tf.random.stateless_uniform((count, len(low)), seeds[1]))
    is_drawn = (tf.argsort(order) < NUM_OPERATIONS)[:, :, None, None, None]
    for position, operation in enumerate((_stretch, _grey, _contrast, _brightness)):
        images = tf.where(is_drawn[:, position], operation(images, numbers[position]), images)
    return images


def _stretch(images, strength):
    return images + strength * (_layers()["stretch"].augment_images(images) - images)


def _grey(images, strength):
    return _layers()["grey"].augment_images(images, strength)


def _contrast(images, factor):
    return _layers()["contrast"].augment_images(images, factor)


def _brightness(images, levels):
    return _layers()["brightness"].augment_images(images, levels)


@functools.cache
def _layers():
    from keras_cv import layers

    # Outside of the graph that is being traced, if one is: each layer makes a generator,
    # which is a variable. It is not used.
    with tf.init_scope():
        keywords = {"seed": 0, "dtype": "float32"}
        return {
            "flip": layers.RandomFlip("horizontal_and_vertical", **keywords),
            "stretch": layers.AutoContrast((0, 255), **keywords),
            "grey": layers.RandomColorDegeneration(MAX_GREY, **keywords),
            "contrast": layers.RandomContrast((0, 255), MAX_CONTRAST, **keywords),
            "brightness": layers.RandomBrightness(MAX_BRIGHTNESS, **keywords),
        }
