"""keras-tuner's part of a search: which point comes next, and the record of trials.

Needs keras-tuner, an optional extra; `tune` imports this module inside a function.
"""

import contextlib
import io
import math
import pathlib
from collections.abc import Callable

import keras_tuner
from absl import logging
from keras_tuner import errors
from keras_tuner import oracles

from lbunet_tf.settings import config
from lbunet_tf.storage import output_folder
from lbunet_tf.tuning import results
from lbunet_tf.tuning import spaces

COMPLETED, FAILED = "COMPLETED", "FAILED"  # In keras-tuner's words.


class Oracle(oracles.RandomSearchOracle):
    """Random search that begins with the base, and draws again what the flags refuse."""

    MAX_DRAWS = 1000

    def __init__(self, space: spaces.Space, base: config.Config, trials: int):
        self.space, self.base = space, base
        super().__init__(
            objective=keras_tuner.Objective("objective", results.DIRECTIONS[base.search.objective]),
            max_trials=trials,
            hyperparameters=_hyperparameters(space, base.values()),
            allow_new_entries=False,
            # Not 0, which keras-tuner takes for "any". Far apart: it numbers its draws from the
            # seed on, so neighbours would search the same values, shifted.
            seed=base.source.seed * 1_000_003 + 1,
            # A failed trial is a result; by default three of them end the search.
            max_consecutive_failed_trials=trials + 1,
        )
        self.verbose = 0

    def populate_space(self, trial_id: str) -> dict:
        """Returns, in keras-tuner's form, the next trial's values, or that none are left."""
        if not self.trials:
            values = {dimension.name: dimension.default for dimension in self.hyperparameters.space}
            return {"status": "RUNNING", "values": values}
        for _ in range(self.MAX_DRAWS):
            answer = super().populate_space(trial_id)
            if answer["status"] != "RUNNING":
                return answer
            if spaces.is_possible(self.space, self.base, _point(self.space, answer["values"])):
                return answer
        return {"status": "STOPPED", "values": None}

    def ended(self) -> list[tuple[int, dict, str]]:
        """Returns the trials that are over: number, point, and why it failed or ""."""
        return sorted(
            (
                (
                    int(trial.trial_id),
                    _point(self.space, trial.hyperparameters.values),
                    trial.message or "",
                )
                for trial in self.trials.values()
                if trial.status in (COMPLETED, FAILED)
            ),
            key=lambda trial: trial[0],
        )


def _hyperparameters(space, values):
    result = keras_tuner.HyperParameters()
    for flag, dimension in space.items():
        own = spaces.start(flag, dimension, values)
        if isinstance(dimension, spaces.Range):
            result.Float(flag, dimension.low, dimension.high, sampling="log", default=own)
        else:
            # As text: keras-tuner's choices cannot be tuples.
            texts = [spaces.text(value) for value in dimension.values]
            result.Choice(flag, texts, default=spaces.text(own))
    return result


def _point(space, values):
    """Returns keras-tuner's values as a point of the space: texts become values again."""
    return {
        flag: values[flag]
        if isinstance(dimension, spaces.Range)
        else {spaces.text(value): value for value in dimension.values}[values[flag]]
        for flag, dimension in space.items()
    }


class Tuner(keras_tuner.Tuner):
    """Hands each trial to `train_trial`, and calls `after_trial` when it is recorded.

    `train_trial(number, point)` returns the score and "", or None and why the trial failed.
    Whatever it raises ends the search; the trial stays open and continues the next time.
    """

    def __init__(
        self,
        oracle: Oracle,
        folder: pathlib.Path,
        train_trial: Callable[[int, dict], tuple[float | None, str]],
        after_trial: Callable[[list[tuple[int, dict, str]]], None],
    ):
        self.train_trial, self.after_trial = train_trial, after_trial
        super().__init__(oracle=oracle, directory=folder.parent, project_name=folder.name)

    def run_trial(self, trial):
        """Returns the objective; infinity, since keras-tuner wants a number, of a failure."""
        point = _point(self.oracle.space, trial.hyperparameters.values)
        try:
            score, trial.message = self.train_trial(int(trial.trial_id), point)
        except Exception as error:
            # Any other exception keras-tuner records as a failed trial.
            raise errors.FatalError(str(error)) from error
        return math.inf if trial.message else score

    def on_trial_end(self, trial):
        """Records the trial; a message is that of a failure."""
        if trial.message:
            trial.status = FAILED
        super().on_trial_end(trial)
        self.after_trial(self.oracle.ended())


def make_tuner(make_oracle: Callable[[], Oracle], run: pathlib.Path, *calls: Callable) -> Tuner:
    """Returns the tuner of a search, new or to be continued.

    keras-tuner writes its files in place, and of one trial several, so a kill in between leaves
    them damaged. Then they are made again: the draws depend on the seed alone, and finished
    trials are taken from their folders.
    """
    folder = run / results.TUNER
    try:
        tuner = _load(make_oracle(), folder, calls)
        if set(tuner.oracle.trials) == set(tuner.oracle.start_order):
            return tuner
    except (ValueError, KeyError, RuntimeError) as error:
        logging.warning("%s cannot be read: %s", folder, error)
    logging.warning("%s is incomplete; rebuilding it from the finished trials", folder)
    output_folder.delete_files(run, results.TUNER_FILES)
    return _load(make_oracle(), folder, calls)


def _load(oracle, folder, calls):
    with contextlib.redirect_stdout(io.StringIO()):
        tuner = Tuner(oracle, folder, *calls)
    # Without its file keras-tuner forgets a search that was killed in its first trial.
    tuner.save()
    return tuner


def run(tuner: Tuner) -> None:
    """Runs the trials that are left; raises what a trial raised."""
    try:
        tuner.search()
    except errors.FatalError as error:
        raise error.__cause__ or error from None
