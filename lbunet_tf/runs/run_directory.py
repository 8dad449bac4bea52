"""The run directory: its file names, and which run may be trained in it."""

import os
import pathlib

from absl import logging

from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import archives
from lbunet_tf.storage import failed_files
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import whole_files

# The marker of a run directory.
WORK = "train"
FLAGS = "flags.cfg"
MANIFEST = "manifest.csv"
SKIPPED = "skipped.csv"
CHECKS = "checks.json"
MODEL = "model.keras"
BACKUP = "backup"
HISTORY = "history.csv"
TENSORBOARD = "tensorboard"
FINISHED = "training.json"
MASK_THRESHOLD = "mask_threshold.json"
OPERATING_POINT = "operating_point.json"
CALIBRATION = "calibration.json"
CONFORMAL = "conformal.json"
PREDICTIONS = "predictions.csv"
HISTOGRAMS = "pixel_histograms.npz"
MASK_HISTOGRAMS = "mask_histograms.npz"
METRICS = "evaluation/metrics.json"
FIGURES = "evaluation/figures"
REPORT = "evaluation/report.html"
MODEL_CARD = "evaluation/model_card.md"
# The figures of an evaluation, by the name of their file.
FIGURE_NAMES = (
    "class_balance",
    "class_confusion",
    "roc",
    "confusion_matrix",
    "threshold_curves",
    "reliability",
    "decision_curve",
    "training_curves",
    "mask_sheet",
    "example_sheet",
)
SUBGROUPS = "evaluation/subgroups.csv"
DECISION_CURVE = "evaluation/decision_curve.csv"
THRESHOLD_CURVES = "evaluation/threshold_curves.csv"
# A run's own, in folders by part of the data; a comparison's, in folders by run.
EVENTS = f"{TENSORBOARD}/**/events.out.tfevents.*"
BACKUPS = (f"{BACKUP}/[0-9]*.weights.h5", f"{BACKUP}/.*.{whole_files.PARTIAL}*")
# What evaluate writes, to a run directory or another folder.
EVALUATION = (
    PREDICTIONS,
    HISTOGRAMS,
    MASK_HISTOGRAMS,
    METRICS,
    THRESHOLD_CURVES,
    SUBGROUPS,
    DECISION_CURVE,
    REPORT,
    MODEL_CARD,
    failed_files.FILE,
    *(f"{FIGURES}/{name}.png" for name in FIGURE_NAMES),
)
# What --overwrite deletes of a run: not its exports, which may be in service, and not what
# predict and pseudo_label wrote, which have a marker of their own.
OWN = (
    FLAGS,
    MANIFEST,
    SKIPPED,
    CHECKS,
    MODEL,
    HISTORY,
    FINISHED,
    MASK_THRESHOLD,
    OPERATING_POINT,
    CALIBRATION,
    CONFORMAL,
    *EVALUATION,
    EVENTS,
    *BACKUPS,
    f".*.{whole_files.PARTIAL}*",
    f"evaluation/.*.{whole_files.PARTIAL}*",
)
# By --format.
EXPORTS = {
    "savedmodel": "export",
    "openvino": "export_openvino",
    "onnx": "export_onnx",
    "litert": "export_litert",
}


def check_model(path: pathlib.Path) -> None:
    """Checks a .keras file against the checksums that it holds, and that its size is honest.

    Raises:
        ValueError: It is missing, cut short, damaged or another file.
    """
    damaged = archives.damage(path)
    if damaged:
        raise ValueError(
            f"{path} must be a complete Keras model; it is missing, cut short or damaged "
            f"({damaged}). Copy it again, or train again with --overwrite"
        )


def check_named(run: str) -> None:
    """Raises a ValueError where --run names nothing."""
    if not run:
        raise ValueError(
            '"--run" must name the run directory, as in --run=runs/paper. Received: nothing'
        )


def check_for_training(run: str, flag_lines: list[str], overwrite: bool) -> None:
    """Checks that a run may begin or go on in a folder; writes nothing.

    Raises:
        ValueError: It holds a run, finished or of other flags, and `overwrite` is off; or it is
            a folder of something else, or has links where a run is written.
    """
    path = pathlib.Path(run)
    if not overwrite:
        _refuse_without_flags(path)
    if overwrite or not _is_begun(path):
        # A run of an earlier version has no marker: it is continued, but never deleted.
        output_folder.check(path, WORK, OWN, "--run")
        return
    output_folder.refuse_links(path, OWN)
    if (path / FINISHED).is_file():
        if output_folder.is_ours(path, WORK):
            drop_backup(path)
        raise ValueError(
            f"{path} holds a finished run. Evaluate it with python -m lbunet_tf.evaluate "
            f"--run={path}, name another --run, or give --overwrite to train it from the start"
        )
    different = different_flags(path, flag_lines)
    if different:
        raise ValueError(
            f"{path} holds an unfinished run with other flags: {different}. Give the same flags to "
            "continue it, name another --run, or give --overwrite to start again"
        )


def begin_training(run: str, flag_lines: list[str], overwrite: bool) -> pathlib.Path:
    """Returns the run directory, made ours; with `overwrite`, without the run that it held.

    For a folder that `check_for_training` lets pass, once nothing else can be wrong.
    """
    path = pathlib.Path(run)
    if overwrite and not output_folder.is_new(path):
        logging.info("deleting the run in %s, starting again", path)
        output_folder.delete_own(path, OWN)
    output_folder.mark(path, WORK)
    whole_files.write_text(path / FLAGS, "\n".join(flag_lines) + "\n")
    return path


def _refuse_without_flags(path):
    """Raises a ValueError where a run has lost the file that says what it is."""
    if (path / FLAGS).is_file() or not output_folder.is_ours(path, WORK):
        return
    left = [name for name in (FINISHED, MODEL, HISTORY, MANIFEST) if (path / name).exists()]
    if left or any((path / BACKUP).glob("[0-9]*.weights.h5")):
        raise ValueError(
            f"{path} must hold {FLAGS}, which states the flags of its {(*left, BACKUP)[0]}. Put "
            "it back, name another --run, or give --overwrite to start again"
        )


def _is_begun(path):
    """Returns whether a folder holds a run: our marker, or the files of an earlier version's."""
    if not (path / FLAGS).is_file():
        return False
    has_epochs = (path / FINISHED).is_file() or any((path / BACKUP).glob("[0-9]*.weights.h5"))
    return output_folder.is_ours(path, WORK) or has_epochs


def check_shared(run: str, flag_lines: list[str]) -> None:
    """Checks that this process sees the run directory which another of the same job prepared.

    Raises:
        ValueError: It is not there, or of other flags.
    """
    path = pathlib.Path(run)
    if not (path / FLAGS).is_file():
        raise ValueError(
            '"--run" must be on a file system that all processes of a job share. Process 0 has '
            f"written {path / FLAGS}, and this one does not see it"
        )
    refuse_other_flags(_flag_lines_of(path), flag_lines)


def refuse_other_flags(first_lines: list[str], flag_lines: list[str]) -> None:
    """Raises a ValueError where this process has other flags than process 0 of the same job."""
    different = _different(first_lines, flag_lines)
    if different:
        raise ValueError(
            f"all processes of a job must have the same flags. Process 0's differ: {different}"
        )


def drop_backup(run: str | os.PathLike) -> None:
    """Deletes what a finished run no longer needs; also where a kill came between the two."""
    output_folder.delete_files(run, BACKUPS)


def different_flags(path: pathlib.Path, flag_lines: list[str]) -> str:
    """Returns what `flag_lines` change in the flags of a run, in words; "" where nothing."""
    return _different(_flag_lines_of(path), flag_lines)


def _flag_lines_of(path):
    # A flag that is newer than the run had its default's effect.
    return flagfiles.flag_lines(flagfiles.read_flagfile(path / FLAGS))


def _different(old_lines, flag_lines):
    old = _settings(old_lines)
    new = _settings(flag_lines)
    return "; ".join(
        f"{name} was {old.get(name)}, is {value}"
        for name, value in new.items()
        if name != "--run" and old.get(name) != value
    )


def _settings(lines):
    return dict(line.split("=", 1) for line in lines if "=" in line)
