"""Writes records: a plan first, then each shard whole, here or by the workers of Apache Beam.

DIR/manifest.csv       the rows, with `record` (SHARD#NUMBER): the plan, and what --source=records
                       reads
DIR/records.json       the flags of the plan
DIR/skipped.csv        the bad files
DIR/lbunet-*           the shards, TFRecord files of tf.train.Example
DIR/dataset_info.json, features.json    what TensorFlow Datasets reads them by
"""

import functools
import json
import os
import pathlib

import numpy as np
import pandas as pd
import tensorflow as tf
from absl import logging

from lbunet_tf.data import beam
from lbunet_tf.data import manifests
from lbunet_tf.data import memory
from lbunet_tf.data import pipeline
from lbunet_tf.data import tables
from lbunet_tf.data.pixels import file_check
from lbunet_tf.data.pixels import limits
from lbunet_tf.data.records import reader
from lbunet_tf.data.records import record_path
from lbunet_tf.data.records import tfrecords
from lbunet_tf.settings import command_groups
from lbunet_tf.settings import config
from lbunet_tf.storage import spreadsheets
from lbunet_tf.storage import whole_files

DATASET = "lbunet"
SHARD_BYTES = 2**27
NUMBERS = (*manifests.NUMBERS, "mask_share")
# Pixels in the records; their files are of no use there.
PATHS = ("image", "mask", "record", "split")

SKIPPED = "skipped.csv"
# What is written to a folder of records.
OWN = (
    SKIPPED,
    reader.MANIFEST,
    reader.PLAN,
    f"{DATASET}-*.tfrecord*",
    "features.json",
    "dataset_info.json",
    f".*.{whole_files.PARTIAL}*",
)


def read_plan(settings: config.Config) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Returns (manifest, skipped) of the plan in --records, None where there is none yet.

    Raises:
        ValueError: It is a plan of other flags, or a folder of something else.
    """
    folder = pathlib.Path(settings.preparation.records)
    if folder.is_file():
        raise ValueError(f'"--records" must be a folder. {folder} is a file')
    if not (folder / reader.PLAN).is_file():
        return None
    plan = reader.read_plan(folder)
    masks = plan.get("has_masks", settings.outputs.has_mask)
    if masks != settings.outputs.has_mask:
        raise ValueError(
            f'"--records" must name another folder for other heads. {folder} was begun '
            f"{'with' if masks else 'without'} masks. Received: "
            f"--heads={','.join(settings.outputs.heads)}"
        )
    flags = _flags(settings.preprocessing, settings.source, settings.split, settings.reading)
    for name, value in flags.items():
        # A flag that is newer than the plan had its default's effect; this one was not noted.
        default = value if name == "max_megapixels" else config.FIELDS[name].default
        before = plan.get(name, json.loads(json.dumps(default)))
        if before != value:
            raise ValueError(
                f'"--records" must name another folder for other flags. {folder} was begun with '
                f"--{name}={before}. Received: --{name}={value}"
            )
    planned = reader.read_manifest(folder)
    logging.info("continuing in %s with the plan that is there", folder)
    skipped = tables.read_csv(folder / SKIPPED, ())
    return planned.drop(columns="record"), skipped


def write_plan(settings: config.Config, manifest: pd.DataFrame, skipped: pd.DataFrame) -> None:
    """Writes which row becomes which record, and the flags; reader.json last."""
    if record_path.are_records(manifest["image"]).any():
        raise ValueError('"--records" needs files to read. Received: --source=records')
    folder = pathlib.Path(settings.preparation.records)
    planned = manifest.assign(record=_record_paths(manifest, settings.preprocessing.image_size))
    whole_files.write_table(folder / SKIPPED, spreadsheets.quoted_table(skipped))
    whole_files.write_table(folder / reader.MANIFEST, planned)
    flags = _flags(settings.preprocessing, settings.source, settings.split, settings.reading)
    plan = {**flags, "has_masks": settings.outputs.has_mask}
    whole_files.write_json(folder / reader.PLAN, plan)


def _flags(preprocessing, source, split, reading):
    """Returns what a plan is made of: the pixels, which rows there are, and in which split."""
    flags = vars(preprocessing) | vars(source) | vars(split)
    flags["max_megapixels"] = reading.max_megapixels
    # It decides whether a bad file ends the command, not what is planned.
    del flags["on_bad_image"]
    # As JSON gives it back: lists for tuples.
    return json.loads(json.dumps(flags))


def _record_paths(manifest, size_px):
    """Returns SHARD#NUMBER of each row: a split's rows in order, in shards of equal size."""
    names = pd.Series("", index=manifest.index)
    for split, rows in manifest.groupby("split"):
        num_shards = -(-memory.pixel_bytes(len(rows), size_px) // SHARD_BYTES)
        for shard, part in enumerate(np.array_split(rows.index, num_shards)):
            name = f"{DATASET}-{split}.tfrecord-{shard:05d}-of-{num_shards:05d}"
            names[part] = [f"{name}#{number}" for number in range(len(part))]
    return names


def write_shards(preparation: command_groups.Preparation, image_size: int) -> None:
    """Writes the shards of the plan that are not whole yet, then what describes them.

    Raises:
        ValueError: A file can no longer be read; all other shards are written.
        OSError: The disk is full.
    """
    folder = str(pathlib.Path(preparation.records).absolute())
    sizes = _read(folder)["shard"].value_counts(sort=False)
    to_write = [name for name, count in sizes.items() if not _is_whole(folder, name, count)]
    logging.info("%d of %d shards are to be written", len(to_write), len(sizes))
    num_bytes = memory.pixel_bytes(int(sizes[to_write].sum()), image_size)
    whole_files.check_room(pathlib.Path(folder) / f"{DATASET}-*", num_bytes)
    run = beam.for_each if preparation.beam_options else _run_here
    run(functools.partial(_write_or_report, folder), to_write, preparation.beam_options)
    left = [name for name, count in sizes.items() if not _is_whole(folder, name, count)]
    if left:
        raise ValueError(
            f"every file must be readable; {len(left)} of {len(sizes)} shards could not be "
            f"written because of unreadable files (see above); the first is {left[0]}. Repair or "
            "restore the files and give the same command again: it continues"
        )
    _describe(folder, sizes)


def _run_here(write, names, _):
    for number, name in enumerate(names, start=1):
        error = write(name)
        if error:
            logging.error("%s", error)
        logging.info("%d of %d shards are done", number, len(names))


def _is_whole(folder, name, count):
    try:
        reader.check_shard(pathlib.Path(folder) / name, count)
    except ValueError:
        return False
    return True


def _write_or_report(folder: str, name: str) -> str:
    """Writes a shard; returns what is wrong with its files, "" where nothing is."""
    try:
        write_shard(folder, name)
    except ValueError as error:
        return f"{name} is not written: {error}"
    return ""


def write_shard(folder: str, name: str) -> None:
    """Writes one shard of the plan whole or not at all; all it needs stands in the folder."""
    plan = reader.read_plan(folder)
    preprocessing = reader.preprocessing_of(plan)
    rows = _read(folder)
    rows = rows[rows["shard"] == name].reset_index(drop=True)
    features = _features(rows, preprocessing.image_size)
    path = pathlib.Path(folder) / name
    with whole_files.whole_file(path) as partial:
        try:
            examples = pipeline.make_examples(preprocessing, rows)
            tfrecords.write(partial, _serialized(features, rows, examples))
        except tf.errors.OpError:
            # This names the file; the error of a graph does not.
            file_check.check_files(rows, "error", max_megapixels=limits.NO_LIMIT)
            raise


def _serialized(features, rows, examples):
    """Yields the record of each row."""
    of_rows = rows[[name for name in features if name in rows and name not in PATHS]]
    for row, example in zip(of_rows.to_dict("records"), examples.as_numpy_iterator(), strict=True):
        pixels = {name: example[name] for name in ("image", "mask", "has_mask")}
        yield _sorted(features.serialize_example({**row, **pixels}))


def _sorted(example):
    # The order of its columns else changes with the process, and the shard's bytes with it.
    return tf.train.Example.FromString(example).SerializeToString(deterministic=True)


@functools.lru_cache(1)
def _read_once(path, mtime_ns):
    table = reader.read_manifest(os.path.dirname(path))
    return table.assign(shard=table["record"].str.split("#").str[0])


def _read(folder):
    path = pathlib.Path(folder) / reader.MANIFEST
    return _read_once(path, path.stat().st_mtime_ns)


def _features(rows, size_px):
    """Returns the features of a record, for TensorFlow Datasets: pixels and the columns."""
    import tensorflow_datasets as tfds

    def pixels(channels):
        # Raw bytes: a PNG of 128 px takes ten times as long to decode.
        shape = (size_px, size_px, channels)
        return tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")

    columns = {
        name: tfds.features.Scalar(np.float32) if name in NUMBERS else tfds.features.Text()
        for name in rows.columns
        if name not in (*PATHS, "shard")
    }
    has_mask = tfds.features.Scalar(np.bool_)
    return tfds.features.FeaturesDict(
        {**columns, "image": pixels(3), "mask": pixels(1), "has_mask": has_mask}
    )


def _describe(folder, sizes):
    """Writes dataset_info.json and features.json."""
    import tensorflow_datasets as tfds

    rows = _read(folder)
    plan = reader.read_plan(folder)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=DATASET, filetype_suffix="tfrecord"
    )
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=sizes[shards].tolist(),
            num_bytes=sum((pathlib.Path(folder) / shard).stat().st_size for shard in shards),
            filename_template=template,
        )
        for split, shards in rows.groupby("split")["shard"].unique().items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=_features(rows, plan["image_size"]),
        split_infos=splits,
        description="Dermoscopic images and masks, prepared by lbunet_tf.",
        # It prints, and reads one example with what else TensorFlow says.
        check_data=False,
    )
