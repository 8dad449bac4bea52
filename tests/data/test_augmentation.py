"""Tests of `lbunet_tf.data.augmentation`."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.data import augmentation

SEEDS = [tf.constant((3, number), tf.int64) for number in range(200)]


@pytest.fixture
def example():
    """An example of distinct pixels; the mask is 1 where the image's red is at least 100."""
    red = np.random.default_rng(0).permutation(np.arange(6 * 8) * 5).reshape(6, 8)
    image = np.stack([red, red + 1, red + 2], axis=-1).astype("uint8")
    return {
        "image": tf.constant(image),
        "mask": tf.constant((red >= 100)[..., None].astype("uint8")),
        "has_mask": tf.constant(True),
        "label": tf.constant(1.0),
    }


def _which_flip(before, after):
    flipped = {
        "none": before,
        "left-right": before[:, ::-1],
        "up-down": before[::-1],
        "both": before[::-1, ::-1],
    }
    return [name for name, pixels in flipped.items() if np.array_equal(pixels, after)]


def test_none_returns_the_example_as_it_is(example):
    result = augmentation.none(example, SEEDS[0])

    assert all(result[name] is example[name] for name in example)


def test_flips_move_image_and_mask_together(example):
    for seed in SEEDS[:40]:
        result = augmentation.flips(example, seed)
        np.testing.assert_array_equal(result["mask"][..., 0], result["image"][..., 0] >= 100)


def test_flips_draw_each_of_four_flips_about_equally_often(example):
    before = example["image"].numpy()

    drawn = collections.Counter(
        name
        for seed in SEEDS
        for name in _which_flip(before, augmentation.flips(example, seed)["image"].numpy())
    )

    # 200 draws: 50 of each expected, standard deviation 6.1; the seeds are fixed.
    assert sum(drawn.values()) == 200
    assert set(drawn) == {"none", "left-right", "up-down", "both"}
    assert all(30 <= count <= 70 for count in drawn.values()), drawn


def test_flips_of_one_seed_are_always_the_same(example):
    first, second = (augmentation.flips(example, SEEDS[7]) for _ in range(2))

    np.testing.assert_array_equal(first["image"], second["image"])


@pytest.mark.parametrize("name", augmentation.AUGMENTATIONS)
def test_every_augmentation_keeps_names_types_shapes_and_what_is_no_picture(example, name):
    dataset = tf.data.Dataset.from_tensors(example)

    augmented = dataset.map(lambda each: augmentation.AUGMENTATIONS[name](each, SEEDS[1]))

    assert augmented.element_spec == dataset.element_spec
    result = next(iter(augmented))
    assert bool(result["has_mask"]) and float(result["label"]) == 1.0


@pytest.mark.parametrize("name", augmentation.AUGMENTATIONS)
def test_every_augmentation_gives_the_same_eagerly_and_inside_tf_data(example, name):
    augment = augmentation.AUGMENTATIONS[name]

    inside = next(iter(tf.data.Dataset.from_tensors(example).map(lambda e: augment(e, SEEDS[2]))))

    np.testing.assert_array_equal(inside["image"], augment(example, SEEDS[2])["image"])
