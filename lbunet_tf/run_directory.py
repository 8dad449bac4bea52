"""The run directory: its file names, and files that are written whole or not at all."""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

import pandas as pd
from absl import logging

from lbunet_tf import config as config_lib

FLAGS = "flags.cfg"
MANIFEST = "manifest.csv"
SKIPPED = "skipped.csv"
CHECKS = "checks.json"
MODEL = "model.keras"
BACKUP = "backup"
HISTORY = "history.csv"
TENSORBOARD = "tensorboard"
FINISHED = "training.json"
PREDICTIONS = "predictions.csv"
HISTOGRAMS = "pixel_histograms.npz"
METRICS = "evaluation/metrics.json"
FIGURES = "evaluation/figures"
REPORT = "evaluation/report.html"
EXPORT = "export"


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a path beside `path` to write to; renames it when the block succeeds."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    yield partial
    os.replace(partial, path)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Writes indented JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_table(path: str | os.PathLike, table: pd.DataFrame) -> None:
    """Writes a CSV whole or not at all."""
    with whole_file(path) as partial:
        table.to_csv(partial, index=False)


@contextlib.contextmanager
def locked(run: str, flag: str = "run") -> Iterator[None]:
    """Holds a lock on the folder that a flag names; it ends with the process, even a killed one.

    Raises:
        ValueError: Another process holds it.
    """
    if not run:
        raise ValueError(
            '"--run" must name the run directory, as in --run=runs/paper. Received: nothing'
        )
    # Beside the run, not in it: --overwrite deletes what is in it.
    path = pathlib.Path(run)
    lock = path.with_name(f".{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"one process at a time may write to a folder. Another is at {path} now; wait for "
                f"it, or name another --{flag}"
            ) from error
        yield


def prepare_for_training(run: str, flag_lines: list[str], overwrite: bool) -> pathlib.Path:
    """Returns the run directory, new or to be continued.

    Raises:
        ValueError: It holds a finished run, or an unfinished one of other flags,
            and `overwrite` is off; or it is a folder of something else.
    """
    path = pathlib.Path(run)
    if path.exists() and any(path.iterdir()):
        if not (path / FLAGS).is_file():
            raise ValueError(
                f'"--run" must be new, empty or a run directory. {path} holds other files '
                f"and no {FLAGS}; name another folder"
            )
        if overwrite or not _is_continued(path, flag_lines):
            if (path / HISTORY).is_file():
                logging.info("deleting the old run in %s, starting anew", path)
            shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    write_text(path / FLAGS, "\n".join(flag_lines) + "\n")
    return path


def _is_continued(path, flag_lines):
    """Returns whether the run goes on; other flags start anew where no epoch is finished."""
    if (path / FINISHED).is_file():
        raise ValueError(
            f"{path} holds a finished run. Evaluate it with python -m lbunet_tf.evaluate "
            f"--run={path}, name another --run, or give --overwrite to train anew"
        )
    different = different_flags(path, flag_lines)
    if different and any((path / BACKUP).glob("*.weights.h5")):
        raise ValueError(
            f"{path} holds an unfinished run of other flags: {different}. Give the same flags to "
            "go on, name another --run, or give --overwrite to start anew"
        )
    return not different


def different_flags(path: pathlib.Path, flag_lines: list[str]) -> str:
    """Returns what `flag_lines` change in the flags of a run, in words; "" where nothing."""
    # A flag that is newer than the run had its default's effect.
    old = _settings(config_lib.flag_lines(config_lib.Config()))
    old |= _settings((path / FLAGS).read_text().splitlines())
    new = _settings(flag_lines)
    return "; ".join(
        f"{name} was {old.get(name)}, is {value}"
        for name, value in new.items()
        if name != "--run" and old.get(name) != value
    )


def _settings(lines):
    return dict(line.split("=", 1) for line in lines if "=" in line)
