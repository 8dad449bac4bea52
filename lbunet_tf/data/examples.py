"""From rows of the manifest to examples of the network's size: of files, or of records."""

import functools

import pandas as pd
import tensorflow as tf

from lbunet_tf import config as config_lib
from lbunet_tf.data import places
from lbunet_tf.data import preprocessing
from lbunet_tf.data import records


def load(
    config: config_lib.Config, rows: pd.DataFrame, dataset: tf.data.Dataset
) -> tf.data.Dataset:
    """Returns the examples of a dataset of as many of `rows` as there are, in its order.

    Each a dict of `image` (S, S, 3) uint8, `mask` (S, S, 1) uint8, `has_mask`, `label`.
    """
    parallel = {"num_parallel_calls": tf.data.AUTOTUNE}
    are_records = places.are_records(rows["image"])
    load_file = functools.partial(_load_file, config)
    if not are_records.any():
        return dataset.map(load_file, **parallel)
    load_records = records.make_loader(config, rows["image"])
    if are_records.all():
        fetched = dataset.batch(records.FETCHED_AT_ONCE).map(load_records, **parallel)
        # What is taken apart has no known length, and steps are numbered by it.
        return fetched.unbatch().apply(tf.data.experimental.assert_cardinality(len(rows)))

    def load_record(row):
        examples = load_records({name: value[None] for name, value in row.items()})
        return {name: value[0] for name, value in examples.items()}

    def load_either(row):
        is_record = tf.strings.regex_full_match(row["image"], places.RECORD)
        return tf.cond(is_record, lambda: load_record(row), lambda: load_file(row))

    return dataset.map(load_either, **parallel)


def _load_file(config, row):
    size = config.image_size
    image = preprocessing.decode_to_resize(tf.io.read_file(row["image"]), config)
    # Two branches because a row without a mask has no file to read.
    has_mask = tf.strings.length(row["mask"]) > 0
    mask = tf.cond(
        has_mask,
        lambda: preprocessing.resize_mask(
            preprocessing.decode_mask(tf.io.read_file(row["mask"])), size
        ),
        lambda: tf.zeros((size, size, 1), tf.uint8),
    )
    return {
        "image": preprocessing.prepare_image(image, config),
        "mask": tf.ensure_shape(mask, (size, size, 1)),
        "has_mask": has_mask,
        "label": row["label"],
    }
