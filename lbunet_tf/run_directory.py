"""The run directory: its file names, and which run may be trained in it."""

import os
import pathlib
import shutil

from absl import logging

from lbunet_tf import config as config_lib
from lbunet_tf import flagfiles
from lbunet_tf import whole_files
from lbunet_tf.storage import archives

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
# By --format.
EXPORTS = {"savedmodel": "export", "openvino": "export_openvino"}


def check_model(path: pathlib.Path) -> None:
    """Checks a .keras file against the checksums that it holds, and that its size is honest.

    Raises:
        ValueError: It is missing, cut short, damaged or another file.
    """
    damaged = archives.damage(path)
    if damaged:
        raise ValueError(
            f"{path} must be a whole Keras model; it is missing, cut short or damaged "
            f"({damaged}). Copy it again, or train again with --overwrite"
        )


def check_named(run: str) -> None:
    """Raises a ValueError where --run names nothing."""
    if not run:
        raise ValueError(
            '"--run" must name the run directory, as in --run=runs/paper. Received: nothing'
        )


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
            whole_files.delete_folder(path)
    path.mkdir(parents=True, exist_ok=True)
    whole_files.write_text(path / FLAGS, "\n".join(flag_lines) + "\n")
    return path


def opened_by_another(run: str, flag_lines: list[str]) -> pathlib.Path:
    """Returns the run directory that another process of the same job has prepared.

    Raises:
        ValueError: It is not there, or of other flags.
    """
    path = pathlib.Path(run)
    if not (path / FLAGS).is_file():
        raise ValueError(
            '"--run" must be on a file system that all processes of a job share. Process 0 has '
            f"written {path / FLAGS}, and this one does not see it"
        )
    different = different_flags(path, flag_lines)
    if different:
        raise ValueError(
            f"all processes of a job must have the same flags. Process 0's differ: {different}"
        )
    return path


def drop_backup(run: str | os.PathLike) -> None:
    """Deletes what a finished run no longer needs; also where a kill came between the two."""
    shutil.rmtree(pathlib.Path(run) / BACKUP, ignore_errors=True)


def _is_continued(path, flag_lines):
    """Returns whether the run goes on; other flags start anew where no epoch is finished."""
    if (path / FINISHED).is_file():
        drop_backup(path)
        raise ValueError(
            f"{path} holds a finished run. Evaluate it with python -m lbunet_tf.evaluate "
            f"--run={path}, name another --run, or give --overwrite to train anew"
        )
    different = different_flags(path, flag_lines)
    if different and any((path / BACKUP).glob("[0-9]*.weights.h5")):
        raise ValueError(
            f"{path} holds an unfinished run of other flags: {different}. Give the same flags to "
            "go on, name another --run, or give --overwrite to start anew"
        )
    return not different


def different_flags(path: pathlib.Path, flag_lines: list[str]) -> str:
    """Returns what `flag_lines` change in the flags of a run, in words; "" where nothing."""
    # A flag that is newer than the run had its default's effect.
    old = _settings(flagfiles.flag_lines(config_lib.Config()))
    old |= _settings((path / FLAGS).read_text().splitlines())
    new = _settings(flag_lines)
    return "; ".join(
        f"{name} was {old.get(name)}, is {value}"
        for name, value in new.items()
        if name != "--run" and old.get(name) != value
    )


def _settings(lines):
    return dict(line.split("=", 1) for line in lines if "=" in line)
