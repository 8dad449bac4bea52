"""Areas under the part of the ROC curve that finds most melanomas, as two challenges score it."""

import numpy as np
from sklearn import metrics as sklearn_metrics


def auc_sens_80(labels: np.ndarray, scores: np.ndarray, sensitivity: float = 0.8) -> float:
    """Returns the area right of the leftmost point of the ROC curve that reaches a sensitivity.

    Source: `auc_sens_80` of isic-challenge-scoring, which keeps the area below 80 % as well.
    """
    fpr, tpr = _roc(labels, scores)
    first = _reach(fpr, tpr, sensitivity)
    kept = fpr > first
    x, y = np.r_[first, fpr[kept]], np.r_[sensitivity, tpr[kept]]
    at_first = tpr[fpr == first]
    # Where the curve is vertical there, the area begins at its top.
    y[0] = max(sensitivity, at_first.max()) if len(at_first) else sensitivity
    return float(np.trapezoid(y, x))


def kaggle_2024_pauc(labels: np.ndarray, scores: np.ndarray, sensitivity: float = 0.8) -> float:
    """Returns the area of the ROC curve above a sensitivity, 0 to 0.2 (Kaggle's ISIC 2024)."""
    first = _reach(*_roc(labels, scores), sensitivity)
    return auc_sens_80(labels, scores, sensitivity) - sensitivity * (1 - first)


def _roc(labels, scores):
    fpr, tpr, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    return fpr, tpr


def _reach(fpr, tpr, sensitivity):
    """Returns the smallest false positive rate at which the curve reaches a sensitivity."""
    number = int(np.argmax(tpr >= sensitivity))
    if tpr[number] == sensitivity or number == 0 or tpr[number] == tpr[number - 1]:
        return float(fpr[number])
    step = (sensitivity - tpr[number - 1]) / (tpr[number] - tpr[number - 1])
    return float(fpr[number - 1] + step * (fpr[number] - fpr[number - 1]))
