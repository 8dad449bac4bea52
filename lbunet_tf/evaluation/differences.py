"""What experiments differ by on the same test images, by patient, within one seed.

Runs of other seeds have other test images and weights: what they differ by is the spread over
seeds, which the table of a comparison shows apart.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import class_scores
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import intervals

ENDS = ("difference", "low", "high")
# What the decisions are compared by, and on which images. Apart: were they counted together, the
# experiment that misses more melanomas would win wherever melanomas are rare.
DECISIONS = {"sensitivity": "melanomas", "specificity": "others"}
IN_WORDS = {
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy of classes",
    "dice": "Dice",
}
TESTS = ("auc_p", *(f"mcnemar_{name}_p" for name in DECISIONS))
COLUMNS = (
    *("seed", "experiment", "compared_with", "num_images"),
    *(f"auc_{end}" for end in ENDS),
    *("auc_p", "auc_p_holm"),
    *(f"{name}_{end}" for name in ("balanced_accuracy", "dice") for end in ENDS),
    # Images that only one of the two decides rightly, each at its own threshold.
    *("melanomas_only_this", "melanomas_only_other"),
    *("mcnemar_sensitivity_p", "mcnemar_sensitivity_p_holm"),
    *("others_only_this", "others_only_other"),
    *("mcnemar_specificity_p", "mcnemar_specificity_p_holm"),
    "mcnemar_note",
)


def of_runs(
    tables: Mapping[tuple[str, int], pd.DataFrame],
    thresholds: Mapping[tuple[str, int], float | None] | None = None,
    rules: Mapping[tuple[str, int], str] | None = None,
) -> pd.DataFrame:
    """Returns a row for each experiment but the first, and seed: that minus the first.

    AUC by Obuchowski's paired test; the balanced accuracy of classes, and Dice, by the patient
    bootstrap of both on the same draws; and the decisions at the two operating points by McNemar's
    exact tests, of melanomas (sensitivity) and of others (specificity). These take images for
    independent: `mcnemar_note` says why they are not estimable. Each p with Holm's correction over
    the experiments of a seed. Empty where there is one experiment.

    Args:
        tables: The test rows of predictions by (experiment, seed), in the order of the experiments.
        thresholds: Of the operating points, by the same keys; None or missing without one.
        rules: By which these were chosen, in words; decisions by different ones are not compared.
    """
    thresholds, rules = thresholds or {}, rules or {}
    rows = []
    for seed in dict.fromkeys(seed for _, seed in tables):
        of_seed = {name: table for (name, other), table in tables.items() if other == seed}
        first, *others = of_seed
        points = {
            name: (thresholds.get((name, seed)), rules.get((name, seed), "")) for name in of_seed
        }
        found = [
            _row(seed, name, first, of_seed[name], of_seed[first], (points[name], points[first]))
            for name in others
        ]
        for test in TESTS:
            known = [row for row in found if row[test] is not None]
            adjusted = intervals.holm([row[test] for row in known])
            for row, p in zip(known, adjusted, strict=True):
                row[f"{test}_holm"] = p
        rows += found
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(seed, name, first_name, table, first, points):
    both = table.merge(
        first[["image_id", *(name for name in ("score", "dice") if name in first)]],
        on="image_id",
        suffixes=("", "_of_first"),
        validate="one_to_one",
    )
    row = dict.fromkeys(COLUMNS)
    row |= {"seed": seed, "experiment": name, "compared_with": first_name, "num_images": len(both)}
    names = ["label", "score", "score_of_first"]
    # Not every network scores melanoma, or has masks.
    scored = both[both[names].notna().all(axis=1)] if set(names) <= set(both) else both.iloc[:0]
    if len(scored):
        key, _ = contract.patients(scored)
        labels, own, other = (scored[column].to_numpy(float) for column in names)
        found = auc_intervals.auc_difference(labels.astype(int), own, other, key)
        row |= _ends("auc", found.interval) | {"auc_p": found.p}
        row |= _mcnemar(labels, own, other, key, *zip(*points, strict=True))
    of_classes = class_scores.balanced_accuracy_difference(table, first)
    if of_classes:
        row |= _ends("balanced_accuracy", of_classes)
    if "dice" in both and "dice_of_first" in both:
        known = both[both[["dice", "dice_of_first"]].notna().all(axis=1)]
        if len(known):
            key, _ = contract.patients(known)
            values = (known["dice"] - known["dice_of_first"]).to_numpy(float)[:, None]
            row |= _ends("dice", intervals.means(values, key, are_fractions=False)[0])
    return row


def _mcnemar(labels, own, other, key, cuts, rules):
    """Returns by class how often only one of the two is right at its threshold, and the exact p."""
    if None in cuts:
        return {"mcnemar_note": "not estimable: an experiment has no operating point"}
    if len(set(rules)) > 1:
        # The networks may rank alike: it would be the rules that are compared.
        return {"mcnemar_note": f"not estimable: operating points by rules {' and '.join(rules)}"}
    if len(np.unique(key)) < len(key):
        return {"mcnemar_note": "not estimable: patients repeat"}
    first, second = (
        (one >= cut) == (labels == 1) for one, cut in zip((own, other), cuts, strict=True)
    )
    row, counts = {}, []
    for (name, images), label in zip(DECISIONS.items(), (1, 0), strict=True):
        is_of_class = labels == label
        counts.append(f"{is_of_class.sum()} {images}")
        if not is_of_class.any():
            continue
        only_first = int((first & ~second & is_of_class).sum())
        only_second = int((~first & second & is_of_class).sum())
        row |= {f"{images}_only_this": only_first, f"{images}_only_other": only_second}
        row[f"mcnemar_{name}_p"] = intervals.mcnemar(only_first, only_second)
    return row | {"mcnemar_note": f"exact, n = {' and '.join(counts)}"}


def _ends(name, interval):
    ends = (interval.value, interval.low, interval.high)
    return {f"{name}_{end}": value for end, value in zip(ENDS, ends, strict=True)}


def in_words(found: pd.DataFrame) -> dict[str, str]:
    """Returns sentences on each difference, by what is compared; {} of an empty table."""
    words = {}
    for row in found.itertuples():
        parts = [
            _difference(name, getattr(row, f"{key}_difference"), *_of(row, key))
            for key, name in IN_WORDS.items()
            if not pd.isna(getattr(row, f"{key}_difference"))
        ]
        if not pd.isna(row.auc_p_holm):
            parts[0] += f", {_p(row.auc_p_holm)} by Holm"
        if not pd.isna(row.mcnemar_note):
            parts += _decisions(row)
        if not parts:
            continue
        title = f"{row.experiment} minus {row.compared_with}, seed {row.seed}"
        words[title] = f"{'; '.join(parts)} ({row.num_images} images, 95 % intervals by patient)"
    return words


def _decisions(row):
    """Returns what McNemar's tests say, one part for each class that there is."""
    if row.mcnemar_note.startswith("not estimable"):
        return [f"decisions at the operating points (McNemar) {row.mcnemar_note}"]
    words = {
        "sensitivity": ("melanoma is", "melanomas are", "flagged"),
        "specificity": ("other is", "others are", "not flagged"),
    }
    parts = []
    for name, images in DECISIONS.items():
        p = getattr(row, f"mcnemar_{name}_p_holm")
        if not pd.isna(p):
            this, other = (getattr(row, f"{images}_only_{one}") for one in ("this", "other"))
            one, several, flagged = words[name]
            parts.append(
                f"at the operating points {this:.0f} {one if this == 1 else several} {flagged} by "
                f"this one alone, {other:.0f} by the other alone ({name}: McNemar's exact {_p(p)} "
                "by Holm)"
            )
    return parts


def _of(row, key):
    return getattr(row, f"{key}_low"), getattr(row, f"{key}_high")


def _difference(name, value, low, high):
    if pd.isna(low):
        return f"{name} {value:+.3f}, interval not estimable"
    return f"{name} {value:+.3f} ({low:+.3f} to {high:+.3f})"


def _p(value):
    """Returns a p-value in words: three digits say nothing of a smaller one."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
