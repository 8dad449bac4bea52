"""Functions of a file's bytes are compiled once, whoever calls them, and say nothing of it."""

import concurrent.futures
import io
import logging
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lbunet_tf.data.pixels import file_check
from lbunet_tf.data.pixels import tracing


class _Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def _traced_length():
    """Returns (a function that gives the number of bytes, the list of its traces)."""
    traces = []

    @tracing.traced_once
    def length(contents):
        traces.append(contents)
        # Long enough for the other threads to come and wait.
        threading.Event().wait(0.3)
        return tf.strings.length(contents)

    return length, traces


def test_threads_that_call_at_once_share_one_trace_and_tensorflow_does_not_warn():
    length, traces = _traced_length()
    records = _Records()
    tf.get_logger().addHandler(records)
    try:
        with concurrent.futures.ThreadPoolExecutor(12) as threads:
            found = [int(each) for each in threads.map(length, [b"abc"] * 12)]
    finally:
        tf.get_logger().removeHandler(records)

    assert found == [3] * 12
    assert len(traces) == 1 and not any("retracing" in each for each in records.messages)


def test_bytes_tensors_graphs_and_datasets_share_one_trace():
    length, traces = _traced_length()
    dataset = tf.data.Dataset.from_tensor_slices(["abcde"]).map(length)

    found = [length(b"a"), length(tf.constant("ab")), tf.function(length)(tf.constant("abc"))]

    assert [int(each) for each in [*found, *dataset]] == [1, 2, 3, 5] and len(traces) == 1


@pytest.mark.slow
def test_two_hundred_different_files_are_checked_without_a_warning_of_retracing(
    tmp_path, make_table
):
    paths = {"image": [], "mask": []}
    for number in range(200):
        levels = np.zeros((9 + number % 11, 8 + number % 13), "uint8")
        levels[2:5, 2:6] = 255
        for column, kinds in (("image", ("JPEG", "PNG")), ("mask", ("PNG",))):
            path = tmp_path / f"{column}{number}.png"
            stream = io.BytesIO()
            Image.fromarray(levels).save(stream, kinds[number % len(kinds)])
            path.write_bytes(stream.getvalue())
            paths[column].append(str(path))
    table = make_table(200, **paths)
    records = _Records()
    tf.get_logger().addHandler(records)
    try:
        checked, skipped = file_check.check_files(table, "error")
    finally:
        tf.get_logger().removeHandler(records)

    assert len(checked) == 200 and skipped.empty
    assert not any("retracing" in each for each in records.messages)
