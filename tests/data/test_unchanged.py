"""Files that are no longer those of a run are noticed and named."""

import logging
import pathlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf.data import unchanged
from lbunet_tf.data.pixels import file_check
from lbunet_tf.data.sources import synthetic

SIZE = 3 * unchanged.END_BYTES


@pytest.fixture
def rows(tmp_path):
    """Twelve rows of files of 192 KiB, with masks for all except the last, and their hashes."""
    table = []
    for number in range(12):
        paths = [tmp_path / f"{number}.{kind}" for kind in ("image", "mask")]
        paths[0].write_bytes(bytes([number]) * SIZE)
        paths[1].write_bytes(bytes(SIZE))
        hashed = [unchanged._sha1(path) for path in paths]
        mask = [str(paths[1]), hashed[1]] if number < 11 else ["", ""]
        row = {"image_id": f"i{number}", "image": str(paths[0]), "content_hash": hashed[0]}
        table.append({**row, "mask": mask[0], "mask_hash": mask[1]})
    return unchanged.with_ends(pd.DataFrame(table))


def change(path, position, value=b"\xff"):
    contents = bytearray(pathlib.Path(path).read_bytes())
    contents[position : position + 1] = value
    pathlib.Path(path).write_bytes(contents)


@pytest.mark.parametrize("whole", [False, True])
def test_files_that_are_as_they_were_pass(rows, whole):
    assert unchanged.check(rows, "runs/a", whole) is rows


@pytest.mark.parametrize("position", [0, unchanged.END_BYTES - 1, SIZE - unchanged.END_BYTES, -1])
def test_a_byte_at_an_end_is_always_noticed(rows, position):
    change(rows["image"][3], position % SIZE)

    with pytest.raises(ValueError, match="of runs/a must .* 1 of 12 have changed: 'i3'. Put"):
        unchanged.check(rows, "runs/a", whole=False)


def test_a_byte_in_the_middle_is_noticed_on_request(rows):
    change(rows["image"][3], SIZE // 2)

    unchanged.check(rows, "runs/a", whole=False)
    with pytest.raises(ValueError, match="1 of 12 have changed: 'i3'"):
        unchanged.check(rows, "runs/a", whole=True)


def test_another_size_is_noticed_where_the_ends_are_the_same(rows):
    pathlib.Path(rows["image"][3]).write_bytes(bytes([3]) * (SIZE + 1))

    with pytest.raises(ValueError, match="have changed: 'i3'"):
        unchanged.check(rows, "runs/a", whole=False)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("position", [1, SIZE // 2])
def test_a_mask_that_has_changed_anywhere_is_always_noticed(rows, position, whole):
    change(rows["mask"][5], position)

    with pytest.raises(ValueError, match="have changed: 'i5'"):
        unchanged.check(rows, "runs/a", whole)


def test_an_outline_between_black_borders_that_has_changed_is_noticed(tmp_path):
    pixels = np.zeros((576, 768), np.uint8)
    pixels[200:400, 200:400] = 255
    paths = [str(tmp_path / name) for name in ("a.bmp", "a_mask.bmp")]
    for path in paths:
        Image.fromarray(pixels).save(path)
    table = pd.DataFrame({"image_id": ["a"], "source": "ph2", "image": paths[0], "mask": paths[1]})
    checked, _ = file_check.check_files(table, "error")
    checked = unchanged.with_ends(checked)
    ends = unchanged._ends(paths[1])
    pixels[250:350, 250:350] = 0
    Image.fromarray(pixels).save(paths[1])

    assert unchanged._ends(paths[1]) == ends
    with pytest.raises(ValueError, match="1 of 1 have changed: 'a'"):
        unchanged.check(checked, "runs/a", whole=False)


def test_a_file_that_cannot_be_read_is_named(rows):
    path = pathlib.Path(rows["image"][3])
    path.unlink()
    path.mkdir()

    with pytest.raises(ValueError, match=rf"^{path} must be a file that can be read"):
        unchanged.check(rows, "runs/a", whole=False)


def test_the_first_ten_that_have_changed_are_named(rows):
    for path in rows["image"]:
        change(path, 0)

    with pytest.raises(ValueError, match="12 of 12 have changed: 'i0', .*'i9' and others. Put"):
        unchanged.check(rows, "runs/a", whole=False)


def test_a_file_that_is_gone_is_left_out_where_not_all_are_needed(rows):
    pathlib.Path(rows["image"][3]).unlink()
    change(rows["image"][4], 0)

    with pytest.raises(ValueError, match="1 of 12 have changed: 'i4'"):
        unchanged.check(rows, "runs/a", whole=True, needs_all=False)


def test_a_manifest_of_an_older_version_passes_and_says_what_can_tell(rows, caplog):
    older = rows.drop(columns=["image_ends", "mask_hash"])
    change(rows["image"][3], 0)

    with caplog.at_level(logging.INFO, "absl"):
        unchanged.check(older, "runs/a", whole=False)

    assert "runs/a is of an older version: whether its masks have changed is not" in caplog.text
    assert "runs/a is of an older version: only --verify_images=whole can tell" in caplog.text
    with pytest.raises(ValueError, match="have changed: 'i3'"):
        unchanged.check(older, "runs/a", whole=True)


def test_records_are_left_to_their_own_checksums(tmp_path):
    record = f"{tmp_path}/lbunet-test.tfrecord-00000-of-00001#0"
    table = pd.DataFrame({"image_id": ["i"], "image": [record], "mask": [record]})

    found = unchanged.with_ends(table)

    assert found["image_ends"].tolist() == [""]
    unchanged.check(found.assign(content_hash="x", mask_hash="x"), "runs/a", whole=True)


def test_the_hash_of_the_whole_is_that_of_the_check_before_training(tmp_path):
    table = synthetic.draw_folder(tmp_path, 2, 32, 0)
    checked, _ = file_check.check_files(table, "error")

    assert [unchanged._sha1(path) for path in checked["image"]] == checked["content_hash"].tolist()
    assert [unchanged._sha1(path) for path in checked["mask"]] == checked["mask_hash"].tolist()
