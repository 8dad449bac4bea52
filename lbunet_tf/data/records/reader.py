"""Prepared records: images and masks of the network's size, in shards read at random.

`lbunet_tf.prepare --records=DIR` writes them (`record_writer`); --source=records reads them.
"""

import concurrent.futures
import contextlib
import functools
import os
import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import tensorflow as tf

from lbunet_tf.data import identifiers
from lbunet_tf.data import manifests
from lbunet_tf.data.records import record_path
from lbunet_tf.data.records import tfrecords
from lbunet_tf.settings import config
from lbunet_tf.settings import image_groups
from lbunet_tf.storage import archives
from lbunet_tf.storage import whole_files

MANIFEST = "manifest.csv"
PLAN = "records.json"
# What the pixels of a record depend on, besides the files.
PREPROCESSING = config.FLAGS["preprocessing"]
# Open shards of one pipeline; each is an open file.
MAX_OPEN = 512
SPEC = {name: tf.io.FixedLenFeature((), tf.string) for name in ("image", "mask")}


def read(folder: str | os.PathLike) -> pd.DataFrame:
    """Returns the manifest of a folder of records; image and mask are SHARD#NUMBER.

    Raises:
        ValueError: The folder holds no records, or a shard is missing, cut short or of another
            number of records; the message names it.
    """
    folder = pathlib.Path(folder)
    path = folder / MANIFEST
    if not path.is_file() or not (folder / PLAN).is_file():
        raise ValueError(
            f"{folder} must hold records that lbunet_tf.prepare --records wrote. "
            f"Looked for {MANIFEST} and {PLAN}"
        )
    table = read_manifest(folder)
    table["image"] = [str(folder / record) for record in table.pop("record")]
    counts = table["image"].map(record_path.file_of).value_counts(sort=False)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        for _ in threads.map(check_shard, counts.index, counts):
            pass
    table["mask"] = table["image"].where(table["mask"] != "", "")
    return table


def read_manifest(folder: str | os.PathLike) -> pd.DataFrame:
    """Returns the rows of a plan, whose `record` is SHARD#NUMBER with a shard of the folder.

    Raises:
        ValueError: A shard is of an older version, or lies elsewhere.
    """
    path = pathlib.Path(folder) / MANIFEST
    table = manifests.read(path)
    if "record" not in table:
        raise ValueError(f'{path} must have the column "record". It has {", ".join(table.columns)}')
    is_record = record_path.are_records(table["record"])
    if not is_record.all():
        raise ValueError(
            f"{folder} must hold TFRecord shards; it was prepared by an older version of "
            f"lbunet_tf; its first record is {table['record'][~is_record].iloc[0]}. "
            "Prepare the records again, in another folder"
        )
    outside = table["record"].str.contains(r"[/\\\\\0]")
    if outside.any():
        raise ValueError(
            f"{path} must name shards of its own folder. Received: "
            f"{table['record'][outside].iloc[0]!r} in row {int(np.argmax(outside)) + 1}"
        )
    return table


def read_plan(folder: str | os.PathLike) -> dict:
    """Returns the flags by which records were prepared.

    Raises:
        ValueError: The file holds something else.
    """
    path = pathlib.Path(folder) / PLAN
    kinds = {name: type(config.FIELDS[name].default) for name in PREPROCESSING}
    try:
        plan = whole_files.read_json(path)
        found = {name: type(plan[name]) for name in PREPROCESSING}
    except (ValueError, LookupError, OSError) as error:
        raise ValueError(
            f"{path} must hold the flags of records, as lbunet_tf.prepare writes it. Received: "
            f"{archives.in_words(error)}"
        ) from error
    if found != kinds:
        raise ValueError(
            f"{path} must hold one whole number and three values of true or false. Received: "
            + ", ".join(f"{name} {str(plan[name])[:80]!r}" for name in PREPROCESSING)
        )
    return plan


def preprocessing_of(plan: dict) -> image_groups.Preprocessing:
    """Returns what the pixels of a plan's records went through."""
    return image_groups.Preprocessing(**{name: plan[name] for name in PREPROCESSING})


def check_shard(path: str | os.PathLike, count: int) -> None:
    """Raises a ValueError that names a shard which has not all of its records."""
    if not os.path.isfile(path):
        raise ValueError(f"{path} is missing. {_again(path)}")
    with _named(path):
        found = len(tfrecords.Reader(path))
    if found != count:
        raise ValueError(
            f"{path} must hold {count} records. It holds {found}. {_repair_advice(path)}"
        )


def check_folders(flags: image_groups.Preprocessing, images: pd.Series) -> None:
    """Checks the folders of the records among `images`.

    Raises:
        ValueError: Records were made with other flags of preprocessing, which it names.
    """
    shards = images[record_path.are_records(images)].map(record_path.file_of)
    for folder in {os.path.dirname(shard) for shard in shards.unique()}:
        check_flags(flags, folder)


def make_loader(flags: image_groups.Preprocessing, images: pd.Series) -> Callable[[dict], dict]:
    """Returns a function in tf.data of a batch of rows, the records among `images`, to examples.

    Raises:
        ValueError: Records were made with other flags of preprocessing, which it names.
    """
    check_folders(flags, images)
    open_shard = functools.lru_cache(MAX_OPEN)(tfrecords.Reader)
    size = flags.image_size

    def fetch(images, ids):
        pairs = zip(images, ids, strict=True)
        return np.array([_fetch(open_shard, size, name.decode(), of) for name, of in pairs], object)

    def load(rows):
        contents = tf.numpy_function(fetch, (rows["image"], rows["image_id"]), tf.string)
        parsed = tf.io.parse_example(tf.ensure_shape(contents, (None,)), SPEC)
        return {
            "image": tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), (-1, size, size, 3)),
            "mask": tf.reshape(tf.io.decode_raw(parsed["mask"], tf.uint8), (-1, size, size, 1)),
            "has_mask": tf.strings.length(rows["mask"]) > 0,
        }

    return load


def check_flags(flags: image_groups.Preprocessing, folder: str | os.PathLike) -> None:
    """Raises a ValueError that names the flag of preprocessing in which records differ."""
    made_with = preprocessing_of(read_plan(folder))
    for name in config.differing(flags, made_with):
        raise ValueError(
            f'"--{name}" must be that of the records: {folder} was prepared with '
            f"--{name}={getattr(made_with, name)}. Received: --{name}={getattr(flags, name)}. Give "
            "the same flag, or prepare records of this one in another folder"
        )


def _fetch(open_shard, size, image, image_id):
    shard, number = image.rsplit("#", 1)
    try:
        with _named(shard):
            record = open_shard(shard).read(int(number))
            _check_example(record, number, size, image_id)
            return record
    except OSError as error:
        # The disk's or the network's, not the shard's: it names no file while reading.
        raise ValueError(f"{shard} cannot be read: {error}") from error


def _check_example(record, number, size, image_id):
    """Raises a ValueError where a record is none of ours; the errors of a graph name no file."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except Exception as error:
        # The DecodeError of protobuf, which is TensorFlow's to import.
        raise ValueError(f"record {number} is not a tf.train.Example") from error
    for name, num_bytes in (("image", 3 * size**2), ("mask", size**2), ("image_id", None)):
        values = features[name].bytes_list.value
        if len(values) != 1 or num_bytes not in (None, len(values[0])):
            raise ValueError(f"record {number} has no complete {name} of {size} x {size} px")
    ours, theirs = (
        name.decode(errors="replace")
        for name in (image_id, features["image_id"].bytes_list.value[0])
    )
    # Records that were prepared before ids were stripped may end in a space.
    if theirs.strip(identifiers.INVISIBLE) != ours:
        raise ValueError(
            f"record {number} holds another image than its row: {theirs[:80]!r}, not {ours[:80]!r}"
        )


@contextlib.contextmanager
def _named(path):
    """Makes an error of a reader, which names no file, one that does."""
    try:
        yield
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"{path} is cut short or damaged: {error}. {_repair_advice(path)}"
        ) from error


def _repair_advice(path):
    return f"Delete it first. {_again(path)}"


def _again(path):
    return (
        f"Give the command of lbunet_tf.prepare --records={os.path.dirname(path)} again: it writes "
        "what is missing"
    )
