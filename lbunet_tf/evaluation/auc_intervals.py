"""The AUC of images of patients: its variance, its interval, and the difference of two."""

import dataclasses
import itertools
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
from scipy import stats

from lbunet_tf.evaluation import intervals

# What a group and the images that it is compared with are called in reasons.
SIDES = ("this group", "the others")


def auc_components(labels: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Returns (AUC, (M,) of each positive, (N,) of each negative): DeLong's components.

    That of a positive is the share of negatives that it outranks, ties counted half; that of a
    negative the share of positives that outrank it.
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    count = len(positive)
    of_positive = (ranks[:count] - stats.rankdata(positive)) / len(negative)
    of_negative = 1 - (ranks[count:] - stats.rankdata(negative)) / count
    return float(of_positive.mean()), of_positive, of_negative


def auc_variance(
    labels: np.ndarray, components: tuple[np.ndarray, np.ndarray], patients: np.ndarray
) -> float:
    """Returns the variance of an AUC, or of a difference of two (Obuchowski 1997).

    Where every image has a patient of its own it is that of DeLong et al. (1988).

    Args:
        labels: (N,) 0 or 1.
        components: Of positives and negatives, as `auc_components` gives them, or differences.
        patients: (N,) of any kind.
    """
    _, number = np.unique(patients, return_inverse=True)
    sums = _patient_sums(labels, components, number, number.max() + 1)
    return _covariance(sums, sums)


def _patient_sums(labels, components, number, total):
    """Returns ((2, total) centred sums by class and patient, (2, total) bool: who has images).

    The sums are divided by the images of the class; positives come first.
    """
    sums, has_images = np.zeros((2, total)), np.zeros((2, total), bool)
    for row, (label, values) in enumerate(zip((1, 0), components, strict=True)):
        of_patient = number[labels == label]
        centred = (values - values.mean()) / len(values)
        sums[row] = np.bincount(of_patient, centred, total)
        has_images[row, of_patient] = True
    return sums, has_images


def _covariance(first, second):
    """Returns the covariance of two AUCs from their `_patient_sums`; with itself the variance.

    0 where no patient has images in both.
    """
    (first_sums, first_has), (second_sums, second_has) = first, second
    has_images = first_has | second_has
    found = 0.0
    for one, other in itertools.product((0, 1), repeat=2):
        count = (has_images[one] if one == other else has_images.any(axis=0)).sum()
        found += count / (count - 1) * first_sums[one] @ second_sums[other]
    return float(found)


def auc(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    confidence: float = intervals.CONFIDENCE,
) -> intervals.Interval:
    """Returns the AUC with an interval on the logit scale, of Obuchowski's variance.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,), larger for melanoma.
        patients: (N,) of any kind.
        confidence: Of the interval.
    """
    if not 0 < labels.sum() < len(labels):
        return intervals.not_estimable(
            None, f"n = {int(labels.sum())} melanomas of {len(labels)} images"
        )
    value, *components = auc_components(labels, scores)
    reason = intervals.too_few(labels, patients)
    if reason:
        return intervals.not_estimable(value, reason)
    variance = auc_variance(labels, tuple(components), patients)
    if variance <= 0 or not 0 < value < 1:
        reason = "perfect separation" if value in (0, 1) else "all scores are alike"
        return intervals.not_estimable(value, f"{reason} has no variance")
    # The delta method: d logit(a) / da = 1 / (a (1 - a)).
    middle = np.log(value / (1 - value))
    half = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(variance) / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-(middle + np.array([-half, half]))))
    method = f"Obuchowski, logit scale, {len(np.unique(patients))} patients"
    return intervals.Interval(value, float(low), float(high), method)


@dataclasses.dataclass(frozen=True)
class Difference:
    """First minus second, on the same images.

    Attributes:
        interval: Of the difference.
        standard_error: None where it is not estimable.
        p: Two-sided, against no difference; None as well.
    """

    interval: intervals.Interval
    standard_error: float | None
    p: float | None


def auc_difference(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    patients: np.ndarray,
    confidence: float = intervals.CONFIDENCE,
) -> Difference:
    """Returns the difference of two AUCs of the same images, by patient (Obuchowski 1997).

    Args:
        labels: (N,) 0 or 1.
        first: (N,) scores.
        second: (N,) scores.
        patients: (N,) of any kind.
        confidence: Of the interval.
    """
    if not 0 < labels.sum() < len(labels):
        return Difference(intervals.not_estimable(None, "one class only"), None, None)
    pairs = [auc_components(labels, scores) for scores in (first, second)]
    value = pairs[0][0] - pairs[1][0]
    reason = intervals.too_few(labels, patients)
    if reason:
        return Difference(intervals.not_estimable(value, reason), None, None)
    components = tuple(a - b for a, b in zip(pairs[0][1:], pairs[1][1:], strict=True))
    variance = auc_variance(labels, components, patients)
    if variance <= 0:
        reason = "both rank every image alike"
        return Difference(intervals.not_estimable(value, reason), None, None)
    error = float(np.sqrt(variance))
    half = float(stats.norm.ppf((1 + confidence) / 2) * error)
    method = f"Obuchowski, paired, {len(np.unique(patients))} patients"
    interval = intervals.Interval(value, value - half, value + half, method)
    return Difference(interval, error, float(2 * stats.norm.sf(abs(value) / error)))


def group_difference(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    sides: Sequence[np.ndarray],
    confidence: float = intervals.CONFIDENCE,
) -> intervals.Interval:
    """Returns the AUC of a group minus that of other images, by patient (Obuchowski 1997).

    A patient may have images on both sides: the covariance of the two AUCs counts.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,), larger for melanoma.
        patients: (N,) of any kind.
        sides: (N,) bool of the group, and of the images that it is compared with.
        confidence: Of the interval.
    """
    _, number = np.unique(patients, return_inverse=True)
    (own, own_sums, own_reason), (other, other_sums, other_reason) = (
        _of_side(name, is_in, labels, scores, number)
        for name, is_in in zip(SIDES, sides, strict=True)
    )
    difference = None if None in (own, other) else own - other
    if own_reason or other_reason:
        return intervals.not_estimable(difference, own_reason or other_reason)
    apart = _covariance(own_sums, own_sums) + _covariance(other_sums, other_sums)
    variance = apart - 2 * _covariance(own_sums, other_sums)
    if variance <= 0:
        return intervals.not_estimable(difference, "both sides rank every patient alike")
    half = float(stats.norm.ppf((1 + confidence) / 2) * np.sqrt(variance))
    method = f"Obuchowski, {len(np.unique(number[sides[0] | sides[1]]))} patients"
    return intervals.Interval(difference, difference - half, difference + half, method)


def _of_side(name, is_in, labels, scores, number):
    """Returns (AUC, its `_patient_sums`, "" or why there is no variance) of one side."""
    total, labels = number.max() + 1, labels[is_in]
    if not 0 < labels.sum() < len(labels):
        return None, None, f"{name}: n = {int(labels.sum())} melanomas of {len(labels)} images"
    value, *components = auc_components(labels, scores[is_in])
    sums = _patient_sums(labels, tuple(components), number[is_in], total)
    reason = intervals.too_few(labels, number[is_in])
    if not reason and _covariance(sums, sums) <= 0:
        reason = "perfect separation, or scores that are all alike, has no variance"
    return value, sums, f"{name}: {reason}" if reason else ""


def weighted_auc(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function of (R, N) weights that gives (R,) AUCs: the scores are sorted once."""
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)
    is_positive = labels[order] == 1

    def of_weights(weights):
        found = np.empty(len(weights))
        for row, drawn in enumerate(weights):
            drawn = drawn[order].astype("float64")
            positive = np.add.reduceat(np.where(is_positive, drawn, 0), starts)
            negative = np.add.reduceat(np.where(is_positive, 0, drawn), starts)
            below = np.cumsum(negative) - negative
            pairs = positive.sum() * negative.sum()
            found[row] = (positive * (below + negative / 2)).sum() / pairs if pairs else np.nan
        return found

    return of_weights


def bootstrap_auc(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    confidence: float = intervals.CONFIDENCE,
    num_resamples: int = intervals.RESAMPLES,
    seed: int = 0,
) -> intervals.Interval:
    """Returns the AUC with a percentile interval of the patient bootstrap; arguments as `auc`."""
    if not 0 < labels.sum() < len(labels):
        return intervals.not_estimable(
            None, f"n = {int(labels.sum())} melanomas of {len(labels)} images"
        )
    of_weights = weighted_auc(labels, scores)
    value = float(of_weights(np.ones((1, len(labels))))[0])
    reason = intervals.too_few(labels, patients)
    if reason:
        return intervals.not_estimable(value, reason)
    draws = intervals.bootstrap(of_weights, patients, num_resamples, seed)
    method = f"bootstrap of {len(np.unique(patients))} patients, {num_resamples} draws"
    return intervals.percentiles(value, draws, confidence, method)
