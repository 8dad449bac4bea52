"""Every reported number, from the predictions table and the pixel histograms alone."""

import numpy as np
import pandas as pd
from sklearn import metrics as sklearn_metrics

from lbunet_tf.data import manifests
from lbunet_tf.data import prediction_columns
from lbunet_tf.evaluation import class_scores
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import operating_point
from lbunet_tf.evaluation import partial_auc

# ISIC 2018 Task 1: a per-image Jaccard below this counts as a failure, 0.
JACCARD_THRESHOLD = 0.65
LABEL_AS_MASK = prediction_columns.LABEL_AS_MASK
# `mask_source` in the metrics of a network without a mask head.
NO_MASKS = "none"
# Before the name of what is counted before masks are cleaned up.
UNCLEANED = contract.UNCLEANED
# At which PPV and NPV are also stated.
PREVALENCES = (0.005, 0.018, 0.05, 0.1, 0.2)


def evaluate_table(
    table: pd.DataFrame,
    histograms: dict[str, np.ndarray],
    mask_source: str,
    prevalence: float,
    threshold: float | None = None,
) -> dict[str, dict]:
    """Returns {"val": {...}, "test": {...}}; thresholds are chosen on val, never on test.

    `threshold` is that of the operating point; without one it is Youden's on val, and none where a
    calibration part is there to choose it on, which cannot. A table without
    masks has no histograms, and its `mask_source` is `NO_MASKS`; one with a diagnosis has
    `diagnosis`, as `class_scores.measure` gives it.
    """
    has_masks = contract.has_masks(table)
    mask_source = mask_source if has_masks else NO_MASKS
    val = table[table["split"] == "val"]
    if threshold is None and not (table["split"] == manifests.CALIBRATION).any():
        threshold = choose_threshold(*_scored(val))
    found = {}
    for split in ("val", "test"):
        rows = table[table["split"] == split]
        diagnosis = class_scores.measure(rows)
        found[split] = {
            "num_images": len(rows),
            "mask_source": mask_source,
            **classification_scores(*_scored(rows), threshold, prevalence),
            **(pixel_scores(histograms[split], mask_source) if has_masks else {}),
            **mask_scores(rows, mask_source),
            **_uncleaned_scores(rows, mask_source),
            **({"diagnosis": diagnosis} if diagnosis else {}),
            **_by_source(rows, mask_source),
        }
    return found


def _uncleaned_scores(table, mask_source):
    """Returns the scores of the masks at probability 0.5, before they are cleaned up."""
    names = [name for name in table.columns if name.startswith(f"{UNCLEANED}mask_")]
    if not names:
        return {}
    plain = table[names].rename(columns=lambda name: name.removeprefix(UNCLEANED))
    found = mask_scores(plain.assign(image_id=table["image_id"]), mask_source)
    return {"uncleaned": {name: found[name] for name in found if name != "num_masks"}}


def _by_source(table, mask_source):
    """Returns the scores of each source where there are several.

    Their melanoma shares differ, and a score that knows the source ranks the pooled
    images by that alone; only within a source is AUC about the lesion.
    """
    if "source" not in table or table["source"].nunique() < 2:
        return {}
    parts = {}
    for source, rows in table.groupby("source"):
        scores = {
            "num_images": len(rows),
            **classification_scores(*_scored(rows), None, 0.5),
            **mask_scores(rows, mask_source),
            **class_scores.of_group(rows),
        }
        parts[source] = {name: value for name, value in scores.items() if name != "at_0.5"}
    return {"by_source": parts}


def _scored(table):
    """Returns (labels, scores) of the images that have both."""
    rows = contract.with_score(table)
    return rows["label"].to_numpy(int), rows["score"].to_numpy(float)


def classification_scores(
    labels: np.ndarray, scores: np.ndarray, threshold: float | None, prevalence: float
) -> dict:
    """Returns image-level numbers; {} without scored images, AUC None without both classes.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) melanoma probabilities.
        threshold: The one chosen on val, or None.
        prevalence: Share of melanoma for PPV and NPV at a stated prevalence.
    """
    if not len(labels):
        return {}
    both_classes = 0 < labels.sum() < len(labels)
    at_half = threshold_scores(labels, scores, 0.5, prevalence)
    result = {
        "num_scored": len(labels),
        "num_melanoma": int(labels.sum()),
        "accuracy": at_half["accuracy"],
        "auc": float(sklearn_metrics.roc_auc_score(labels, scores)) if both_classes else None,
        "average_precision": float(sklearn_metrics.average_precision_score(labels, scores))
        if both_classes
        else None,
        "at_0.5": at_half,
    }
    if both_classes:
        result["auc_sens_80"] = partial_auc.auc_sens_80(labels, scores)
        result["kaggle_2024_pauc"] = partial_auc.kaggle_2024_pauc(labels, scores)
    if threshold is not None:
        at = threshold_scores(labels, scores, threshold, prevalence)
        result["at_val_threshold"] = at
        result["by_prevalence"] = {
            str(share): predictive_values(at["sensitivity"], at["specificity"], share)
            for share in PREVALENCES
        }
    return result


def threshold_scores(
    labels: np.ndarray, scores: np.ndarray, threshold: float, prevalence: float
) -> dict:
    """Returns the confusion matrix at `score >= threshold` and the ratios of its counts."""
    positive = scores >= threshold
    true = labels == 1
    tp, fp = int((positive & true).sum()), int((positive & ~true).sum())
    fn, tn = int((~positive & true).sum()), int((~positive & ~true).sum())
    sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    return {
        "threshold": float(threshold),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "accuracy": _ratio(tp + tn, len(labels)),
        "precision": _ratio(tp, tp + fp),
        "recall": sensitivity,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "stated_prevalence": prevalence,
        **predictive_values(sensitivity, specificity, prevalence),
    }


def _ratio(part, whole):
    """Returns part / whole, None for 0 / 0: it is not known, and 0 would be a claim."""
    return part / whole if whole else None


def predictive_values(
    sensitivity: float | None, specificity: float | None, prevalence: float
) -> dict[str, float | None]:
    """Returns PPV and NPV that sensitivity and specificity give at another prevalence (Bayes)."""
    if sensitivity is None or specificity is None:
        return {"ppv_at_prevalence": None, "npv_at_prevalence": None}
    tp, fn = sensitivity * prevalence, (1 - sensitivity) * prevalence
    tn, fp = specificity * (1 - prevalence), (1 - specificity) * (1 - prevalence)
    return {
        "ppv_at_prevalence": _ratio(tp, tp + fp),
        "npv_at_prevalence": _ratio(tn, tn + fn),
    }


def choose_threshold(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Returns the threshold of the largest sensitivity + specificity (Youden's J).

    It lies midway between two scores, so that rounding does not move an image. None
    without both classes.
    """
    if not 0 < labels.sum() < len(labels):
        return None
    each = np.arange(len(labels))
    return operating_point.choose(labels, scores, each, operating_point.Rule())


def threshold_curves(table: pd.DataFrame, prevalence: float) -> pd.DataFrame:
    """Returns the ratios of `threshold_scores` at 0.00, 0.01, ... 1.00, a row each."""
    labels, scores = _scored(table)
    grid = np.linspace(0, 1, 101)
    return pd.DataFrame([threshold_scores(labels, scores, value, prevalence) for value in grid])


def roc_points(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns false and true positive rates of every threshold."""
    fpr, tpr, _ = sklearn_metrics.roc_curve(*_scored(table), drop_intermediate=False)
    return fpr, tpr


def pixel_scores(histogram: np.ndarray, mask_source: str) -> dict:
    """Returns pixel accuracy at 0.5 (paper eq. 3) and pixel AUC from a (2, bins) histogram.

    Within a bin, 0.0009 wide in the logit, scores count as tied. Where the label is
    painted over the image the names say so.
    """
    negative, positive = histogram.astype("float64")
    half = len(negative) // 2
    result = {
        "pixel_accuracy": _ratio(
            float(negative[:half].sum() + positive[half:].sum()), float(histogram.sum())
        ),
        "pixel_auc": None,
    }
    pairs = negative.sum() * positive.sum()
    if pairs:
        below = np.cumsum(negative) - negative
        result["pixel_auc"] = float((positive * (below + negative / 2)).sum() / pairs)
    return _named(result, mask_source)


def name_prefix(mask_source: str) -> str:
    """Returns what stands before the name of every number that is computed from masks."""
    return LABEL_AS_MASK if mask_source == "label" else ""


def _named(result, mask_source):
    return {name_prefix(mask_source) + name: value for name, value in result.items()}


def image_mask_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Returns Dice, IoU and ISIC's thresholded Jaccard of each image that has a target.

    Empty mask and empty prediction count 1. Of a table without masks it has no rows.
    """
    if not contract.has_masks(table):
        return pd.DataFrame(columns=["image_id", "dice", "iou", "thresholded_jaccard"])
    known = table[table["mask_tp"].notna()]
    tp, fp, fn = known["mask_tp"], known["mask_fp"], known["mask_fn"]
    union = tp + fp + fn
    iou = (tp / union.where(union > 0)).fillna(1.0)
    return pd.DataFrame(
        {
            "image_id": known["image_id"],
            "dice": (2 * tp / (2 * tp + fp + fn).where(union > 0)).fillna(1.0),
            "iou": iou,
            "thresholded_jaccard": iou.where(iou >= JACCARD_THRESHOLD, 0.0),
        }
    )


def mask_scores(table: pd.DataFrame, mask_source: str) -> dict:
    """Returns means over images, and scores pooled over all pixels, at the network's size.

    Where the label is painted over the image the names say so: such a Dice measures
    the class, not the lesion (docs/paper.md#g2).
    """
    images = image_mask_scores(table)
    if images.empty:
        return {}
    tp, fp, fn = (float(table[name].sum()) for name in ("mask_tp", "mask_fp", "mask_fn"))
    union = tp + fp + fn
    result = {
        "dice": float(images["dice"].mean()),
        "iou": float(images["iou"].mean()),
        "thresholded_jaccard": float(images["thresholded_jaccard"].mean()),
        "share_below_iou_0.65": float((images["iou"] < JACCARD_THRESHOLD).mean()),
        "pooled_dice": 2 * tp / (2 * tp + fp + fn) if union else 1.0,
        "pooled_iou": tp / union if union else 1.0,
    }
    return {"num_masks": len(images), **_named(result, mask_source)}


def best_median_worst(table: pd.DataFrame, count: int = 4) -> pd.DataFrame:
    """Returns `count` rows each of the best, median and worst Dice, with columns dice, rank."""
    measures = image_mask_scores(table)[["image_id", "dice", "iou"]]
    ranked = table.drop(columns=["dice", "iou"], errors="ignore").merge(measures, on="image_id")
    ranked = ranked.sort_values(["dice", "image_id"], ascending=[False, True], ignore_index=True)
    count = min(count, len(ranked) // 3) or 1
    middle = max((len(ranked) - count) // 2, 0)
    starts = {"best": 0, "median": middle, "worst": len(ranked) - count}
    return pd.concat(
        [ranked.iloc[start : start + count].assign(rank=name) for name, start in starts.items()]
    )
