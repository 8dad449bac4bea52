"""Net benefit: what flagging by a score is worth, next to flagging all or none."""

import numpy as np
import pandas as pd
from scipy import special


def shift_prior(logits: np.ndarray, prevalence: float, new_prevalence: float) -> np.ndarray:
    """Returns the logits at another prevalence, where nothing but the prevalence differs.

    That is an assumption: melanomas of a clinic must look like those of the data, and so must
    other lesions.
    """
    return logits + special.logit(new_prevalence) - special.logit(prevalence)


def make_curve(
    labels: np.ndarray, probabilities: np.ndarray, of_calibration: float, prevalence: float
) -> pd.DataFrame:
    """Returns a table of net benefit by threshold: of the score, of flagging all, of flagging none.

    `net_benefit` and `flag_all` at the prevalence of these images, and with _at_prevalence behind
    the name at the one that is given, for which probabilities are shifted: melanomas and other
    lesions are taken to look alike there. Flagging none has 0.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) calibrated.
        of_calibration: The prevalence of melanoma for which they are.
        prevalence: Another one.
    """
    thresholds = np.linspace(0.01, 0.6, 60)
    here = labels.mean()
    with np.errstate(divide="ignore"):
        logits = special.logit(probabilities)
    shifted = special.expit(shift_prior(logits, of_calibration, prevalence))
    columns = {"threshold": thresholds}
    for suffix, share, own in (("", here, probabilities), ("_at_prevalence", prevalence, shifted)):
        for name, values in (("net_benefit", own), ("flag_all", np.ones(len(labels)))):
            columns[name + suffix] = net_benefit(labels, values, thresholds, share)
    return pd.DataFrame(columns)


def net_benefit(
    labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray, prevalence: float | None = None
) -> np.ndarray:
    """Returns (T,) net benefits: TP/n - FP/n t/(1 - t), scores being calibrated probabilities.

    Source: Vickers and Elkin 2006. At another prevalence it follows from sensitivity and
    specificity.
    """
    prevalence = labels.mean() if prevalence is None else prevalence
    flagged = scores[None] >= thresholds[:, None]
    sensitivity = flagged[:, labels == 1].mean(axis=1)
    alarms = flagged[:, labels == 0].mean(axis=1)
    odds = thresholds / (1 - thresholds)
    return sensitivity * prevalence - alarms * (1 - prevalence) * odds
