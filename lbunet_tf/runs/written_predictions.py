"""What `predict` writes of one image: a line of scores.csv, a mask and an overlay.

An image is read, predicted and written by three functions that `pipelining` runs side by side.
"""

import os
import pathlib
import typing
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from lbunet_tf.data import diagnoses
from lbunet_tf.data.pixels import new_images
from lbunet_tf.drawing import overlays
from lbunet_tf.runs import pipelining
from lbunet_tf.runs import predictor
from lbunet_tf.serving import postprocessing
from lbunet_tf.settings import output_group
from lbunet_tf.storage import failed_files
from lbunet_tf.storage import file_names
from lbunet_tf.storage import pictures
from lbunet_tf.storage import spreadsheets

MASKS, OVERLAYS = "masks", "overlays"
COLUMNS = ("image_id", "image", "score", "width", "height")
# Where the run has an operating point, with --calibrated, and where it has prediction sets.
FLAGGED, CALIBRATED, SET = "flagged", "calibrated_score", "prediction_set"
OUTLINE_COLUMNS = ("lesion_pixels", "lesion_share", "mask")


class Written(typing.NamedTuple):
    """What became of an image: the line by which its file is known again, and that of its scores.

    `seen` is None where the file could not be looked at; `num_bytes` is of its pictures.
    """

    image_id: str
    seen: list[str] | None
    cells: list[str]
    num_bytes: int


class _Read(typing.NamedTuple):
    """What is kept of an image: not all its pixels, lest many of them fill memory.

    `picture` is what an overlay is drawn on, where it is smaller than the image.
    """

    path: str
    seen: list[str] | None
    size: tuple[int, int]
    square: np.ndarray
    picture: np.ndarray | None


def columns(
    outputs: output_group.Outputs, is_calibrated: bool, is_flagged: bool, has_sets: bool
) -> tuple[str, ...]:
    """Returns the columns of scores.csv."""
    more = {CALIBRATED: is_calibrated, FLAGGED: is_flagged, SET: has_sets}
    more = [name for name, is_there in more.items() if is_there]
    if outputs.class_names:
        of_classes = (diagnoses.PROBABILITY + name for name in outputs.class_names)
        more += [diagnoses.PREDICTED, *of_classes]
    of_outlines = OUTLINE_COLUMNS if outputs.has_outlines else ()
    return (*COLUMNS[:3], *more, *COLUMNS[3:], *of_outlines)


def picture_files(row: dict, write: Sequence[str], has_outlines: bool) -> list[str]:
    """Returns the pictures that are written of an image, in the folder of predictions.

    Args:
        row: `name` is that of its files.
        write: --write.
        has_outlines: Without them there are none.
    """
    names = _picture_names(row["name"]) if has_outlines else {}
    return [name for what, name in names.items() if what in write]


def _picture_names(name):
    return {MASKS: f"{MASKS}/{name}.png", OVERLAYS: f"{OVERLAYS}/{name}.jpg"}


def shown(text: str) -> str:
    """Returns an id or a path as the table has it."""
    return spreadsheets.quoted(file_names.printable(text))


def seen(row: dict) -> list[str] | None:
    """Returns a line by which a file is known again, None where it cannot be looked at."""
    try:
        status = os.stat(row["image"])
    except (OSError, ValueError):
        return None
    return [shown(row["image_id"]), str(status.st_size), str(status.st_mtime_ns)]


def is_unchanged(row: dict, before: list[str] | None) -> bool:
    """Returns whether a file is the one that `seen` saw.

    One that is out of reach, as when its drive is not mounted, counts as the same.
    """
    return before is not None and seen(row) in (before, None)


def results(
    trained: predictor.Predictor, rows: Sequence[dict], folder: pathlib.Path
) -> Iterator[tuple[list[dict], list[Written | str]]]:
    """Yields (rows, what was written of each, or in a line why there is nothing), by batches.

    Args:
        trained: Its flags say what is written.
        rows: `image_id`, `image` (a path) and `name` (of its files) of each.
        folder: Where pictures are written.

    Raises:
        OSError: The disk is full.
    """
    settings = trained.settings
    max_megapixels = settings.reading.max_megapixels
    has_outlines = settings.outputs.has_outlines
    has_overlays = has_outlines and OVERLAYS in settings.results.write
    side = settings.results.overlay_side

    def read(row):
        # Before it is read: a file that is replaced meanwhile is read again.
        of_file = seen(row)
        image, square = predictor.read(row["image"], settings.preprocessing, max_megapixels)
        picture = overlays.shrink(image, side) if has_overlays and side else None
        return _Read(row["image"], of_file, image.shape[:2], square, picture)

    def predict(images):
        squares, sizes = [image.square for image in images], [image.size for image in images]
        found = trained.predict_squares(squares, sizes)
        return [
            prediction or f"{file_names.printable(image.path)}: {postprocessing.NOT_FINITE}"
            for image, prediction in zip(images, found, strict=True)
        ]

    def write(row, image, prediction):
        cells = _cells(row, image, prediction, trained)
        num_bytes = 0
        for name in picture_files(row, settings.results.write, has_outlines):
            if name.startswith(MASKS):
                num_bytes += pictures.write_mask(folder / name, prediction.mask)
                cells[-1] = name
            else:
                picture = image.picture
                if picture is None:
                    picture = new_images.read_image(image.path, max_megapixels)
                    picture = overlays.shrink(picture, pictures.MAX_JPEG_SIDE)
                overlay = _overlay(picture, prediction, settings.results.contours)
                num_bytes += pictures.write_jpeg(folder / name, overlay)
        return Written(row["image_id"], image.seen, cells, num_bytes)

    def tried(function):
        return lambda row, *others: failed_files.tried(row["image"], function, row, *others)

    return pipelining.in_batches(
        rows, settings.device.batch_size, tried(read), predict, tried(write)
    )


def _overlay(picture, prediction, has_contours):
    """Returns (H, W, 3) uint8: a picture with the outline, and where asked for both contours."""
    size = picture.shape[:2]
    around = prediction.masks_around(size) if has_contours else ()
    return overlays.draw_one(picture, prediction.mask_at(size), *around)


def _cells(row, image, prediction, trained):
    """Returns the line of scores.csv, without the file of a mask."""
    height, width = image.size
    cells = [shown(row["image_id"]), shown(row["image"]), _number(prediction.score)]
    if trained.calibration:
        cells.append(_number(prediction.calibrated_score))
    if trained.threshold is not None:
        cells.append("" if prediction.flagged is None else str(int(prediction.flagged)))
    if trained.sets:
        cells.append(prediction.prediction_set or "")
    if prediction.class_probabilities:
        cells.append(prediction.predicted_class)
        cells += map(_number, prediction.class_probabilities.values())
    cells += [str(width), str(height)]
    if prediction.mask_logits is not None:
        cells += [str(np.count_nonzero(prediction.mask)), f"{prediction.lesion_fraction:.6f}", ""]
    return cells


def _number(value):
    return "" if value is None else f"{value:.6f}"
