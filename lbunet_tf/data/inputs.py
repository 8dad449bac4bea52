"""New images to predict: the files that a person names, and their pixels."""

import glob
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lbunet_tf.data import dicom
from lbunet_tf.data import preprocessing

DICOM_SUFFIXES = (".dcm", ".dicom")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", *DICOM_SUFFIXES)


def list_images(paths: Sequence[str]) -> pd.DataFrame:
    """Returns image_id and image (path) of files, folders, globs and CSVs, in their order.

    A folder gives every image in and below it, a CSV its column `image` (paths may be
    relative to it) and, where it has one, `image_id`. A name that stands twice gets a
    number, so that no result overwrites another.

    Raises:
        ValueError: A path is not there, a folder or glob gives nothing, a CSV lacks the
            column.
    """
    if not paths:
        raise ValueError(
            "name at least one image, folder, glob or CSV after the flags. Received: nothing"
        )
    rows = [row for path in paths for row in _rows(path)]
    table = pd.DataFrame(rows, columns=["image_id", "image"])
    table = table.drop_duplicates("image", ignore_index=True)
    turn = table.groupby("image_id").cumcount()
    while turn.any():
        again = turn > 0
        table.loc[again, "image_id"] += "_" + (turn[again] + 1).astype(str)
        turn = table.groupby("image_id").cumcount()
    return table


def _rows(name):
    path = pathlib.Path(name).expanduser()
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES]
        if not found:
            raise ValueError(f"{path} must hold images ({', '.join(SUFFIXES)}). It holds none")
        return [(file.stem, str(file)) for file in found]
    if path.suffix.lower() == ".csv" and path.is_file():
        return _csv_rows(path)
    if path.is_file():
        return [(path.stem, str(path))]
    found = sorted(glob.glob(str(path), recursive=True))
    if not found:
        raise ValueError(f"no such file, folder or glob: {name}. Nothing matches it")
    return [row for match in found for row in _rows(match)]


def _csv_rows(path):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if "image" not in table:
        raise ValueError(f'{path} must have the column "image". Received: {", ".join(table)}')
    images = [os.fspath(path.parent / name) for name in table["image"]]
    names = table.get("image_id", pd.Series([pathlib.Path(image).stem for image in images]))
    return list(zip(names, images, strict=True))


def read_image(path: str, max_megapixels: int = 100) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB of a JPEG, PNG, BMP or DICOM file, upright.

    Raises:
        ValueError: The file cannot be read or has too many pixels; the message names it.
    """
    if pathlib.Path(path).suffix.lower() in DICOM_SUFFIXES:
        return dicom.read_image(path, max_megapixels)
    return preprocessing.decode_file(path, preprocessing.decode_image, max_megapixels)[1]
