"""Tests of `lbunet_tf.data.near_duplicates`: the hash, the search and the groups."""

import logging
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf.data import near_duplicates
from lbunet_tf.data import splits
from lbunet_tf.data.sources import synthetic


@pytest.fixture(scope="module")
def image():
    """A drawn lesion, (120, 120, 3)."""
    rng = np.random.default_rng(0)
    return synthetic.draw(synthetic.draw_traits(True, rng), 2, 120, rng)[0]


def _bits(first, second):
    """Returns how many bits the hashes of two images differ in."""
    hashes = [int(near_duplicates.perceptual_hash(image), 16) for image in (first, second)]
    return (hashes[0] ^ hashes[1]).bit_count()


def _distinct(count, seed=0):
    """Returns distinct hashes, a third of them one or several bits beside another."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, "uint64")
    beside = hashes[: count // 3].copy()
    for _ in range(6):
        beside ^= np.uint64(1) << rng.integers(0, 64, len(beside), "uint64")
        beside[: len(beside) // 6] = hashes[: len(beside) // 6] ^ np.uint64(1)
    return np.unique(np.concatenate([hashes[len(beside) :], hashes[: len(beside)], beside]))


def _hex(hashes):
    return pd.Series([f"{value:016x}" for value in hashes])


def test_a_hash_is_64_bits_of_which_about_half_are_1(image):
    text = near_duplicates.perceptual_hash(image)

    assert len(text) == 16 and 20 <= int(text, 16).bit_count() <= 44


def test_a_smaller_a_compressed_and_a_brighter_copy_are_a_few_bits_away(image, tmp_path):
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=50)
    compressed = np.asarray(Image.open(tmp_path / "a.jpg"))
    smaller = np.asarray(Image.fromarray(image).resize((60, 60)))
    brighter = np.minimum(image * 1.1, 255).astype("uint8")

    assert max(_bits(image, copy) for copy in (compressed, smaller, brighter)) <= 4


def test_another_lesion_and_a_mirrored_copy_are_far_away(image):
    rng = np.random.default_rng(1)
    other = synthetic.draw(synthetic.draw_traits(False, rng), 2, 120, rng)[0]

    assert _bits(image, other) > 10
    assert _bits(image, image[:, ::-1]) > 10


@pytest.mark.parametrize("level", [0, 127, 255])
def test_even_images_all_have_the_hash_0(level):
    assert near_duplicates.perceptual_hash(np.full((50, 70, 3), level, "uint8")) == "0" * 16


@pytest.mark.parametrize("max_bits", range(13))
def test_the_search_finds_the_very_pairs_that_comparing_all_finds(max_bits):
    hashes = _distinct(900)

    found = near_duplicates.find_pairs(hashes, max_bits)

    near = np.bitwise_count(hashes[:, None] ^ hashes) <= max_bits
    expected = np.nonzero(np.triu(near, 1))
    assert max_bits == 0 or len(expected[0]) > 10
    np.testing.assert_array_equal(found, expected)


def test_the_search_finds_the_same_pairs_where_candidates_come_in_many_blocks(monkeypatch):
    hashes = _distinct(900) & np.uint64(0xFFF0FFF0FFF0FFF0)
    hashes = np.unique(hashes)
    whole = near_duplicates.find_pairs(hashes, 5)
    monkeypatch.setattr(near_duplicates, "BLOCK", 50)

    np.testing.assert_array_equal(near_duplicates.find_pairs(hashes, 5), whole)


@pytest.mark.parametrize("hashes", [[], ["00000000000000ff"]])
def test_none_and_one_hash_have_no_pairs(hashes):
    assert near_duplicates.group(pd.Series(hashes, dtype=str), 4).tolist() == [0] * len(hashes)


def test_groups_are_chains_of_near_hashes():
    hashes = _hex([0b0, 0b11, 0b1111, 0xFFFF << 30])

    groups = near_duplicates.group(hashes, 2)

    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_the_search_among_a_hundred_thousand_hashes_takes_seconds():
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**64, 100_000, "uint64"))

    start = time.process_time()
    near_duplicates.find_pairs(hashes, 4)

    # 0.2 s measured; comparing all pairs takes 40 s.
    assert time.process_time() - start < 5


def test_a_hundred_thousand_black_images_are_one_group_at_once():
    start = time.process_time()
    groups = near_duplicates.group(_hex(np.zeros(100_000, int)), 4)

    assert len(set(groups)) == 1
    assert time.process_time() - start < 5


def test_a_group_is_named_after_its_first_image_and_single_images_have_none(make_table, caplog):
    table = make_table(4, image_id=["b", "a", "c", "d"])
    table["perceptual_hash"] = _hex([0b0, 0b1, 0xFFFF, 0b0])

    with caplog.at_level(logging.INFO):
        groups = near_duplicates.with_groups(table, 1)["near_duplicate_group"]

    assert groups.tolist() == ["a", "a", "", "a"]
    assert "3 of 4 images, in 1 groups, the largest of 3" in caplog.text


def test_a_split_by_patient_keeps_near_duplicates_on_one_side(make_table):
    table = make_table(400, patient_id=[f"p{number}" for number in range(400)])
    table["perceptual_hash"] = _hex(number // 2 for number in range(400))
    table = near_duplicates.with_groups(table, 0)

    by_patient = splits.assign(table, "patient", (50, 25, 25), 0)
    by_image = splits.assign(table, "image", (50, 25, 25), 0)

    assert splits.crossings(by_patient)["near_duplicate_group"] == 0
    assert splits.crossings(by_image)["near_duplicate_group"] > 50
