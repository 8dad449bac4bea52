"""Predicts new images with a finished run: scores, lesion areas, masks and overlays.

    python -m lbunet_tf.predict PATH [PATH ...]
    python -m lbunet_tf.predict --run=runs/lesion PATH [PATH ...]
    python -m lbunet_tf.predict --run=runs/a --run=runs/b --output=DIR --tta=flips PATH [PATH ...]

A PATH is an image (JPEG, PNG, BMP, or DICOM where pydicom is installed), a folder, a quoted
glob, or a CSV with a column "image". Without --run the network of the package predicts. Results
are written as they come; after an interruption the same command continues. Images that cannot be
predicted are named at the end; the exit status is then 1, and no other result is lost.
"""

import dataclasses
import os
import pathlib
import time
import typing
from collections.abc import Sequence

import keras
import numpy as np
from absl import logging

from lbunet_tf.data.pixels import new_images
from lbunet_tf.drawing import overlays
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import pipelining
from lbunet_tf.runs import predictor
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import postprocessing
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.storage import failed_files
from lbunet_tf.storage import file_names
from lbunet_tf.storage import growing_table
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import pictures
from lbunet_tf.storage import spreadsheets
from lbunet_tf.storage import whole_files

# The marker of a folder of predictions.
WORK = "predict"
FOLDER = "predicted"
SCORES = "scores.csv"
# Size and time of each image when it was read.
SEEN = ".seen.csv"
SEEN_COLUMNS = ("image_id", "size", "mtime_ns")
MASKS, OVERLAYS = "masks", "overlays"
OWN = (SCORES, SEEN, failed_files.FILE, MASKS, OVERLAYS, f".*.{whole_files.PARTIAL}*")
COLUMNS = ("image_id", "image", "score", "width", "height")
OUTLINE_COLUMNS = ("lesion_pixels", "lesion_share", "mask")


def main(settings: config.Config, paths: Sequence[str]) -> None:
    """Predicts the files that the command line names."""
    failed_files.raise_for(
        predict(settings, paths),
        _folder(settings) / failed_files.FILE,
        "Put good files in their place, or take them out, and give the same command again: it "
        "keeps what is predicted",
    )


def predict(settings: config.Config, paths: Sequence[str]) -> list[str]:
    """Returns why images could not be predicted, one line each; all other results are on disk.

    Writes to --output (RUN/predicted by default; of a part by --shard, that name with the part
    behind it): `scores.csv` (image_id, image, score,
    width, height and, for outlines, lesion_pixels, lesion_share of the image and the file of its
    mask), `masks/NAME.png` (black and white, the size of the image as a viewer shows it),
    `overlays/NAME.jpg` and `failures.txt`. NAME is the image_id, or what
    `storage.file_names` makes of one that is no plain name.

    Raises:
        ValueError: The folder holds other files, finished predictions, or those of another run or
            other images.
        OSError: The disk is full. What was predicted before is kept.
    """
    number, count = settings.results.part
    images = new_images.list_images(paths).iloc[number - 1 :: count]
    folder = _folder(settings)
    with whole_files.locked(folder, WORK):
        output_folder.check(folder, WORK, OWN, "--output")
        rows, failures = _plan(images)
        mask_rule = mask_threshold.rule_of(settings.paths.runs, settings.mask_cleanup)
        asked = _asked(settings, mask_rule)
        earlier = _earlier_lines(folder, rows, asked, settings)
        files = [name for row in rows for name in _pictures(settings, row)]
        output_folder.refuse_files_of_others(folder, files)
        trained = predictor.Predictor(settings, mask_rule)
        if earlier is None:
            output_folder.delete_own(folder, [SCORES, SEEN, failed_files.FILE])
        lines = earlier or {}
        output_folder.mark(folder, WORK, files, asked=asked, finished=False)
        waiting = [row for row in rows if row["image_id"] not in lines]
        failures += _predict(trained, waiting, lines, folder)
        _finish(folder, settings, rows, lines, failures)
        output_folder.mark(folder, WORK, files, asked=asked, finished=not failures)
    logging.info("%d of %d images predicted: %s", len(lines), len(images), folder)
    return failures


def _folder(settings):
    folder = ensemble.output_folder(settings.paths, FOLDER)
    number, count = settings.results.part
    if count == 1:
        return folder
    folder = pathlib.Path(os.path.abspath(folder))
    return folder.with_name(f"{folder.name}-{number}-of-{count}")


def _pictures(settings, row):
    """Returns the pictures that are written of an image, of --write."""
    if settings.outputs.mask_source != "lesion":
        return []
    names = dict(zip((MASKS, OVERLAYS), _picture_names(row["name"]), strict=True))
    return [name for what, name in names.items() if what in settings.results.write]


def _plan(images):
    """Returns (rows with the name of their files, what cannot be predicted)."""
    is_whole = (images["image_id"] != "") & (images["image"] != "")
    failures = [
        f"{_shown(row.image) or 'a row without an image'}: "
        f"{'its image_id is empty' if row.image else f'image_id {_shown(row.image_id)!r}'}"
        for row in images[~is_whole].itertuples()
    ]
    rows = images[is_whole].to_dict("records")
    names = file_names.file_names([row["image_id"] for row in rows])
    return [{**row, "name": name} for row, name in zip(rows, names, strict=True)], failures


def _shown(text):
    """Returns an id or a path as the table has it."""
    return spreadsheets.quoted(file_names.printable(text))


def _asked(settings, mask_rule):
    """Returns what decides a prediction, beside the image."""
    models = [
        [pathlib.Path(run).resolve().name, whole_files.crc32(f"{run}/{run_directory.MODEL}")]
        for run in settings.paths.runs
    ]
    return {
        "models": models,
        "tta": settings.score.tta,
        "mask_source": settings.outputs.mask_source,
        "mask_rule": dataclasses.asdict(mask_rule),
        **{name: _as_json(value) for name, value in vars(settings.results).items()},
    }


def _as_json(value):
    return list(value) if isinstance(value, tuple) else value


def _columns(settings):
    return COLUMNS + (OUTLINE_COLUMNS if settings.outputs.mask_source == "lesion" else ())


def _earlier_lines(folder, rows, asked, settings):
    """Returns image_id -> line of scores.csv of what an interrupted command has predicted.

    None where --overwrite replaces what is there.

    Raises:
        ValueError: Something else is there, and --overwrite is off.
    """
    marker = output_folder.read_marker(folder)
    if marker is None:
        return {}
    found = growing_table.read(folder / SCORES, _columns(settings))
    known = {(_shown(row["image_id"]), _shown(row["image"])) for row in rows}
    others = [cells[1] for cells in found if tuple(cells[:2]) not in known]
    reason = ""
    if marker.get("asked") != asked:
        reason = f"of other runs or flags: {marker.get('asked')}, now {asked}"
    elif marker.get("finished"):
        reason = "that are already finished"
    elif others:
        reason = f"of other images, such as {others[0]}"
    if not reason:
        return _unchanged_lines(folder, rows, found, settings)
    if settings.paths.overwrite:
        return None
    raise ValueError(
        f"{folder} holds predictions {reason}. Name another --output, or give --overwrite"
    )


def _unchanged_lines(folder, rows, found, settings):
    """Returns the lines that count: their pictures are there, and their image is the same."""
    seen = {cells[0]: cells for cells in growing_table.read(folder / SEEN, SEEN_COLUMNS)}
    by_name = {cells[0]: cells for cells in found}
    lines = {}
    for row in rows:
        shown = _shown(row["image_id"])
        files = _pictures(settings, row)
        is_whole = shown in by_name and all((folder / name).is_file() for name in files)
        if is_whole and seen.get(shown) == _seen(row):
            lines[row["image_id"]] = by_name[shown]
    logging.info("continuing in %s: %d images are predicted already", folder, len(lines))
    return lines


def _seen(row):
    """Returns a line by which a file is known again."""
    try:
        status = os.stat(row["image"])
    except (OSError, ValueError):
        return None
    return [_shown(row["image_id"]), str(status.st_size), str(status.st_mtime_ns)]


def _picture_names(name):
    return f"{MASKS}/{name}.png", f"{OVERLAYS}/{name}.jpg"


def _predict(trained, rows, lines, folder):
    """Adds the line of each image to `lines` and scores.csv; returns why others have none."""
    settings = trained.settings
    if settings.outputs.mask_source != "lesion":
        logging.info("--mask_source=label: only scores are written, no masks or areas")
    growing_table.write(folder / SCORES, _columns(settings), lines.values())
    seen = {cells[0]: cells for cells in growing_table.read(folder / SEEN, SEEN_COLUMNS)}
    kept = [seen[cells[0]] for cells in lines.values()]
    growing_table.write(folder / SEEN, SEEN_COLUMNS, kept)
    started, num_seen = time.perf_counter(), 0
    progress = keras.utils.Progbar(len(rows), unit_name="image")
    failures, num_bytes = [], 0
    with (
        growing_table.appending(folder / SCORES) as append,
        growing_table.appending(folder / SEEN) as append_seen,
    ):
        try:
            for part, results in _results(trained, rows, folder):
                good = [result for result in results if not isinstance(result, str)]
                failures += [result for result in results if isinstance(result, str)]
                append_seen(result.seen for result in good if result.seen)
                append(result.cells for result in good)
                lines |= {result.image_id: result.cells for result in good}
                num_bytes += sum(result.num_bytes for result in good)
                num_seen += len(part)
                progress.add(len(part))
        except OSError as error:
            if whole_files.is_full_disk(error) and num_seen:
                raise _with_rest(error, num_bytes / num_seen, len(rows) - num_seen) from error
            raise
    num_predicted, seconds = len(rows) - len(failures), time.perf_counter() - started
    logging.info(
        "predicted %s",
        ensemble.describe_speed(
            settings.score.tta, len(settings.paths.runs), num_predicted, seconds
        ),
    )
    return failures


def _with_rest(error, bytes_per_image, num_left):
    rest = bytes_per_image * num_left / 1e6
    return OSError(f"{error}. The {num_left} images that are left take about {rest:.0f} MB")


class _Read(typing.NamedTuple):
    """What is kept of an image: not all its pixels, lest many of them fill memory.

    `picture` is None where there is no overlay, or it has the size of the image: it is read again.
    """

    seen: list[str] | None
    size: tuple[int, int]
    square: np.ndarray
    picture: np.ndarray | None


class _Written(typing.NamedTuple):
    image_id: str
    seen: list[str] | None
    cells: list[str]
    num_bytes: int


def _results(trained, rows, folder):
    """Yields (rows, a `_Written` of each or why there is none), batch by batch."""
    settings = trained.settings
    flags = (settings.preprocessing, settings.reading.max_megapixels)
    has_overlays = settings.outputs.mask_source == "lesion" and "overlays" in settings.results.write
    side = None if settings.results.overlay_size == "full" else int(settings.results.overlay_size)

    def read_image(row):
        # Before it is read: a file that is replaced meanwhile is read again.
        seen = _seen(row)
        image, square = predictor.read(row["image"], *flags)
        picture = overlays.shrink(image, side) if has_overlays and side else None
        return _Read(seen, image.shape[:2], square, picture)

    def read(row):
        return failed_files.tried(row["image"], read_image, row)

    def predict_batch(images):
        found = trained.predict_squares(
            [image.square for image in images], [image.size for image in images]
        )
        return [prediction or postprocessing.NOT_FINITE for prediction in found]

    def write(row, image, prediction):
        return failed_files.tried(
            row["image"], _write, row, folder, whole(row, image), prediction, settings.results.write
        )

    def whole(row, image):
        if not has_overlays or side:
            return image
        pixels = new_images.read_image(row["image"], settings.reading.max_megapixels)
        return image._replace(picture=pixels)

    batch_size = settings.device.batch_size
    for part, results in pipelining.in_batches(rows, batch_size, read, predict_batch, write):
        yield (
            part,
            [
                f"{file_names.printable(row['image'])}: {result}"
                if result == postprocessing.NOT_FINITE
                else result
                for row, result in zip(part, results, strict=True)
            ],
        )


def _write(row, folder, image, prediction, what):
    """Returns the `_Written` of an image; writes its pictures."""
    height, width = image.size
    shown = "" if prediction.score is None else f"{prediction.score:.6f}"
    cells = [_shown(row["image_id"]), _shown(row["image"]), shown, str(width), str(height)]
    num_bytes = 0
    if prediction.mask_logits is not None:
        mask_name, overlay_name = _picture_names(row["name"])
        cells += [str(np.count_nonzero(prediction.mask)), f"{prediction.lesion_fraction:.6f}"]
        cells.append(mask_name if "masks" in what else "")
        if "masks" in what:
            num_bytes += pictures.write_mask(folder / mask_name, prediction.mask)
        if image.picture is not None:
            mask = prediction.mask_at(image.picture.shape[:2])
            overlay = overlays.draw_one(image.picture, mask)
            num_bytes += pictures.write_jpeg(folder / overlay_name, overlay)
    return _Written(row["image_id"], image.seen, cells, num_bytes)


def _finish(folder, settings, rows, lines, failures):
    """Puts the lines into the order of the images, and writes the list of failures."""
    ordered = (lines[row["image_id"]] for row in rows if row["image_id"] in lines)
    growing_table.write(folder / SCORES, _columns(settings), ordered)
    failed_files.write(folder, failures)


if __name__ == "__main__":
    entry.run(main, "predict", takes_paths=True)
