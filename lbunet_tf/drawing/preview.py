"""Images as the network sees them, and what the augmentation makes of them."""

import numpy as np
import pandas as pd
import tensorflow as tf

from lbunet_tf.data import pipeline
from lbunet_tf.data.augmentation import mixing
from lbunet_tf.data.augmentation import recipes
from lbunet_tf.settings import config as config_lib


def make_versions(
    config: config_lib.Config, rows: pd.DataFrame, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (images, masks) of `rows` unchanged, then `count` augmented versions of them.

    Images are (N, S, S, 3) uint8, masks (N, S, S) float32: of lesions, whatever
    --mask_source is, and 0 where there is none.
    """
    examples = list(pipeline.make_examples(config, rows))
    augment = _augment_batch if _is_of_batches(config) else _augment_each
    versions = [_stacked(examples)]
    for number in range(count):
        versions.append(augment(config, examples, number))
    return [
        (tf.cast(tf.round(images), tf.uint8).numpy(), tf.cast(masks[..., 0], tf.float32).numpy())
        for images, masks in versions
    ]


def _is_of_batches(config):
    return config.augment in mixing.BATCH_AUGMENTATIONS


def _stacked(examples):
    images, masks = ([example[name] for example in examples] for name in ("image", "mask"))
    return tf.cast(tf.stack(images), tf.float32), tf.stack(masks)


def _augment_each(config, examples, number):
    augment = recipes.AUGMENTATIONS[config.augment]
    seeds = [tf.constant((config.seed + number, place), tf.int64) for place in range(len(examples))]
    return _stacked([augment(*pair) for pair in zip(examples, seeds, strict=True)])


def _augment_batch(config, examples, number):
    images, masks = _stacked(examples)
    known = tf.ones_like(images[..., 0])
    images, targets, _ = mixing.BATCH_AUGMENTATIONS[config.augment](
        images,
        {"mask": tf.cast(masks, tf.float32)},
        {"mask": known},
        tf.constant((config.seed + number, 0), tf.int64),
    )
    return images, targets["mask"]
