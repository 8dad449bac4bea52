"""Prediction sets: the classes that cannot be ruled out, with the true one as often as asked.

Every rule scores how strange a class is for an image, and keeps the classes that are less strange
than all but a fraction `alpha` of images whose class is known. Those images must be new to the
network and of the same kind: then the set holds the true class in at least 1 - alpha of cases.
"""

import math
from collections.abc import Callable

import numpy as np
from absl import logging
from scipy import stats

from lbunet_tf.evaluation import intervals
from lbunet_tf.serving import prediction_sets


def lac(probabilities: np.ndarray, u: np.ndarray | None = None) -> np.ndarray:
    """Returns (N, K) strangeness: 1 - p (Sadinle, Lei and Wasserman 2019)."""
    del u
    return 1 - probabilities


def aps(probabilities: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Returns the probability of all classes down to this one (Romano, Sesia and Candes 2020).

    Args:
        probabilities: (N, K), each row of sum 1.
        u: (N,) uniform in 0..1: which part of the class itself is left out.
    """
    return raps(probabilities, u, penalty=0.0)


def raps(
    probabilities: np.ndarray, u: np.ndarray, penalty: float = 0.01, free: int = 1
) -> np.ndarray:
    """Returns that of `aps` plus `penalty` a rank beyond `free` (Angelopoulos et al. 2021)."""
    sorted_, rank = _ranked(probabilities)
    down_to = np.cumsum(sorted_, axis=1) - u[:, None] * sorted_
    down_to += penalty * np.maximum(np.arange(1, probabilities.shape[1] + 1) - free, 0)
    return np.take_along_axis(down_to, rank, axis=1)


def saps(probabilities: np.ndarray, u: np.ndarray, weight: float = 0.2) -> np.ndarray:
    """Returns u p_max of the first class, else p_max + (rank - 2 + u) weight (Huang 2024)."""
    sorted_, rank = _ranked(probabilities)
    largest = sorted_[:, :1]
    later = largest + (rank - 1 + u[:, None]) * weight
    return np.where(rank == 0, u[:, None] * largest, later)


def logit_threshold(logits: np.ndarray, u: np.ndarray | None = None) -> np.ndarray:
    """Returns minus the logit: what DRAPS (Ren et al. 2024) thresholds, on images held out here.

    `draps_published` thresholds it as its authors' code does.
    """
    del u
    return -logits


STRANGENESS: dict[str, Callable] = {
    "lac": lac,
    "aps": aps,
    "raps": raps,
    "saps": saps,
    "draps_split": logit_threshold,
}


def _ranked(probabilities):
    """Returns ((N, K) sorted from the largest, (N, K) rank of each class, from 0)."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    return np.take_along_axis(probabilities, order, axis=1), rank


def quantile(strangeness: np.ndarray, alpha: float, patients: np.ndarray | None = None) -> float:
    """Returns the ceil((n + 1)(1 - alpha))-th smallest; infinity, the full set, of too few.

    Where patients repeat, each patient k of K has a weight of 1 / (K + 1), spread over its N_k
    images, and infinity the rest (Lee, Barber and Willett 2023, hierarchical exchangeability).

    Args:
        strangeness: (N,) of images by their true class.
        alpha: The fraction that may be missed.
        patients: (N,) of any kind; None where each image has one of its own.
    """
    if patients is None:
        patients = np.arange(len(strangeness))
    _, number, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights = 1 / ((len(counts) + 1) * counts[number])
    order = np.argsort(strangeness, kind="stable")
    reached = np.cumsum(weights[order])
    # Rounding must not lose the rank of 9 of 9 at 0.1.
    first = np.searchsorted(reached, 1 - alpha - 1e-12)
    return float(strangeness[order][first]) if first < len(order) else math.inf


def least(alpha: float) -> int:
    """Returns how many patients a set that leaves anything out needs: ceil(1 / alpha) - 1."""
    return math.ceil(1 / alpha - 1e-12) - 1


def calibrate(
    strangeness: np.ndarray,
    labels: np.ndarray,
    alpha: float,
    patients: np.ndarray | None = None,
    is_class_conditional: bool = True,
) -> np.ndarray:
    """Returns (K,) quantiles: each class's own, so that each is covered, or one for all.

    Args:
        strangeness: (N, K), of images with known class.
        labels: (N,) 0 to K - 1.
        alpha: The fraction that may be missed.
        patients: As in `quantile`.
        is_class_conditional: Whether classes have quantiles of their own.
    """
    true = strangeness[np.arange(len(labels)), labels]
    groups = labels if is_class_conditional else np.zeros(len(labels), int)
    found = by_group(true, groups, alpha, patients)
    classes = range(strangeness.shape[1])
    return np.array([found.get(k if is_class_conditional else 0, math.inf) for k in classes])


def by_group(
    strangeness: np.ndarray, groups: np.ndarray, alpha: float, patients: np.ndarray | None = None
) -> dict:
    """Returns the quantile of each group of images; a warning names those that are too small.

    Args:
        strangeness: (N,) of images by their true class.
        groups: (N,) of any kind.
        alpha: The fraction that may be missed.
        patients: As in `quantile`.
    """
    each = np.arange(len(groups)) if patients is None else patients
    found = {}
    for group in np.unique(groups):
        chosen = groups == group
        count = len(np.unique(each[chosen]))
        if count < least(alpha):
            logging.warning(
                "group %s has %d patients, %d needed at alpha %g: it is never ruled out",
                *(group, count, least(alpha), alpha),
            )
        found[group.item()] = quantile(strangeness[chosen], alpha, each[chosen])
    return found


def sets(strangeness: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Returns (N, K) bool: the classes that are no stranger than their quantile."""
    return strangeness <= quantiles


def draps_published(
    logits: np.ndarray, training_logits: np.ndarray, training_labels: np.ndarray, alpha: float = 0.1
) -> np.ndarray:
    """Returns (N, K) bool sets as the code of DRAPS makes them, from images of the training.

    The threshold is the floor(n alpha)-th smallest logit of the true classes; where fewer than two
    classes reach it, the set is the likeliest alone. A network knows its training images, so the
    sets cover too little: a warning says so.
    """
    logging.warning(
        "draps_published takes its threshold from training images: its sets miss the true class "
        "more often than alpha says. draps_split takes images that the network has not seen"
    )
    true = np.sort(training_logits[np.arange(len(training_labels)), training_labels])
    threshold = true[max(int(len(true) * alpha) - 1, 0)]
    found = logits >= threshold
    alone = np.zeros_like(found)
    alone[np.arange(len(logits)), logits.argmax(axis=1)] = True
    return np.where(found.sum(axis=1, keepdims=True) < 2, alone, found)


def coverage_band(
    num_calibration: int, num_test: int, alpha: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Returns between which fractions the coverage of a valid method lies, in one draw of both.

    Beta-binomial: one calibration set is drawn too, so a binomial band is too narrow.
    """
    rank = math.ceil((num_calibration + 1) * (1 - alpha) - 1e-12)
    if rank > num_calibration:
        return 1.0, 1.0
    band = stats.betabinom(num_test, rank, num_calibration + 1 - rank).interval(confidence)
    return tuple(float(end) / num_test for end in band)


def fit_binary(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, alpha: float
) -> prediction_sets.BinarySets:
    """Returns the binary default, on images that neither training nor selection saw.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) melanoma probabilities.
        patients: (N,) of any kind.
        alpha: The fraction of each class that may be missed.
    """
    # LAC without its 1 -, which would round: the order is the same.
    strangeness = np.stack([scores, -scores], axis=1)
    benign, melanoma = calibrate(strangeness, labels, alpha, patients)
    # An infinite quantile rules nothing out.
    return prediction_sets.BinarySets(float(min(benign, 1.0)), float(max(-melanoma, 0.0)))


def measure_binary(
    found: prediction_sets.BinarySets,
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
) -> dict:
    """Returns coverage, of all and of each class, each patient counted once, as it is promised.

    And the fraction of images with each set; how many sets are of benign alone, and how many of
    these are melanomas.

    Args:
        found: The sets.
        labels: (N,) 0 or 1.
        scores: (N,) melanoma probabilities.
        patients: (N,) of any kind.
    """
    names, is_covered = found.names(scores), covered(found, labels, scores)
    chosen = {"": labels >= 0, "_melanoma": labels == 1, "_benign": labels == 0}
    return {
        **{
            f"coverage{name}": intervals.mean_of_patients(is_covered[is_in], patients[is_in])
            if is_in.any()
            else None
            for name, is_in in chosen.items()
        },
        **{f"fraction_{name}": float((names == name).mean()) for name in prediction_sets.SETS},
        "num_benign": int((names == "benign").sum()),
        "num_benign_melanoma": int(((names == "benign") & (labels == 1)).sum()),
    }


def covered(
    found: prediction_sets.BinarySets, labels: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Returns (N,) bool: whether the set of an image holds its true class."""
    return np.where(labels == 1, scores >= found.melanoma, scores <= found.benign)


def sizes(found: prediction_sets.BinarySets, scores: np.ndarray) -> np.ndarray:
    """Returns (N,) 0, 1 or 2: how many classes the set of an image holds."""
    return (scores <= found.benign).astype(int) + (scores >= found.melanoma)
