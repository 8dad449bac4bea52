import numpy as np
import pandas as pd
import pytest

from lbunet_tf.data import portions


def _global_batches(num_rows, batch_size, num_processes, num_devices):
    """Returns the batches that all processes together see, step by step."""
    parts = [
        portions.Portion(process, num_processes, num_devices).positions(num_rows, batch_size)
        for process in range(num_processes)
    ]
    size = batch_size // num_processes
    steps = range(-(-len(parts[0]) // size))
    return [np.concatenate([part[s * size : (s + 1) * size] for part in parts]) for s in steps]


def test_the_whole_share_reads_every_place_in_order():
    assert list(portions.WHOLE.positions(11, 4)) == list(range(11))


@pytest.mark.parametrize("num_rows", [1, 7, 8, 13, 16, 19])
@pytest.mark.parametrize("num_processes, num_devices", [(1, 4), (2, 2), (2, 4), (4, 4)])
def test_all_processes_together_read_each_batch_once(num_rows, num_processes, num_devices):
    batches = _global_batches(num_rows, 8, num_processes, num_devices)

    assert [list(batch[batch >= 0]) for batch in batches] == [
        list(range(start, min(start + 8, num_rows))) for start in range(0, num_rows, 8)
    ]
    assert all(len(batch) % num_devices == 0 for batch in batches)


def test_a_filler_is_an_image_of_its_own_batch():
    (*_, last) = _global_batches(11, 8, 2, 8)

    assert list(last) == [8, 9, 10, ~8, ~9, ~10, ~8, ~9]


def test_a_filler_row_has_no_targets():
    rows = pd.DataFrame({"image": ["a", "b", "c"], "mask": "m", "label": 1.0, "diagnosis": "mel"})

    taken = [portions.Portion(process, 2, 2).rows(rows, 2) for process in range(2)]

    assert [list(part["image"]) for part in taken] == [["a", "c"], ["b", "c"]]
    assert list(taken[1]["mask"]) == ["m", ""]
    assert list(taken[1]["diagnosis"]) == ["mel", ""]
    assert taken[1]["label"].isna().tolist() == [False, True]
