"""Calibrated probabilities for a clinic where melanomas are rarer, or more frequent, than in val.

Prior shift: the logit of a probability moves by the difference of the two prevalences' logits. That
is right where nothing but the prevalence differs, which is an assumption and is printed as one.
"""

import pandas as pd
from absl import logging
from scipy import special

from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import decision_curve
from lbunet_tf.evaluation import intervals
from lbunet_tf.evaluation import scores

ASSUMPTION = (
    "Assumed, not measured: only the prevalence differs, so melanomas of the clinic look like "
    "those of the data, and other lesions like its others."
)


def check(
    prevalence: float, rows: pd.DataFrame, has_score: bool, is_own: bool, may_freeze: bool
) -> None:
    """Refuses, before hours of predictions, a prevalence to which nothing can be shifted.

    Args:
        prevalence: --clinic_prevalence, 0 where it is not asked for.
        rows: Of the manifest, those on which the calibration is fitted.
        has_score: Whether an output scores melanoma.
        is_own: Whether the images are those of the run's own source.
        may_freeze: Whether a calibration is kept with the run: it is one run as it is.

    Raises:
        ValueError: Another source, nothing that keeps a calibration, or too few patients for one.
    """
    if not prevalence:
        return
    if not is_own:
        _refuse(
            prevalence,
            "is about the run's own source: images of another differ in more than prevalence. "
            "Leave out --source",
            "a --source of its own",
        )
    if not may_freeze:
        _refuse(
            prevalence,
            "is kept in calibration.json of one run as it is. Leave out --tta, --output and "
            "further --run",
            "one of them",
        )
    if not has_score:
        _refuse(prevalence, "needs a melanoma score: train with melanoma in --heads", "none")
    known = rows[rows["label"].notna()]
    reason = intervals.too_few(known["label"].to_numpy(int), contract.patients(known)[0])
    if reason:
        refuse_without_calibration(prevalence, reason)


def refuse_without_calibration(prevalence: float, reason: str) -> None:
    """Raises a ValueError: there is nothing to shift."""
    _refuse(prevalence, "needs a calibration, which needs patients of both classes", reason)


def _refuse(prevalence, needed, received):
    raise ValueError(
        f'"--clinic_prevalence" {needed}. Received: --clinic_prevalence={prevalence:g}, {received}'
    )


def shift(of_calibration: float, prevalence: float) -> dict:
    """Returns what is frozen with a calibration, and logs what it assumes.

    Args:
        of_calibration: The prevalence of melanoma among the images that it is fitted on.
        prevalence: That of the clinic.
    """
    logging.info(
        "calibrated probabilities are shifted from a prevalence of %.4f to %.4f. %s",
        *(of_calibration, prevalence, ASSUMPTION),
    )
    offset = decision_curve.shift_prior(0.0, of_calibration, prevalence)
    return {"clinic_prevalence": prevalence, "offset": float(offset)}


def describe(of_calibration: float, prevalence: float, at: dict | None) -> dict:
    """Returns what is said of the clinic, for JSON.

    `half_becomes`, what a calibrated probability of 0.5 is there; `ppv` and `npv` at the operating
    point, None without one; and the assumption.

    Args:
        of_calibration: As in `shift`.
        prevalence: As in `shift`.
        at: Sensitivity and specificity of test at the operating point, None without one.
    """
    at = at or {"sensitivity": None, "specificity": None}
    values = scores.predictive_values(at["sensitivity"], at["specificity"], prevalence)
    offset = decision_curve.shift_prior(0.0, of_calibration, prevalence)
    return {
        "prevalence": prevalence,
        "of_calibration": of_calibration,
        "half_becomes": float(special.expit(offset)),
        "ppv": values["ppv_at_prevalence"],
        "npv": values["npv_at_prevalence"],
        "assumption": ASSUMPTION,
    }
