"""Tests of `lbunet_tf.data.records`: what is read is what was prepared, or an error with a name."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from lbunet_tf import prepare
from lbunet_tf.data import pipeline
from lbunet_tf.data import portions
from lbunet_tf.data import preparation
from lbunet_tf.data.records import reader
from lbunet_tf.data.records import tfrecords
from lbunet_tf.data.records import writer
from lbunet_tf.data.sources import synthetic
from lbunet_tf.settings import config

SIZE = 16


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The flags of 22 drawn images of 40 px, one without a mask."""
    folder = tmp_path_factory.mktemp("files")
    table = synthetic.draw_folder(folder, 22, 40, 0)
    table.loc[5, "mask"] = ""
    table.to_csv(folder / "some.csv", index=False)
    return config.make(
        source=("manifest",),
        data_dir=(str(folder / "some.csv"),),
        image_size=SIZE,
        heads=("mask", "melanoma"),
        batch_size=8,
        epochs=2,
    )


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    """Their records, at most four in a shard."""
    path = tmp_path_factory.mktemp("prepared") / "records"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SHARD_BYTES", 4 * SIZE**2 * 4)
        prepare.main(files.replace(records=str(path)))
    return path


def _of_records(files, folder):
    return files.replace(source=("records",), data_dir=(str(folder),), split_by="official")


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy of the records, and the path of one of its shards."""
    copy = tmp_path / "records"
    shutil.copytree(folder, copy)
    return copy, next(copy.glob("lbunet-train.tfrecord-00001-*"))


def _batches(dataset):
    return [[value.numpy() for value in tf.nest.flatten(batch)] for batch in dataset]


def _assert_same(first, second):
    for ours, theirs in zip(_batches(first), _batches(second), strict=True):
        for left, right in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(left, right)


def _manifests(files, folder):
    return [
        preparation.prepare(settings).manifest for settings in (files, _of_records(files, folder))
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{"cache": False, "balance": "resample"}, {"cache": True, "augment": "flips"}]
)
def test_training_from_records_sees_what_training_from_the_files_sees(files, folder, fields):
    of_files, of_records = (
        pipeline.make_training_dataset(files.replace(**fields), rows[rows["split"] == "train"])
        for rows in _manifests(files, folder)
    )

    _assert_same(of_files, of_records)


@pytest.mark.slow
def test_more_shards_than_may_be_open_are_read(files, folder, monkeypatch):
    monkeypatch.setattr(reader, "MAX_OPEN", 1)
    of_files, of_records = (
        pipeline.make_training_dataset(files.replace(cache=False), rows[rows["split"] == "train"])
        for rows in _manifests(files, folder)
    )

    _assert_same(of_files, of_records)


def test_evaluation_from_records_sees_what_evaluation_from_the_files_sees(files, folder):
    of_files, of_records = (
        pipeline.make_evaluation_dataset(files.preprocessing, files.outputs, files.device, rows)
        for rows in _manifests(files, folder)
    )

    _assert_same(of_files, of_records)


@pytest.mark.parametrize("cache", [True, False])
def test_the_number_of_batches_is_known(files, folder, cache):
    rows = _manifests(files, folder)[1]

    device = dataclasses.replace(files.device, cache=cache)
    dataset = pipeline.make_evaluation_dataset(files.preprocessing, files.outputs, device, rows)

    assert dataset.cardinality() == files.device.steps_per_epoch(len(rows))


def test_a_batch_of_records_is_augmented_by_the_number_of_its_step(files, folder, monkeypatch):
    steps = []

    def note(images, targets, weights, seed):
        tf.numpy_function(lambda step: steps.append(int(step)), (seed[1],), [])
        return images, targets, weights

    monkeypatch.setattr(pipeline, "augments_in_step", lambda: False)
    monkeypatch.setitem(pipeline.mixing.BATCH_AUGMENTATIONS, "keras_cv", note)
    rows = _manifests(files, folder)[1]

    settings = files.replace(cache=False, augment="keras_cv", batch_size=16)
    _batches(pipeline.make_training_dataset(settings, rows))

    assert sorted(steps) == [0, 1, 2, 3]


@pytest.mark.parametrize("augment", ["none", "flips"])
@pytest.mark.parametrize("num_processes, num_devices", [(1, 2), (2, 2)])
def test_devices_and_processes_read_their_shares_of_an_epoch_from_records(
    files, folder, num_processes, num_devices, augment
):
    settings = _of_records(files, folder).replace(cache=False, epochs=1, augment=augment)
    rows = reader.read(folder).iloc[:13]
    whole = _batches(pipeline.make_training_dataset(settings, rows))
    parts = [
        _batches(
            pipeline.make_training_dataset(
                settings, rows, 0, portions.Portion(process, num_processes, num_devices)
            )
        )
        for process in range(num_processes)
    ]
    for number, (images, *_, mask_weights, melanoma_weights) in enumerate(whole):
        read = np.concatenate([part[number][0] for part in parts])
        np.testing.assert_array_equal(read[: len(images)], images)
        assert len(read) == len(images) + len(images) % num_devices
        for column, weights in ((-2, mask_weights), (-1, melanoma_weights)):
            read = np.concatenate([part[number][column] for part in parts])
            np.testing.assert_array_equal(read[: len(images)], weights)
            # Fillers count for nothing.
            assert not np.any(read[len(images) :])


def test_records_and_files_are_read_in_one_dataset_in_the_order_of_the_rows(files, folder):
    of_files, of_records = _manifests(files, folder)
    mixed = pd.concat([of_files[:7], of_records[7:15], of_files[15:]], ignore_index=True)

    _assert_same(
        pipeline.make_evaluation_dataset(files.preprocessing, files.outputs, files.device, mixed),
        pipeline.make_evaluation_dataset(
            files.preprocessing, files.outputs, files.device, of_files
        ),
    )


def test_the_manifest_is_that_of_the_files_but_for_where_the_pixels_lie(files, folder):
    of_files, of_records = _manifests(files, folder)

    paths = ["image", "mask"]
    pd.testing.assert_frame_equal(
        of_records.drop(columns=paths), of_files.drop(columns=paths), check_like=True
    )
    assert of_records["image"].str.startswith(f"{folder}/lbunet-").all()
    assert ((of_records["mask"] == "") == (of_files["mask"] == "")).all()


def test_tensorflow_datasets_reads_the_records_with_their_columns(files, folder, tmp_path):
    import tensorflow_datasets as tfds

    of_files, _ = _manifests(files, folder)
    rows = of_files[of_files["split"] == "train"]
    images = [
        example["image"].numpy() for example in pipeline.make_examples(files.preprocessing, rows)
    ]

    # The folder of a name and a version, in which `tfds.load` looks.
    shutil.copytree(folder, tmp_path / "lesions" / "1.0.0")
    loaded = tfds.load("lesions", data_dir=tmp_path, split="train")
    # One shard after the other, not interleaved.
    options = tfds.ReadConfig(interleave_cycle_length=1)
    built = tfds.builder_from_directory(folder).as_dataset("train", read_config=options)
    examples = list(built.as_numpy_iterator())

    assert [example["image_id"].decode() for example in examples] == rows["image_id"].tolist()
    assert {example["image_id"].decode() for example in loaded.as_numpy_iterator()} == set(
        rows["image_id"]
    )
    np.testing.assert_array_equal([example["label"] for example in examples], rows["label"])
    np.testing.assert_array_equal([example["image"] for example in examples], images)
    assert [example["has_mask"] for example in examples] == (rows["mask"] != "").tolist()


@pytest.mark.parametrize(
    "fields",
    [{"image_size": 32}, {"antialias": True}, {"shades_of_gray": True}, {"remove_hair": True}],
)
def test_records_of_other_preprocessing_are_refused_by_the_flags_name(files, folder, fields):
    settings = _of_records(files, folder).replace(**fields)
    message = f'"--{next(iter(fields))}" must be that of the records'
    with pytest.raises(ValueError, match=message):
        preparation.prepare(settings)
    with pytest.raises(ValueError, match=message):
        pipeline.make_evaluation_dataset(
            settings.preprocessing, settings.outputs, settings.device, reader.read(folder)
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda shard: shard.write_bytes(shard.read_bytes()[:-100]),
        lambda shard: shard.write_bytes(b""),
        lambda shard: shard.unlink(),
        lambda shard: _write_one_record(shard),
    ],
    ids=["cut short", "empty", "missing", "of another number of records"],
)
def test_a_shard_that_is_not_whole_is_named_at_the_start(damaged, damage):
    folder, shard = damaged
    damage(shard)

    with pytest.raises(ValueError, match=str(shard)):
        reader.read(folder)


def _write_one_record(path):
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(b"one")


def test_a_damaged_record_is_an_error_that_names_its_shard(files, damaged):
    folder, shard = damaged
    contents = bytearray(shard.read_bytes())
    # In the first record, beyond its length.
    contents[200] ^= 255
    shard.write_bytes(contents)
    settings = _of_records(files, folder)
    rows = preparation.prepare(settings).manifest

    with pytest.raises(tf.errors.OpError, match=f"{shard} is cut short or damaged"):
        _batches(
            pipeline.make_evaluation_dataset(
                settings.preprocessing, settings.outputs, settings.device, rows
            )
        )


def test_a_shard_in_the_place_of_another_is_noticed_by_its_ids(files, damaged):
    folder, shard = damaged
    shard.write_bytes(shard.with_name(shard.name.replace("00001-of", "00000-of")).read_bytes())
    settings = _of_records(files, folder)
    rows = preparation.prepare(settings).manifest

    with pytest.raises(tf.errors.OpError, match=f"{shard} is .*holds another image than its row"):
        _batches(
            pipeline.make_evaluation_dataset(
                settings.preprocessing, settings.outputs, settings.device, rows
            )
        )


def test_a_disk_that_cannot_be_read_is_an_error_that_names_the_shard(files, folder, monkeypatch):
    settings = _of_records(files, folder)
    rows = preparation.prepare(settings).manifest

    def fail(self, number):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(reader.tfrecords.Reader, "read", fail)
    with pytest.raises(tf.errors.OpError, match="ValueError: .*tfrecord-.* cannot be read"):
        _batches(
            pipeline.make_evaluation_dataset(
                settings.preprocessing, settings.outputs, settings.device, rows
            )
        )


def test_records_of_an_older_version_are_refused(files, damaged):
    folder, _ = damaged
    path = folder / reader.MANIFEST
    path.write_text(path.read_text().replace(".tfrecord-", ".array_record-"))

    with pytest.raises(ValueError, match="prepared by an older version"):
        reader.read(folder)
    with pytest.raises(ValueError, match="prepared by an older version"):
        prepare.main(files.replace(records=str(folder)))


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must hold records that lbunet_tf.prepare --records"):
        reader.read(tmp_path)


def test_the_flags_of_preprocessing_are_written_beside_the_records(folder):
    plan = json.loads((folder / reader.PLAN).read_text())

    assert {name: plan[name] for name in reader.PREPROCESSING} == {
        "image_size": SIZE,
        "antialias": False,
        "shades_of_gray": False,
        "remove_hair": False,
    }


def test_records_without_hashes_cannot_be_searched_for_near_duplicates(files, folder):
    with pytest.raises(ValueError, match='"--near_duplicates" needs records that were prepared'):
        preparation.prepare(_of_records(files, folder).replace(near_duplicates=2))


def _replace_record(shard, number, record):
    """Writes another record, with the checksums of an honest one."""
    shard_reader = tfrecords.Reader(shard)
    contents = [shard_reader.read(number) for number in range(len(shard_reader))]
    contents[number] = record
    tfrecords.write(shard, contents)


def _example(**features):
    """A record of features: bytes, or a whole number."""

    def feature(value):
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    values = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


PIXELS = {"image": bytes(3 * SIZE**2), "mask": bytes(SIZE**2)}


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"no example",
        b"\xff" * 100,
        _example(**PIXELS),
        _example(**PIXELS, image_id=7),
        _example(**{**PIXELS, "image": 7}, image_id=b"{id}"),
        _example(**{**PIXELS, "image": bytes(3 * SIZE**2 - 1)}, image_id=b"{id}"),
        _example(**{**PIXELS, "image": bytes(6 * SIZE**2)}, image_id=b"{id}"),
        _example(**{**PIXELS, "mask": b""}, image_id=b"{id}"),
        _example(**PIXELS, image_id=b"another"),
    ],
    ids=[
        "empty",
        "text",
        "bytes",
        "no id",
        "an id that is a number",
        "an image that is a number",
        "an image that lacks a byte",
        "an image of twice the bytes",
        "a mask of no bytes",
        "another image",
    ],
)
def test_a_crafted_record_with_honest_checksums_is_an_error_that_names_its_shard(
    files, damaged, record
):
    folder, shard = damaged
    settings = _of_records(files, folder)
    rows = preparation.prepare(settings).manifest
    image_id = rows["image_id"][rows["image"] == f"{shard}#1"].iloc[0].encode()
    _replace_record(shard, 1, record.replace(b"{id}", image_id))

    with pytest.raises(tf.errors.OpError, match=shard.name):
        _batches(
            pipeline.make_evaluation_dataset(
                settings.preprocessing, settings.outputs, settings.device, rows
            )
        )


@pytest.mark.parametrize(
    "name",
    ["../lbunet-train.tfrecord-00000-of-00001#0", "/tmp/x.tfrecord-00000-of-00001#0", "a\\b"],
)
def test_a_crafted_plan_reads_and_writes_nothing_outside_its_folder(files, damaged, name):
    folder, _ = damaged
    path = folder / reader.MANIFEST
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[3, "record"] = name
    table.to_csv(path, index=False)
    before = _shards_below(folder.parent)

    for act in (lambda: reader.read(folder), lambda: prepare.main(_planned(files, folder))):
        with pytest.raises(ValueError, match=str(folder)):
            act()

    assert _shards_below(folder.parent) == before


def _shards_below(folder):
    return sorted(folder.rglob("*tfrecord*"))


def _planned(files, folder):
    return files.replace(records=str(folder))


def test_a_plan_without_records_is_named(files, damaged):
    folder, _ = damaged
    path = folder / reader.MANIFEST
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="record").to_csv(path)

    with pytest.raises(ValueError, match=f'{path} must have the column "record"'):
        reader.read(folder)


@pytest.mark.parametrize("number", ["99", str(10**12), "9" * 5000])
def test_a_record_that_its_shard_does_not_hold_is_named(files, damaged, number):
    folder, shard = damaged
    path = folder / reader.MANIFEST
    path.write_text(path.read_text().replace(f"{shard.name}#1", f"{shard.name}#{number}"))
    settings = _of_records(files, folder)

    with pytest.raises(tf.errors.OpError, match=f"{shard} is cut short or damaged"):
        _batches(
            pipeline.make_evaluation_dataset(
                settings.preprocessing,
                settings.outputs,
                settings.device,
                preparation.prepare(settings).manifest,
            )
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "{}",
        "[" * 100_000,
        '{"image_size": "16", "antialias": false, "shades_of_gray": false, "remove_hair": false}',
        '{"image_size": 16, "antialias": 0, "shades_of_gray": false, "remove_hair": false}',
        '{"image_size": true, "antialias": true, "shades_of_gray": true, "remove_hair": true}',
    ],
)
def test_crafted_flags_of_records_are_named(files, damaged, text):
    folder, _ = damaged
    (folder / reader.PLAN).write_text(text)

    acts = (
        lambda: preparation.prepare(_of_records(files, folder)),
        lambda: prepare.main(_planned(files, folder)),
    )
    for act in acts:
        with pytest.raises(ValueError, match=f"{folder / reader.PLAN} must hold"):
            act()
