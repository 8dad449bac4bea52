"""One region without holes: by hand, by SciPy's own words, and the same inside a graph."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from lbunet_tf.serving import outlines
from lbunet_tf.serving import outlines_in_graph
from lbunet_tf.serving import postprocessing

HAND = """
........##
.####...##
.#..#.....
.#..#..#..
.####...#.
..........
"""
KEPT = """
..........
.####.....
.####.....
.####.....
.####.....
..........
"""


def _mask(text):
    return np.array([[letter == "#" for letter in line] for line in text.split()])


def _fields(size, count=6):
    """Returns (count, size, size) float32 noise of several grains, with many regions and holes."""
    rng = np.random.default_rng(size)
    grains = np.resize((0.0, 0.7, 1.5, 3.0), count)
    fields = [ndimage.gaussian_filter(rng.normal(size=(size, size)), grain) for grain in grains]
    return np.stack([field / field.std() for field in fields]).astype("float32")


def test_islands_go_and_holes_are_filled():
    logits = np.where(_mask(HAND), 2.0, -3.0)

    np.testing.assert_array_equal(outlines.one_region(logits, 0.0), _mask(KEPT))


def test_the_region_of_the_most_probability_is_kept_not_the_largest():
    logits = np.full((8, 8), -5.0)
    logits[0, :5] = 0.01
    logits[4:6, 4:6] = 4.0

    kept = outlines.one_region(logits, 0.0)

    assert kept.sum() == 4 and kept[4, 4]


def test_nothing_above_the_threshold_is_no_region_and_all_of_it_is_all():
    assert not outlines.one_region(np.full((4, 4), -1.0), 0.0).any()
    assert outlines.one_region(np.full((4, 4), 1.0), 0.0).all()


@pytest.mark.parametrize("size", [8, 33, 64])
@pytest.mark.parametrize("threshold", [-0.4, 0.0, 0.9])
def test_a_graph_says_the_same_of_each_image_of_a_batch(size, threshold):
    fields = _fields(size)

    found = tf.function(outlines_in_graph.one_region)(fields, threshold).numpy()

    expected = [outlines.one_region(field, np.float32(threshold)) for field in fields]
    np.testing.assert_array_equal(found, expected)


def test_a_spiral_is_one_region_in_a_graph_too():
    size = 31
    spiral = np.zeros((size, size), bool)
    row, column, step = 0, 0, (0, 1)
    spiral[0, 0] = True
    for length in [size - 1, *(n for n in range(size - 1, 0, -2) for _ in range(2))]:
        for _ in range(length):
            row, column = row + step[0], column + step[1]
            spiral[row, column] = True
        step = (step[1], -step[0])
    logits = np.where(spiral, 1.0, -1.0).astype("float32")

    found = outlines_in_graph.one_region(logits[None], 0.0).numpy()[0]

    np.testing.assert_array_equal(found, outlines.one_region(logits, 0.0))
    assert ndimage.label(spiral)[1] == 1 and not (spiral & ~found).any()


@pytest.mark.parametrize("field", range(6))
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_the_outline_at_the_images_size_is_one_region_where_it_was_many(field, threshold):
    logits = _fields(32)[field][..., None]
    rule = outlines.MaskRule(threshold, "one_region")

    cleaned = rule.clean(logits)

    np.testing.assert_array_equal(
        cleaned[..., 0] >= rule.logit, outlines.one_region(logits[..., 0], rule.logit)
    )
    in_graph = outlines_in_graph.clean(rule, tf.constant(logits[None])).numpy()[0]
    np.testing.assert_allclose(in_graph, cleaned, atol=1e-5)
    np.testing.assert_array_equal(in_graph >= np.float32(rule.logit), cleaned >= rule.logit)
    mask = postprocessing.mask_at_size(cleaned, (128, 96), rule.logit).numpy()[..., 0]
    assert mask.any()


def test_without_cleanup_logits_stay_as_they_are():
    logits = _fields(16)[0][..., None]

    assert outlines.MaskRule(0.4).clean(logits) is logits


def test_a_batch_of_none_has_no_regions():
    assert outlines_in_graph.one_region(tf.zeros((0, 8, 8)), 0.0).shape == (0, 8, 8)
