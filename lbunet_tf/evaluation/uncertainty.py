"""The headline numbers of one part of a predictions table, each with its interval by patient."""

import dataclasses

import numpy as np
import pandas as pd

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import intervals
from lbunet_tf.evaluation import operating_point
from lbunet_tf.evaluation import scores

MASK_NAMES = ("dice", "iou", "thresholded_jaccard")


def estimate(table: pd.DataFrame, threshold: float | None, mask_source: str) -> dict:
    """Returns who is a patient, how many images have no score, and intervals by name.

    A table without scores has no count of images without one.

    Args:
        table: Rows of one split.
        threshold: Of the melanoma score, None without one.
        mask_source: `Outputs.mask_source`.
    """
    key, words = contract.patients(table)
    found = {
        "patient_key": words,
        "num_patients": len(np.unique(key)),
        **({"num_unscored": int(table["score"].isna().sum())} if "score" in table else {}),
        "intervals": {},
    }
    numbers = _of_scores(table, threshold) | _of_masks(table, key, mask_source)
    found["intervals"] = {name: dataclasses.asdict(number) for name, number in numbers.items()}
    return found


def _of_scores(table, threshold):
    labels, values, key = contract.scored(table)
    if not len(labels):
        return {}
    found = {
        "auc": auc_intervals.auc(labels, values, key),
        "accuracy": intervals.mean((values >= 0.5) == (labels == 1), key),
    }
    if threshold is not None:
        found |= operating_point.at_threshold(labels, values, key, threshold)
    return found


def _of_masks(table, key, mask_source):
    measures = scores.image_mask_scores(table)
    if measures.empty:
        return {}
    key = key[table.index.get_indexer(measures.index)]
    found = intervals.means(measures[list(MASK_NAMES)].to_numpy(float), key)
    prefix = scores.name_prefix(mask_source)
    return {f"{prefix}{name}": one for name, one in zip(MASK_NAMES, found, strict=True)}
