"""Prediction sets: worked values, the bands they must keep, and what a published rule misses."""

import numpy as np
import pytest
from scipy import special

from lbunet_tf.evaluation import conformal
from lbunet_tf.serving import prediction_sets

P = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
U = np.array([0.4, 0.4])


def test_strangeness_by_hand():
    np.testing.assert_allclose(conformal.lac(P), 1 - P)
    np.testing.assert_allclose(conformal.aps(P, U), [[0.3, 0.68, 0.92], [0.96, 0.82, 0.42]])
    # A penalty of 0.1 from the second rank on.
    np.testing.assert_allclose(
        conformal.raps(P, U, penalty=0.1, free=1), [[0.3, 0.78, 1.12], [1.16, 0.92, 0.42]]
    )
    np.testing.assert_allclose(
        conformal.saps(P, U, weight=0.2), [[0.2, 0.58, 0.78], [0.98, 0.78, 0.28]]
    )
    np.testing.assert_array_equal(conformal.logit_threshold(P), -P)


def test_raps_without_a_penalty_is_aps_bit_for_bit():
    rng = np.random.default_rng(0)
    p, u = special.softmax(rng.normal(size=(500, 7)), axis=1), rng.random(500)

    np.testing.assert_array_equal(conformal.raps(p, u, penalty=0.0), conformal.aps(p, u))


def test_the_rank_of_a_quantile():
    assert conformal.quantile(np.arange(1.0, 10), 0.1) == 9
    assert conformal.quantile(np.arange(1.0, 9), 0.1) == np.inf
    assert conformal.quantile(np.arange(1.0, 20), 0.1) == 18
    assert conformal.least(0.1) == 9 and conformal.least(0.05) == 19


def test_a_new_score_above_every_known_one_is_out():
    limit = conformal.quantile(np.arange(1.0, 10), 0.1)

    assert not conformal.sets(np.array([[9.5]]), np.array([limit]))[0, 0]


def test_patients_have_one_weight_each_however_many_images_they_have():
    scores = np.array([0.1, 0.1, 0.1, 0.1, 0.8, 0.6])
    patients = np.array([1, 1, 1, 1, 2, 3])

    assert conformal.quantile(scores, 0.5, patients) == 0.6
    assert conformal.quantile(scores, 0.5) == 0.1


@pytest.mark.parametrize(
    "num_calibration, num_test, expected",
    [(100, 1000, (0.833, 0.953)), (167, 167, (0.838, 0.958))],
)
def test_the_band_of_a_coverage_is_beta_binomial(num_calibration, num_test, expected):
    found = conformal.coverage_band(num_calibration, num_test, 0.1)

    assert found == pytest.approx(expected, abs=0.0015)


def draw(rng, count, sharpness=1.0):
    """(logits, labels) of eight classes: the logits are those that the labels are drawn by."""
    logits = 2 * rng.normal(size=(count, 8))
    p = special.softmax(logits, axis=1)
    labels = (p.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return sharpness * logits, labels


@pytest.mark.parametrize("name", conformal.STRANGENESS)
def test_every_rule_covers_as_often_as_it_says(name):
    rng = np.random.default_rng(0)
    rule, alpha, count = conformal.STRANGENESS[name], 0.1, 200
    rates = []
    for _ in range(200):
        strange = []
        for size in (count, 500):
            logits, labels = draw(rng, size, sharpness=1.5)
            values = logits if name == "draps_split" else special.softmax(logits, axis=1)
            strange.append((rule(values, rng.random(size)), labels))
        (known, known_labels), (new, new_labels) = strange
        limits = conformal.calibrate(known, known_labels, alpha, is_class_conditional=False)
        rates.append(conformal.sets(new, limits)[np.arange(500), new_labels].mean())

    error = 3 * np.std(rates) / np.sqrt(len(rates))
    assert 1 - alpha - error <= np.mean(rates) <= 1 - alpha + 1 / (count + 1) + error


def test_draps_as_published_by_hand():
    training = np.array([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])

    # floor(3 * 0.7) = 2: the second smallest of 1, 2, 3.
    found = conformal.draps_published(
        np.array([[5.0, 2.0, 0.0], [1.5, 1.0, 0.0]]), training, np.array([0, 1, 2]), alpha=0.7
    )

    assert found.tolist() == [[True, True, False], [True, False, False]]


def test_draps_as_published_covers_too_little_where_training_was_learnt_by_heart(caplog):
    rng = np.random.default_rng(0)
    training, training_labels = draw(rng, 2000)
    # What a network remembers: its training labels.
    training[np.arange(2000), training_labels] += 4
    new, labels = draw(rng, 2000)

    published = conformal.draps_published(new, training, training_labels)
    known, known_labels = draw(rng, 2000)
    limits = conformal.calibrate(-known, known_labels, 0.1, is_class_conditional=False)
    split = conformal.sets(-new, limits)

    each = np.arange(2000)
    assert published[each, labels].mean() < 0.8
    assert split[each, labels].mean() == pytest.approx(0.9, abs=0.025)
    assert "from training images" in caplog.text


def test_each_class_is_covered_where_one_is_rare_and_hard():
    rng = np.random.default_rng(0)
    covered = {True: [], False: []}
    for _ in range(100):
        labels = (rng.random(2000) < 0.1).astype(int)
        scores = special.expit(rng.normal(size=2000) + 1.5 * labels - 2)
        known, new = slice(0, 1000), slice(1000, 2000)
        strange = conformal.lac(np.stack([1 - scores, scores], axis=1))
        for conditional, rates in covered.items():
            limits = conformal.calibrate(
                strange[known], labels[known], 0.1, is_class_conditional=conditional
            )
            found = conformal.sets(strange[new], limits)[labels[new] == 1, 1]
            rates.append(found.mean())

    assert np.mean(covered[True]) == pytest.approx(0.905, abs=0.02)
    assert np.mean(covered[False]) < 0.5


def test_patients_of_many_hard_images_are_covered_by_their_weights_and_not_by_pooling():
    rng = np.random.default_rng(0)
    rates = {"patients": [], "pooled": []}
    for _ in range(300):
        difficulty = rng.random(61)
        # Easy patients have many images.
        counts = np.where(difficulty < 0.5, 30, 1)
        patients = np.repeat(np.arange(61), counts)
        scores = difficulty[patients] + 0.1 * rng.random(len(patients))
        new = patients == rng.integers(61)
        limits = {
            "patients": conformal.quantile(scores[~new], 0.1, patients[~new]),
            "pooled": conformal.quantile(scores[~new], 0.1),
        }
        for name, limit in limits.items():
            rates[name].append((scores[new] <= limit).mean())

    assert np.mean(rates["patients"]) >= 0.88
    assert np.mean(rates["pooled"]) < 0.75


def test_a_group_that_is_too_small_has_every_class_and_a_warning(caplog):
    labels = np.repeat([0, 1], [50, 8])
    scores = np.linspace(0, 1, 58)

    found = conformal.fit_binary(labels, scores, np.arange(58), 0.1)

    assert found.melanoma == 0 and found.benign < 1
    assert set(found.names(scores)) == {"refer", "melanoma"}
    assert "group 1 has 8 patients, 9 needed at alpha 0.1" in caplog.text


@pytest.mark.parametrize("score", [0.05, 0.07, 0.3, 0.0, 1.0])
def test_scores_that_are_all_alike_rule_nothing_out(score):
    labels, scores = np.repeat([0, 1], 100), np.full(200, score)

    found = conformal.fit_binary(labels, scores, np.arange(200), 0.1)

    assert set(found.names(scores)) == {"refer"}


def test_the_default_is_lac_by_class():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 300), np.round(rng.random(300), 3)

    found = conformal.fit_binary(labels, scores, np.arange(300), 0.1)
    strange = conformal.lac(np.stack([1 - scores, scores], axis=1))
    limits = conformal.calibrate(strange, labels, 0.1)

    expected = conformal.sets(np.round(strange, 6), np.round(limits, 6))
    names = np.array(prediction_sets.SETS)[expected[:, 0] + 2 * expected[:, 1]]
    np.testing.assert_array_equal(found.names(scores), names)


def test_binary_sets_in_words():
    found = prediction_sets.BinarySets(benign=0.3, melanoma=0.2)
    assert found.names([0.1, 0.2, 0.25, 0.3, 0.4]).tolist() == [
        "benign",
        "refer",
        "refer",
        "refer",
        "melanoma",
    ]
    assert prediction_sets.BinarySets(benign=0.2, melanoma=0.4).names([0.3]).tolist() == ["neither"]
    measured = conformal.measure_binary(
        found, np.array([0, 1, 1]), np.array([0.1, 0.1, 0.4]), np.array(["a", "b", "c"])
    )
    assert measured["coverage"] == pytest.approx(2 / 3)
    assert measured["coverage_melanoma"] == 0.5 and measured["coverage_benign"] == 1
    assert measured["fraction_benign"] == pytest.approx(2 / 3)


def test_coverage_counts_each_patient_once():
    found = prediction_sets.BinarySets(0.5, 0.3)
    # Three images of one patient are covered, those of two others are not.
    labels, scores = np.ones(5, int), np.array([0.9, 0.9, 0.9, 0.1, 0.1])

    measured = conformal.measure_binary(found, labels, scores, np.array(list("aaabc")))

    assert measured["coverage"] == measured["coverage_melanoma"] == pytest.approx(1 / 3)
    assert measured["coverage_benign"] is None
    assert measured["fraction_melanoma"] == 0.6
