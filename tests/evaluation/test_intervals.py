"""Worked values by hand, and how often the intervals hold what they should."""

import numpy as np
import pytest
from scipy import stats

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import intervals

LABELS = np.array([1] * 5 + [0] * 5)
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.75, 0.5, 0.4, 0.3, 0.1])
OTHERS = np.array([0.9, 0.5, 0.6, 0.3, 0.2, 0.7, 0.55, 0.45, 0.35, 0.1])
EACH = np.arange(10)
# Two images of patients 1, 2, 4 and 5; patients 2 and 4 have both classes.
PATIENTS = np.array([1, 1, 2, 3, 4, 2, 4, 5, 5, 6])


@pytest.fixture
def any_number(monkeypatch):
    monkeypatch.setattr(intervals, "LEAST", 1)


def test_a_bootstrap_holds_no_more_images_at_once_and_draws_the_same(monkeypatch):
    patients = np.arange(5).repeat(40)
    values = np.arange(200.0)
    sizes = []

    def mean(weights):
        sizes.append(weights.size)
        return weights @ values / weights.sum(axis=1)

    # 100 draws of 5 patients are one piece.
    monkeypatch.setattr(intervals, "CHUNK", 500)
    found = intervals.bootstrap(mean, patients, num_resamples=100)
    assert max(sizes) <= 500

    weights = np.concatenate(list(intervals.resampled_weights(5, 100, seed=0)))
    np.testing.assert_array_equal(found, mean(weights[:, patients]))


@pytest.mark.parametrize("patients, expected", [(EACH, 0.0312), (PATIENTS, 0.0360619)])
def test_the_variance_of_an_auc_is_delongs_and_obuchowskis(patients, expected):
    auc, *components = auc_intervals.auc_components(LABELS, SCORES)

    assert auc == pytest.approx(0.76)
    variance = auc_intervals.auc_variance(LABELS, tuple(components), patients)
    assert variance == pytest.approx(expected, abs=5e-8)


def test_a_paired_difference_is_that_of_delong(any_number):
    found = auc_intervals.auc_difference(LABELS, OTHERS, SCORES, EACH)

    assert found.interval.value == pytest.approx(-0.2)
    assert found.standard_error == pytest.approx(0.141421, abs=1e-6)
    assert found.p == pytest.approx(0.157299, abs=1e-6)
    assert found.interval.low < -0.2 < found.interval.high


def test_the_interval_of_an_auc_lies_in_0_to_1_and_is_of_the_logit(any_number):
    found = auc_intervals.auc(LABELS, SCORES, EACH)

    logits = [np.log(end / (1 - end)) for end in (found.low, found.value, found.high)]
    half = 1.959964 * np.sqrt(0.0312) / (0.76 * 0.24)
    np.testing.assert_allclose(np.diff(logits), [half, half], rtol=1e-6)
    assert 0 < found.low < found.high < 1


@pytest.mark.parametrize(
    "labels, scores, reason",
    [
        (LABELS, SCORES, "n = 5 patients with melanoma images, 10 needed"),
        (np.ones(10, int), SCORES, "n = 10 melanomas of 10 images"),
        (np.repeat([1, 0], 30), np.repeat([0.9, 0.1], 30), "perfect separation"),
        (np.repeat([1, 0], [30, 9]), np.linspace(0, 1, 39), "n = 9 patients with other"),
    ],
)
def test_an_auc_of_too_little_is_not_estimable(labels, scores, reason):
    found = auc_intervals.auc(labels, scores, np.arange(len(labels)))

    assert (found.low, found.high) == (None, None)
    assert reason in found.method and "not estimable" in str(found)


@pytest.mark.parametrize(
    "function, count, total, expected",
    [
        (intervals.proportion, 81, 263, (0.2553, 0.3662)),
        (intervals.exact_proportion, 81, 263, (0.2527, 0.3676)),
        (intervals.exact_proportion, 0, 20, (0, 0.1684)),
    ],
)
def test_intervals_of_proportions_are_wilsons_and_the_exact_ones(function, count, total, expected):
    found = function(count, total)

    assert (found.low, found.high) == pytest.approx(expected, abs=5e-5)
    assert str(total) in found.method


def test_mcnemar_is_exact():
    assert intervals.mcnemar(2, 10) == pytest.approx(0.038574, abs=1e-6)
    assert intervals.mcnemar(0, 0) == 1


def test_holm_is_as_by_hand():
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert intervals.holm([]) == []


def test_a_bootstrap_of_means_draws_patients_and_not_images():
    # One patient has 90 of 100 images; the spread is that of 11 patients.
    patients = np.r_[np.zeros(90, int), np.arange(1, 11)]
    values = np.r_[np.ones(90), np.zeros(10)][:, None]

    (found,) = intervals.means(values, patients)

    assert found.value == pytest.approx(0.9)
    # It is not drawn in (10/11)^11 = 35 % of the draws.
    assert found.low == 0 and "11 patients" in found.method


@pytest.mark.parametrize("value, expected", [(1.0, (0.7354, 1)), (0.0, (0, 0.2646))])
def test_patients_who_are_all_alike_leave_it_open_what_others_are_like(value, expected):
    # 12 of 12 by Clopper and Pearson: (1 - 0.025 ** (1 / 12)) from the end.
    (found,) = intervals.means(np.full((24, 1), value), np.arange(24) // 2)

    assert (found.low, found.high) == pytest.approx(expected, abs=1e-3)
    (other,) = intervals.means(np.full((24, 1), 0.8), np.arange(24) // 2)
    assert other.low is None and "12 patients are alike" in other.method


def test_scores_that_are_all_alike_have_no_interval_and_are_not_called_perfect():
    found = auc_intervals.auc(np.repeat([0, 1], 20), np.full(40, 0.3), np.arange(40))

    assert found.value == 0.5 and found.low is None and "all scores are alike" in found.method


def test_missing_values_do_not_count():
    values = np.c_[np.arange(20.0), np.r_[np.full(12, np.nan), np.arange(8.0)]]

    first, second = intervals.means(values, np.arange(20))

    assert first.low < first.value == 9.5 < first.high
    assert second.value == 3.5 and second.low is None and "n = 8 patients" in second.method


def test_a_weighted_auc_is_that_of_repeated_images():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), np.round(rng.random(60), 1)
    weights = rng.integers(0, 4, (5, 60))

    found = auc_intervals.weighted_auc(labels, scores)(weights)

    for value, drawn in zip(found, weights, strict=True):
        expected, *_ = auc_intervals.auc_components(
            np.repeat(labels, drawn), np.repeat(scores, drawn)
        )
        assert value == pytest.approx(expected)


def test_the_bootstrap_repeats_with_its_seed():
    rng = np.random.default_rng(0)
    labels, scores, patients = rng.integers(0, 2, 200), rng.random(200), rng.integers(0, 60, 200)

    first, again, other = (
        auc_intervals.bootstrap_auc(labels, scores, patients, num_resamples=200, seed=seed)
        for seed in (0, 0, 1)
    )

    assert first == again != other


def simulate(rng, num_patients):
    """Labels, scores and patients: one to four images of a patient, which resemble each other."""
    patients = np.repeat(np.arange(num_patients), rng.integers(1, 5, num_patients))
    labels = (rng.random(num_patients) < 0.4).astype(int)[patients]
    shared = rng.normal(size=num_patients)[patients]
    own = rng.normal(size=len(patients))
    return labels, 1.2 * labels + 0.8 * shared + 0.6 * own, patients


def test_intervals_by_patient_hold_the_truth_in_95_of_100_draws_and_by_image_they_do_not():
    rng = np.random.default_rng(0)
    truth = stats.norm.cdf(1.2 / np.sqrt(2 * (0.64 + 0.36)))
    draws = 400
    covered = {"obuchowski": 0, "bootstrap": 0, "delong": 0}
    for draw in range(draws):
        labels, scores, patients = simulate(rng, 200)
        found = {
            "obuchowski": auc_intervals.auc(labels, scores, patients),
            "bootstrap": auc_intervals.bootstrap_auc(
                labels, scores, patients, num_resamples=200, seed=draw
            ),
            "delong": auc_intervals.auc(labels, scores, np.arange(len(labels))),
        }
        for name, interval in found.items():
            covered[name] += interval.low <= truth <= interval.high

    rates = {name: count / draws for name, count in covered.items()}
    assert 0.92 <= rates["obuchowski"] <= 0.98
    assert 0.92 <= rates["bootstrap"] <= 0.98
    assert rates["delong"] < 0.9


def test_a_difference_of_groups_without_a_common_patient_adds_their_variances(any_number):
    # Set A twice, once by patient (variance .0360619) and once by image (.0312).
    labels, patients = np.tile(LABELS, 2), np.r_[PATIENTS, 100 + EACH]
    is_first = np.arange(20) < 10

    found = auc_intervals.group_difference(
        labels, np.r_[OTHERS, SCORES], patients, (is_first, ~is_first)
    )

    _, *components = auc_intervals.auc_components(LABELS, OTHERS)
    first = auc_intervals.auc_variance(LABELS, tuple(components), PATIENTS)
    half = 1.959964 * np.sqrt(first + 0.0312)
    assert found.value == pytest.approx(-0.2)
    assert (found.low, found.high) == pytest.approx((-0.2 - half, -0.2 + half), abs=1e-6)
    assert found.method == "Obuchowski, 16 patients"


def test_a_difference_of_groups_of_the_same_patients_is_the_paired_one(any_number):
    # Each patient has one image in either group: DeLong's paired standard error, .141421.
    is_first = np.arange(20) < 10

    found = auc_intervals.group_difference(
        np.tile(LABELS, 2), np.r_[OTHERS, SCORES], np.tile(EACH, 2), (is_first, ~is_first)
    )

    half = 1.959964 * 0.141421
    assert (found.low, found.high) == pytest.approx((-0.2 - half, -0.2 + half), abs=1e-5)


@pytest.mark.parametrize(
    "change, value, reason",
    [
        ({"labels": np.zeros(80, int)}, None, "this group: n = 0 melanomas of 40 images"),
        ({"patients": np.r_[np.arange(40), np.arange(40) % 4]}, 0, "the others: n = 2 patients"),
        ({"scores": np.full(80, 0.5)}, 0, "this group: perfect separation, or scores that are"),
    ],
)
def test_a_difference_of_groups_of_too_little_is_not_estimable(change, value, reason):
    of_group = np.tile([1, 0], 20), np.tile(np.random.default_rng(0).random(40), 2)
    given = {"labels": np.tile(of_group[0], 2), "scores": of_group[1], "patients": np.arange(80)}
    is_first = np.arange(80) < 40

    found = auc_intervals.group_difference(**given | change, sides=(is_first, ~is_first))

    assert (found.value, found.low, found.high) == (value, None, None)
    assert found.method.startswith(reason)


def marked(rng, num_patients):
    """Labels, scores, patients and whether a ruler is there, of a patient's three images.

    Of one half of the patients the melanoma has the ruler and the nevi have not, of the other half
    the nevi alone: what a patient's images share moves the two AUCs against each other.
    """
    patients = np.repeat(np.arange(num_patients), 3)
    labels = np.tile([1, 0, 0], num_patients)
    shared = rng.normal(size=num_patients)[patients]
    scores = labels + 1.2 * shared + 0.6 * rng.normal(size=len(patients))
    return labels, scores, patients, (labels == 1) == (patients % 2 == 0)


def test_intervals_of_a_difference_hold_0_where_patients_are_in_both_groups():
    rng = np.random.default_rng(0)
    draws, covered, apart = 300, 0, 0
    for _ in range(draws):
        labels, scores, patients, has_ruler = marked(rng, 100)
        sides = has_ruler, ~has_ruler
        found = auc_intervals.group_difference(labels, scores, patients, sides, 0.975)
        covered += found.low <= 0 <= found.high
        # As if nobody were in both.
        patients = patients + 100 * has_ruler
        found = auc_intervals.group_difference(labels, scores, patients, sides, 0.975)
        apart += found.low <= 0 <= found.high

    assert 0.955 <= covered / draws <= 0.995
    assert apart / draws < 0.93
