"""Training augmentation: example -> example, image and mask together, from a seed."""

from collections.abc import Callable

import tensorflow as tf

from lbunet_tf.data.augmentation import albumentations_recipe
from lbunet_tf.data.augmentation import dermoscopy


def none(example: dict, seed: tf.Tensor) -> dict:
    """Returns the example as it is (the paper's, IV.C)."""
    del seed
    return example


def flips(example: dict, seed: tf.Tensor) -> dict:
    """Returns the example flipped left-right and up-down, each with probability one half.

    Ours, not the paper's. Dermoscopy has no up and no left.
    """
    stacked = tf.concat([example["image"], example["mask"]], axis=-1)
    stacked = tf.image.stateless_random_flip_left_right(stacked, seed)
    stacked = tf.image.stateless_random_flip_up_down(stacked, seed + 1)
    return {**example, "image": stacked[..., :3], "mask": stacked[..., 3:]}


AUGMENTATIONS: dict[str, Callable[[dict, tf.Tensor], dict]] = {
    "none": none,
    "flips": flips,
    "dermoscopy": dermoscopy.dermoscopy,
    "albumentations": albumentations_recipe.by_albumentations,
}
