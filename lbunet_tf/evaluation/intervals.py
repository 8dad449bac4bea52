"""Intervals: between which values a number lies, had other patients of the same kind come.

Images of one patient resemble each other, so patients are what is drawn, never images. With fewer
than `LEAST` patients of a class a number has no interval: it is "not estimable".
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
from scipy import stats

LEAST = 10
CONFIDENCE = 0.95
RESAMPLES = 2000
# Weights of so many patients and resamples are in memory at once: 64 MB.
CHUNK = 2**23


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number and its interval.

    Attributes:
        value: The number itself; None where it is not defined.
        low: The lower end, None where it cannot be estimated.
        high: The upper end.
        method: How it was estimated, or why it is not estimable.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str

    def __str__(self):
        if self.value is None:
            return f"not estimable ({self.method})"
        if self.low is None:
            return f"{self.value:.3f} (interval not estimable: {self.method})"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def not_estimable(value: float | None, reason: str) -> Interval:
    """Returns the Interval of a number without one; `reason` counts what was there."""
    return Interval(value, None, None, reason)


def too_few(labels: np.ndarray, patients: np.ndarray) -> str:
    """Returns which class has fewer than `LEAST` patients, "" where none has.

    Args:
        labels: (N,) 0 or 1.
        patients: (N,) of any kind.
    """
    for label, name in ((1, "melanoma"), (0, "other")):
        count = len(np.unique(patients[labels == label]))
        if count < LEAST:
            return f"n = {count} patients with {name} images, {LEAST} needed"
    return ""


def proportion(count: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Returns Wilson's interval of a proportion of independent images (scipy.stats.binomtest)."""
    if not total:
        return not_estimable(None, "n = 0")
    found = stats.binomtest(count, total).proportion_ci(confidence, method="wilson")
    return Interval(count / total, float(found.low), float(found.high), f"Wilson, n = {total}")


def exact_proportion(count: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Returns Clopper and Pearson's interval, whose coverage is never below the confidence."""
    if not total:
        return not_estimable(None, "n = 0")
    found = stats.binomtest(count, total).proportion_ci(confidence, method="exact")
    method = f"Clopper-Pearson, n = {total}"
    return Interval(count / total, float(found.low), float(found.high), method)


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns the exact two-sided p of McNemar's test.

    Args:
        only_first: Independent images that only the first of two decides rightly.
        only_second: That only the second does.
    """
    total = only_first + only_second
    return float(stats.binomtest(only_first, total).pvalue) if total else 1.0


def resampled_weights(num_patients: int, num_resamples: int, seed: int):
    """Yields (resamples, patients) int32: how often each patient is drawn, in pieces."""
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK // num_patients)
    for start in range(0, num_resamples, step):
        count = min(step, num_resamples - start)
        drawn = generator.integers(0, num_patients, (count, num_patients))
        offset = np.arange(count)[:, None] * num_patients
        counted = np.bincount((drawn + offset).ravel(), minlength=count * num_patients)
        yield counted.reshape(count, num_patients).astype("int32")


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    patients: np.ndarray,
    num_resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Returns (resamples, ...) of a statistic when patients are drawn with replacement.

    Args:
        statistic: Of (R, N) weights of the images to (R, ...); NaN where it is not defined.
        patients: (N,) of any kind.
        num_resamples: How many draws.
        seed: Of the draws.
    """
    _, number = np.unique(patients, return_inverse=True)
    # Patients may have many images: of those no more at once than of patients.
    step = max(1, CHUNK // len(number))
    return np.concatenate(
        [
            statistic(weights[start : start + step, number])
            for weights in resampled_weights(number.max() + 1, num_resamples, seed)
            for start in range(0, len(weights), step)
        ]
    )


def by_patient(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Returns (K, C): the mean of each patient's rows of (N, C) values.

    Args:
        values: (N, C).
        patients: (N,) of any kind.
    """
    _, number = np.unique(patients, return_inverse=True)
    sums = np.zeros((number.max() + 1, values.shape[1]))
    np.add.at(sums, number, values)
    return sums / np.bincount(number)[:, None]


def mean_of_patients(values: np.ndarray, patients: np.ndarray) -> float:
    """Returns the mean of (N,) values, N at least 1, each patient counted once."""
    return float(by_patient(values[:, None].astype(float), patients).mean())


def means(
    values: np.ndarray,
    patients: np.ndarray,
    confidence: float = CONFIDENCE,
    num_resamples: int = RESAMPLES,
    seed: int = 0,
    are_fractions: bool = True,
) -> list[Interval]:
    """Returns means over images with percentile intervals of the patient bootstrap.

    Args:
        values: (N, K); NaN does not count.
        patients: (N,) of any kind.
        confidence: Of the intervals.
        num_resamples: How many draws.
        seed: Of the draws.
        are_fractions: Whether values lie in 0..1, so that of patients who are all at an end the
            interval is Clopper and Pearson's. Differences do not.
    """
    _, number = np.unique(patients, return_inverse=True)
    is_known = ~np.isnan(values)
    size = (number.max() + 1, values.shape[1])
    sums, counts = np.zeros(size), np.zeros(size)
    np.add.at(sums, number, np.where(is_known, values, 0))
    np.add.at(counts, number, is_known)
    draws = []
    for weights in resampled_weights(size[0], num_resamples, seed):
        with np.errstate(invalid="ignore", divide="ignore"):
            draws.append((weights @ sums) / (weights @ counts))
    draws = np.concatenate(draws)
    found = []
    for column in range(size[1]):
        total = counts[:, column].sum()
        value = float(sums[:, column].sum() / total) if total else None
        num_patients = int((counts[:, column] > 0).sum())
        if num_patients < LEAST:
            reason = f"n = {num_patients} patients, {LEAST} needed"
            found.append(not_estimable(value, reason))
        else:
            method = f"bootstrap of {num_patients} patients, {num_resamples} draws"
            one = percentiles(value, draws[:, column], confidence, method)
            found.append(
                _of_all_alike(one, num_patients, confidence, are_fractions)
                if np.isclose(one.low, one.high, rtol=1e-9, atol=0)
                else one
            )
    return found


def _of_all_alike(one, num_patients, confidence, are_fractions):
    """Returns the interval where every patient is the same, which no draw can change."""
    if are_fractions and one.value in (0, 1):
        exact = exact_proportion(round(one.value * num_patients), num_patients, confidence)
        return dataclasses.replace(exact, method=f"Clopper-Pearson, {num_patients} patients alike")
    return not_estimable(one.value, f"all {num_patients} patients are alike")


def mean(is_so: np.ndarray, patients: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Returns a proportion of images: Wilson's interval where every patient has one, else `means`.

    Args:
        is_so: (N,) bool.
        patients: (N,) of any kind.
        confidence: Of the interval.
    """
    num_patients = len(np.unique(patients))
    if not len(is_so):
        return not_estimable(None, "n = 0")
    if LEAST <= num_patients == len(is_so):
        return proportion(int(is_so.sum()), len(is_so), confidence)
    (found,) = means(is_so[:, None].astype(float), patients, confidence)
    return found


def percentiles(value: float | None, draws: np.ndarray, confidence: float, method: str) -> Interval:
    """Returns a number with the interval of its (resamples,) draws; NaN does not count."""
    draws = draws[~np.isnan(draws)]
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), method)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm's adjusted p of several tests, in their order."""
    order = np.argsort(p_values)
    adjusted, largest = np.empty(len(order)), 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[number]))
        adjusted[number] = largest
    return adjusted.tolist()
