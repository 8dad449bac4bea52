"""New images to predict: the files that a person names, and their pixels."""

import collections
import os
import pathlib
import re
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lbunet_tf.data import identifiers
from lbunet_tf.data import listing
from lbunet_tf.data import tables
from lbunet_tf.data.pixels import dicom
from lbunet_tf.data.pixels import preprocessing

DICOM_SUFFIXES = (".dcm", ".dicom")
SUFFIXES = (*listing.IMAGE_SUFFIXES, *DICOM_SUFFIXES)


def list_images(paths: Sequence[str], earlier: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Returns image_id and image (path) of files, folders, globs and CSVs, in their order.

    A folder gives every image in and below it (`listing`), a CSV its column `image` (paths
    may be relative to it) and, where it has one, `image_id`. An image is listed once, but under
    each id that a CSV gives it. A name that stands twice gets a number, so that no result
    overwrites another. What a row of a CSV leaves empty stays "".

    Args:
        paths: Of files, folders, globs and CSVs.
        earlier: Image -> image_id of a command that was interrupted. That number of its turn an
            image keeps, also where another of its name has come or gone since.

    Raises:
        ValueError: A path is not there, a folder or glob gives nothing, a CSV lacks the
            column or has no rows.
    """
    if not all(paths) or not paths:
        raise ValueError(
            "name at least one image, folder, glob or CSV after the flags. Received: "
            + (", ".join(map(repr, paths)) or "nothing")
        )
    rows = _once([row for path in paths for row in _rows(path)])
    images = [image for _, image, _ in rows]
    names = _distinct(rows, earlier or {})
    # As objects: a file's name may be no Unicode, which pandas' text must be.
    return pd.DataFrame({"image_id": names, "image": images}, dtype=object)


def _once(rows):
    """Returns the rows without repetitions, in the order of the first.

    Args:
        rows: (image_id, image, whether a CSV gives the image that id).
    """
    rows = [(name.strip(identifiers.INVISIBLE), image, has_id) for name, image, has_id in rows]
    with_id = {image for name, image, has_id in rows if has_id and name}
    kept = {}
    for number, (name, image, has_id) in enumerate(rows):
        if has_id or image not in with_id:
            # Rows without an image are not one and the same.
            key = (image, name if has_id else None) if image else number
            kept.setdefault(key, (name, image, has_id))
    return list(kept.values())


def _distinct(rows, earlier):
    """Returns the names; those that stand twice gain the number of their turn, empty ones none.

    Those of `earlier` are first in turn, and keep what they have.
    """
    names, is_earlier = [], []
    for name, image, has_id in rows:
        before = "" if has_id else earlier.get(image, "")
        is_turn = before.startswith(name) and re.fullmatch(r"(_\d+)*", before[len(name) :])
        is_earlier.append(bool(before and is_turn))
        names.append(before if is_earlier[-1] else name)
    order = sorted(range(len(names)), key=lambda number: not is_earlier[number])
    found = dict(zip(order, _with_turns([names[number] for number in order]), strict=True))
    return [found[number] for number in range(len(names))]


def _with_turns(names):
    while True:
        turns = collections.Counter()
        distinct = []
        for name in names:
            turns[name] += 1
            is_again = name and turns[name] > 1
            distinct.append(f"{name}_{turns[name]}" if is_again else name)
        if distinct == names:
            return names
        names = distinct


def _rows(name):
    path = pathlib.Path(os.path.expanduser(name))
    # A link that leads nowhere is there, too: reading names what is wrong with it.
    if os.path.lexists(path):
        return _rows_of(path, path.suffix.lower() == ".csv")
    # A pattern that spells .csv out names lists; * may match tables of something else.
    is_list = path.suffix.lower() == ".csv"
    rows = [row for file in listing.matches(str(path), SUFFIXES) for row in _rows_of(file, is_list)]
    if not rows:
        raise ValueError(f"no such file, folder or glob: {name}. Nothing matches it with images")
    return rows


def _rows_of(path, is_list):
    """Returns (image_id, image, whether a CSV gives that id) of each image of something on disk."""
    if path.is_dir():
        found = listing.images_below(path, SUFFIXES)
        if not found:
            raise ValueError(f"{path} must hold images ({', '.join(SUFFIXES)}). It holds none")
        return [(file.stem, str(file), False) for file in found]
    if is_list and path.is_file():
        return _csv_rows(path)
    return [(path.stem, str(path), False)]


def _csv_rows(path):
    table = tables.read_csv(path, ["image"])
    if table.empty:
        raise ValueError(f"{path} must name at least one image. Received: no rows")
    images = [os.fspath(path.parent / name) if name else "" for name in table["image"]]
    has_ids = "image_id" in table
    names = table["image_id"] if has_ids else [pathlib.Path(image).stem for image in images]
    return [(name, image, has_ids) for name, image in zip(names, images, strict=True)]


def read_image(path: str, max_megapixels: int = 100) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB of a JPEG, PNG, BMP or DICOM file, upright.

    Raises:
        ValueError: The file cannot be read or has too many pixels; the message names it.
    """
    if pathlib.Path(path).suffix.lower() in DICOM_SUFFIXES:
        return dicom.read_image(path, max_megapixels)
    return preprocessing.decode_file(path, preprocessing.decode_image, max_megapixels)[1]
