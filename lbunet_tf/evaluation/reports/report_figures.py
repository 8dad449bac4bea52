"""The figures of a report: how each is read, and what is seen in it for whoever does not see it."""

import pathlib

import numpy as np
import pandas as pd

from lbunet_tf.evaluation import examples
from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation.reports import document
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report_classes

CAPTIONS = {
    "class_balance": "Images by part of the data and class.",
    "class_confusion": "Test images by true class (rows) and the class that they are given "
    "(columns). Right ones are on the diagonal; the percentage is of the row, so there it is the "
    "recall of the class.",
    "roc": "ROC: each point is a threshold. The further above the dotted line, the better the "
    "score ranks melanomas above other lesions.",
    "confusion_matrix": "Test images by true and predicted class, at 0.5 and at the threshold "
    "that was chosen on other images.",
    "threshold_curves": "What a threshold costs on the test images. PPV: the fraction of flagged "
    "images that are melanomas. It falls with prevalence.",
    "reliability": "Test images: how many are melanomas where a probability is said. On the dotted "
    "line the two agree; below it the probability is too high. The band holds 95 of 100 "
    "repetitions with other patients.",
    "decision_curve": "Net benefit: melanomas that are flagged, per image, less what false alarms "
    "cost at the threshold. A score is of use at a threshold where its line is above the others. "
    "Of calibrated probabilities; at another prevalence they are shifted, as if nothing else "
    "differed.",
    "training_curves": "Training: train and validation by epoch. The dotted line is the epoch "
    "that was kept.",
    "mask_sheet": "Test images with the best, median and worst agreement of prediction "
    "and target mask.",
    "example_sheet": "Test images whose score lies nearest to the threshold, melanomas of the "
    "lowest score, and other lesions of the highest score.",
}
WIDE = ("mask_sheet", "example_sheet", "decision_curve")
# Classes of which a matrix can be read on a phone without scrolling.
FEW_CLASSES = 4


def drawn(run: evaluated_run.EvaluatedRun, *names: str) -> list[document.Figure]:
    """Returns those of some figures that were drawn, in the order of their names."""
    paths = {path.stem: path for path in run.figures}
    return [_figure(run, paths[name]) for name in names if name in paths]


def of_comparison(path: pathlib.Path, names: list[str]) -> document.Figure:
    """Returns the figure of the ROC curves of several experiments, named with their AUC."""
    alternative = f"ROC curves of the test images: {'; '.join(names)}."
    return document.embed(path, alternative, CAPTIONS[path.stem])


def of_speed(path: pathlib.Path, summary: pd.DataFrame) -> document.Figure:
    """Returns the figure of AUC against milliseconds, with the numbers in its alternative text."""
    points = "; ".join(
        f"{row.experiment}, {row.milliseconds:.1f} ms, AUC {row.auc:.3f}"
        for row in summary.itertuples()
    )
    caption = "AUC of the test images against the time for an image: the best are at the top left."
    return document.embed(path, f"AUC by milliseconds per image: {points}.", caption)


def _figure(run, path):
    name = path.stem
    alternative = _ALTERNATIVES[name](run) or CAPTIONS[name]
    num_classes = len(run.scores.get("diagnosis", {}).get("classes", ()))
    is_wide = name in WIDE or (name == "class_confusion" and num_classes > FEW_CLASSES)
    return document.embed(path, alternative, CAPTIONS[name], is_wide)


def _class_confusion(run):
    return report_classes.seen(run.scores)


def _class_balance(run):
    if run.counts is None:
        return ""
    parts = [
        f"{row['split']} {row['num_images']} images, {row['num_melanoma']} of them melanomas"
        for row in run.counts.to_dict("records")
    ]
    return f"Bar chart of images by part and class: {'; '.join(parts)}."


def _roc(run):
    curves = [
        f"{split} {part['auc']:.3f} ({part['num_scored']} images)"
        for split, part in run.metrics.items()
        if part.get("auc") is not None
    ]
    return f"ROC curves, area below: {', '.join(curves)}." if curves else ""


def _confusion_matrix(run):
    parts = [
        f"at the threshold {at['threshold']:.3f}, {at['tp']} melanomas found and {at['fn']} "
        f"missed, {at['tn']} others passed and {at['fp']} flagged"
        for at in _at_thresholds(run)
    ]
    return f"Confusion matrices of the test images: {'; '.join(parts)}." if parts else ""


def _threshold_curves(run):
    parts = [
        f"at {at['threshold']:.2f} sensitivity {_two(at['sensitivity'])}, specificity "
        f"{_two(at['specificity'])}, PPV {_two(at['ppv'])}, NPV {_two(at['npv'])}"
        for at in _at_thresholds(run)
    ]
    return f"Ratios of the test images by threshold: {'; '.join(parts)}." if parts else ""


def _at_thresholds(run):
    """Returns the ratios at 0.5 and at the chosen threshold, as far as there are any."""
    found = (run.scores.get(name) for name in ("at_0.5", "at_val_threshold"))
    return [at for at in found if at]


def _two(value):
    return "not defined" if value is None else f"{value:.2f}"


def _reliability(run):
    parts = []
    for name, words in (("calibration", "as it is"), ("calibrated", "after calibration")):
        found = run.scores.get(name, {})
        # Where nothing is changed, there is one curve.
        if "expected_calibration_error" in found and found.get("kind") != "none":
            slope = f", slope {found['slope']:.2f}" if found["slope"] is not None else ""
            error = found["expected_calibration_error"]
            parts.append(f"{words}, expected calibration error {error:.3f}{slope}")
    return f"Reliability diagram of the test images: {'; '.join(parts)}." if parts else ""


def _decision_curve(run):
    curve = run.decision_curve
    if curve is None:
        return ""
    parts = [
        f"at the prevalence of {words} {_where_best(curve, suffix)}"
        for suffix, words in (
            ("", "these images"),
            ("_at_prevalence", f"{run.settings.score.prevalence:.1%}"),
        )
    ]
    return f"Decision curves: {'; '.join(parts)}."


def _where_best(curve, suffix):
    """Returns at which thresholds flagging by the score is better than flagging all or none."""
    other = np.maximum(curve[f"flag_all{suffix}"], 0)
    best = curve["threshold"][curve[f"net_benefit{suffix}"] > other + 1e-9]
    if best.empty:
        return "the score is nowhere above flagging all or none"
    return (
        f"the score is above flagging all and none at {len(best)} of {len(curve)} thresholds, "
        f"the lowest {best.min():.2f}, the highest {best.max():.2f}"
    )


def _training_curves(run):
    parts = [
        f"{training['epochs']} epochs, of which number {training['best_epoch']} was kept; the "
        f"loss of val was {training['val_loss']:.3f} there"
        for training in run.training.values()
        if {"epochs", "best_epoch", "val_loss"} <= training.keys()
    ]
    return f"Curves of training by epoch: {'; '.join(parts)}." if parts else ""


def _mask_sheet(run):
    if run.test is None or scores.image_mask_scores(run.test).empty:
        return ""
    rows = scores.best_median_worst(run.test)
    parts = [f"{rank}: {_range(part['dice'])}" for rank, part in rows.groupby("rank", sort=False)]
    return f"{len(rows)} test images with masks, Dice of the {', of the '.join(parts)}."


def _range(values: pd.Series):
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


def _example_sheet(run):
    if run.test is None:
        return ""
    rows = examples.choose(run.test, threshold_of(run))
    parts = [
        f"{rank} {', '.join(f'{row.score:.2f} ({row.truth})' for row in part.itertuples())}"
        for rank, part in rows.groupby("rank", sort=False)
    ]
    return f"Test images with their scores: {'; '.join(parts)}." if parts else ""


def threshold_of(run: evaluated_run.EvaluatedRun) -> float:
    """Returns the threshold of the melanoma score: the one that was chosen, else 0.5."""
    return run.scores.get("at_val_threshold", {}).get("threshold", 0.5)


_ALTERNATIVES = {
    "class_balance": _class_balance,
    "class_confusion": _class_confusion,
    "roc": _roc,
    "confusion_matrix": _confusion_matrix,
    "threshold_curves": _threshold_curves,
    "reliability": _reliability,
    "decision_curve": _decision_curve,
    "training_curves": _training_curves,
    "mask_sheet": _mask_sheet,
    "example_sheet": _example_sheet,
}
