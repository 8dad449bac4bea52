"""The order of an epoch over sources and classes: `pipeline.epoch_order`."""

import numpy as np
import pytest

from lbunet_tf.data import pipeline

NAN = np.nan
# 12 of source a, a third melanoma; 4 of source b, one of them without a label.
SOURCES = np.array(["a"] * 12 + ["b"] * 4)
LABELS = np.array([0.0] * 8 + [1.0] * 4 + [0.0, 1.0, 0.0, NAN])


def _order(balance="none", shares=None, epoch=0, seed=0, labels=LABELS):
    return pipeline.epoch_order(labels, balance, seed, epoch, SOURCES, shares)


def test_source_shares_set_how_often_a_source_is_shown():
    order = _order(shares={"a": 0.25, "b": 0.75})

    assert len(order) == 16
    assert (SOURCES[order] == "b").sum() == 12


def test_a_small_source_is_shown_evenly_and_a_large_one_in_part():
    order = _order(shares={"a": 0.25, "b": 0.75})

    counts = np.bincount(order, minlength=16)
    assert counts[12:].tolist() == [3, 3, 3, 3]
    assert sorted(counts[:12]) == [0] * 8 + [1] * 4


def test_every_batch_has_about_the_same_mixture_of_sources():
    order = _order(shares={"a": 0.5, "b": 0.5})

    assert [(SOURCES[part] == "b").sum() for part in np.split(order, 4)] == [2, 2, 2, 2]


def test_resampling_balances_the_classes_within_each_source():
    labels = LABELS[_order("resample")]
    sources = SOURCES[_order("resample")]

    # Source b: one unknown in four stays; of the other three two and one.
    assert [(labels[sources == "a"] == label).sum() for label in (0, 1)] == [6, 6]
    assert np.isnan(labels).sum() == 1
    assert {(labels[sources == "b"] == label).sum() for label in (0, 1)} <= {1, 2}


def test_resampling_with_shares_gives_each_source_its_share():
    order = _order("resample", {"a": 0.5, "b": 0.5})

    assert (SOURCES[order] == "a").sum() == 8
    assert (LABELS[order][SOURCES[order] == "a"] == 1).sum() == 4


def test_a_source_without_labels_keeps_its_share_when_classes_are_resampled():
    labels = np.where(SOURCES == "b", NAN, LABELS)

    order = _order("resample", labels=labels)

    assert (SOURCES[order] == "b").sum() == 4


@pytest.mark.parametrize("balance, shares", [("resample", None), ("none", {"a": 0.3, "b": 0.7})])
def test_an_epoch_is_the_same_each_time_and_another_than_the_next(balance, shares):
    first, again, following = (_order(balance, shares, epoch) for epoch in (0, 0, 1))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, following)


def test_without_weights_nothing_is_drawn_twice():
    assert sorted(_order()) == list(range(16))


def test_source_weights_are_shares_of_the_epoch():
    assert pipeline._source_fractions(("a", "b"), (1.0, 3.0), SOURCES) == {"a": 0.25, "b": 0.75}


def test_source_weights_need_training_images_of_each_source():
    with pytest.raises(ValueError, match='"--source_weights" needs training images of each'):
        pipeline._source_fractions(("a", "c"), (1.0, 3.0), SOURCES)
