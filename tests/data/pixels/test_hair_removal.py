"""Tests of `lbunet_tf.data.pixels.hair_removal`, on drawn images with drawn hair."""

import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.data.augmentation import artefacts
from lbunet_tf.data.pixels import hair_removal
from lbunet_tf.data.sources import synthetic

remove_hair = tf.function(hair_removal.remove_hair)


def _draw_clean(size_px, seed):
    """Returns a drawn lesion on skin, without hair, ruler or noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size_px, :size_px] / size_px - 0.5
    radius = 0.22 + 0.05 * np.cos(3 * np.arctan2(y, x) + rng.uniform(0, 6))
    cover = 1 / (1 + np.exp((np.hypot(x, y) - radius) / 0.02))[..., None]
    skin, lesion = synthetic.SKIN_TONES[1], synthetic.SKIN_TONES[1] * (0.5, 0.4, 0.35)
    image = skin * (1 - cover) + lesion * cover + rng.normal(0, 1.5, (size_px, size_px, 3))
    return np.uint8(np.clip(np.round(image), 0, 255))


def _with_hair(image, seed):
    hairy = artefacts.draw_hair(tf.cast(image, tf.float32), tf.constant((seed, 1), tf.int64))
    return tf.cast(tf.round(hairy), tf.uint8).numpy()


def _mean_difference(first, second):
    return np.abs(np.asarray(first, float) - np.asarray(second, float)).mean()


@pytest.mark.parametrize("size_px", [124, 128, 256])
def test_drawn_hair_goes(size_px):
    before, after = [], []
    for seed in range(6):
        clean = _draw_clean(size_px, seed)
        hairy = _with_hair(clean, seed)
        before.append(_mean_difference(hairy, clean))
        after.append(_mean_difference(remove_hair(hairy), clean))

    # Measured: 0.48, 0.47, 0.44 levels fall to 0.064, 0.065, 0.030.
    assert np.mean(after) < 0.25 * np.mean(before)


@pytest.mark.parametrize("size_px", [124, 128, 256])
def test_an_image_without_hair_changes_little(size_px):
    for seed in range(4):
        clean = _draw_clean(size_px, seed)
        assert _mean_difference(remove_hair(clean), clean) < 0.05


def test_dots_and_the_rim_of_a_lesion_are_no_hair():
    pixels = _draw_clean(128, 0).astype("float32")
    for place in range(20, 120, 20):
        pixels[place : place + 4, place : place + 4] = 40
        pixels[20:24, place : place + 2] = 40

    assert np.mean(hair_removal.find_hair(tf.constant(pixels))) < 0.002


@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_a_hair_of_any_direction_is_found(degrees):
    y, x = np.mgrid[:128, :128] - 64
    angle = np.radians(degrees)
    distance = np.abs(y * np.cos(angle) - x * np.sin(angle))
    pixels = np.repeat((180 - 120 * np.clip(1.2 - distance, 0, 1))[..., None], 3, axis=-1)

    found = hair_removal.find_hair(tf.constant(pixels, tf.float32)).numpy()

    assert found[distance < 0.5].mean() > 0.98 and found[distance > 4].mean() < 0.01


def test_pixels_that_are_no_hair_are_not_touched():
    hairy = _with_hair(_draw_clean(128, 0), 0)

    result = remove_hair(hairy).numpy()

    is_hair = hair_removal.find_hair(tf.cast(hairy, tf.float32)).numpy()
    assert is_hair.any()
    np.testing.assert_array_equal(result[~is_hair], hairy[~is_hair])


@pytest.mark.parametrize("value", [0, 90, 255])
@pytest.mark.parametrize("size_px", [16, 31, 64])
def test_a_flat_image_of_any_size_stays_as_it_is(size_px, value):
    image = np.full((size_px, size_px, 3), value, "uint8")

    result = remove_hair(image)

    assert result.dtype == tf.uint8
    np.testing.assert_array_equal(result, image)
