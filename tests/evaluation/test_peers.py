"""What other libraries give for the same numbers, and where they differ on purpose."""

import numpy as np
import pytest
from crepes import base as crepes
from mapie import classification
from mapie.conformity_scores import sets as mapie_sets
from MLstatkit import Delong_test
from scipy import stats
from sklearn import base as sklearn_base

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import conformal
from lbunet_tf.evaluation import intervals

LABELS = np.array([1] * 5 + [0] * 5)
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.75, 0.5, 0.4, 0.3, 0.1])
OTHERS = np.array([0.9, 0.5, 0.6, 0.3, 0.2, 0.7, 0.55, 0.45, 0.35, 0.1])
CLASSES = 7
ALPHA = 0.1
SEED = 5


class Known(sklearn_base.ClassifierMixin, sklearn_base.BaseEstimator):
    """A classifier whose inputs are its probabilities."""

    def __init__(self, num_classes=CLASSES):
        self.num_classes = num_classes
        self.classes_ = np.arange(num_classes)
        self.is_fitted_ = True

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)


@pytest.fixture(scope="module")
def draw():
    """(probabilities, labels) of calibration and of 400 new images; labels are drawn by them."""
    rng = np.random.default_rng(SEED)
    parts = []
    for count in (300, 400):
        probabilities = rng.dirichlet(np.full(CLASSES, 0.5), count)
        labels = (probabilities.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
        parts.append((probabilities, labels))
    return parts


def mapie_of(score, calibration, new, **how):
    classifier = classification.SplitConformalClassifier(
        Known(calibration[0].shape[1]), 1 - ALPHA, score, random_state=SEED
    )
    classifier.conformalize(*calibration)
    _, found = classifier.predict_set(new, how)
    return classifier, found[..., 0]


def of_ours(strangeness, calibration, new):
    """Returns our sets of new images, with the u that MAPIE draws."""
    u = np.random.RandomState(SEED).uniform(size=len(calibration[0]))
    known = strangeness(calibration[0], u)
    quantiles = conformal.calibrate(known, calibration[1], ALPHA, is_class_conditional=False)
    u = np.random.RandomState(SEED).uniform(size=len(new))
    return conformal.sets(strangeness(new, u), quantiles)


def test_the_sets_of_lac_are_mapies(draw):
    calibration, (new, _) = draw

    _, found = mapie_of("lac", calibration, new)

    np.testing.assert_array_equal(of_ours(conformal.lac, calibration, new), found)


def test_the_strangeness_of_aps_is_mapies(draw):
    calibration, (new, _) = draw

    classifier, _ = mapie_of("aps", calibration, new)

    u = np.random.RandomState(SEED).uniform(size=len(calibration[0]))
    own = np.take_along_axis(conformal.aps(calibration[0], u), calibration[1][:, None], axis=1)
    np.testing.assert_allclose(own, classifier.conformity_scores, atol=1e-12)


def test_randomised_sets_of_aps_are_mapies(draw):
    calibration, (new, _) = draw

    _, found = mapie_of("aps", calibration, new, include_last_label="randomized")

    np.testing.assert_array_equal(of_ours(conformal.aps, calibration, new), found)


def test_the_penalty_of_raps_is_mapies_for_the_same_lambda_and_rank(draw):
    # MAPIE chooses both on a fifth of the calibration images; here they are given.
    (probabilities, labels), _ = draw
    u = np.random.default_rng(0).random(len(labels))
    true = labels[:, None]
    without = np.take_along_axis(conformal.aps(probabilities, u), true, axis=1)
    rank = (probabilities > np.take_along_axis(probabilities, true, axis=1)).sum(axis=1) + 1

    found = mapie_sets.RAPSConformityScore._regularize_conformity_score(
        np.array([2]), 0.1, without.copy(), rank
    )

    own = np.take_along_axis(conformal.raps(probabilities, u, penalty=0.1, free=2), true, axis=1)
    np.testing.assert_allclose(own, found[..., 0], atol=1e-12)
    assert (own > without).any() and (own == without).any()


def test_by_default_mapies_sets_of_aps_hold_one_class_more_and_cover_too_much(draw):
    calibration, (new, labels) = draw
    own = of_ours(conformal.aps, calibration, new)

    _, found = mapie_of("aps", calibration, new)

    assert (found >= own).all() and found.sum() > own.sum()
    each = np.arange(len(labels))
    assert found[each, labels].mean() > own[each, labels].mean() > 0.85


def test_mapie_refuses_eight_images_for_which_our_sets_hold_every_class(draw):
    (probabilities, labels), (new, _) = draw
    few = probabilities[:8], np.arange(8) % CLASSES

    assert of_ours(conformal.lac, few, new).all()
    with pytest.raises(ValueError, match="Number of samples of the score is too low"):
        mapie_of("lac", few, new)


@pytest.mark.parametrize("new, is_in", [(4.5, True), (8.5, True), (9.0, True), (9.5, False)])
def test_a_set_holds_a_class_as_crepes_does_except_above_every_known_score(new, is_in):
    known = np.arange(1.0, 10)
    peer = crepes.ConformalClassifier()
    peer.fit(known)

    own = new <= conformal.quantile(known, ALPHA)

    found = peer.predict_set(np.array([[new]]), confidence=1 - ALPHA, smoothing=False)
    assert own == is_in
    # Of a score above all nine the p is 1 / 10, which crepes takes for not below 0.1. At a rank of
    # ceil(10 x 0.9) = 9 the set may leave it out: 9 of 10 new scores are no larger than the ninth.
    assert bool(found[0, 0]) == (is_in or new > 9)


def test_class_conditional_sets_are_those_of_crepes_where_no_rank_is_at_the_edge():
    rng = np.random.default_rng(0)
    # 97 and 203 images: 98 x 0.1 and 204 x 0.1 are no whole numbers.
    labels = np.repeat([0, 1], [97, 203])
    strangeness = rng.random((300, 2))
    new = rng.random((200, 2))
    peer = crepes.ConformalClassifier()
    peer.fit(strangeness[np.arange(300), labels], bins=labels)

    own = conformal.sets(new, conformal.calibrate(strangeness, labels, ALPHA))

    for k in (0, 1):
        bins = np.full(200, k)
        found = peer.predict_set(new[:, [k]], bins=bins, confidence=1 - ALPHA, smoothing=False)
        np.testing.assert_array_equal(own[:, k], found[:, 0].astype(bool))


def test_the_paired_test_of_two_aucs_is_that_of_mlstatkit(monkeypatch):
    monkeypatch.setattr(intervals, "LEAST", 1)
    each = np.arange(10)

    found = auc_intervals.auc_difference(LABELS, OTHERS, SCORES, each)

    z, p, _, _, first, second, info = Delong_test(LABELS, SCORES, OTHERS)
    assert info["method"] == "delong"
    assert (second - first, z, p) == pytest.approx((-0.2, -1.414214, 0.157299), abs=1e-6)
    assert found.interval.value == pytest.approx(second - first)
    assert found.interval.value / found.standard_error == pytest.approx(z)
    assert found.p == pytest.approx(p)


def test_the_variance_of_an_auc_is_that_of_mlstatkit():
    value, *components = auc_intervals.auc_components(LABELS, SCORES)
    variance = auc_intervals.auc_variance(LABELS, tuple(components), np.arange(10))

    # Of which MLstatkit gives an interval on the scale of the AUC, cut at 1.
    _, _, (low, _), *_ = Delong_test(LABELS, SCORES, OTHERS)

    assert variance == pytest.approx(0.0312)
    assert (value - low) / stats.norm.ppf(0.975) == pytest.approx(np.sqrt(variance))
