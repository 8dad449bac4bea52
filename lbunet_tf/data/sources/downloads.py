"""Places in a download: folders and files as archives, file systems and people leave them."""

import os
import pathlib
from collections.abc import Iterable
from collections.abc import Sequence

from absl import logging

from lbunet_tf.data import listing


def find(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Returns where a file or folder of a download lies, FOLDER/NAME where it is not there.

    Capitals do not matter, and an archive may have been unpacked into a folder of its own
    name: NAME/NAME. `name` may be several names deep.
    """
    for part in pathlib.PurePath(name).parts:
        folder = _child(folder, part)
        inner = folder / folder.name
        if inner.is_file() or (inner.is_dir() and any(inner.iterdir())):
            folder = inner
    return folder


def _child(folder, name):
    if (folder / name).exists() or not folder.is_dir():
        return folder / name
    alike = (child for child in sorted(os.listdir(folder)) if child.lower() == name.lower())
    return folder / next(alike, name)


def first_existing(folder: pathlib.Path, names: Sequence[str], what: str) -> pathlib.Path:
    """Returns the first of the names that the folder holds."""
    for name in names:
        if (found := find(folder, name)).exists():
            return found
    raise ValueError(f"{folder} must hold {what}. Looked for {', '.join(names)}")


def first_file(folder: pathlib.Path, names: Sequence[str]) -> pathlib.Path | None:
    """Returns the first of the names that is a file in the folder, None where none is."""
    return next((found for name in names if (found := find(folder, name)).is_file()), None)


def files_of(folder: pathlib.Path, stems: Iterable[str], suffix: str = ".jpg") -> list[str]:
    """Returns the path of the image that each stem names, STEM.jpg where there is none.

    The folder is listed once: asking for each of a million files takes minutes. STEM.JPG,
    STEM.jpeg or STEM.png is taken where there is no STEM.jpg.
    """
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    wanted = [f"{stem}{suffix}" for stem in stems]
    if not there.issuperset(wanted):
        alike = {stem.lower(): name for stem, name in listing.images_by_stem(folder).items()}
        wanted = [
            name if name in there else alike.get(name[: -len(suffix)].lower(), name)
            for name in wanted
        ]
    return [f"{folder}{os.sep}{name}" for name in wanted]


def masks_in(masks: pathlib.Path, names: Iterable[str], ending: str = "_segmentation") -> list[str]:
    """Returns the path of each mask, "" where the download has no masks at all."""
    if not masks.is_dir():
        logging.warning("no lesion masks; looked for %s", masks)
        return ["" for _ in names]
    return files_of(masks, [f"{name}{ending}" for name in names], ".png")
