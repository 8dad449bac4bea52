r"""Searches flags for the best validation score: a training a trial, the test split untouched.

    python -m lbunet_tf.tune --run=runs/tuned --flagfile=flags/lesion.cfg \
      --data_dir=$DATA/isic2017 --space=optimization --trials=20

Takes every flag of lbunet_tf.train. The first trial has the flags as given, the others vary
those of --space. What a flagfile says of them is where the search begins; what the command line
itself names is fixed, and wins wherever it stands. The same command continues after an
interruption, and with a higher --trials. Needs keras-tuner: pip install '.[tune]'.
"""

import importlib.util
import math
import pathlib
import shutil
import sys
from collections.abc import Collection

import keras
import pandas as pd
import tensorflow as tf
from absl import logging

from lbunet_tf import train
from lbunet_tf.data import manifests
from lbunet_tf.data import preparation
from lbunet_tf.data import unchanged
from lbunet_tf.runs import run_directory
from lbunet_tf.runs import training_history
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import spreadsheets
from lbunet_tf.storage import whole_files
from lbunet_tf.training import distribution
from lbunet_tf.training import tensorboard
from lbunet_tf.tuning import results
from lbunet_tf.tuning import spaces

SEARCH = "search.json"
TRIALS = "trials"
# The marker of a folder of a search, and what is written there.
WORK = "tune"
OWN = (
    SEARCH,
    "trials.csv",
    "best.cfg",
    run_directory.EVENTS,
    *results.TUNER_FILES,
    *(f"{TRIALS}/[0-9]*/{name}" for name in (*run_directory.OWN, output_folder.MARKER)),
)


def main(settings: config.Config) -> None:
    """Searches, or continues; flags of the command line win over those of flagfiles."""
    distribution.refuse_several("lbunet_tf.tune")
    given = flagfiles.named_in("tune", sys.argv[1:])
    tune(settings.replace(**given), fixed=given)


def tune(settings: config.Config, fixed: Collection[str] = ()) -> pd.DataFrame:
    """Returns the table of trials; everything is written to the run directory.

    Writes `trials/NNNN/` (runs of `train`; only the best keeps its model.keras), `trials.csv`,
    `best.cfg`, `tensorboard/` (HParams), `search.json` and `tuner/` (keras-tuner's files).

    Args:
        settings: The flags of the first trial, and of all trials except for what is searched.
        fixed: Names of flags that are not searched.

    Raises:
        ValueError: keras-tuner is missing, the objective is not defined, nothing is left
            to search, the folder holds something else, or no trial could be trained.
    """
    search = _load_search()
    space = spaces.narrow(settings.search.space, settings, fixed)
    results.check_objective(settings, space)
    base = _make_base(settings, fixed)
    run_directory.check_named(settings.paths.run)
    with whole_files.locked(settings.paths.run, WORK):
        run = _open(settings, base, _settings(base, space))
        tuner = search.make_tuner(
            lambda: search.Oracle(space, base, settings.search.trials),
            run,
            lambda number, point: _train_trial(base, space, number, point),
            lambda ended: _write(run, base, space, ended),
        )
        search.run(tuner)
        # Once more, where all trials had been made before: what is written may be of a kill.
        return _conclude(base, space, _write(run, base, space, tuner.oracle.ended()))


def _load_search():
    if importlib.util.find_spec("keras_tuner") is None:
        raise ValueError(
            "a search needs keras-tuner: pip install '.[tune]' in this repository, or pip install "
            "'keras-tuner>=1.4.7,<1.5'. It is not installed"
        )
    from lbunet_tf.tuning import search

    return search


def _make_base(settings, fixed):
    """Returns the flags of training; what is best for the search is best within a trial too."""
    if "monitor" in fixed or settings.score.monitor != config.FIELDS["monitor"].default:
        return settings.replace(overwrite=False)
    return settings.replace(overwrite=False, monitor=settings.search.objective)


def _settings(base, space):
    """Returns what makes a search this one, name -> text; --trials may grow."""
    flags = dict(line.split("=", 1) for line in flagfiles.flag_lines(base))
    flags |= {"--space": base.search.space, "--objective": base.search.objective}
    del flags["--run"]
    return flags | {
        f"searched --{flag}": spaces.describe(dimension) for flag, dimension in space.items()
    }


def _open(settings, base, searched):
    """Returns the folder of the search, new or to be continued."""
    run = pathlib.Path(settings.paths.run)
    if not (run / SEARCH).is_file() or settings.paths.overwrite:
        output_folder.check(run, WORK, OWN, "--run")
    output_folder.refuse_links(run, OWN)
    if not settings.paths.overwrite and (run / SEARCH).is_file():
        # A flag that came with a later version had its default.
        added = dict(line.split("=", 1) for line in flagfiles.flag_lines(config.make()))
        old = {name: value for name, value in added.items() if name in searched}
        old |= whole_files.read_json(run / SEARCH)
        different = "; ".join(
            f"{name} was {old.get(name, 'not there')}, is {searched.get(name, 'not there')}"
            for name in {**old, **searched}
            if old.get(name) != searched.get(name)
        )
        if different:
            raise ValueError(
                f"{run} holds another search: {different}. Give the same flags to continue it, "
                "name another --run, or give --overwrite to start again"
            )
    if settings.paths.overwrite and not output_folder.is_new(run):
        train.refuse_inputs_of_the_old_run(settings)
        train.check(base)
        keras.backend.clear_session()
        logging.info("deleting the search in %s, starting again", run)
        output_folder.delete_own(run, OWN)
    output_folder.mark(run, WORK)
    whole_files.write_json(run / SEARCH, searched)
    return run


def _trial_config(base, space, number, point):
    run = pathlib.Path(base.paths.run) / TRIALS / f"{number:04d}"
    return base.replace(run=str(run), **spaces.changes(space, base.values(), point))


def _train_trial(base, space, number, point):
    """Returns the score and "", or None and why the trial failed."""
    settings = _trial_config(base, space, number, point)
    values = [f"{flag} {spaces.text(settings.values()[flag]) or 'none'}" for flag in space]
    logging.info(
        "trial %d (%d of %d): %s", number, number + 1, base.search.trials, ", ".join(values)
    )
    if (pathlib.Path(settings.paths.run) / run_directory.FINISHED).is_file():
        _refuse_other_flags(settings)
        run_directory.drop_backup(settings.paths.run)
    else:
        failure = _train(settings)
        if failure:
            return None, failure
    _check_val(settings)
    score = results.measure(settings.paths.run, settings.search.objective, settings.outputs)[
        "score"
    ]
    logging.info("trial %d: %s %.4f on val", number, settings.search.objective, score)
    return (
        (score, "")
        if math.isfinite(score)
        else (None, f"{settings.search.objective} is {score} on val")
    )


def _refuse_other_flags(settings):
    """Raises a ValueError where a finished trial is not of the flags that the search draws."""
    run = pathlib.Path(settings.paths.run)
    different = run_directory.different_flags(run, flagfiles.flag_lines(settings))
    if different:
        raise ValueError(
            f"{run} is a trial with other flags: {different}. Name another --run, or give "
            "--overwrite to start the search again"
        )


def _train(settings):
    """Trains, and returns "", or why these flags cannot be trained.

    Raises:
        ValueError: Flags or images of every trial are at fault: it failed before the first
            one's rows were frozen, images are gone or have changed, or a backup is damaged.
    """
    manifest = pathlib.Path(settings.paths.run) / run_directory.MANIFEST
    _share_rows(settings)
    try:
        train.train(settings)
    except (unchanged.ChangedFilesError, training_history.DamagedBackupError):
        raise
    except (ValueError, RuntimeError, tf.errors.ResourceExhaustedError) as error:
        # JAX says so in a RuntimeError.
        is_of_memory = "RESOURCE_EXHAUSTED" in str(error)
        is_of_trial = isinstance(error, ValueError | tf.errors.ResourceExhaustedError)
        if not manifest.is_file() or not (is_of_trial or is_of_memory):
            raise
        logging.warning("the trial failed: %s", error)
        return " ".join(str(error).split())[:500]
    finally:
        keras.backend.clear_session()
    return ""


def _share_rows(settings):
    """Gives a trial the rows and splits that the first one froze, and checks that files are there.

    The check of every image, done once, holds for all.
    """
    run = pathlib.Path(settings.paths.run)
    first = run.parent / f"{0:04d}"
    if not (first / run_directory.MANIFEST).is_file():
        return
    lines = flagfiles.flag_lines(settings)
    run_directory.check_for_training(settings.paths.run, lines, overwrite=False)
    run_directory.begin_training(settings.paths.run, lines, overwrite=False)
    if not (run / run_directory.MANIFEST).is_file():
        # The manifest last: a trial that has it has the others.
        for name in (run_directory.SKIPPED, run_directory.CHECKS, run_directory.MANIFEST):
            with whole_files.whole_file(run / name) as partial:
                shutil.copyfile(first / name, partial)
    manifests.check_files_exist(manifests.read(run / run_directory.MANIFEST))


def _check_val(settings):
    if settings.search.objective != "auc":
        return
    manifest = manifests.read(pathlib.Path(settings.paths.run) / run_directory.MANIFEST)
    classes = preparation.scored_labels(settings.outputs, manifest[manifest["split"] == "val"])
    if len(classes) < 2:
        raise ValueError(
            '"--objective=auc" needs validation images of both classes. Use more images, another '
            f"--seed or --split_percent, or --objective=dice. Received: labels {classes}"
        )


def _write(run, base, space, ended):
    """Writes table, flagfile and HParams of the trials that are over, and returns the trials."""
    trials = []
    for number, point, failure in ended:
        settings = _trial_config(base, space, number, point)
        measured = (
            {}
            if failure
            else results.measure(settings.paths.run, settings.search.objective, settings.outputs)
        )
        trials.append(results.Trial(number, settings, measured, failure))
    table = spreadsheets.quoted_table(results.to_table(trials, space))
    whole_files.write_table(run / "trials.csv", table)
    best = results.best_of(trials)
    if best:
        whole_files.write_text(run / "best.cfg", results.best_flagfile(base, trials, space))
    output_folder.delete_files(run, [run_directory.EVENTS])
    tensorboard.write_hparams(
        run / run_directory.TENSORBOARD,
        {f"{trial.number:04d}": results.to_hparams(trial, space) for trial in trials},
    )
    _drop_models(trials, best)
    return trials


def _drop_models(trials, best):
    """Deletes what is large in trials that are not the best; their flags make it again."""
    for trial in trials:
        run = pathlib.Path(trial.settings.paths.run)
        if trial != best:
            (run / run_directory.MODEL).unlink(missing_ok=True)
            run_directory.drop_backup(run)


def _conclude(base, space, trials):
    """Says what was found, and returns the table."""
    failed = [trial for trial in trials if trial.failure]
    for trial in failed:
        logging.warning("trial %d failed: %s", trial.number, trial.failure)
    best = results.best_of(trials)
    if best is None:
        raise ValueError(
            f"at least one trial must be trained. All {len(trials)} failed, the first with: "
            f"{failed[0].failure}. Correct the flags and give --overwrite"
        )
    if len(trials) < base.search.trials:
        logging.info(
            "no combinations are left: %d trials instead of %d", len(trials), base.search.trials
        )
    logging.info(
        "%d trials, %d failed. Best on val: %s %.4f, trial %d, in %s (evaluate it with "
        "python -m lbunet_tf.evaluate --run=%s). Wrote %s/best.cfg, trials.csv and tensorboard/",
        len(trials),
        len(failed),
        base.search.objective,
        best.measured["score"],
        best.number,
        best.settings.paths.run,
        best.settings.paths.run,
        base.paths.run,
    )
    return results.to_table(trials, space)


if __name__ == "__main__":
    entry.run(main, "tune")
