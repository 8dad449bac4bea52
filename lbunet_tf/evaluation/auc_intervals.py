"""The AUC of images of patients: its variance, its interval, and the difference of two."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import stats

from lbunet_tf.evaluation import intervals


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
    total = number.max() + 1
    sums = []
    for label, values in zip((1, 0), components, strict=True):
        of_patient = number[labels == label]
        centred = np.bincount(of_patient, values - values.mean(), total)
        sums.append((centred, len(np.unique(of_patient)), len(values)))
    (x, patients_x, m), (y, patients_y, n) = sums
    return float(
        patients_x / ((patients_x - 1) * m**2) * (x**2).sum()
        + patients_y / ((patients_y - 1) * n**2) * (y**2).sum()
        + 2 * total / ((total - 1) * m * n) * (x * y).sum()
    )


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
