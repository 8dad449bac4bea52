"""Compares experiments under one split and one budget: a table, ROC curves and a report.

    python -m lbunet_tf.compare --flagfile=flags/table1.cfg --data_dir=$DATA/isic2020

Flagfiles are trained, one run a seed; finished run directories are taken as they are. The same
command continues after an interruption. Any flag of lbunet_tf.train may be given as well: it
then replaces that of every flagfile.
"""

import math
import pathlib

import keras
import pandas as pd
from absl import logging

from lbunet_tf import evaluate
from lbunet_tf import models
from lbunet_tf import train
from lbunet_tf.drawing import figures
from lbunet_tf.evaluation import comparison
from lbunet_tf.evaluation import comparison_facts
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import differences
from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation.reports import report
from lbunet_tf.evaluation.reports import report_figures
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import experiments
from lbunet_tf.runs import frozen
from lbunet_tf.runs import run_directory
from lbunet_tf.runs import speed
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import published_flags
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import spreadsheets
from lbunet_tf.storage import whole_files
from lbunet_tf.training import distribution
from lbunet_tf.training import tensorboard

# The marker of a folder of a comparison, and what is written there next to the runs.
WORK = "compare"
WRITTEN = (
    "table.md",
    "table.csv",
    "runs.csv",
    "differences.csv",
    "roc.png",
    "speed.png",
    "report.html",
)
OWN = (*WRITTEN, run_directory.EVENTS)


def main(settings: config.Config) -> None:
    """Compares the experiments that the flags name."""
    distribution.refuse_several("lbunet_tf.compare")
    compare(settings, flagfiles.overrides())


def compare(settings: config.Config, overrides: dict) -> pd.DataFrame:
    """Returns the table, one row per experiment; everything is written to the run directory.

    Writes `table.md`, `table.csv`, `runs.csv` (one row per run), `differences.csv`, `roc.png`,
    `speed.png` (AUC against milliseconds per image), `report.html`, and `tensorboard/` with the
    HParams of all runs.

    Args:
        settings: `run`, `experiments` and `seeds` are used.
        overrides: Values of training's flags that replace those of every flagfile.

    Raises:
        ValueError: An experiment is no flagfile and no finished run, the experiments
            do not share split and budget, or a run fails.
    """
    run_directory.check_named(settings.paths.run)
    with whole_files.locked(settings.paths.run, WORK):
        runs = experiments.named_runs(settings.paths.run, settings.comparison, overrides)
        output_folder.check(settings.paths.run, WORK, OWN, "--run")
        waiting = [run for run in runs.values() if not _is_finished(run)]
        _check_models(waiting)
        output_folder.mark(settings.paths.run, WORK)
        for number, (name, run) in enumerate(runs.items(), 1):
            logging.info("run %d of %d: %s, in %s", number, len(runs), name, run.paths.run)
            _train_and_evaluate(run, is_finished=run not in waiting)
            of_seed = (one for one in runs.values() if one.source.seed == run.source.seed)
            experiments.check_split(next(of_seed).paths.run, run.paths.run)
        return _write(settings, runs)


def _is_finished(settings):
    """Returns whether the run is finished with these flags; other flags are an error."""
    run = pathlib.Path(settings.paths.run)
    if settings.paths.overwrite or not (run / run_directory.FINISHED).is_file():
        return False
    different = run_directory.different_flags(run, flagfiles.flag_lines(settings))
    if different:
        raise ValueError(
            f"{run} is finished with other flags: {different}. Give the same flags, name another "
            "--run, or give --overwrite to train it again"
        )
    return True


def _check_models(configs):
    """Builds each model once: missing weights are known in seconds, not after hours."""
    different = {(*vars(run.model).values(), run.preprocessing.image_size): run for run in configs}
    for settings in different.values():
        models.build_model(settings)
        keras.backend.clear_session()


def _train_and_evaluate(settings, is_finished):
    if is_finished:
        run_directory.drop_backup(settings.paths.run)
    else:
        train.train(settings)
        keras.backend.clear_session()
    run = pathlib.Path(settings.paths.run)
    if not _is_evaluated(run):
        # What an evaluation asked for is not taken back by a comparison.
        prevalence = frozen.clinic_prevalence_of(run) or 0.0
        evaluate.evaluate(settings.replace(clinic_prevalence=prevalence))
        keras.backend.clear_session()


def _is_evaluated(run):
    """Returns whether the report, evaluate's last file, is of the finished training.

    And of the predictions, evaluate's first: one that was stopped between leaves numbers of others.
    And without --tta, or one experiment would be compared with another's mean over symmetries; and
    outlines are cleaned up, as evaluate does now.
    """
    report_file, predicted = run / run_directory.REPORT, run / run_directory.PREDICTIONS
    if not report_file.is_file() or not predicted.is_file():
        return False
    earlier = (run / run_directory.FINISHED, predicted)
    if report_file.stat().st_mtime < max(file.stat().st_mtime for file in earlier):
        return False
    metrics = whole_files.read_json(run / run_directory.METRICS, ("val", "test"))
    test = metrics["test"]
    is_outline = test.get("mask_source") == "lesion"
    is_cleaned = test.get("mask_cleanup", "none") != "none"
    return test.get("tta", "none") == "none" and is_outline == is_cleaned


def _write(settings, runs):
    folder = pathlib.Path(settings.paths.run)
    rows, curves, trials, tables, thresholds, rules = [], {}, {}, {}, {}, {}
    hyperparameters = _hyperparameters(runs)
    milliseconds = _milliseconds(runs)
    for name, run in runs.items():
        path = pathlib.Path(run.paths.run)
        training = whole_files.read_json(path / run_directory.FINISHED, ("epochs", "best_epoch"))
        metrics = whole_files.read_json(path / run_directory.METRICS, ("val", "test"))
        experiment = name.rpartition("/")[0]
        row = comparison.make_row(experiment, run, training, metrics["test"])
        rows.append(row | {"milliseconds": milliseconds[experiment]})
        predicted = contract.read(path / run_directory.PREDICTIONS)
        test = predicted[predicted["split"] == "test"]
        tables[experiment, run.source.seed] = test
        chosen = metrics["test"].get("at_val_threshold")
        thresholds[experiment, run.source.seed] = chosen["threshold"] if chosen else None
        point = metrics["test"].get("operating_point", {})
        rules[experiment, run.source.seed] = point.get("rule", "")
        if metrics["test"].get("auc") is not None:
            curves.setdefault(experiment, []).append(scores.roc_points(test))
        trials[name.replace("/", "-")] = (
            hyperparameters[name],
            comparison.validation_scores(metrics["val"], training),
        )
    table = pd.DataFrame(rows)
    summary = comparison.summarise(table)
    found = differences.of_runs(tables, thresholds, rules)
    # Not every comparison has all of them: those of an earlier one are of other runs.
    output_folder.delete_files(folder, OWN)
    whole_files.write_table(folder / "runs.csv", spreadsheets.quoted_table(table))
    whole_files.write_table(folder / "table.csv", spreadsheets.quoted_table(summary))
    if not found.empty:
        whole_files.write_table(folder / "differences.csv", spreadsheets.quoted_table(found))
    _write_pages(settings, next(iter(runs.values())), summary, curves, found)
    tensorboard.write_hparams(folder / run_directory.TENSORBOARD, trials)
    return summary


def _milliseconds(runs):
    """Returns the time for an image by experiment, NaN where its model was deleted.

    Seeds do not change it: the first run is timed.
    """
    first = {name.rpartition("/")[0]: run for name, run in reversed(runs.items())}
    found = dict.fromkeys(first, math.nan)
    for experiment, run in first.items():
        path = pathlib.Path(run.paths.run)
        if (path / run_directory.MODEL).is_file():
            found[experiment] = speed.milliseconds_per_image(ensemble.load_best(path))
            keras.backend.clear_session()
    return found


def _hyperparameters(runs):
    """Returns, for each run, what tells it from another."""
    named = ["model", "encoder", "encoder_weights", "seed"]
    for field in config.fields_of("train"):
        values = {run.values()[field.name] for run in runs.values()}
        if len(values) > 1 and field.name not in (*named, "run", "data_dir", "overwrite"):
            named.append(field.name)
    return {
        name: {
            flag: ",".join(map(str, value)) if isinstance(value, tuple) else value
            for flag, value in ((flag, run.values()[flag]) for flag in named)
        }
        | {"seed": str(run.source.seed)}
        for name, run in zip(runs, map(published_flags.without_folders, runs.values()), strict=True)
    }


def _write_pages(settings, run, summary, curves, found):
    folder = pathlib.Path(settings.paths.run)
    drawn = []
    if curves:
        auc = {
            row["experiment"]: comparison.score_cell("auc", row) for _, row in summary.iterrows()
        }
        figures.roc(
            {f"{name}, AUC {auc[name]}": several for name, several in curves.items()},
            folder / "roc.png",
        )
        names = [f"{name}, AUC {cell}" for name, cell in auc.items()]
        drawn.append(report_figures.of_comparison(folder / "roc.png", names))
        timed = summary[summary["auc"].notna() & summary["milliseconds"].notna()]
        if len(timed):
            columns = [timed[name] for name in ("experiment", "milliseconds", "auc")]
            figures.speed(*columns, folder / "speed.png")
            drawn.append(report_figures.of_speed(folder / "speed.png", timed))
    title = f"{len(summary)} experiments on {', '.join(run.source.source)}"
    facts = comparison_facts.of_table(
        summary, run.split.split_by, run.budget, settings.comparison.seeds
    )
    facts |= differences.in_words(found)
    whole_files.write_text(folder / "table.md", comparison.to_markdown(title, summary, facts))
    whole_files.write_text(
        folder / "report.html",
        report.build_comparison(title, comparison.readable(summary), facts, drawn),
    )
    logging.info("\n%s", (folder / "table.md").read_text(encoding="utf-8"))
    for name in WRITTEN:
        if (folder / name).is_file():
            logging.info("wrote %s", folder / name)


if __name__ == "__main__":
    entry.run(main, "compare")
