"""All numbers of an evaluation, from the predictions table and the histograms next to it."""

import dataclasses
import pathlib

import numpy as np
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
from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import chosen
from lbunet_tf.serving import outlines
from lbunet_tf.serving import prediction_sets
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
) -> dict[str, bool]:
    """Returns which of `frozen.CHOICES` the run has, and whether just as they were measured.

    And as "mask_threshold" whether it cuts masks as they were here.

    A file of the run that is damaged counts as none, with a warning.

    Args:
        measured: The metrics of test.
        found: What was chosen of scores, as `assess` gives it.
        mask_rule: That made the outlines.
        run: The run; None of a mean, which has none.
    """
    point, contours = measured.get("operating_point", {}), measured.get(frozen.CONTOURS, {})

    def same_contours(kept):
        around = outlines.Contours(kept["outer"], kept["inner"]).around(mask_rule.threshold)
        return (around.outer, around.inner) == (contours.get("outer"), contours.get("inner"))

    same = {
        "operating_point": (
            frozen.read_point,
            lambda kept: (
                (kept["threshold"], kept["rule"]) == (point.get("threshold"), point.get("rule"))
            ),
        ),
        "calibrated": (frozen.read_calibration, lambda kept: _alike(kept, found.calibration)),
        "prediction_sets": (
            frozen.read_sets,
            lambda kept: prediction_sets.BinarySets(kept["benign"], kept["melanoma"]) == found.sets,
        ),
        frozen.CONTOURS: (frozen.read_contours, same_contours),
    }
    has = {}
    for name, (read, is_same) in same.items() if run else ():
        try:
            its_own = read(run)
        except ValueError as error:
            logging.warning("%s", error)
            continue
        if its_own is not None:
            has[name] = is_same(its_own)
    if run and mask_rule.cleanup != "none" and mask_threshold.chosen_on([run]) != "none":
        has["mask_threshold"] = mask_threshold.rule_of([run], mask_rule.cleanup) == mask_rule
    return has


def _alike(one, other):
    """Returns whether two calibrations give the same probabilities, at the prevalence of val.

    Fitted again, on another CPU, parameters differ in their last digits.
    """
    if other is None:
        return False
    logits = np.linspace(-20, 20, 401)
    first, second = (dataclasses.replace(each, offset=0.0).apply(logits) for each in (one, other))
    return bool(np.allclose(first, second, atol=1e-4))


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
