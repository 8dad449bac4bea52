"""Tests of `lbunet_tf.data.augmentation.dermoscopy` and of the artefacts that it draws."""

import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.data.augmentation import artefacts
from lbunet_tf.data.augmentation import dermoscopy

SEEDS = [tf.constant((5, number), tf.int64) for number in range(60)]
SKIN = tf.fill((96, 96, 3), 180.0)
y, x = np.mgrid[:96, :96] / 95 - 0.5
FROM_MIDDLE = np.hypot(y, x)


@pytest.fixture(scope="module")
def augmented():
    """What becomes of flat skin under 60 seeds: arrays (60, 96, 96, 3) of the images."""
    example = {"image": tf.cast(SKIN, tf.uint8), "mask": tf.ones((96, 96, 1), tf.uint8)}
    seeds = tf.data.Dataset.from_tensor_slices(tf.stack(SEEDS))
    dataset = seeds.map(lambda seed: dermoscopy.dermoscopy(example, seed))
    return np.stack([each["image"] for each in dataset])


def test_nothing_but_the_picture_comes_in_from_beyond_an_edge(augmented):
    # Black would; what is darker than half is drawn: hair, ruler marks and dark corners.
    middles = np.median(augmented, axis=(1, 2))
    assert middles.min() > 120
    share_dark = (augmented.max(axis=-1) < 90).mean(axis=(1, 2))
    assert np.median(share_dark) == 0


def test_colours_stay_within_what_the_constants_allow(augmented):
    gains = np.median(augmented, axis=(1, 2)) / 180
    highest = dermoscopy.MAX_EXPOSURE * dermoscopy.MAX_GAIN

    assert gains.max() <= highest + 0.01 and gains.min() >= 1 / highest - 0.01
    # Skin of one grey has no hue or saturation; its tint is the white balance.
    tints = gains.max(axis=-1) / gains.min(axis=-1)
    assert tints.max() <= dermoscopy.MAX_GAIN**2 + 0.01
    assert tints.max() > 1.03 and gains.max() > 1.05 and gains.min() < 0.95


def test_artefacts_are_drawn_on_some_images_and_not_on_others(augmented):
    has_artefact = np.ptp(augmented, axis=(1, 2)).max(axis=-1) > 20

    # 1 - 0.75 * 0.9 * 0.85 = 0.43 expected of 60 images; standard deviation 0.064.
    assert 0.25 < has_artefact.mean() < 0.6


@pytest.mark.parametrize(
    "draw", [artefacts.draw_hair, artefacts.draw_ruler, artefacts.draw_dark_corners]
)
def test_an_artefact_only_darkens(draw):
    for seed in SEEDS[:8]:
        result = draw(SKIN, seed).numpy()
        assert result.shape == SKIN.shape and result.max() <= 180 and result.min() >= 0
        assert result.min() < 170


def test_hairs_are_dark_thin_and_few():
    for seed in SEEDS[:8]:
        is_dark = artefacts.draw_hair(SKIN, seed).numpy().mean(axis=-1) < 150
        assert 0 < is_dark.mean() < 0.15


def test_dark_corners_leave_the_middle_and_blacken_the_corners():
    for seed in SEEDS[:8]:
        result = artefacts.draw_dark_corners(SKIN, seed).numpy().mean(axis=-1)
        # An ellipse moved aside may take a little of the rim, and leave a corner half dark.
        assert result[FROM_MIDDLE < 0.3].min() > 165
        corners = result[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.min() < 60


def test_ruler_marks_are_evenly_spaced():
    is_dark = artefacts.draw_ruler(SKIN, SEEDS[3]).numpy().mean(axis=-1) < 150

    # Along the line of the marks, whichever side it lies on.
    line = max([*is_dark, *is_dark.T], key=lambda line: np.count_nonzero(np.diff(line)))
    starts = np.flatnonzero(np.diff(line.astype(int)) == 1)
    assert len(starts) >= 6 and np.ptp(np.diff(starts)) <= 1


def test_dark_corners_look_alike_at_every_size():
    small = artefacts.draw_dark_corners(SKIN, SEEDS[0]).numpy()
    large = artefacts.draw_dark_corners(tf.fill((192, 192, 3), 180.0), SEEDS[0]).numpy()

    shrunk = large.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small).max() < 3
