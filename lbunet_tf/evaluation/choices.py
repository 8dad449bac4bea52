"""What is chosen after training and frozen with the run: operating point, calibration, sets.

On the part of the split for it, else on val.
"""

import pathlib

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import manifests
from lbunet_tf.evaluation import calibration
from lbunet_tf.evaluation import clinic
from lbunet_tf.evaluation import conformal
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import mask_contours
from lbunet_tf.evaluation import operating_point
from lbunet_tf.runs import frozen
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import calibrated
from lbunet_tf.serving import outlines
from lbunet_tf.serving import prediction_sets
from lbunet_tf.settings import command_groups
from lbunet_tf.storage import whole_files

# What prediction sets, and contours of masks, cover where nothing else is asked for.
COVERAGE = 0.9
CONTOUR_COVERAGE = 0.95


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
        may_freeze: Whether it is kept with the run.

    Raises:
        ValueError: Too few patients for the guarantee.
    """
    kept = frozen.read_point(run) if run and rule == operating_point.Rule() else None
    if kept:
        logging.info("operating point of %s: %s", run, kept["rule"])
        # As when it was chosen.
        return {name: value for name, value in kept.items() if name != "model_crc32"}
    part = part_of(table)
    rows = contract.with_score(table[table["split"] == part])
    if rows["label"].nunique() < 2:
        return None
    point = operating_point.describe(rows, rule, part)
    if may_freeze and run:
        frozen.write(run, run_directory.OPERATING_POINT, point)
    return point


def calibrate(
    table: pd.DataFrame,
    run: pathlib.Path | None,
    may_freeze: bool,
    clinic_prevalence: float = 0.0,
    at: dict | None = None,
) -> tuple[dict[str, dict], calibrated.Calibration | None]:
    """Returns (how calibrated the scores of test are, by name; the calibration of val or None).

    That is fitted each time; where no image of val is at hand, it is the run's own.

    `calibration` is of the scores as they are, `calibrated` by what is fitted for them; what
    is not estimable is left out. Both are at the prevalence of val; what is frozen is shifted.

    Args:
        table: The predictions.
        run: As in `take_point`.
        may_freeze: As in `take_point`.
        clinic_prevalence: That of melanoma for which probabilities are frozen, 0 for that of val.
        at: Sensitivity and specificity of test at the operating point, None without one.

    Raises:
        ValueError: A prevalence is asked for, and there is no calibration.
    """
    part = part_of(table)
    parts = {split: table[table["split"] == split] for split in (part, "test")}
    is_scored = not contract.with_score(parts["test"]).empty
    found = calibration.fit_table(parts[part])
    is_new = found is not None
    if not is_new and run and parts[part].empty and frozen.read_calibration(run):
        # A released run comes without the images that it was fitted on.
        function = frozen.read_calibration(run)
        found = function, whole_files.read_json(run / run_directory.CALIBRATION)
    measured = {}
    if is_scored:
        measured["calibration"] = calibration.measure_table(parts["test"])
    if found is None:
        if clinic_prevalence:
            clinic.refuse_without_calibration(clinic_prevalence, f"too few in {part}")
        return measured, None
    function, facts = found
    if is_new:
        facts["chosen_on"] = part
        facts["prevalence"] = facts["num_melanoma"] / facts["num_images"]
    if is_scored:
        after = calibration.measure_table(parts["test"], function)
        chosen = {name: facts[name] for name in ("kind", "chosen_on", "prevalence")}
        measured["calibrated"] = {**after, **chosen}
    if clinic_prevalence:
        facts |= clinic.shift(facts["prevalence"], clinic_prevalence)
        if is_scored:
            found = clinic.describe(facts["prevalence"], clinic_prevalence, at)
            measured["calibrated"]["clinic_prevalence"] = found
    if may_freeze and run and is_new:
        frozen.write(run, run_directory.CALIBRATION, facts)
    return measured, function


def make_sets(
    table: pd.DataFrame,
    coverage: float | None,
    run: pathlib.Path | None,
    may_freeze: bool,
    is_own: bool,
) -> tuple[dict, prediction_sets.BinarySets | None]:
    """Returns (how prediction sets do on test, the sets); {} of nothing to measure, None of none.

    Those that the run has, unless a coverage is asked for; else new ones, of `COVERAGE`.

    Args:
        table: The predictions.
        coverage: The fraction of each class whose set holds it, None as it is.
        run: As in `take_point`.
        may_freeze: As in `take_point`.
        is_own: Whether test is of the source that the sets are made on: nothing is promised of
            another.
    """
    kept = frozen.read_sets(run) if run and coverage is None else None
    found = kept or _new_sets(table, coverage or COVERAGE)
    if found is None:
        return {}, None
    if may_freeze and run and not kept:
        frozen.add(run, run_directory.CONFORMAL, found)
    sets = prediction_sets.BinarySets(found["benign"], found["melanoma"])
    labels, scores, key = contract.scored(table[table["split"] == "test"])
    if not len(labels):
        return {}, sets
    measured = {
        "asked": found["coverage"],
        "is_promised": is_own,
        **conformal.measure_binary(sets, labels, scores),
    }
    for label, name in ((1, "melanoma"), (0, "benign")):
        # With one image per patient, on both sides: where they repeat, coverage varies more.
        count, patients = int((labels == label).sum()), len(set(key[labels == label]))
        known, known_patients = found[f"num_{name}"], found[f"num_patients_{name}"]
        if is_own and count and (count, known) == (patients, known_patients):
            band = conformal.coverage_band(known, count, 1 - found["coverage"])
            measured[f"band_{name}"] = list(band)
    return {"prediction_sets": measured}, sets


def _new_sets(table, coverage):
    """Returns the content of conformal.json, None where a class is missing."""
    part = part_of(table)
    labels, scores, key = contract.scored(table[table["split"] == part])
    if len(set(labels)) < 2:
        return None
    found = conformal.fit_binary(labels, scores, key, 1 - coverage)
    counts = {}
    for label, name in ((1, "melanoma"), (0, "benign")):
        counts[f"num_{name}"] = int((labels == label).sum())
        counts[f"num_patients_{name}"] = len(set(key[labels == label]))
    return {
        "benign": found.benign,
        "melanoma": found.melanoma,
        "rule": "class-conditional LAC",
        "coverage": coverage,
        "chosen_on": part,
        **counts,
    }


def make_contours(
    table: pd.DataFrame,
    histograms: pathlib.Path,
    threshold: float,
    coverage: float | None,
    run: pathlib.Path | None,
    may_freeze: bool,
    is_own: bool,
) -> dict:
    """Returns how mask contours do on test; {} where there are none, or nothing to measure.

    Args:
        table: The predictions.
        histograms: `mask_histograms.npz` of them, which need not be there.
        threshold: Probability from which a pixel belongs to the outline.
        coverage: 1 - coverage of a lesion may be missed, and of the inner region wrong; None as
            in `make_sets`.
        run: As in `take_point`.
        may_freeze: As in `take_point`.
        is_own: As in `make_sets`.
    """
    kept = frozen.read_contours(run) if run and coverage is None else None
    found = kept or _new_contours(table, histograms, threshold, coverage or CONTOUR_COVERAGE)
    if found is None:
        return {}
    if may_freeze and run and not kept:
        frozen.add(run, run_directory.CONFORMAL, {frozen.CONTOURS: found})
    rows, counts, num_empty = _mask_counts(table[table["split"] == "test"], histograms)
    if rows.empty:
        return {}
    contours = outlines.Contours(found["outer"], found["inner"])
    chosen = {name: found[name] for name in ("outer", "inner", "confidence", "chosen_on")}
    measured = mask_contours.measure(contours, counts, contract.patients(rows)[0])
    counted = {"num_masks": len(rows), "num_empty": num_empty, "is_promised": is_own}
    return {frozen.CONTOURS: {"asked": found["coverage"], **chosen, **counted, **measured}}


def _new_contours(table, histograms, threshold, coverage):
    """Returns the contours' part of conformal.json, None without masks to choose on."""
    part = part_of(table)
    rows, counts, num_empty = _mask_counts(table[table["split"] == part], histograms)
    if rows.empty:
        return None
    key = contract.patients(rows)[0]
    found = mask_contours.fit(counts, key, 1 - coverage, threshold)
    return {
        "outer": found.outer,
        "inner": found.inner,
        "coverage": coverage,
        "confidence": mask_contours.CONFIDENCE,
        "chosen_on": part,
        "num_masks": len(rows),
        "num_patients": len(set(key)),
        "num_empty": num_empty,
    }


def _mask_counts(table, histograms):
    """Returns (rows whose mask is not empty, their (N, 2, 128) counts, how many are empty)."""
    nothing = table.iloc[:0], np.zeros((0, 2, mask_contours.NUM_BINS)), 0
    if not histograms.is_file():
        return nothing
    rows = table[table["mask_tp"].notna()]
    if rows.empty:
        return nothing
    counts = mask_contours.read(histograms, rows["image_id"].tolist())
    has_lesion = counts[:, 1].sum(axis=1) > 0
    return rows[has_lesion], counts[has_lesion], int((~has_lesion).sum())
