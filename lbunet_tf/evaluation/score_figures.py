"""The figures of the melanoma score and of the diagnosis, from predictions table and metrics."""

import pathlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from lbunet_tf.drawing import figures
from lbunet_tf.evaluation import calibration
from lbunet_tf.evaluation import decision_curve
from lbunet_tf.evaluation import scores
from lbunet_tf.serving import calibrated


def draw(
    table: pd.DataFrame,
    metrics: dict[str, dict],
    prevalence: float,
    function: calibrated.Calibration | None,
    path: Mapping[str, pathlib.Path],
    is_own: bool = True,
) -> dict[str, pd.DataFrame]:
    """Draws them, and returns the tables of threshold curves and decision curve, by figure.

    Args:
        table: The predictions.
        metrics: `metrics.json`, with scores of test.
        prevalence: At which PPV and NPV are also drawn.
        function: The calibration of val, None without one.
        path: Where each figure goes.
        is_own: Whether test is of the source that the calibration is of: of another there is no
            decision curve.
    """
    test = table[table["split"] == "test"]
    curves = {
        f"{split} (n={metrics[split]['num_scored']}), AUC {metrics[split]['auc']:.3f}": [
            scores.roc_points(table[table["split"] == split])
        ]
        for split in ("val", "test")
        if metrics[split].get("auc") is not None
    }
    if curves:
        figures.roc(curves, path["roc"])
    at = {"test, threshold 0.5\n": metrics["test"]["at_0.5"]}
    marks = {"0.5": 0.5}
    chosen = metrics["test"].get("at_val_threshold")
    if chosen:
        where = metrics["test"].get("operating_point", {}).get("chosen_on", "val")
        at[f"test, threshold {chosen['threshold']:.3f}\n(chosen on {where})"] = chosen
        marks[f"chosen on {where}"] = chosen["threshold"]
    figures.confusion_matrix(at, path["confusion_matrix"])
    by_threshold = scores.threshold_curves(test, prevalence)
    figures.threshold_curves(by_threshold, marks, prevalence, path["threshold_curves"])
    tables = {"threshold_curves": by_threshold}
    if "brier" in metrics["test"]["calibration"]:
        _draw_calibration(test, function, path["reliability"])
        if function is not None and is_own:
            found = calibration.probabilities_of_table(test, function)
            of_calibration = metrics["test"]["calibrated"]["prevalence"]
            curve = decision_curve.make_curve(*found, of_calibration, prevalence)
            figures.decision_curve(curve, prevalence, path["decision_curve"])
            tables["decision_curve"] = curve
    return tables


def draw_diagnosis(diagnosis: dict, path: pathlib.Path) -> None:
    """Draws true by predicted class; `diagnosis`: as `class_scores.measure` gives it."""
    if "confusion" in diagnosis:
        figures.class_confusion(np.array(diagnosis["confusion"]), diagnosis["classes"], path)


def _draw_calibration(test, function, path):
    curves = {"as it is": calibration.curve_of_table(test)}
    if function is not None and function.kind != "none":
        curves[f"{function.kind}, fitted on other images"] = calibration.curve_of_table(
            test, function
        )
    figures.reliability(curves, path)
