"""Tests of `lbunet_tf.data.augmentation`."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.data.augmentation import mixing
from lbunet_tf.data.augmentation import recipes
from lbunet_tf.settings import config

every = pytest.mark.parametrize("name", recipes.AUGMENTATIONS)
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
    result = recipes.none(example, SEEDS[0])

    assert all(result[name] is example[name] for name in example)


def test_flips_move_image_and_mask_together(example):
    for seed in SEEDS[:40]:
        result = recipes.flips(example, seed)
        np.testing.assert_array_equal(result["mask"][..., 0], result["image"][..., 0] >= 100)


def test_flips_draw_each_of_four_flips_about_equally_often(example):
    before = example["image"].numpy()

    drawn = collections.Counter(
        name
        for seed in SEEDS
        for name in _which_flip(before, recipes.flips(example, seed)["image"].numpy())
    )

    # 200 draws: 50 of each expected, standard deviation 6.1; the seeds are fixed.
    assert sum(drawn.values()) == 200
    assert set(drawn) == {"none", "left-right", "up-down", "both"}
    assert all(30 <= count <= 70 for count in drawn.values()), drawn


def test_flips_of_one_seed_are_always_the_same(example):
    first, second = (recipes.flips(example, SEEDS[7]) for _ in range(2))

    np.testing.assert_array_equal(first["image"], second["image"])


def test_every_choice_of_the_flag_is_an_augmentation_of_images_or_of_batches():
    choices = set(config.FIELDS["augment"].metadata["choices"])

    assert choices == {*recipes.AUGMENTATIONS, *mixing.BATCH_AUGMENTATIONS}


def _make_picture(size_px):
    """Returns an example with a bright lesion shaped like an L, which no flip leaves as it is."""
    mask = np.zeros((size_px, size_px, 1), "uint8")
    third = size_px // 3
    mask[third // 2 : -third // 2, third : 2 * third] = 1
    mask[-third - third // 2 : -third // 2, third : -third // 4] = 1
    return {
        "image": tf.constant(np.repeat(40 + 180 * mask, 3, axis=-1)),
        "mask": tf.constant(mask),
        "has_mask": tf.constant(True),
        "label": tf.constant(1.0),
    }


@functools.cache
def _versions(name):
    """Returns 24 versions of the picture of 124 px, made by parallel calls in tf.data."""
    picture = _make_picture(124)
    augment = recipes.AUGMENTATIONS[name]
    seeds = tf.data.Dataset.from_tensor_slices(tf.stack(SEEDS[:24]))
    dataset = seeds.map(lambda seed: augment(picture, seed), num_parallel_calls=4)
    assert dataset.element_spec == tf.data.Dataset.from_tensors(picture).element_spec
    return list(dataset)


@every
def test_every_augmentation_keeps_names_types_shapes_and_what_is_no_picture(name):
    for result in _versions(name):
        assert bool(result["has_mask"]) and float(result["label"]) == 1.0


@every
def test_every_augmentation_moves_image_and_mask_together(name):
    for result in _versions(name):
        grey = result["image"].numpy().mean(axis=-1)
        # albumentations punches a hole of 128.
        is_seen = grey != 128
        mask, bright = result["mask"].numpy()[..., 0] == 1, grey > 130
        both, either = (mask & bright & is_seen).sum(), ((mask | bright) & is_seen).sum()
        # Measured, the lowest: 0.97, where albumentations bends the edge.
        assert both / either >= 0.9


@every
def test_every_augmentation_leaves_masks_of_0_and_1(name):
    for result in _versions(name):
        assert set(np.unique(result["mask"])) == {0, 1}


@every
def test_every_augmentation_gives_the_same_eagerly_and_inside_parallel_tf_data(name):
    picture = _make_picture(124)

    for seed, result in list(zip(SEEDS, _versions(name), strict=False))[::6]:
        eager = recipes.AUGMENTATIONS[name](picture, seed)
        np.testing.assert_array_equal(result["image"], eager["image"])
        np.testing.assert_array_equal(result["mask"], eager["mask"])


@pytest.mark.parametrize("name", ["dermoscopy", "albumentations"])
def test_another_seed_gives_another_image(name):
    assert len({result["image"].numpy().tobytes() for result in _versions(name)}) == 24


def test_albumentations_draws_each_step_by_itself():
    # By the library's `set_random_seed` all steps of one probability would come together.
    flat = np.full((64, 64, 3), (150, 80, 60), "uint8")
    picture = {**_make_picture(64), "image": tf.constant(flat)}

    results = [recipes.AUGMENTATIONS["albumentations"](picture, seed) for seed in SEEDS[:64]]

    # A hole, half the time; and what changes the colours, 12 of 13 times.
    has_hole = [bool((result["image"].numpy() == 128).all(axis=-1).any()) for result in results]
    is_flat = [bool((result["image"].numpy() == flat).any()) for result in results]
    pairs = collections.Counter(zip(has_hole, is_flat, strict=True))
    assert len(pairs) == 4, pairs
