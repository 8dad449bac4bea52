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
import functools
import os
import pathlib
import shutil
import time
from collections.abc import Sequence

from absl import logging

from lbunet_tf.data.pixels import new_images
from lbunet_tf.runs import beam_predictions
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import frozen
from lbunet_tf.runs import image_progress
from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import predictor
from lbunet_tf.runs import written_predictions
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.storage import failed_files
from lbunet_tf.storage import file_names
from lbunet_tf.storage import growing_table
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import whole_files

# The marker of a folder of predictions.
WORK = "predict"
FOLDER = "predicted"
SCORES = "scores.csv"
# Size and time of each image when it was read.
SEEN = ".seen.csv"
SEEN_COLUMNS = ("image_id", "size", "mtime_ns")
TABLES = (SCORES, SEEN, failed_files.FILE, f"{beam_predictions.PARTS}/*.json")
OWN = (
    *TABLES,
    beam_predictions.PARTS,
    written_predictions.MASKS,
    written_predictions.OVERLAYS,
    f".*.{whole_files.PARTIAL}*",
)


def main(settings: config.Config, paths: Sequence[str]) -> None:
    """Predicts the files that the command line names."""
    _, num_parts = settings.results.part
    # Of a part, it would make others of the images that follow.
    removal = ", or take them out," if num_parts == 1 else ""
    failed_files.raise_for(
        predict(settings, paths),
        _folder(settings) / failed_files.FILE,
        f"Put good files in their place{removal} and give the same command again: it keeps what "
        "is predicted",
    )


def predict(settings: config.Config, paths: Sequence[str]) -> list[str]:
    """Returns why images could not be predicted, one line each; all other results are on disk.

    Writes to --output (RUN/predicted by default; of a part by --shard, that name with the part
    behind it): `scores.csv` (image_id, image, score; calibrated_score with --calibrated; flagged, 1
    or 0, and prediction_set, where the run has them; predicted and p_CLASS with a diagnosis head;
    width, height and, for outlines, lesion_pixels, lesion_share of the image and the file of its
    mask), `masks/NAME.png` (black and white, the size of the image as a viewer shows it),
    `overlays/NAME.jpg` and `failures.txt`. NAME is the image_id, or what `storage.file_names` makes
    of one that is no plain name.

    Raises:
        ValueError: The folder holds other files, finished predictions, or those of another run or
            other images.
        OSError: The disk is full. What was predicted before is kept.
    """
    number, count = settings.results.part
    folder = _folder(settings)
    # The rows of a part are found by their turn in the whole list, which must be the same.
    is_continued = count == 1 and not settings.paths.overwrite
    earlier_ids = _earlier_ids(folder) if is_continued else {}
    images = new_images.list_images(paths, earlier_ids).iloc[number - 1 :: count]
    with whole_files.locked(folder, WORK):
        output_folder.check(folder, WORK, OWN, "--output")
        rows, failures = _plan(images)
        mask_rule = mask_threshold.rule_of(settings.paths.runs, settings.mask_cleanup)
        asked = _asked(settings, mask_rule)
        columns = _columns(settings, asked)
        earlier = _earlier_lines(folder, rows, asked, columns, settings)
        files = [name for row in rows for name in _picture_files(settings, row)]
        output_folder.refuse_files_of_others(folder, files)
        results = _start(settings, mask_rule, asked)
        if earlier is None:
            output_folder.delete_own(folder, TABLES)
        lines = earlier or {}
        # Of images that are no longer asked for, and have no line.
        output_folder.delete_listed(folder, keep=files)
        output_folder.mark(folder, WORK, files, asked=asked, finished=False)
        waiting = [row for row in rows if row["image_id"] not in lines]
        failures += _predict(settings, results, waiting, lines, folder, columns)
        _finish(folder, columns, rows, lines, failures)
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


def _earlier_ids(folder):
    """Returns image -> image_id of what an interrupted command has predicted."""
    marker = output_folder.read_marker(folder)
    if marker is None or marker.get("finished"):
        return {}
    lines = growing_table.read_any(folder / SCORES)
    return {cells[1]: cells[0] for cells in lines if len(cells) > 1}


def _picture_files(settings, row):
    return written_predictions.picture_files(
        row, settings.results.write, settings.outputs.has_outlines
    )


def _drop_pictures(settings, row, folder):
    """Deletes the pictures of an image, as of one that changed between mask and overlay."""
    for name in _picture_files(settings, row):
        (folder / name).unlink(missing_ok=True)


def _columns(settings, asked):
    frozen_names = ("calibrated", "threshold", "sets")
    return written_predictions.columns(
        settings.outputs, *(asked[name] is not None for name in frozen_names)
    )


def _plan(images):
    """Returns (rows with the name of their files, what cannot be predicted)."""
    is_whole = (images["image_id"] != "") & (images["image"] != "")
    shown = written_predictions.shown
    failures = [
        f"{shown(row.image) or 'a row without an image'}: "
        f"{'its image_id is empty' if row.image else f'image_id {shown(row.image_id)!r}'}"
        for row in images[~is_whole].itertuples()
    ]
    rows = images[is_whole].to_dict("records")
    names = file_names.file_names([row["image_id"] for row in rows])
    return [{**row, "name": name} for row, name in zip(rows, names, strict=True)], failures


def _asked(settings, mask_rule):
    """Returns what decides a prediction, besides the image."""
    runs = settings.paths.runs
    names = [pathlib.Path(run).resolve().name for run in runs]
    models = [list(pair) for pair in zip(names, ensemble.checksums(runs), strict=True)]
    return {
        "models": models,
        "tta": settings.score.tta,
        "precision": settings.device.precision,
        **frozen.described(runs, settings.score, settings.results.contours),
        "mask_source": settings.outputs.mask_source,
        "mask_rule": dataclasses.asdict(mask_rule),
        **{name: _as_json(value) for name, value in vars(settings.results).items()},
    }


def _as_json(value):
    return list(value) if isinstance(value, tuple) else value


def _earlier_lines(folder, rows, asked, columns, settings):
    """Returns image_id -> line of scores.csv of what an interrupted command has predicted.

    None where --overwrite replaces what is there.

    Raises:
        ValueError: Something else is there, and --overwrite is off.
    """
    marker = output_folder.read_marker(folder)
    if marker is None:
        return {}
    found = growing_table.read(folder / SCORES, columns)
    known = {
        (written_predictions.shown(row["image_id"]), written_predictions.shown(row["image"]))
        for row in rows
    }
    others = [cells[1] for cells in found if tuple(cells[:2]) not in known]
    reason = ""
    if marker.get("asked") != asked:
        reason = f"of other runs or flags: {marker.get('asked')}, now {asked}"
    elif marker.get("finished"):
        reason = "that are already finished"
    elif others:
        reason = f"of other images, such as {others[0]}"
        if settings.results.part[1] > 1:
            reason += " (every --shard needs the same list, or some images are in no part)"
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
        shown = written_predictions.shown(row["image_id"])
        files = _picture_files(settings, row)
        is_whole = shown in by_name and all((folder / name).is_file() for name in files)
        if is_whole and written_predictions.is_unchanged(row, seen.get(shown)):
            lines[row["image_id"]] = by_name[shown]
        elif shown in by_name:
            # Of another image than is there now, which may be one that cannot be read.
            _drop_pictures(settings, row, folder)
    logging.info("continuing in %s: %d images are predicted already", folder, len(lines))
    return lines


def _start(settings, mask_rule, asked):
    """Returns a function of (rows, folder) that predicts and writes them, batch by batch."""
    if settings.preparation.beam_options:
        return beam_predictions.Work(settings, mask_rule, asked).results
    trained = predictor.Predictor(settings, mask_rule)
    predictor.refuse_changed(settings.paths.runs, settings.score, settings.results.contours, asked)
    return functools.partial(written_predictions.results, trained)


def _predict(settings, results, rows, lines, folder, columns):
    """Adds the line of each image to `lines` and scores.csv; returns why others have none."""
    if not settings.outputs.has_outlines:
        logging.info(
            "%s: only scores are written, no masks or areas",
            "--mask_source=label" if settings.outputs.has_mask else "no mask head",
        )
    growing_table.write(folder / SCORES, columns, lines.values())
    seen = {cells[0]: cells for cells in growing_table.read(folder / SEEN, SEEN_COLUMNS)}
    kept = [seen[cells[0]] for cells in lines.values()]
    growing_table.write(folder / SEEN, SEEN_COLUMNS, kept)
    started, num_seen = time.perf_counter(), 0
    progress = image_progress.ImageProgress(len(rows))
    failures, num_bytes = [], 0
    with (
        growing_table.appending(folder / SCORES) as append,
        growing_table.appending(folder / SEEN) as append_seen,
    ):
        try:
            for part, found in results(rows, folder):
                good = [result for result in found if not isinstance(result, str)]
                for row, result in zip(part, found, strict=True):
                    if isinstance(result, str):
                        _drop_pictures(settings, row, folder)
                failures += [result for result in found if isinstance(result, str)]
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


def _finish(folder, columns, rows, lines, failures):
    """Puts the lines into the order of the images, and writes the list of failures."""
    ordered = (lines[row["image_id"]] for row in rows if row["image_id"] in lines)
    growing_table.write(folder / SCORES, columns, ordered)
    failed_files.write(folder, failures)
    # All of it is in scores.csv.
    shutil.rmtree(folder / beam_predictions.PARTS, ignore_errors=True)


if __name__ == "__main__":
    entry.run(main, "predict", takes_paths=True)
