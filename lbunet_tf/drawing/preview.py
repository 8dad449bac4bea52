"""Images as the network sees them, and what the augmentation makes of them."""

import numpy as np
import pandas as pd
import tensorflow as tf

from lbunet_tf.data import pipeline
from lbunet_tf.data.augmentation import mixing
from lbunet_tf.data.augmentation import recipes
from lbunet_tf.settings import image_groups


def make_versions(
    preprocessing: image_groups.Preprocessing,
    augment: str,
    seed: int,
    rows: pd.DataFrame,
    count: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (images, masks) of `rows` unchanged, then `count` augmented versions of them.

    Images are (N, S, S, 3) uint8, masks (N, S, S) float32: of lesions, whatever
    --mask_source is, and 0 where there is none.
    """
    examples = list(pipeline.make_examples(preprocessing, rows))
    make = _augment_batch if augment in mixing.BATCH_AUGMENTATIONS else _augment_each
    versions = [_stacked(examples)]
    for number in range(count):
        versions.append(make(augment, examples, seed + number))
    return [
        (tf.cast(tf.round(images), tf.uint8).numpy(), tf.cast(masks[..., 0], tf.float32).numpy())
        for images, masks in versions
    ]


def _stacked(examples):
    images, masks = ([example[name] for example in examples] for name in ("image", "mask"))
    return tf.cast(tf.stack(images), tf.float32), tf.stack(masks)


def _augment_each(name, examples, seed):
    augment = recipes.AUGMENTATIONS[name]
    seeds = [tf.constant((seed, position), tf.int64) for position in range(len(examples))]
    return _stacked([augment(*pair) for pair in zip(examples, seeds, strict=True)])


def _augment_batch(name, examples, seed):
    images, masks = _stacked(examples)
    known = tf.ones_like(images[..., 0])
    images, targets, _ = mixing.BATCH_AUGMENTATIONS[name](
        images,
        {"mask": tf.cast(masks, tf.float32)},
        {"mask": known},
        tf.constant((seed, 0), tf.int64),
    )
    return images, targets["mask"]
