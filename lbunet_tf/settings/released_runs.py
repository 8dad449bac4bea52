"""Trained runs that come with the package, by name: `--run=isic2017`, `load("isic2017")`."""

import pathlib

from lbunet_tf.storage import whole_files

FOLDER = pathlib.Path(__file__).parents[1] / "released"
# What predict takes where no --run is named.
DEFAULT = "isic2017"
FLAGS, MODEL = "flags.cfg", "model.keras"
# The SHA-256 of each file of a released run but the card, as `sha256sum` writes and checks it.
SUMS, CARD = "SHA256SUMS", "model_card.md"


def folder_of(run: str) -> str:
    """Returns the folder of a released run, by its name; every other run as it is named.

    A run of that name in the working directory wins.
    """
    is_here = (pathlib.Path(run) / FLAGS).is_file()
    return str(FOLDER / run) if _is_name(run) and not is_here else run


def weights_of(encoder_weights: str) -> str:
    """Returns the model of a released run, by its name; other values of the flag as they are.

    As `teacher_of`.
    """
    return f"{FOLDER / encoder_weights}/{MODEL}" if _is_name(encoder_weights) else encoder_weights


def teacher_of(teacher: str) -> str:
    """Returns the folder of a released run, by its name; every other teacher as it is named.

    Whatever is in the working directory: what a run has learnt from must not change afterwards.
    """
    return str(FOLDER / teacher) if _is_name(teacher) else teacher


def _is_name(value):
    return value == pathlib.PurePath(value).name and (FOLDER / value / FLAGS).is_file()


def is_released(run: str | pathlib.Path) -> bool:
    """Returns whether the folder of a run belongs to the package, which nobody writes to."""
    return pathlib.Path(run).resolve().parent == FOLDER.resolve()


def results_folder(run: str | pathlib.Path) -> pathlib.Path:
    """Returns where the results of a run go: into it; of a released one into runs/released_NAME.

    Not into runs/NAME, where the recipe of that name trains.
    """
    if not is_released(run):
        return pathlib.Path(run)
    return pathlib.Path("runs", f"released_{pathlib.Path(run).name}")


def check(run: str | pathlib.Path) -> None:
    """Checks the files of a released run; nothing of any other.

    Raises:
        ValueError: One is missing, cut short or another; it is named.
    """
    if not is_released(run):
        return
    for line in (pathlib.Path(run) / SUMS).read_text(encoding="utf-8").splitlines():
        expected, name = line.split("  ")
        path = pathlib.Path(run) / name
        found = whole_files.sha256(path) if path.is_file() else "no file"
        if found != expected:
            raise ValueError(
                f"{path} must be the file that was released, of SHA-256 {expected}. Received: "
                f"{found}. Install lbunet_tf again"
            )
