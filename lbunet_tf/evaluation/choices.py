"""What is chosen after training and frozen beside the run: operating point, calibration, sets.

On the part of the split for it, else on val.
"""

import pathlib

import pandas as pd
from absl import logging

from lbunet_tf.data import manifests
from lbunet_tf.evaluation import calibration
from lbunet_tf.evaluation import conformal
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import operating_point
from lbunet_tf.runs import frozen
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import calibrated
from lbunet_tf.settings import command_groups


def part_of(rows: pd.DataFrame) -> str:
    """Returns where choices are made: calibration where a run has that part, else val."""
    has_part = (rows["split"] == manifests.CALIBRATION).any()
    return manifests.CALIBRATION if has_part else "val"


def rule_of(score: command_groups.Score) -> operating_point.Rule:
    """Returns how the flags choose a threshold; 0 of a flag is not to ask for it."""
    return operating_point.Rule(
        score.target_sensitivity or None,
        score.target_specificity or None,
        score.cost_ratio or None,
        score.guarantee or None,
    )


def check(
    rows: pd.DataFrame, rule: operating_point.Rule, has_score: bool, run: pathlib.Path | None
) -> None:
    """Refuses, before hours of predictions, what `take_point` could not do.

    Args:
        rows: Of the manifest.
        rule: How.
        has_score: Whether an output scores melanoma.
        run: As in `take_point`.

    Raises:
        ValueError: A rule is asked for and there is no score, no image of a class, or too few
            patients; or the run's frozen point is damaged.
    """
    if rule == operating_point.Rule():
        if run:
            frozen.read_point(run)
        return
    if not has_score:
        raise ValueError(
            "an operating point needs a melanoma score: train with --heads=mask,melanoma. "
            f"Received: {rule}, of a run without one"
        )
    part = part_of(rows)
    operating_point.check_possible(rows[rows["split"] == part], rule, part)


def take_point(
    table: pd.DataFrame, rule: operating_point.Rule, run: pathlib.Path | None, may_freeze: bool
) -> dict | None:
    """Returns the operating point: the frozen one, or one chosen on val; None without both classes.

    Args:
        table: The predictions.
        rule: How; Youden's leaves a frozen one as it is.
        run: Whose it is, None of a mean.
        may_freeze: Whether it is kept beside the run.

    Raises:
        ValueError: Too few patients for the guarantee.
    """
    kept = frozen.read_point(run) if run and rule == operating_point.Rule() else None
    if kept:
        logging.info("operating point of %s: %s", run, kept["rule"])
        return kept
    part = part_of(table)
    rows = table[(table["split"] == part) & table["label"].notna() & table["score"].notna()]
    if rows["label"].nunique() < 2:
        return None
    point = operating_point.describe(rows, rule, part)
    if may_freeze and run:
        frozen.write(run, run_directory.OPERATING_POINT, point)
    return point


def calibrate(
    table: pd.DataFrame, run: pathlib.Path | None, may_freeze: bool
) -> tuple[dict[str, dict], calibrated.Calibration | None]:
    """Returns (how calibrated the scores of test are, by name; the calibration of val or None).

    `calibration` is of the scores as they are, `calibrated` by what is fitted beside it; what
    is not estimable is left out. The arguments are those of `take_point`.
    """
    part = part_of(table)
    parts = {split: table[table["split"] == split] for split in (part, "test")}
    is_scored = (parts["test"]["score"].notna() & parts["test"]["label"].notna()).any()
    found = calibration.fit_table(parts[part])
    measured = {}
    if is_scored:
        measured["calibration"] = calibration.measure_table(parts["test"])
    if found is None:
        return measured, None
    function, facts = found
    facts["chosen_on"] = part
    if is_scored:
        after = calibration.measure_table(parts["test"], function)
        measured["calibrated"] = {**after, "kind": function.kind, "chosen_on": part}
    if may_freeze and run:
        frozen.write(run, run_directory.CALIBRATION, facts)
    return measured, function


def make_sets(
    table: pd.DataFrame, coverage: float, run: pathlib.Path | None, may_freeze: bool
) -> dict:
    """Returns how prediction sets that val calibrates do on test; {} without both classes there.

    Args:
        table: The predictions.
        coverage: The fraction of each class whose set holds it.
        run: As in `take_point`.
        may_freeze: As in `take_point`.
    """
    part = part_of(table)
    labels, scores, key = _scored(table, part)
    if len(set(labels)) < 2:
        return {}
    alpha = 1 - coverage
    found = conformal.fit_binary(labels, scores, key, alpha)
    counts = {
        name: len(set(key[labels == label])) for label, name in ((1, "melanoma"), (0, "benign"))
    }
    if may_freeze and run:
        facts = {"rule": "class-conditional LAC", "coverage": coverage, "chosen_on": part}
        facts |= {f"num_patients_{name}": count for name, count in counts.items()}
        content = {"benign": found.benign, "melanoma": found.melanoma, **facts}
        frozen.write(run, run_directory.CONFORMAL, content)
    labels, scores, key = _scored(table, "test")
    if not len(labels):
        return {}
    measured = {"asked": coverage, **conformal.measure_binary(found, labels, scores)}
    for label, name in ((1, "melanoma"), (0, "benign")):
        count = len(set(key[labels == label]))
        # Of one image a patient: where they repeat, coverage varies more.
        if count == (labels == label).sum() and count:
            band = conformal.coverage_band(counts[name], count, alpha)
            measured[f"band_{name}"] = list(band)
    return {"prediction_sets": measured}


def _scored(table, split):
    rows = table[(table["split"] == split) & table["label"].notna() & table["score"].notna()]
    key, _ = contract.patients(rows)
    return rows["label"].to_numpy(int), rows["score"].to_numpy(float), key
