"""All numbers of an evaluation, from the predictions table and the histograms next to it."""

import dataclasses
import pathlib

import pandas as pd
from absl import logging

from lbunet_tf.evaluation import choices
from lbunet_tf.evaluation import clinic
from lbunet_tf.evaluation import contour_choice
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import pixel_histograms
from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation import skin_tone
from lbunet_tf.evaluation import subgroups
from lbunet_tf.evaluation import uncertainty
from lbunet_tf.runs import frozen
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import chosen
from lbunet_tf.serving import outlines
from lbunet_tf.settings import output_group
from lbunet_tf.settings import score_group


def check(
    rows: pd.DataFrame,
    score: score_group.Score,
    outputs: output_group.Outputs,
    target: choices.Target,
) -> None:
    """Refuses, before hours of predictions, what `assess` could not do.

    Args:
        rows: Of the manifest.
        score: The flags.
        outputs: What the network gives.
        target: As in `assess`.

    Raises:
        ValueError: As `choices.check`, `clinic.check`, `choices.check_sets` and
            `contour_choice.check`; or a frozen file that would be used is damaged.
    """
    has_score = outputs.score_rule != "none"
    choices.check(rows, choices.rule_of(score), has_score, target.run)
    calibrated_on = rows[rows["split"] == choices.part_of(rows)]
    is_kept = target.run is not None and target.may_freeze
    clinic.check(score.clinic_prevalence, calibrated_on, has_score, target.is_own, is_kept)
    if target.run and calibrated_on.empty:
        choices.own_calibration(target.run)
    choices.check_sets(calibrated_on, score.set_coverage, has_score, target)
    contour_choice.check(
        calibrated_on, score.contour_coverage, outputs.mask_source == "lesion", target
    )
    if target.run and target.may_freeze:
        frozen.refuse_unreadable(target.run, run_directory.CONFORMAL)


def assess(
    table: pd.DataFrame,
    output: pathlib.Path,
    outputs: output_group.Outputs,
    score: score_group.Score,
    mask_rule: outlines.MaskRule,
    target: choices.Target,
) -> tuple[dict[str, dict], chosen.Chosen]:
    """Returns (`metrics.json`, what was chosen of the scores on other images than those of test).

    Args:
        table: The predictions.
        output: The folder of their histograms.
        outputs: What the network gives.
        score: The flags.
        mask_rule: That made the outlines.
        target: Whose choices are read and frozen.

    Raises:
        ValueError: The table breaks its contract; or too few patients for what is asked for.
    """
    contract.check(table, str(output / run_directory.PREDICTIONS))
    point = choices.take_point(table, choices.rule_of(score), target)
    threshold = point["threshold"] if point else None
    histograms = pixel_histograms.read(output) if contract.has_masks(table) else {}
    metrics = scores.evaluate_table(
        table, histograms, outputs.mask_source, score.prevalence, threshold
    )
    for split, values in metrics.items():
        part = table[table["split"] == split]
        values |= uncertainty.estimate(part, threshold, outputs.mask_source)
        if point:
            values["operating_point"] = point
    test = metrics["test"]
    if point:
        test["operating_point"] = point | choices.promise_of_point(point, table, target)
    at = test.get("at_val_threshold")
    of_calibration, function = choices.calibrate(table, target, score.clinic_prevalence, at)
    of_sets, sets = choices.make_sets(table, score.set_coverage or None, target)
    if mask_rule.cleanup == "none":
        # They lie around 0.5: predict draws them around the outline of the run.
        if score.contour_coverage:
            logging.warning("contours with --mask_cleanup=none are measured and not kept")
        target = dataclasses.replace(target, may_freeze=False)
    of_contours = contour_choice.make(
        table,
        output / run_directory.MASK_HISTOGRAMS,
        mask_rule.threshold,
        score.contour_coverage or None,
        target,
    )
    test |= of_calibration | of_sets | of_contours
    if score.ita_estimate:
        test["ita_estimate"] = skin_tone.describe(table[table["split"] == "test"])
    return metrics, chosen.Chosen(threshold, function, sets)


def kept(
    measured: dict, found: chosen.Chosen, mask_rule: outlines.MaskRule, run: pathlib.Path | None
) -> frozenset[str]:
    """Returns which of `frozen.CHOICES` the run has just as they were measured.

    Args:
        measured: The metrics of test.
        found: What was chosen of scores, as `assess` gives it.
        mask_rule: That made the outlines.
        run: The run; None of a mean, which has none.
    """
    if run is None:
        return frozenset()
    runs = [str(run)]
    calibration = frozen.read_calibration(run)
    contours = frozen.contours_of(runs, "none")
    points = (frozen.read_point(run) or {}, measured.get("operating_point", {}))
    its_own = {
        "operating_point": [[one.get(key) for key in ("threshold", "rule")] for one in points],
        # Measured at the prevalence of val, whatever the run's is shifted to.
        "calibrated": (
            calibration and dataclasses.replace(calibration, offset=0.0),
            found.calibration and dataclasses.replace(found.calibration, offset=0.0),
        ),
        "prediction_sets": (frozen.sets_of(runs, "none"), found.sets),
        frozen.CONTOURS: (
            contours and dataclasses.asdict(contours.around(mask_rule.threshold)),
            {end: measured.get(frozen.CONTOURS, {}).get(end) for end in ("outer", "inner")},
        ),
    }
    return frozenset(name for name, (its, here) in its_own.items() if its == here)


def assess_groups(
    test: pd.DataFrame,
    found: chosen.Chosen,
    columns: tuple[str, ...],
    attributes: pd.DataFrame,
) -> pd.DataFrame:
    """Returns the numbers of groups of test, as `subgroups.measure` does.

    Args:
        test: Rows of the predictions.
        found: As `assess` gives it.
        columns: Those of the table that are asked for.
        attributes: Further ones, as `subgroup_tables.read` gives them.
    """
    if skin_tone.COLUMNS[0] in columns:
        logging.warning(
            "groups by ita_estimate are groups of photographs: light and camera move the estimate, "
            "and it is no measure of anybody's skin type"
        )
    names = [*(name for name in columns if name not in attributes), *attributes]
    return subgroups.measure(test.join(attributes, on="image_id"), found, names)
