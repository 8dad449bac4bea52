"""Tests of `lbunet_tf.data.pixels.colour_constancy`."""

import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.data.pixels import colour_constancy

PICTURE = np.random.default_rng(0).integers(40, 160, (32, 32, 3)).astype("uint8")


def _lit(gains):
    return np.uint8(np.round(PICTURE * np.array(gains)))


def _minkowski_means(image):
    return (np.asarray(image, float) ** 6).mean(axis=(0, 1)) ** (1 / 6)


@pytest.mark.parametrize("gains", [(1.3, 1.0, 0.7), (0.8, 1.0, 1.4), (0.6, 1.1, 1.2)])
def test_two_copies_under_different_light_become_nearly_equal(gains):
    first = colour_constancy.shades_of_gray(_lit((1, 1, 1))).numpy().astype(float)
    second = colour_constancy.shades_of_gray(_lit(gains)).numpy().astype(float)

    # Light's brightness is no colour: it stays.
    second *= first.mean() / second.mean()
    assert np.abs(first - second).max() < 2.5
    assert np.abs(first - _lit(gains)).mean() > 10


def test_the_minkowski_means_of_the_channels_become_equal_and_their_mean_stays():
    image = _lit((1.3, 1.0, 0.7))

    means = _minkowski_means(colour_constancy.shades_of_gray(image))

    np.testing.assert_allclose(means, _minkowski_means(image).mean(), atol=0.5)


def test_a_grey_image_stays_as_it_is():
    image = np.repeat(PICTURE[..., :1], 3, axis=-1)

    np.testing.assert_array_equal(colour_constancy.shades_of_gray(image), image)


def test_black_corners_do_not_change_the_gains():
    image = _lit((1.3, 1.0, 0.7))
    framed = np.pad(image, ((8, 8), (8, 8), (0, 0)))

    inside = colour_constancy.shades_of_gray(framed)[8:-8, 8:-8].numpy().astype(int)

    assert np.abs(inside - colour_constancy.shades_of_gray(image).numpy()).max() <= 1


@pytest.mark.parametrize("value", [0, 255])
def test_a_black_and_a_white_image_stay_so(value):
    image = np.full((8, 8, 3), value, "uint8")

    result = colour_constancy.shades_of_gray(image)

    assert result.dtype == tf.uint8
    np.testing.assert_array_equal(result, image)


def test_a_channel_that_is_black_everywhere_stays_black():
    result = colour_constancy.shades_of_gray(PICTURE * np.uint8([1, 1, 0])).numpy()

    assert result[..., 2].max() == 0 and result[..., :2].min() > 0


def test_bright_values_are_cut_at_255():
    image = np.full((8, 8, 3), (250, 120, 120), "uint8")
    image[0, 0] = 250

    result = colour_constancy.shades_of_gray(image).numpy()

    assert result[0, 0, 1] == 255
