"""What is chosen of scores after training and frozen with the run: point, calibration, sets.

On the part of the split for it, else on val.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import pandas as pd
from absl import logging

from lbunet_tf.data import manifests
from lbunet_tf.evaluation import calibration
from lbunet_tf.evaluation import clinic
from lbunet_tf.evaluation import conformal
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import operating_point
from lbunet_tf.runs import frozen
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import calibrated
from lbunet_tf.serving import prediction_sets
from lbunet_tf.settings import score_group

# What prediction sets cover where nothing else is asked for.
COVERAGE = 0.9


@dataclasses.dataclass(frozen=True)
class Target:
    """Whose choices are read and frozen, and of whose images they are.

    Attributes:
        run: The run, None of a mean or of test-time augmentation, which scores otherwise.
        may_freeze: Whether what is chosen is kept with the run.
        is_own: Whether test is of the source that the run has learnt from.
        model_crc32: Checksum of the model that made the predictions, which a training may replace
            meanwhile; None for that of the present one.
    """

    run: pathlib.Path | None = None
    may_freeze: bool = False
    is_own: bool = True
    model_crc32: int | None = None

    def freeze(self, freeze: Callable, file: str, found: dict) -> None:
        """Keeps what was chosen with the run, where that may be."""
        if self.run and self.may_freeze:
            freeze(self.run, file, found, self.model_crc32)


def is_promised(table: pd.DataFrame, target: Target) -> bool:
    """Returns whether what is chosen holds for test: images like those that it was chosen on.

    Not for another source, nor where a challenge's own test part, or that of a manifest, is of
    other images.
    """
    return target.is_own and not any(
        _is_apart(table, column) for column in ("official_part", "source") if column in table
    )


def _is_apart(table, column):
    """Returns whether test shares no value of a column with the part on which choices are made."""
    known = table[table[column].fillna("") != ""]
    chosen_on, test = (
        set(known[column][known["split"] == split]) for split in (part_of(table), "test")
    )
    return bool(chosen_on) and bool(test) and chosen_on.isdisjoint(test)


def promise_of_point(point: dict, table: pd.DataFrame, target: Target) -> dict:
    """Returns `is_promised`, for JSON, of a point whose rule has a guarantee; {} of another."""
    if not operating_point.is_guaranteed(point["rule"]):
        return {}
    return {"is_promised": is_promised(table, target)}


def part_of(rows: pd.DataFrame) -> str:
    """Returns where choices are made: calibration where a run has that part, else val."""
    has_part = (rows["split"] == manifests.CALIBRATION).any()
    return manifests.CALIBRATION if has_part else "val"


def rule_of(score: score_group.Score) -> operating_point.Rule:
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
        run: Whose frozen point is taken, None of a mean.

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
            "an operating point needs a melanoma score: train with melanoma in --heads. "
            f"Received: {rule}, of a run without one"
        )
    part = part_of(rows)
    operating_point.check_possible(rows[rows["split"] == part], rule, part)


def take_point(table: pd.DataFrame, rule: operating_point.Rule, target: Target) -> dict | None:
    """Returns the operating point: the frozen one, or one chosen on val; None without both classes.

    Args:
        table: The predictions.
        rule: How; Youden's leaves a frozen one as it is.
        target: Whose it is.

    Raises:
        ValueError: Too few patients for the guarantee.
    """
    is_asked = rule != operating_point.Rule()
    kept = frozen.read_point(target.run) if target.run and not is_asked else None
    if kept:
        logging.info("operating point of %s: %s", target.run, kept["rule"])
        # As when it was chosen.
        return {name: value for name, value in kept.items() if name != "model_crc32"}
    part = part_of(table)
    rows = contract.with_score(table[table["split"] == part])
    if rows["label"].nunique() < 2:
        return None
    point = operating_point.describe(rows, rule, part)
    target.freeze(frozen.write, run_directory.OPERATING_POINT, point)
    return point


def calibrate(
    table: pd.DataFrame,
    target: Target,
    clinic_prevalence: float = 0.0,
    at: dict | None = None,
) -> tuple[dict[str, dict], calibrated.Calibration | None]:
    """Returns (how calibrated the scores of test are, by name; the calibration of val or None).

    That is fitted each time; where no image of val is at hand, it is the run's own.

    `calibration` is of the scores as they are, `calibrated` by what is fitted for them; what
    is not estimable is left out, and where no image of test has score and label `calibrated` has
    the facts of the fit alone. Both are at the prevalence of val; what is frozen is shifted.

    Args:
        table: The predictions.
        target: Whose it is.
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
    if target.run and parts[part].empty:
        # A released run comes without the images that its own was fitted on.
        found = own_calibration(target.run)
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
    after = calibration.measure_table(parts["test"], function) if is_scored else {}
    of_fit = {name: facts[name] for name in ("kind", "chosen_on", "prevalence")}
    measured["calibrated"] = {**after, **of_fit}
    kept_for = None if target.may_freeze else frozen.clinic_prevalence_of(target.run)
    if kept_for:
        measured["calibrated"]["kept_for_prevalence"] = kept_for
    if clinic_prevalence:
        facts |= clinic.shift(facts["prevalence"], clinic_prevalence)
        found = clinic.describe(facts["prevalence"], clinic_prevalence, at)
        measured["calibrated"]["clinic_prevalence"] = found
    if is_new:
        target.freeze(frozen.write, run_directory.CALIBRATION, facts)
    return measured, function


def own_calibration(run: pathlib.Path) -> tuple[calibrated.Calibration, dict] | None:
    """Returns (the calibration of a run, facts on it), None without one.

    Raises:
        ValueError: The file is damaged.
    """
    function = frozen.read_calibration(run)
    return function and (function, frozen.read_calibration_facts(run))


def check_sets(rows: pd.DataFrame, coverage: float, has_score: bool, target: Target) -> None:
    """Refuses, before hours of predictions, sets that `make_sets` could not make.

    Args:
        rows: Of the manifest, those on which they are chosen.
        coverage: --set_coverage, 0 where it is not asked for.
        has_score: Whether an output scores melanoma.
        target: As in `make_sets`.

    Raises:
        ValueError: A coverage is asked for and there is no score, or no image of a class; or the
            run's frozen sets, which would be used, are damaged.
    """
    if not coverage:
        if target.run:
            frozen.read_sets(target.run)
        return
    if not has_score:
        _refuse_coverage(coverage, "a melanoma score: train with melanoma in --heads", "none")
    labels = rows["label"].dropna()
    if labels.nunique() < 2:
        _refuse_classes(coverage, labels)


def _refuse_classes(coverage, labels):
    """Raises: new sets need a score and both classes, which are not there."""
    _refuse_coverage(
        coverage,
        "scored images of both classes that the run's sets are chosen on (val, or calibration). "
        "Leave it out for the sets that the run has; a released network comes without images",
        f"{int(labels.sum())} melanomas of {len(labels)} images",
    )


def _refuse_coverage(coverage, needed, received):
    raise ValueError(
        f'"--set_coverage" needs {needed}. Received: --set_coverage={coverage:g}, {received}'
    )


def make_sets(
    table: pd.DataFrame, coverage: float | None, target: Target
) -> tuple[dict, prediction_sets.BinarySets | None]:
    """Returns (how prediction sets do on test, the sets); {} and None of none.

    Those that the run has, unless a coverage is asked for; else new ones, of `COVERAGE`. Where no
    image of test has score and label, it says what was asked for and nothing else.

    Args:
        table: The predictions.
        coverage: The fraction of each class whose set holds it, None as it is.
        target: Whose they are.

    Raises:
        ValueError: A coverage is asked for, and a class has no scored image to choose on.
    """
    kept = frozen.read_sets(target.run) if target.run and coverage is None else None
    found = kept or _new_sets(table, coverage or COVERAGE)
    if found is None:
        if coverage:
            part = table[table["split"] == part_of(table)]
            _refuse_classes(coverage, contract.with_score(part)["label"])
        return {}, None
    if not kept:
        target.freeze(frozen.add, run_directory.CONFORMAL, found)
    sets = prediction_sets.BinarySets(found["benign"], found["melanoma"])
    labels, scores, key = contract.scored(table[table["split"] == "test"])
    promised = is_promised(table, target)
    measured = {"asked": found["coverage"], "is_promised": promised}
    if not len(labels):
        return {"prediction_sets": measured}, sets
    measured |= conformal.measure_binary(sets, labels, scores, key)
    for label, name in ((1, "melanoma"), (0, "benign")):
        # With one image per patient, on both sides: where they repeat, coverage varies more.
        count, patients = int((labels == label).sum()), len(set(key[labels == label]))
        known, known_patients = found[f"num_{name}"], found[f"num_patients_{name}"]
        if promised and count and (count, known) == (patients, known_patients):
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
