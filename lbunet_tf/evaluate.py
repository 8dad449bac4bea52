"""Evaluates finished runs: predictions table, numbers, figures and a report.

    python -m lbunet_tf.evaluate --run=runs/paper
    python -m lbunet_tf.evaluate --run=runs/a --run=runs/b --output=runs/a_and_b
    python -m lbunet_tf.evaluate --run=runs/a --source=ham10000 --data_dir=$DATA/ham10000

Several runs: the mean of their probabilities. Another source: all its images are test, except
those from which a run has learnt; the threshold stays that of the run's own val images.
Everything that is printed comes from predictions.csv and the histograms next to it.
"""

import dataclasses
import pathlib
import time

import pandas as pd
from absl import logging

from lbunet_tf.data.pixels import file_check
from lbunet_tf.drawing import figures
from lbunet_tf.drawing import sheets
from lbunet_tf.evaluation import assessment
from lbunet_tf.evaluation import choices
from lbunet_tf.evaluation import examples
from lbunet_tf.evaluation import logged_numbers
from lbunet_tf.evaluation import predictions
from lbunet_tf.evaluation import score_figures
from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation import subgroup_tables
from lbunet_tf.evaluation.reports import report_figures
from lbunet_tf.evaluation.reports import report_files
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import evaluation_folder
from lbunet_tf.runs import frozen
from lbunet_tf.runs import held_out
from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import run_directory
from lbunet_tf.runs import training_history
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import failed_files
from lbunet_tf.storage import spreadsheets
from lbunet_tf.storage import whole_files


def main(settings: config.Config) -> None:
    """Evaluates the runs that --run names, on their own images or on those of --source."""
    other_source = flagfiles.other_source()
    evaluate(settings, other_source)
    source = _other_source(other_source)
    if (source or settings.source).on_bad_image == "skip":
        return
    output = evaluation_folder.folder_of(settings.paths, source, _asked(settings, source))
    # A run has settled how it reads its own.
    skip = ", or give --on_bad_image=skip to leave them out" if source else ""
    failed_files.raise_for(
        failed_files.read(output),
        output / failed_files.FILE,
        f"Replace these files with good ones and give the same command again{skip}",
    )


def evaluate(settings: config.Config, other_source: dict | None = None) -> dict[str, dict]:
    """Returns the metrics of val and test; all files are written to the output folder.

    That is the run directory, or --output, or RUN/on_SOURCE.

    Args:
        settings: Of the first run, with the others in `other_runs`.
        other_source: Flags of the group `source` by name: all images of that source are
            test instead of the run's own. Nothing: the run's own.
    """
    source = _other_source(other_source)
    output = evaluation_folder.folder_of(settings.paths, source, _asked(settings, source))
    with whole_files.locked(output, evaluation_folder.WORK):
        return _evaluate(settings, source, output)


def _evaluate(settings, source, output):
    checksums = ensemble.checksums(settings.paths.runs)
    model = ensemble.load_mean(settings)
    if not settings.paths.other_runs:
        # What is drawn last must be there before hours of predictions.
        _read_history(settings)
    scored = (
        held_out.other_images(settings, source)
        if source
        else held_out.own_images(settings.paths.runs, settings.reading.verify_images)
    )
    target = _target(settings, source, output, checksums)
    assessment.check(scored.manifest, settings.score, settings.outputs, target)
    attributes = subgroup_tables.read(
        settings.score.subgroup_table,
        scored.manifest[scored.manifest["split"] == "test"],
        settings.score.subgroups,
    )
    run = pathlib.Path(settings.paths.run)
    evaluation_folder.write_scored(output, run, scored, _asked(settings, source))
    start = time.perf_counter()
    scored, table, mask_rule = _predict(settings, output, model, scored)
    if "failed" in scored.checks:
        evaluation_folder.write_scored(output, run, scored, _asked(settings, source))
    if target.run and target.may_freeze:
        ensemble.refuse_changed(
            settings.paths.runs,
            checksums,
            "What is chosen belongs to one model: give the same command again, best after the "
            "training has ended.",
        )
    failed_files.write(output, scored.failures)
    speed = ensemble.describe_speed(
        settings.score.tta, len(settings.paths.runs), len(table), time.perf_counter() - start
    )
    logging.info("scored %s", speed)
    metrics, found = assessment.assess(
        table, output, settings.outputs, settings.score, mask_rule, target
    )
    num_masks = metrics["val"].get("num_masks", 0)
    how = _how_scored(settings, mask_rule, target.run is not None and num_masks > 0)
    metrics = {split: {**values, **how} for split, values in metrics.items()}
    whole_files.write_json(output / run_directory.METRICS, metrics)
    if num_masks and mask_rule.cleanup != "none" and target.run and target.may_freeze:
        mask_threshold.write(output, mask_rule, num_masks, target.model_crc32)
    test = table[table["split"] == "test"]
    groups = assessment.assess_groups(test, found, settings.score.subgroups, attributes)
    _write_groups(output, groups)
    drawn = _draw(
        settings, source, output, model, scored.manifest, table, metrics, mask_rule, found
    )
    how_scored = ensemble.describe(settings.score.tta, len(settings.paths.runs))
    described = report_files.describe(
        settings, source, scored.manifest, scored.checks, metrics, how_scored, checksums
    )
    kept = assessment.kept(metrics["test"], found, mask_rule, target.run)
    report_files.write(
        output, dataclasses.replace(described, test=test, groups=groups, figures=drawn, kept=kept)
    )
    _log(output, metrics)
    return metrics


def _asked(settings, source):
    return evaluation_folder.asked_of(
        settings.paths.runs, settings.score, settings.mask_cleanup, source
    )


def _target(settings, source, output, checksums):
    """Returns whose choices are read and frozen."""
    is_as_it_is = frozen.is_run_as_it_is(settings.paths.runs, settings.score.tta)
    run = pathlib.Path(settings.paths.run)
    return choices.Target(run if is_as_it_is else None, output == run, source is None, checksums[0])


def _how_scored(settings, mask_rule, has_chosen):
    """Returns what metrics.json says of how images were scored.

    `has_chosen`: whether the threshold of outlines was chosen in this evaluation.
    """
    how = {"tta": settings.score.tta, "runs": len(settings.paths.runs)}
    if settings.outputs.has_outlines:
        how["mask_cleanup"] = mask_rule.cleanup
    if mask_rule.cleanup != "none":
        how["mask_threshold"] = mask_rule.threshold
        where = "val" if has_chosen else mask_threshold.chosen_on(settings.paths.runs)
        how["mask_threshold_chosen_on"] = where
    return how


def _write_groups(output, groups):
    (output / run_directory.SUBGROUPS).unlink(missing_ok=True)
    if not groups.empty:
        whole_files.write_table(output / run_directory.SUBGROUPS, spreadsheets.quoted_table(groups))


def _predict(settings, output, model, scored):
    """Returns (what was scored, the predictions table, the mask rule).

    A bad file costs its image only.
    """
    flags = (settings.preprocessing, settings.outputs, settings.device)
    # A mean is cut as predict and export cut it, by the thresholds of its runs.
    chooses = frozen.is_run_as_it_is(settings.paths.runs, settings.score.tta)
    runs, cleanup = settings.paths.runs, settings.mask_cleanup
    mask_rule = mask_threshold.rule_of(runs, cleanup, warns=not chooses)
    how = (mask_rule, chooses, settings.score.ita_estimate)
    if settings.score.ita_estimate and settings.preprocessing.shades_of_gray:
        logging.warning("--shades_of_gray changes colours, and with them --ita_estimate")
    try:
        return scored, *predictions.predict_run(*flags, output, model, scored.manifest, *how)
    except Exception:
        # tf.data names no file. Whether one is at fault, a look at each tells.
        is_read = scored.manifest["split"].isin(predictions.EVALUATED_SPLITS)
        rows, bad = file_check.check_files(
            scored.manifest[is_read], "skip", max_megapixels=settings.reading.max_megapixels
        )
        if bad.empty:
            raise
    manifest = pd.concat([scored.manifest[~is_read], rows], ignore_index=True)
    failures = [*scored.failures, *bad["reason"]]
    checks = {**scored.checks, "failed": len(bad)}
    scored = dataclasses.replace(scored, manifest=manifest, failures=failures, checks=checks)
    return scored, *predictions.predict_run(*flags, output, model, scored.manifest, *how)


def _other_source(other_source):
    """Returns how another source is read, None without one; nothing of it is the run's own."""
    if not other_source:
        return None
    return config.Config().replace(**other_source).source


def _read_history(settings):
    column = training_history.val_column(settings.outputs, settings.score.monitor)
    path = pathlib.Path(settings.paths.run) / run_directory.HISTORY
    return whole_files.read_table(path, ("epoch", "loss", "val_loss", column))


def _draw(settings, source, output, model, manifest, table, metrics, mask_rule, found):
    """Draws every figure that the data allows; returns their paths in the report's order."""
    folder = output / run_directory.FIGURES
    path = {name: folder / f"{name}.png" for name in report_figures.CAPTIONS}
    for old in path.values():
        old.unlink(missing_ok=True)
    for old in (run_directory.THRESHOLD_CURVES, run_directory.DECISION_CURVE):
        (output / old).unlink(missing_ok=True)
    rows = report_files.counted(settings.paths.run, source, manifest)
    figures.class_balance(rows, path["class_balance"])
    if not settings.paths.other_runs:
        history = _read_history(settings)
        monitored = training_history.val_column(settings.outputs, settings.score.monitor)
        best = training_history.best_epoch(history, monitored) + 1
        figures.training_curves(history, best, path["training_curves"])
    if metrics["test"].get("num_scored"):
        tables = score_figures.draw(
            table, metrics, settings.score.prevalence, found.calibration, path, source is None
        )
        for name, one in tables.items():
            whole_files.write_table(output / "evaluation" / f"{name}.csv", one)
    score_figures.draw_diagnosis(metrics["test"].get("diagnosis", {}), path["class_confusion"])
    _draw_sheets(settings, model, table[table["split"] == "test"], metrics["test"], mask_rule, path)
    return [file for file in path.values() if file.is_file()]


def _draw_sheets(settings, model, test, measured, mask_rule, path):
    """Draws test images: those that their score makes worth a look, and outlines by agreement."""
    chosen = {}
    if measured.get("num_scored"):
        at = measured.get("at_val_threshold", measured["at_0.5"])
        chosen["example_sheet"] = (sheets.example_sheet, examples.choose(test, at["threshold"]))
    if measured.get("num_masks"):
        chosen["mask_sheet"] = (sheets.mask_sheet, scores.best_median_worst(test))
    for name, (draw, rows) in chosen.items():
        sheet = predictions.predict_sheet(
            settings.preprocessing, settings.outputs, model, rows, mask_rule
        )
        draw(sheet, rows, settings.outputs.has_outlines, path[name])


def _log(output, metrics):
    logged_numbers.log(metrics)
    logging.info("numbers: %s", output / run_directory.METRICS)
    logging.info("figures: %s", output / run_directory.FIGURES)
    logging.info("report:  %s", output / run_directory.REPORT)
    logging.info("card:    %s", output / run_directory.MODEL_CARD)


if __name__ == "__main__":
    entry.run(main, "evaluate")
