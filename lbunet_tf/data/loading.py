"""From rows of the manifest to examples of the network's size: of files, or of records."""

from collections.abc import Callable

import pandas as pd
import tensorflow as tf

from lbunet_tf.data import diagnoses
from lbunet_tf.data.pixels import preprocessing
from lbunet_tf.data.records import reader
from lbunet_tf.data.records import record_path
from lbunet_tf.settings import image_groups


def make_loader(
    flags: image_groups.Preprocessing, rows: pd.DataFrame, classes: str = ""
) -> Callable[[tf.data.Dataset, int], tf.data.Dataset]:
    """Returns a function: dataset of row numbers, B -> batches of their examples, in its order.

    Each a dict of `image` (B, S, S, 3) uint8, `mask` (B, S, S, 1) uint8, `has_mask` (B,), `label`
    (B,), an unknown label as -1, and with `classes` (a key of `diagnoses.CLASS_SETS`) `diagnosis`
    (B, K) float32, all 0 where it is unknown; the last batch may be short.
    """
    # Not as NumPy's own strings, each as long as the longest, four bytes a letter.
    columns = {
        name: tf.constant(rows[name].to_numpy(object), tf.string)
        for name in ("image_id", "image", "mask")
    }
    # What an example has of its row, whatever it is read from.
    of_row = {"label": tf.constant(rows["label"].fillna(-1.0).to_numpy("float32"))}
    if classes:
        of_row["diagnosis"] = tf.constant(diagnoses.targets_of(rows["diagnosis"], classes))
    columns |= of_row
    are_records = record_path.are_records(rows["image"])
    is_all_records = len(rows) > 0 and are_records.all()
    load_records = reader.make_loader(flags, rows["image"])
    parallel = {"num_parallel_calls": tf.data.AUTOTUNE}

    def rows_of(numbers):
        return {name: tf.gather(column, numbers) for name, column in columns.items()}

    def load_record(row):
        examples = load_records({name: value[None] for name, value in row.items()})
        return {name: value[0] for name, value in examples.items()}

    def load_pixels(row):
        if not are_records.any():
            return _load_file(flags, row)
        is_record = tf.strings.regex_full_match(row["image"], record_path.RECORD)
        return tf.cond(is_record, lambda: load_record(row), lambda: _load_file(flags, row))

    def finished(load):
        def load_rows(numbers):
            row = rows_of(numbers)
            return {**load(row), **{name: row[name] for name in of_row}}

        return load_rows

    def load_batches(numbers, batch_size):
        if not is_all_records:
            return numbers.map(finished(load_pixels), **parallel).batch(batch_size)
        return numbers.batch(batch_size).map(finished(load_records), **parallel)

    return load_batches


def _load_file(flags, row):
    size = flags.image_size
    image = preprocessing.decode_to_resize(tf.io.read_file(row["image"]), flags)
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
        "image": preprocessing.prepare_image(image, flags),
        "mask": tf.ensure_shape(mask, (size, size, 1)),
        "has_mask": has_mask,
    }
