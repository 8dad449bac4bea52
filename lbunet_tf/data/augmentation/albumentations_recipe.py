"""Augmentation by the library albumentations, as one function of an example and a seed.

The recipe is after the winners of SIIM-ISIC 2020 (Ha, Liu and Liu, arXiv 2010.05351), whose
images had 384 pixels and more: weaker blur, noise, bending and colour for small ones, and
mirrored edges instead of black ones.
"""

import os
import random
import threading

import numpy as np
import tensorflow as tf

# A Compose keeps its random state in itself, so each of tf.data's threads has its own.
_OF_THREAD = threading.local()


def by_albumentations(example: dict, seed: tf.Tensor) -> dict:
    """Returns the example through `make_compose`; the seed alone decides how.

    Args:
        example: `image` (S, S, 3) uint8, `mask` (S, S, 1) uint8, and what is no picture.
        seed: (2,) integers of at least 0.

    Returns:
        The same, of the same shapes and types.
    """
    image, mask = tf.numpy_function(
        _apply,
        (example["image"], example["mask"], seed),
        (tf.uint8, tf.uint8),
        stateful=False,
    )
    return {
        **example,
        "image": tf.ensure_shape(image, example["image"].shape),
        "mask": tf.ensure_shape(mask, example["mask"].shape),
    }


def _apply(image, mask, seed):
    compose = _compose_of_this_thread()
    generator = np.random.default_rng(seed)
    # Not `set_random_seed`: it gives every step the same numbers, so that all steps of one
    # probability are taken together or not at all.
    compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
    moved = compose(image=image, mask=mask)
    return moved["image"], moved["mask"].reshape(mask.shape)


def _compose_of_this_thread():
    if not hasattr(_OF_THREAD, "compose"):
        _OF_THREAD.compose = make_compose()
    return _OF_THREAD.compose


def make_compose():
    """Returns the recipe, an albumentations `Compose`."""
    # It asks the network for its newest version when it is imported.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations
    import cv2

    mirrored = {"border_mode": cv2.BORDER_REFLECT_101}
    blur_or_noise = [
        # Shifted, it would move the image next to its mask.
        albumentations.MotionBlur(blur_limit=3, allow_shifted=False),
        albumentations.MedianBlur(blur_limit=3),
        albumentations.GaussianBlur(sigma_limit=(0.4, 1.0)),
        albumentations.GaussNoise(std_range=(0.01, 0.03)),
    ]
    bending = [
        albumentations.OpticalDistortion(distort_limit=0.3, **mirrored),
        albumentations.GridDistortion(num_steps=5, distort_limit=0.3, **mirrored),
        albumentations.ElasticTransform(alpha=60, sigma=9, **mirrored),
    ]
    move = albumentations.Affine(
        scale=(0.9, 1.1), translate_percent=(-0.1, 0.1), rotate=(-15, 15), p=0.85, **mirrored
    )
    hole = {"hole_height_range": (0.1, 0.3), "hole_width_range": (0.1, 0.3)}
    return albumentations.Compose(
        [
            albumentations.D4(),
            albumentations.RandomBrightnessContrast(0.1, 0.2, p=0.75),
            albumentations.OneOf(blur_or_noise, p=0.5),
            albumentations.OneOf(bending, p=0.7),
            albumentations.CLAHE(clip_limit=(1, 2), p=0.3),
            albumentations.HueSaturationValue(5, 20, 10, p=0.5),
            move,
            albumentations.CoarseDropout(num_holes_range=(1, 1), fill=128, p=0.5, **hole),
        ]
    )
