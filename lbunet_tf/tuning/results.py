"""What a search measures and leaves: scores of trials, their table, and best.cfg."""

import dataclasses
import pathlib
from collections.abc import Collection
from collections.abc import Sequence

import pandas as pd

from lbunet_tf.runs import run_directory
from lbunet_tf.runs import training_history
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import output_group
from lbunet_tf.storage import whole_files
from lbunet_tf.tuning import spaces

# keras-tuner's files in the folder of a search.
TUNER = "tuner"
TUNER_FILES = (f"{TUNER}/*.json", f"{TUNER}/trial_*/*.json")
DIRECTIONS = {"dice": "max", "auc": "max", "balanced_accuracy": "max", "loss": "min"}
# With another value of these, val_loss is another quantity.
LOSS_FLAGS = (*config.FLAGS["loss"], "deep_supervision")


def check_objective(settings: config.Config, searched: Collection[str]) -> None:
    """Raises a ValueError where --objective is not defined, or not one for all trials."""
    heads = f"Received: --heads={','.join(settings.outputs.heads)}"
    if settings.search.objective == "dice" and not settings.outputs.has_mask:
        raise ValueError(
            '"--objective=dice" needs a mask head: use --objective=auc, balanced_accuracy or loss. '
            f"{heads}"
        )
    if settings.search.objective == "balanced_accuracy" and not settings.outputs.class_names:
        raise ValueError(
            '"--objective=balanced_accuracy" needs a diagnosis head: add diagnosis to --heads. '
            f"{heads}"
        )
    if settings.search.objective == "dice" and settings.outputs.mask_source == "label":
        raise ValueError(
            '"--objective=dice" needs --mask_source=lesion: a Dice on painted labels measures the '
            "class. Use --objective=auc. Received: --mask_source=label"
        )
    if settings.search.objective == "auc" and settings.outputs.score_rule == "none":
        raise ValueError(
            '"--objective=auc" needs a melanoma score: add melanoma to --heads, or use another '
            f"--objective. {heads}"
        )
    changing = [flag for flag in LOSS_FLAGS if flag in searched]
    if settings.search.objective == "loss" and changing:
        fixed = " ".join(f"--{flag}={spaces.text(settings.values()[flag])}" for flag in changing)
        raise ValueError(
            '"--objective=loss" needs one loss for all trials. Use --objective=dice or auc, or set '
            f"these flags on the command line: {fixed}. Received: "
            f"--space={settings.search.space}"
        )


def measure(run: str, objective: str, outputs: output_group.Outputs) -> dict:
    """Returns what a finished training reached on val, in its best epoch by --monitor.

    That epoch's weights are its model.keras: the score is that of a model that exists.

    Returns:
        `score`, the objective; `validation`, every number of val in that epoch by its column in
        history.csv; `best_epoch`, `epochs` and `training_seconds`.
    """
    folder = pathlib.Path(run)
    training = whole_files.read_json(folder / run_directory.FINISHED, ("best_epoch",))
    row = whole_files.read_table(folder / run_directory.HISTORY).iloc[training["best_epoch"] - 1]
    validation = {name: float(value) for name, value in row.items() if name.startswith("val_")}
    return {
        "score": validation[_column(run, objective, outputs, validation)],
        "validation": validation,
        **{name: training[name] for name in ("best_epoch", "epochs", "training_seconds")},
    }


def _column(run, objective, outputs, columns):
    column = training_history.val_column(outputs, objective)
    if column not in columns:
        raise ValueError(
            f'"--objective={objective}" needs the column {column} in '
            f"{run}/{run_directory.HISTORY}. It has {', '.join(columns)}"
        )
    return column


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial that is over: what `measure` returns, or why it failed."""

    number: int
    settings: config.Config
    measured: dict
    failure: str = ""


def to_table(trials: Sequence[Trial], searched: Collection[str]) -> pd.DataFrame:
    """Returns trials.csv: a row a trial, empty cells where it failed."""
    table = pd.DataFrame([_row(trial, searched) for trial in trials])
    return table.astype({"best_epoch": "Int64", "epochs": "Int64"})


def _row(trial, searched):
    return {
        "trial": trial.number,
        "status": "failed" if trial.failure else "completed",
        f"val_{trial.settings.search.objective}": trial.measured.get("score"),
        **{name: trial.measured.get(name) for name in ("best_epoch", "epochs", "training_seconds")},
        **{flag: spaces.text(trial.settings.values()[flag]) for flag in searched},
        "error": trial.failure,
    }


def to_hparams(trial: Trial, searched: Collection[str]) -> tuple[dict, dict]:
    """Returns the trial's row of TensorBoard's HParams: its searched flags, its scores of val."""
    flags = {flag: trial.settings.values()[flag] for flag in searched}
    flags = {
        flag: spaces.text(value) if isinstance(value, tuple) else value
        for flag, value in flags.items()
    }
    validation = trial.measured.get("validation", {})
    return flags, {name.replace("_", " "): value for name, value in validation.items()}


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Returns the best trial, the earliest of equal ones; None where all failed."""
    completed = [trial for trial in trials if not trial.failure]
    if not completed:
        return None
    sign = 1 if DIRECTIONS[completed[0].settings.search.objective] == "max" else -1
    return max(completed, key=lambda trial: (sign * trial.measured["score"], -trial.number))


def best_flagfile(
    settings: config.Config, trials: Sequence[Trial], searched: Collection[str]
) -> str:
    """Returns best.cfg: how the best trial was found, then its flags.

    Left out are folders, --max_images, and what is at its default and was not searched.

    Args:
        settings: The flags of the search.
        trials: Those that are over; one of them at least was trained.
        searched: Names of flags.
    """
    best = best_of(trials)
    num_failed = sum(bool(trial.failure) for trial in trials)
    folders = ",".join(f"$DATA/{source}" for source in settings.source.source)
    first = trials[0].measured.get("score")
    header = [
        f"The best of {len(trials)} trials of lbunet_tf.tune ({num_failed} failed) on "
        f"{', '.join(settings.source.source)}.",
        f"Command: python -m lbunet_tf.train --flagfile={settings.paths.run}/best.cfg "
        f"--run={settings.paths.run}_best --data_dir={folders}",
        f"Found with --space={settings.search.space} --objective={settings.search.objective} "
        f"--trials={settings.search.trials}, over {', '.join(searched)}.",
        f"Trial {best.number}, epoch {best.measured['best_epoch']}: score on val, "
        f"{settings.search.objective} {best.measured['score']:.4f}"
        + ("." if first is None else f"; {first:.4f} with the flags as given (trial 0)."),
        "Chosen on val as the best of many, so the score is too optimistic for new images. The "
        "test split was not used.",
    ]
    if settings.source.max_images:
        header.append(
            f"Searched on a draw of {settings.source.max_images} images (--max_images), for at "
            f"most {settings.budget.epochs} epochs: without that limit, more --epochs may help."
        )
    lines = [f"# {line}" for line in header]
    default = flagfiles.flag_lines(config.make())
    for line in flagfiles.flag_lines(best.settings):
        flag = line.partition("=")[0].removeprefix("--")
        if flag not in ("run", "data_dir", "max_images") and (
            flag in searched or line not in default
        ):
            lines.append(line)
    return "\n".join(lines) + "\n"
