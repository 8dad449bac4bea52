"""How far weak targets agree with true ones, compared with what needs no network at all."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation import weak_masks


def compare(table: pd.DataFrame, true_masks: Sequence[np.ndarray | None]) -> dict[str, dict]:
    """Returns {"masks": {split: ...}, "labels": {split: ...}} of what is known.

    By where images stand in the run, since a network agrees best with what it learnt;
    masks of all images, and of those whose weak mask is sure.

    Args:
        table: A row an image: image_id, split_in_run, label, sure_label, is_sure_mask and,
            where there are weak masks, their pixel counts, NaN without a true mask.
        true_masks: (S, S) bool, one a row, None where unknown.
    """
    found = {"masks": {}, "labels": {}}
    for split, rows in table.groupby("split_in_run"):
        labels = compare_labels(rows["label"].to_numpy(), rows["sure_label"].to_numpy())
        if labels:
            found["labels"][split] = labels
        if "mask_tp" not in rows or rows["mask_tp"].isna().all():
            continue
        known = rows[rows["mask_tp"].notna()]
        found["masks"][split] = {
            name: compare_masks(chosen, [true_masks[number] for number in chosen.index])
            for name, chosen in (("all", known), ("sure", known[known["is_sure_mask"]]))
        }
    return found


def compare_masks(table: pd.DataFrame, true_masks: Sequence[np.ndarray]) -> dict[str, dict]:
    """Returns {"weak": {...}, "whole_image": {...}, "centred_ellipse": {...}}, {} without masks.

    Means over the same images, as `scores.mask_scores` gives them. The ellipse has the
    mean area of these very masks, which favours it: a weak mask that does not beat it has
    found out nothing about where a lesion lies.

    Args:
        table: A row an image: image_id and the weak mask's pixel counts.
        true_masks: (S, S) bool, one a row.
    """
    if table.empty:
        return {}
    fraction = float(np.mean([mask.mean() for mask in true_masks]))
    ellipse = weak_masks.centred_ellipse(len(true_masks[0]), fraction)
    weak = scores.mask_scores(table, "lesion")
    return {
        "weak": weak,
        "whole_image": _fixed_mask(table, true_masks, np.ones_like(ellipse)),
        "centred_ellipse": {"share": fraction, **_fixed_mask(table, true_masks, ellipse)},
    }


def _fixed_mask(table, true_masks, mask):
    counts = pd.DataFrame(
        {
            "image_id": table["image_id"].to_numpy(),
            "mask_tp": [int((true & mask).sum()) for true in true_masks],
            "mask_fp": [int((~true & mask).sum()) for true in true_masks],
            "mask_fn": [int((true & ~mask).sum()) for true in true_masks],
        }
    )
    return scores.mask_scores(counts, "lesion")


def compare_labels(labels: np.ndarray, sure: np.ndarray) -> dict:
    """Returns how right the sure labels are where the true one is known, {} where none is.

    `accuracy_of_majority` is what calling every sure image the more frequent class reaches.

    Args:
        labels: (N,) true, 1, 0 or NaN.
        sure: (N,) the network's, 1, 0 or NaN where it is not sure.
    """
    known = ~np.isnan(labels)
    both = known & ~np.isnan(sure)
    if not known.any():
        return {}
    result = {"num_labels": int(known.sum()), "num_sure": int(both.sum())}
    if not both.any():
        return result
    true = labels[both].astype(int)
    counts = scores.threshold_scores(true, sure[both], 0.5, 0.5)
    names = ("tp", "fp", "fn", "tn", "accuracy", "ppv", "npv")
    fraction = float(true.mean())
    return {
        **result,
        **{name: counts[name] for name in names},
        "accuracy_of_majority": max(fraction, 1 - fraction),
    }


def log(found: dict[str, dict], targets: Sequence[str]) -> None:
    """Logs what `compare` found, and warns of targets that are worth no more than trivial ones."""
    for split, parts in found["masks"].items():
        for name, kinds in parts.items():
            for kind, values in kinds.items():
                logging.info(
                    "%s, %s %d masks, %s: Dice %.3f, IoU %.3f, below IoU 0.65 %.0f %%",
                    split,
                    name,
                    values["num_masks"],
                    kind,
                    values["dice"],
                    values["iou"],
                    100 * values["share_below_iou_0.65"],
                )
        if parts["all"]["weak"]["dice"] <= parts["all"]["centred_ellipse"]["dice"]:
            logging.warning(
                "%s: the weak masks agree with the true ones no better than one ellipse in the "
                "middle of every image",
                split,
            )
    for split, labels in found["labels"].items():
        words = ", ".join(
            f"{name} {'none' if value is None else format(value, '.4g')}"
            for name, value in labels.items()
        )
        logging.info("%s, sure labels: %s", split, words)
        is_worse = labels.get("accuracy", 1) < labels.get("accuracy_of_majority", 0)
        if is_worse and "melanoma" in targets:
            logging.warning(
                "%s: the sure labels are right less often than calling every image the more "
                "frequent class; use --targets=mask",
                split,
            )
