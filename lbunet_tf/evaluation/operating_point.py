"""The operating point: from which score on an image is flagged, and what that means for patients.

It is chosen once and then frozen: on the part of the split for it (calibration), else on val. Val
has also chosen the epoch, so what it promises is a little too good.
"""

import dataclasses
import hashlib

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import metrics as sklearn_metrics

from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import intervals


@dataclasses.dataclass(frozen=True)
class Rule:
    """How the threshold is chosen; without a target it is Youden's.

    Attributes:
        target_sensitivity: Least sensitivity, None without such a target.
        target_specificity: Least specificity, likewise.
        cost_ratio: How many needless excisions one missed melanoma weighs, likewise.
        guarantee: Confidence with which the target holds for new patients; None takes the target
            of these images alone.
    """

    target_sensitivity: float | None = None
    target_specificity: float | None = None
    cost_ratio: float | None = None
    guarantee: float | None = None

    def __post_init__(self):
        if self.guarantee and self.target_sensitivity is self.target_specificity is None:
            raise ValueError(
                '"--guarantee" is about --target_sensitivity or --target_specificity: give one of '
                f"them. Received: --guarantee={self.guarantee:g} alone"
            )

    def __str__(self):
        if self.cost_ratio is not None:
            return f"least cost, a missed melanoma weighs {self.cost_ratio:g} false alarms"
        name, target = _target(self)
        if target is None:
            return "largest sensitivity + specificity (Youden)"
        sure = f"{_SURE}{self.guarantee:g}" if self.guarantee else " on these images"
        return f"{name} of at least {target:g}{sure}"


# What a rule in words says of a guarantee, and nothing else does.
_SURE = ", with confidence "


def is_guaranteed(rule: str) -> bool:
    """Returns whether a rule in words, as a frozen point has it, promises something of others."""
    return _SURE in rule


def _target(rule):
    if rule.target_sensitivity is not None:
        return "sensitivity", rule.target_sensitivity
    return "specificity", rule.target_specificity


def rank(count: int, target: float, confidence: float) -> int:
    """Returns how many of `count` independent scores may be lost, plus one; 0 where it is too few.

    A cut at the j-th smallest of them keeps at least `target` of new ones with the confidence, for
    the largest j with P(Binomial(count, 1 - target) <= j - 1) <= 1 - confidence.
    """
    lost = np.arange(count)
    # Rounding must not lose 59 for 95 % with 95 %.
    is_sure = stats.binom.cdf(lost, count, 1 - target) <= 1 - confidence + 1e-12
    return int(is_sure.sum())


def needed(target: float, confidence: float) -> int:
    """Returns how many scores a guarantee needs at least: target^n <= 1 - confidence."""
    return int(np.ceil(np.log(1 - confidence) / np.log(target) - 1e-9))


def check_possible(rows: pd.DataFrame, rule: Rule, part: str = "val") -> None:
    """Raises a ValueError where a class is missing, or a guarantee asks for more patients.

    Args:
        rows: Of a manifest, those on which the threshold is chosen.
        rule: How.
        part: What they are called.
    """
    _refuse_one_class(rows["label"].dropna().to_numpy(), part)
    name, target = _target(rule)
    if not rule.guarantee or target is None:
        return
    is_sensitivity = name == "sensitivity"
    key, words = contract.patients(rows)
    count = len(np.unique(key[(rows["label"] == (1 if is_sensitivity else 0)).to_numpy()]))
    least = needed(target, rule.guarantee)
    if count < least:
        raise ValueError(
            f'"--target_{name}={target:g}" with --guarantee={rule.guarantee:g} must be estimated '
            f"from enough patients: {least} needed. Received: {count} with"
            f"{'' if is_sensitivity else 'out'} melanoma in {part} (a patient is the {words})"
        )


def describe(rows: pd.DataFrame, rule: Rule, part: str = "val") -> dict:
    """Returns the operating point of the images of a predictions table, for JSON.

    Args:
        rows: All with `label` and `score`.
        rule: How.
        part: What they are called.

    Raises:
        ValueError: As `choose`.
    """
    labels, scores = rows["label"].to_numpy(int), rows["score"].to_numpy(float)
    key, words = contract.patients(rows)
    known = "\n".join(rows["image_id"].astype(str) + " " + labels.astype(str))
    return {
        "threshold": choose(labels, scores, key, rule),
        "rule": str(rule),
        "chosen_on": part,
        "num_melanoma": int(labels.sum()),
        "num_other": int((labels == 0).sum()),
        "num_patients": len(np.unique(key)),
        "patient_key": words,
        "rows_sha256": hashlib.sha256(known.encode()).hexdigest(),
    }


def choose(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, rule: Rule) -> float:
    """Returns the threshold: scores at or above it are flagged. It lies midway between two.

    With a guarantee, a patient with several images counts once: by the lowest score of its
    melanomas, so that sensitivity is the share of patients none of whose melanomas is missed; for
    specificity by the highest of its others.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) in 0..1.
        patients: (N,) of any kind.
        rule: How.

    Raises:
        ValueError: A class is missing, or too few patients for the guarantee. It says how many are
            needed.
    """
    _refuse_one_class(labels)
    name, target = _target(rule)
    if rule.cost_ratio is not None:
        return _of_curve(labels, scores, lambda fn, fp: -(rule.cost_ratio * fn + fp))
    if target is None:
        total = labels.sum(), len(labels) - labels.sum()
        return _of_curve(labels, scores, lambda fn, fp: -fn / total[0] - fp / total[1])
    is_sensitivity = name == "sensitivity"
    kept = labels == (1 if is_sensitivity else 0)
    values = scores[kept] if is_sensitivity else -scores[kept]
    if rule.guarantee:
        values = _of_patients(values, patients[kept])
        lost = rank(len(values), target, rule.guarantee)
        if not lost:
            raise ValueError(
                f'"--target_{name}={target:g}" with --guarantee={rule.guarantee:g} must be '
                f"estimated from enough patients: {needed(target, rule.guarantee)} needed. "
                f"Received: {len(values)} patients with {'' if is_sensitivity else 'non-'}melanoma"
            )
    else:
        # Of so many, the most that may be lost.
        lost = 1 + int(np.floor(len(values) * (1 - target) + 1e-9))
    edge = np.sort(values)[lost - 1]
    if is_sensitivity:
        return _midway(scores, edge)
    # Flagged is what is above the edge.
    above = scores[scores > -edge]
    return float((above.min() - edge) / 2) if len(above) else _midway(scores, np.inf)


def _refuse_one_class(labels, part="val"):
    if not 0 < labels.sum() < len(labels):
        raise ValueError(
            f"an operating point is chosen on {part} images with and without melanoma. Received: "
            f"{int(labels.sum())} melanomas of {len(labels)} images"
        )


def _of_patients(values, patients):
    """Returns the smallest value of each patient."""
    names, number = np.unique(patients, return_inverse=True)
    smallest = np.full(len(names), np.inf)
    np.minimum.at(smallest, number, values)
    return smallest


def _of_curve(labels, scores, worth):
    """Returns the threshold at which a function of missed melanomas and false alarms is largest."""
    fpr, tpr, thresholds = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    positives = labels.sum()
    missed, alarms = (1 - tpr) * positives, fpr * (len(labels) - positives)
    return _midway(scores, thresholds[int(np.argmax(worth(missed, alarms)))])


def _midway(scores, edge):
    """Returns a threshold between an edge and the next score below it."""
    if np.isinf(edge):
        # Nothing is flagged.
        top = scores.max()
        return float((1 + top) / 2 if top < 1 else np.nextafter(1, 2))
    below = scores[scores < edge]
    lower = below.max() if len(below) else 0.0
    return float((min(edge, 1.0) + lower) / 2)


def at_threshold(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, threshold: float
) -> dict[str, intervals.Interval]:
    """Returns sensitivity and specificity with intervals, by image.

    Wilson's where every patient has one image, else of the patient bootstrap.
    """
    flagged = scores >= threshold
    positive, negative = labels == 1, labels == 0
    return {
        "sensitivity": intervals.mean(flagged[positive], patients[positive]),
        "specificity": intervals.mean(~flagged[negative], patients[negative]),
    }
