"""What each group differs by from the other images, with intervals for all groups at once.

Patients are drawn, never images, and one may have images in several groups. Bonferroni: of as many
intervals as there are groups, all hold with 95 %.
"""

import numpy as np
import pandas as pd

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import intervals

UNKNOWN = "unknown"
# What are means over images, and whose; an AUC is none.
MEANS = {
    "sensitivity": "patients with melanoma images",
    "specificity": "patients with other images",
    "dice": "patients with masks",
}


def others(group: np.ndarray, one: str) -> np.ndarray:
    """Returns (N,) bool: with which of the groups or images one group is compared.

    Those whose group is known; of `UNKNOWN`, and where no other is known, all.
    """
    found = group != one
    known = found & (group != UNKNOWN)
    # What a table of flags does not know may be of another source, which differs anyhow.
    return known if one != UNKNOWN and known.any() else found


def of_groups(
    table: pd.DataFrame, group: np.ndarray, names: list[str], threshold: float | None
) -> dict[str, dict[str, intervals.Interval]]:
    """Returns by group the differences of AUC, sensitivity, specificity and Dice that there are.

    Args:
        table: Rows of predictions.
        group: (N,) the group of each.
        names: All groups.
        threshold: From which score an image is flagged; without one there are no sensitivities.
    """
    confidence = 1 - (1 - intervals.CONFIDENCE) / len(names)
    found = {one: {} for one in names}
    is_scored = contract.are_scored(table)
    if is_scored.any():
        scored = contract.scored(table)
        for one in names:
            sides = tuple(side[is_scored] for side in (group == one, others(group, one)))
            found[one]["auc"] = auc_intervals.group_difference(*scored, sides, confidence)
    values = _values(table, is_scored, threshold)
    if not values.empty:
        number = pd.Categorical(group, categories=names).codes
        compared = np.stack([others(np.array(names), one) for one in names])
        key, _ = contract.patients(table)
        of_means = _of_means(values, key, number, compared, confidence)
        for one, differences in zip(names, of_means, strict=True):
            found[one] |= differences
    return found


def _values(table, is_scored, threshold):
    """Returns a column of each of `MEANS` that there is; NaN does not count."""
    values = {}
    if threshold is not None and is_scored.any():
        is_melanoma = table["label"] == 1
        is_right = ((table["score"] >= threshold) == is_melanoma).astype(float)
        values["sensitivity"] = is_right.where(is_scored & is_melanoma)
        values["specificity"] = is_right.where(is_scored & ~is_melanoma)
    if "dice" in table and table["dice"].notna().any():
        values["dice"] = table["dice"]
    return pd.DataFrame(values)


def _of_means(values, patients, group, compared, confidence):
    """Yields the differences of means of each group, by name, of one bootstrap of patients.

    Args:
        values: (N, K) table.
        patients: (N,) of any kind.
        group: (N,) the number of each image's group.
        compared: (G, G) bool: with which groups each is compared.
        confidence: Of each interval.
    """
    sums, counts = _patient_totals(values.to_numpy(float), patients, group, len(compared))
    draws = []
    for weights in intervals.resampled_weights(len(sums), intervals.RESAMPLES, seed=0):
        weights = weights.astype(float)
        drawn = (np.tensordot(weights, one, axes=1) for one in (sums, counts))
        draws.append(_means_of_sides(*drawn, compared))
    draws = np.concatenate(draws, axis=1)
    means = _means_of_sides(sums.sum(axis=0), counts.sum(axis=0), compared)
    has_images = counts > 0
    num_patients = np.stack([has_images, compared @ has_images]).astype(bool).sum(axis=1)
    for row in range(len(compared)):
        yield {
            name: _interval(
                name,
                means[:, row, column],
                draws[:, :, row, column],
                num_patients[:, row, column],
                confidence,
            )
            for column, name in enumerate(values)
        }


def _patient_totals(values, patients, group, num_groups):
    """Returns (P, G, K) sums and counts of the values of each patient in each group."""
    names, number = np.unique(patients, return_inverse=True)
    is_known = ~np.isnan(values)
    sums = np.zeros((len(names), num_groups, values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, (number, group), np.where(is_known, values, 0))
    np.add.at(counts, (number, group), is_known)
    return sums, counts


def _means_of_sides(sums, counts, compared):
    """Returns (2, ..., G, K) means of each group and of those it is compared with, from totals."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([sums / counts, (compared @ sums) / (compared @ counts)])


def _interval(name, means, draws, num_patients, confidence):
    """Returns a difference; its arguments hold the group first, then the others."""
    difference = None if np.isnan(means).any() else float(means[0] - means[1])
    for side, of_side, count in zip(auc_intervals.SIDES, draws, num_patients, strict=True):
        if count < intervals.LEAST:
            reason = f"{side}: n = {count} {MEANS[name]}, {intervals.LEAST} needed"
            return intervals.not_estimable(difference, reason)
        # What no draw can change would count as known.
        if np.isclose(np.nanmin(of_side), np.nanmax(of_side), rtol=1e-9, atol=0):
            reason = f"{side}: all {count} patients are alike"
            return intervals.not_estimable(difference, reason)
    of_difference = draws[0] - draws[1]
    if np.isclose(np.nanmin(of_difference), np.nanmax(of_difference), rtol=0, atol=1e-12):
        return intervals.not_estimable(difference, "every patient is alike on both sides")
    own, other = num_patients
    method = f"bootstrap of {own} and {other} patients, {len(of_difference)} draws"
    return intervals.percentiles(difference, of_difference, confidence, method)
