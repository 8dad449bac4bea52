"""The same numbers for women and men, young and old, one site and another: one row per group.

A group without enough patients of a class has "not estimable" there, never 0. A value that is
missing is a group of its own.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import calibration
from lbunet_tf.evaluation import class_scores
from lbunet_tf.evaluation import conformal
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import group_differences
from lbunet_tf.evaluation import intervals
from lbunet_tf.evaluation import operating_point
from lbunet_tf.evaluation import skin_tone
from lbunet_tf.serving import chosen

UNKNOWN = group_differences.UNKNOWN
AGES = (0, 30, 50, 70, np.inf)
AGE_NAMES = ("below 30", "30 to 49", "50 to 69", "70 and more")
# What is looked at where a table has it.
COLUMNS = ("sex", "age", "site", "skin_type", "source")
NUMBERS = (
    *("auc", "sensitivity", "specificity", "observed_to_expected"),
    *("coverage_melanoma", "coverage_benign", "set_size", "dice", "balanced_accuracy"),
)


def groups_of(column: pd.Series) -> np.ndarray:
    """Returns (N,) the group of each image: its value; of nothing `UNKNOWN`.

    Of ages it is the band, of `ita_estimate` the category.
    """
    if column.name == skin_tone.COLUMNS[0]:
        return skin_tone.category(column).fillna(UNKNOWN).to_numpy(str)
    if column.name == "age":
        bands = pd.cut(pd.to_numeric(column), AGES, right=False, labels=AGE_NAMES)
        return bands.astype(object).fillna(UNKNOWN).to_numpy(str)
    return column.astype(object).fillna(UNKNOWN).astype(str).replace("", UNKNOWN).to_numpy(str)


def measure(
    table: pd.DataFrame, found: chosen.Chosen, columns: Sequence[str] = COLUMNS
) -> pd.DataFrame:
    """Returns a row for each group of each column that has several.

    `attribute`, `group`, `num_images`, `num_melanoma`, `num_patients`; NAME, NAME_low, NAME_high
    and NAME_note (the method, or why there is no interval) of each of `NUMBERS`; and the same of
    `auc_difference`, `sensitivity_difference`, `specificity_difference` and `dice_difference` from
    the other images, as `group_differences` compares them.

    `observed_to_expected`: melanomas per melanoma that the probabilities expect;
    `coverage_melanoma`, `coverage_benign`: how often the prediction sets hold the true class;
    `set_size`: of how many classes, on average. Of a table with a diagnosis there are also
    `num_with_class` and the balanced accuracy over the classes that the group has.

    Args:
        table: Rows of one split of predictions.
        found: What was chosen on other images.
        columns: Those of the table that define groups; one that it lacks is left out.
    """
    key, _ = contract.patients(table)
    rows = []
    for name in columns:
        if name not in table:
            if name not in COLUMNS:
                logging.warning("--subgroups: the images have no column %s", name)
            continue
        group = groups_of(table[name])
        names = sorted(set(group), key=_order)
        if len(names) < 2:
            continue
        differences = group_differences.of_groups(table, group, names, found.threshold)
        for one in names:
            is_in = group == one
            row = {"attribute": name, "group": one, **_counts(table[is_in], key[is_in])}
            row |= _numbers(table[is_in], key[is_in], found)
            for number, interval in differences[one].items():
                row |= _columns(f"{number}_difference", interval)
            rows.append(row)
    return pd.DataFrame(rows)


def _order(name):
    """Ages and skin tones in their order, what is unknown last."""
    ordered = (*AGE_NAMES, *skin_tone.CATEGORIES)
    return (name == UNKNOWN, ordered.index(name) if name in ordered else -1, name)


def _counts(table, key):
    counts = {
        "num_images": len(table),
        "num_melanoma": int((table["label"] == 1).sum()),
        "num_patients": len(np.unique(key)),
    }
    if contract.classes(table):
        counts["num_with_class"] = len(contract.with_class(table))
    return counts


def _numbers(table, key, of_scores):
    scored = contract.scored(table)
    found = {}
    if len(scored[0]):
        found["auc"] = auc_intervals.auc(*scored)
        if of_scores.threshold is not None:
            found |= operating_point.at_threshold(*scored, of_scores.threshold)
        function = of_scores.calibration or calibration.AS_IT_IS
        found["observed_to_expected"] = calibration.observed_to_expected(table, function)
        if of_scores.sets:
            found |= _sets(*scored, of_scores.sets)
    if "dice" in table and table["dice"].notna().any():
        known = table["dice"].notna().to_numpy()
        (found["dice"],) = intervals.means(table["dice"][known].to_numpy()[:, None], key[known])
    of_classes = class_scores.balanced_accuracy(table)
    if of_classes:
        found["balanced_accuracy"] = of_classes
    row = {}
    for name in NUMBERS:
        if name in found:
            row |= _columns(name, found[name])
    return row


def _columns(name, one):
    row = {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return row | {f"{name}_note": one.method}


def _sets(labels, scores, key, sets):
    is_covered = conformal.covered(sets, labels, scores)
    found = {
        f"coverage_{name}": intervals.mean(is_covered[labels == label], key[labels == label])
        for label, name in ((1, "melanoma"), (0, "benign"))
    }
    # Of 0 to 1, so that groups whose patients are all alike are told apart.
    (half,) = intervals.means(conformal.sizes(sets, scores)[:, None] / 2, key)
    ends = {end: getattr(half, end) for end in ("value", "low", "high")}
    twice = {end: None if value is None else 2 * value for end, value in ends.items()}
    return found | {"set_size": dataclasses.replace(half, **twice)}
