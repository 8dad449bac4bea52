import numpy as np
import pytest

from lbunet_tf.evaluation import weak_masks


def test_otsu_parts_two_groups_of_values_between_them():
    values = np.array([[0.0, 1.0, 1.5], [8.0, 9.0, 10.0]])

    threshold = weak_masks.otsu_threshold(values)

    assert 1.5 < threshold < 8


def test_otsu_is_the_best_of_every_threshold_between_two_values():
    values = np.random.default_rng(3).gamma(2.0, size=300)

    def between(threshold):
        above = values[values >= threshold]
        below = values[values < threshold]
        return len(above) * len(below) * (above.mean() - below.mean()) ** 2

    best = max(between(threshold) for threshold in np.sort(values)[1:])

    # 256 bins: a few values share a bin with the threshold.
    assert between(weak_masks.otsu_threshold(values)) == pytest.approx(best, rel=1e-2)


def test_a_flat_map_has_nothing_above_its_threshold():
    logits = np.full((4, 4), 2.0)

    assert not (logits >= weak_masks.mask_threshold(logits, "otsu")).any()


def test_half_is_probability_one_half_whatever_the_map():
    assert weak_masks.mask_threshold(np.array([[-5.0, -4.0]]), "half") == 0.0


def test_a_mask_is_as_sure_as_the_mean_of_its_pixels():
    probabilities = np.array([[0.9, 0.8], [0.4, 0.1]]).reshape((1, 2, 2, 1))

    assert weak_masks.mean_inside(probabilities, probabilities >= 0.5) == pytest.approx([0.85])


def test_an_empty_mask_is_not_sure_at_all():
    nothing = np.full((2, 4, 4, 1), 0.2)

    assert list(weak_masks.mean_inside(nothing, nothing >= 0.5)) == [0, 0]


def test_only_scores_beyond_the_confidence_become_labels():
    scores = np.array([0.95, 0.9, 0.89, 0.5, 0.11, 0.1, 0.0, np.nan])

    result = weak_masks.sure_labels(scores, 0.9)

    np.testing.assert_array_equal(result, [1, 1, np.nan, np.nan, np.nan, 0, 0, np.nan])


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_centred_ellipse_covers_its_share_and_is_symmetric(share):
    mask = weak_masks.centred_ellipse(128, share)

    assert mask.mean() == pytest.approx(share, abs=0.005)
    assert (mask == mask[::-1]).all() and (mask == mask.T).all()
