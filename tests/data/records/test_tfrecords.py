"""Tests of `lbunet_tf.data.records.tfrecords`, against TensorFlow's own reader and writer."""

import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.data.records import tfrecords

RECORDS = [b"", b"a", bytes(range(256)) * 300, b"\x00" * 11]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.tfrecord"
    tfrecords.write(path, RECORDS)
    return path


def _written_by_tensorflow(path):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def test_files_are_those_of_tensorflow_byte_by_byte(path, tmp_path):
    assert path.read_bytes() == _written_by_tensorflow(tmp_path / "other").read_bytes()
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == RECORDS


def test_records_are_read_in_any_order(path):
    reader = tfrecords.Reader(path)

    assert len(reader) == len(RECORDS)
    for number in (3, 0, 2, 2, 1):
        assert reader.read(number) == RECORDS[number]


def test_several_threads_read_from_one_file(path):
    reader = tfrecords.Reader(path)
    numbers = np.random.default_rng(0).integers(0, len(RECORDS), 2000).tolist()

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert list(threads.map(reader.read, numbers)) == [RECORDS[number] for number in numbers]


def test_an_empty_file_holds_no_records(tmp_path):
    tfrecords.write(tmp_path / "empty", [])

    assert len(tfrecords.Reader(tmp_path / "empty")) == 0


@pytest.mark.parametrize("number", [-1, len(RECORDS)])
def test_a_record_that_is_not_there_is_refused(path, number):
    with pytest.raises(
        IndexError, match=f"it holds {len(RECORDS)} records, none of them is number"
    ):
        tfrecords.Reader(path).read(number)


def test_every_length_that_is_cut_short_is_noticed_but_between_records(path):
    contents = path.read_bytes()
    ends = np.cumsum([0, *(len(record) + 16 for record in RECORDS)]).tolist()
    # All within the small records, some within the large one.
    lengths = {*range(ends[2]), *range(ends[2], ends[3], 997), *range(ends[3] - 20, ends[4])}
    for length in sorted(lengths - set(ends)):
        path.write_bytes(contents[:length])
        with pytest.raises(ValueError, match="it ends within|bytes instead of"):
            tfrecords.Reader(path)


def test_every_byte_that_is_damaged_is_noticed(path):
    contents = path.read_bytes()
    for position in {*range(60), *range(60, len(contents), 997), len(contents) - 1}:
        damaged = bytearray(contents)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="checksum"):
            reader = tfrecords.Reader(path)
            for number in range(len(reader)):
                reader.read(number)
