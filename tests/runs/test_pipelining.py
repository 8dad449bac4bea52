"""Batches through read, predict and write: in order, bounded, and ended by what is raised."""

import threading
import time

import pytest

from lbunet_tf.runs import pipelining


def _run(items, read=lambda item: item, predict=lambda read: read, write=lambda *a: a, size=2):
    return list(pipelining.in_batches(items, size, read, predict, write))


def test_batches_come_in_order_with_what_was_written_of_each():
    found = _run(
        range(5),
        read=lambda item: item * 10,
        predict=lambda images: [image + 1 for image in images],
    )

    assert found == [
        ([0, 1], [(0, 0, 1), (1, 10, 11)]),
        ([2, 3], [(2, 20, 21), (3, 30, 31)]),
        ([4], [(4, 40, 41)]),
    ]


def test_nothing_gives_no_batch():
    assert _run([]) == []


def test_text_says_why_there_is_no_result_and_costs_the_others_nothing():
    seen = []

    def predict(images):
        seen.extend(images)
        return ["no number" if image == 2 else image for image in images]

    found = _run(range(4), read=lambda item: "bad file" if item == 1 else item, predict=predict)

    assert found == [([0, 1], [(0, 0, 0), "bad file"]), ([2, 3], ["no number", (3, 3, 3)])]
    assert seen == [0, 2, 3]


def test_a_batch_of_bad_files_does_not_reach_the_network():
    def predict(images):
        raise AssertionError

    assert _run(range(2), read=lambda item: "bad", predict=predict) == [([0, 1], ["bad", "bad"])]


def test_reading_goes_on_while_the_network_predicts_and_no_further_than_the_bound():
    started, lock = [], threading.Lock()

    def read(item):
        with lock:
            started.append(item)
        return item

    ahead = []

    def predict(images):
        time.sleep(0.05)
        ahead.append(len(started) - images[-1] - 1)
        return images

    _run(range(40), read=read, predict=predict, size=4)

    assert 4 <= max(ahead) <= 4 * pipelining.AHEAD


def test_unwritten_results_are_no_more_than_the_bound():
    written, waiting = [], []

    def write(item, image, prediction):
        time.sleep(0.01)
        written.append(item)

    def predict(images):
        waiting.append(images[0] - len(written))
        return images

    _run(range(40), predict=predict, write=write, size=4)

    assert max(waiting) <= 4 * (pipelining.BEHIND + 1)


@pytest.mark.parametrize("part", ["read", "predict", "write"])
def test_what_is_raised_ends_the_whole_and_begins_no_further_item(part):
    begun = []

    def fail(*arguments):
        raise OSError("no room")

    def read(item):
        begun.append(item)
        return item

    functions = {"read": read, "predict": lambda images: images, "write": lambda *a: a}
    functions[part] = fail

    with pytest.raises(OSError, match="no room"):
        _run(range(1000), **functions)
    assert len(begun) < 50
