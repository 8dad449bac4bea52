"""Predicts new images with a finished run: scores, lesion areas, masks and overlays.

    python -m lbunet_tf.predict --run=runs/lesion PATH [PATH ...]
    python -m lbunet_tf.predict --run=runs/a --run=runs/b --output=DIR --tta=flips PATH [PATH ...]

A PATH is an image (JPEG, PNG, BMP, or DICOM where pydicom is installed), a folder, a quoted
glob, or a CSV with a column "image". Results are written as they come; after an interruption the
same command continues. Images that cannot be predicted are named at the end; the exit status is
then 1, and no other result is lost.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import time
from collections.abc import Sequence

import keras
import numpy as np
from absl import logging

from lbunet_tf.data.pixels import new_images
from lbunet_tf.drawing import overlays
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import mask_threshold
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
        f"{ensemble.output_folder(settings.paths, _default(settings))}/{failed_files.FILE}",
        "Put good files in their place, or take them out, and give the same command again: it "
        "keeps what is predicted",
    )


def predict(settings: config.Config, paths: Sequence[str]) -> list[str]:
    """Returns why images could not be predicted, one line each; all other results are on disk.

    Writes to --output (RUN/predicted by default): `scores.csv` (image_id, image, score,
    width, height and, for outlines, lesion_pixels, lesion_share of the image and the file of its
    mask), `masks/NAME.png` (0 or 255, the size of the image as a viewer shows it),
    `overlays/NAME.jpg` and `failures.txt`. NAME is the image_id, or what
    `storage.file_names` makes of one that is no plain name.

    Raises:
        ValueError: The folder holds other files, finished predictions, or those of another run or
            other images.
        OSError: The disk is full. What was predicted before is kept.
    """
    images = new_images.list_images(paths)
    folder = ensemble.output_folder(settings.paths, _default(settings))
    with whole_files.locked(folder, WORK):
        output_folder.check(folder, WORK, OWN, "--output")
        rows, failures = _plan(images)
        mask_rule = mask_threshold.rule_of(settings.paths.runs, settings.mask_cleanup)
        asked = _asked(settings, mask_rule)
        earlier = _earlier_lines(folder, rows, asked, settings)
        files = [] if settings.outputs.mask_source != "lesion" else _pictures(rows)
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


def _default(settings):
    return pathlib.Path(settings.paths.run) / "predicted"


def _pictures(rows):
    return [picture for row in rows for picture in _picture_names(row["name"])]


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
    }


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
        pictures = _picture_names(row["name"]) if settings.outputs.mask_source == "lesion" else ()
        is_whole = shown in by_name and all((folder / name).is_file() for name in pictures)
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
    started = time.perf_counter()
    progress = keras.utils.Progbar(len(rows), unit_name="image")
    failures, num_bytes = [], 0
    with (
        growing_table.appending(folder / SCORES) as append,
        growing_table.appending(folder / SEEN) as append_seen,
        concurrent.futures.ThreadPoolExecutor() as threads,
    ):
        for start in range(0, len(rows), settings.device.batch_size):
            part = rows[start : start + settings.device.batch_size]
            try:
                # Before they are read: a file that is replaced meanwhile is read again.
                seen = [_seen(row) for row in part]
                found, failed, size = _predict_batch(trained, part, folder, threads)
                append_seen(cells for cells in seen if cells)
                append(found.values())
            except OSError as error:
                if whole_files.is_full_disk(error) and start:
                    raise _with_rest(error, num_bytes / start, len(rows) - start) from error
                raise
            lines |= found
            failures += failed
            num_bytes += size
            progress.add(len(part))
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


def _predict_batch(trained, rows, folder, threads):
    """Returns (image_id -> cells of its line, why others have none, bytes of the pictures)."""
    flags = (trained.settings.preprocessing, trained.settings.reading.max_megapixels)

    def read(row):
        return failed_files.tried(row["image"], predictor.read, row["image"], *flags)

    def write(row, image, prediction):
        if prediction is None:
            return f"{file_names.printable(row['image'])}: {postprocessing.NOT_FINITE}"
        return failed_files.tried(row["image"], _write, row, folder, image, prediction)

    results = list(threads.map(read, rows))
    good = [number for number, result in enumerate(results) if not isinstance(result, str)]
    if good:
        images, squares = zip(*(results[number] for number in good), strict=True)
        sizes = [image.shape[:2] for image in images]
        # In no variable: each mask is let go once it is written.
        written = threads.map(
            write,
            [rows[number] for number in good],
            images,
            trained.predict_squares(squares, sizes),
        )
        for number, result in zip(good, written, strict=True):
            results[number] = result
    failures = [result for result in results if isinstance(result, str)]
    found = {
        row["image_id"]: result
        for row, result in zip(rows, results, strict=True)
        if not isinstance(result, str)
    }
    num_bytes = sum(size for _, size in found.values())
    return {name: cells for name, (cells, _) in found.items()}, failures, num_bytes


def _write(row, folder, image, prediction):
    """Returns (cells of the line, bytes written) of an image; writes its pictures."""
    height, width = image.shape[:2]
    shown = "" if prediction.score is None else f"{prediction.score:.6f}"
    cells = [_shown(row["image_id"]), _shown(row["image"]), shown, str(width), str(height)]
    mask = prediction.mask
    if mask is None:
        return cells, 0
    mask_name, overlay_name = _picture_names(row["name"])
    nothing = np.zeros((1, *mask.shape, 1), bool)
    overlay = overlays.draw(image[None], nothing, mask[None, ..., None])[0]
    num_bytes = pictures.write_mask(folder / mask_name, mask)
    num_bytes += pictures.write_jpeg(folder / overlay_name, overlay)
    return [*cells, str(int(mask.sum())), f"{prediction.lesion_fraction:.6f}", mask_name], num_bytes


def _finish(folder, settings, rows, lines, failures):
    """Puts the lines into the order of the images, and writes the list of failures."""
    ordered = (lines[row["image_id"]] for row in rows if row["image_id"] in lines)
    growing_table.write(folder / SCORES, _columns(settings), ordered)
    failed_files.write(folder, failures)


if __name__ == "__main__":
    entry.run(main, "predict", takes_paths=True)
