"""Worked values of thresholds with a guarantee, partial areas and net benefit."""

import numpy as np
import pandas as pd
import pytest
from scipy import special
from scipy import stats
from sklearn import metrics as sklearn_metrics

from lbunet_tf.evaluation import decision_curve
from lbunet_tf.evaluation import operating_point
from lbunet_tf.evaluation import partial_auc

LABELS = np.array([1] * 5 + [0] * 5)
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.75, 0.5, 0.4, 0.3, 0.1])
TIED = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([0.9, 0.5, 0.5, 0.5, 0.4, 0.5, 0.1])
CONSTANT = np.array([1, 1, 0, 0]), np.full(4, 0.3)
PERFECT = np.array([1, 1, 0, 0]), np.array([0.9, 0.8, 0.2, 0.1])
TINY = np.array([0, 1, 1, 1, 0, 0]), np.array([1e-18, 2e-18, 3e-17, 4e-17, 5e-18, 1e-19])
Rule = operating_point.Rule


@pytest.mark.parametrize(
    "labels_and_scores, above_80, kaggle",
    [
        ((LABELS, SCORES), 0.68, 0.04),
        (TIED, 0.635, 0.115),
        (CONSTANT, 0.18, 0.02),
        (PERFECT, 1, 0.2),
        (TINY, None, 0.13333),
    ],
)
def test_partial_areas_are_those_of_isic_and_of_kaggle(labels_and_scores, above_80, kaggle):
    found = partial_auc.auc_sens_80(*labels_and_scores)

    assert above_80 is None or found == pytest.approx(above_80, abs=1e-12)
    area = partial_auc.kaggle_2024_pauc(*labels_and_scores)
    assert area == pytest.approx(kaggle, abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_the_area_of_kaggle_is_what_scikit_learn_gives_on_flipped_scores(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [40, 15]))
    scores = np.round(rng.random(55) + 0.3 * labels, 1)

    # Kaggle's metric: McClish's, undone.
    standardised = sklearn_metrics.roc_auc_score(1 - labels, -scores, max_fpr=0.2)
    expected = 0.5 * 0.2**2 + (0.2 - 0.5 * 0.2**2) * (2 * standardised - 1)

    assert partial_auc.kaggle_2024_pauc(labels, scores) == pytest.approx(expected)


@pytest.mark.parametrize("count, expected", [(58, 0), (59, 1), (100, 2), (167, 4), (200, 5)])
def test_the_order_statistic_of_a_guarantee(count, expected):
    assert operating_point.rank(count, 0.95, 0.95) == expected


def test_59_melanomas_are_needed_for_95_percent_with_95_percent():
    assert operating_point.needed(0.95, 0.95) == 59
    labels = np.r_[np.ones(58, int), np.zeros(50, int)]
    scores = np.linspace(1, 0, 108)

    with pytest.raises(ValueError, match="59 needed. Received: 58 patients"):
        operating_point.choose(
            labels, scores, np.arange(108), Rule(target_sensitivity=0.95, guarantee=0.95)
        )


def test_a_guarantee_is_broken_as_seldom_as_it_says():
    rng = np.random.default_rng(0)
    rule = Rule(target_sensitivity=0.95, guarantee=0.95)
    plain = Rule(target_sensitivity=0.95)
    broken = {"guarantee": 0, "plain": 0}
    draws = 2000
    labels = np.repeat([1, 0], 100)
    for _ in range(draws):
        # A melanoma's score is uniform in 0..1, so the sensitivity at t is 1 - t.
        scores = rng.random(200)
        for name, of in (("guarantee", rule), ("plain", plain)):
            broken[name] += 1 - operating_point.choose(labels, scores, np.arange(200), of) < 0.95

    assert broken["guarantee"] / draws == pytest.approx(0.036, abs=0.02)
    assert broken["plain"] / draws > 0.5


def test_a_patient_of_several_melanomas_counts_once_by_its_lowest():
    patients = np.r_[np.repeat(np.arange(60), 2), np.arange(100, 150)]
    labels = np.r_[np.ones(120, int), np.zeros(50, int)]
    scores = np.r_[np.tile([0.9, 0.0], 60) + np.repeat(np.arange(60), 2) / 1000, np.zeros(50)]
    rule = Rule(target_sensitivity=0.95, guarantee=0.95)

    # 60 patients: the first of the lowest scores, 0.000 to 0.059.
    assert operating_point.choose(labels, scores, patients, rule) == 0
    each = np.arange(170)
    assert operating_point.choose(labels, scores, each, rule) > 0


@pytest.mark.parametrize("target", [0.5, 0.8, 0.95])
def test_targets_hold_on_the_images_themselves_and_no_threshold_is_better(target):
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 300), np.round(rng.random(300), 2)
    each = np.arange(300)

    cut = operating_point.choose(labels, scores, each, Rule(target_sensitivity=target))
    assert (scores[labels == 1] >= cut).mean() >= target
    higher = scores[scores >= cut].min()
    assert (scores[labels == 1] > higher).mean() < target

    cut = operating_point.choose(labels, scores, each, Rule(target_specificity=target))
    assert (scores[labels == 0] < cut).mean() >= target
    lower = scores[scores < cut].max()
    assert (scores[labels == 0] < lower).mean() < target


def test_a_cost_ratio_weighs_a_missed_melanoma():
    # Between 0.6 and 0.75: one missed, one false alarm; below 0.2: none missed, four alarms.
    each = np.arange(10)
    assert operating_point.choose(LABELS, SCORES, each, Rule(cost_ratio=1)) > 0.5
    assert operating_point.choose(LABELS, SCORES, each, Rule(cost_ratio=10)) < 0.2


def test_a_threshold_lies_midway_between_two_scores():
    cut = operating_point.choose(LABELS, SCORES, np.arange(10), Rule(target_sensitivity=0.8))

    assert cut == pytest.approx((0.6 + 0.5) / 2)


@pytest.mark.parametrize(
    "rule", [Rule(cost_ratio=0.1), Rule(target_specificity=0.99)], ids=["cost", "specificity"]
)
@pytest.mark.parametrize("top", [0.9, 1.0])
def test_where_nothing_is_to_be_flagged_not_even_a_score_of_1_is(rule, top):
    labels, scores = np.array([1, 1, 0, 0]), np.array([0.1, 0.2, top, top])

    cut = operating_point.choose(labels, scores, np.arange(4), rule)

    assert top < cut <= np.nextafter(1, 2)


def test_one_class_gives_no_operating_point():
    with pytest.raises(ValueError, match="with and without melanoma. Received: 3 melanomas of 3"):
        operating_point.choose(np.ones(3, int), np.ones(3), np.arange(3), Rule())


def test_net_benefit_is_as_by_hand():
    labels = np.repeat([1, 0], [10, 90])
    scores = np.r_[np.repeat([0.5, 0], [8, 2]), np.repeat([0.5, 0], [18, 72])]
    cut = np.array([0.1])

    assert decision_curve.net_benefit(labels, scores, cut) == pytest.approx([0.06])
    assert decision_curve.net_benefit(labels, scores, cut, 0.02) == pytest.approx([-0.00577778])
    everyone = decision_curve.net_benefit(labels, np.ones(100), cut)
    assert everyone == pytest.approx([0], abs=1e-12)


def test_another_prevalence_is_a_shift_of_the_logit():
    logits = special.logit(np.array([0.5, 0.9]))

    found = special.expit(decision_curve.shift_prior(logits, 0.51049, 0.01763))

    assert found == pytest.approx([0.016917, 0.134107], abs=2e-6)


def test_a_decision_curve_is_net_benefit_by_threshold_here_and_elsewhere():
    labels = np.repeat([1, 0], [10, 90])
    scores = np.r_[np.repeat([0.5, 0], [8, 2]), np.repeat([0.5, 0], [18, 72])]

    curve = decision_curve.make_curve(labels, scores, 0.1, 0.02).set_index("threshold")

    row = curve.loc[curve.index[np.abs(curve.index - 0.1).argmin()]]
    assert row["net_benefit"] == pytest.approx(0.06)
    # A probability of 0.5 at a prevalence of 0.1 is 0.155 at 0.02, still above 0.1.
    assert row["net_benefit_at_prevalence"] == pytest.approx(-0.00577778)
    higher = curve.loc[curve.index[np.abs(curve.index - 0.16).argmin()]]
    assert higher["net_benefit"] > 0 and higher["net_benefit_at_prevalence"] == 0
    # Calibrated where half are melanomas, 0.5 says 0.02 at a prevalence of 0.02.
    other = decision_curve.make_curve(labels, scores, 0.5, 0.02).set_index("threshold")
    assert other.loc[row.name, "net_benefit"] == row["net_benefit"]
    assert other.loc[row.name, "net_benefit_at_prevalence"] == 0
    assert row["flag_all"] == pytest.approx(0, abs=1e-12)
    assert row["flag_all_at_prevalence"] == pytest.approx(0.02 - 0.98 / 9)


def test_sensitivity_and_specificity_have_intervals_of_their_patients():
    labels = np.repeat([1, 0], [40, 60])
    scores = np.r_[np.repeat([0.9, 0.1], [30, 10]), np.repeat([0.9, 0.1], [6, 54])]

    found = operating_point.at_threshold(labels, scores, np.arange(100), 0.5)
    wilson = stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert found["sensitivity"].value == 0.75
    assert (found["sensitivity"].low, found["sensitivity"].high) == tuple(wilson)

    repeated = operating_point.at_threshold(labels, scores, np.arange(100) // 2, 0.5)
    assert "bootstrap of 20 patients" in repeated["sensitivity"].method
    few = operating_point.at_threshold(labels, scores, np.arange(100) // 8, 0.5)
    assert few["sensitivity"].low is None and "n = 5 patients" in few["sensitivity"].method


def test_a_guarantee_that_cannot_be_is_refused_before_anything_is_predicted():
    rows = pd.DataFrame(
        {"image_id": list("abcdef"), "label": [1, 1, 1, 0, 0, None], "patient_id": list("ppqrst")}
    )
    rule = Rule(target_sensitivity=0.9, guarantee=0.9)

    with pytest.raises(ValueError, match="22 needed. Received: 2 with melanoma in val .*patient"):
        operating_point.check_possible(rows, rule)
    operating_point.check_possible(rows, Rule(target_sensitivity=0.9))
    with pytest.raises(ValueError, match="val images with and without melanoma. Received: 0 mel"):
        operating_point.check_possible(rows.iloc[:0], Rule(target_sensitivity=0.9))
    operating_point.check_possible(rows, Rule())
