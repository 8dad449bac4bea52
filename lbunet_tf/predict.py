"""Predicts new images with a finished run: scores, lesion areas, masks and overlays.

    python -m lbunet_tf.predict --run=runs/lesion PATH [PATH ...]
    python -m lbunet_tf.predict --run=runs/a --run=runs/b --output=DIR --tta=flips PATH [PATH ...]

A PATH is an image (JPEG, PNG, BMP, or DICOM where pydicom is installed), a folder, a quoted
glob, or a CSV with a column "image". Results are written as they come. Files that cannot be
read are named at the end; the exit status is then 1, and no other result is lost.
"""

import concurrent.futures
import csv
import pathlib
import shutil
import sys
import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image

from lbunet_tf import config as config_lib
from lbunet_tf import entry
from lbunet_tf import members
from lbunet_tf import whole_files
from lbunet_tf.data import inputs
from lbunet_tf.data import preprocessing
from lbunet_tf.evaluation import predictions
from lbunet_tf.training import tensorboard

COLUMNS = ("image_id", "image", "score", "width", "height", "lesion_pixels", "lesion_share")


def main(config: config_lib.Config, paths: Sequence[str]) -> None:
    """Predicts the files that the command line names."""
    failures = predict(config, paths)
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    if failures:
        raise ValueError(f"{len(failures)} files could not be read; they are named above")


def predict(config: config_lib.Config, paths: Sequence[str]) -> list[str]:
    """Returns what could not be read, a line each; every other result is on disk.

    Writes to --output (RUN/predicted by default): `scores.csv` (image_id, image, score,
    width, height and, for outlines, lesion_pixels and lesion_share of the image),
    `masks/ID.png` (0 or 255, the size of the image as a viewer shows it), `overlays/ID.jpg`
    and `failures.txt`.
    """
    images = inputs.list_images(paths)
    folder = members.output_folder(config, pathlib.Path(config.run) / "predicted")
    with whole_files.locked(folder, "predict"):
        return _predict(config, images, folder)


def _predict(config, images, folder):
    model = members.load_mean(config)
    output = _make_output(config, folder)
    has_outlines = config.mask_source == "lesion"
    if not has_outlines:
        logging.info("this run learnt label-as-mask: scores are written, no masks and no areas")
    started = time.perf_counter()
    progress = keras.utils.Progbar(len(images), unit_name="image")
    failures = []
    with (
        open(output / "scores.csv", "w", newline="", encoding="utf-8") as file,
        concurrent.futures.ThreadPoolExecutor() as threads,
    ):
        writer = csv.DictWriter(file, COLUMNS if has_outlines else COLUMNS[:5])
        writer.writeheader()
        for start in range(0, len(images), config.batch_size):
            rows = images.iloc[start : start + config.batch_size].to_dict("records")
            read = list(threads.map(lambda row: _read(row["image"], config.max_megapixels), rows))
            failures += [result for result in read if isinstance(result, str)]
            good = [pair for pair in zip(rows, read, strict=True) if not isinstance(pair[1], str)]
            for row in _predict_batch(config, model, good, output if has_outlines else None):
                writer.writerow(row)
            file.flush()
            progress.add(len(rows))
    num_predicted = len(images) - len(failures)
    speed = members.describe_speed(config, num_predicted, time.perf_counter() - started)
    logging.info("predicted %s", speed)
    whole_files.write_text(output / "failures.txt", "".join(f"{line}\n" for line in failures))
    logging.info("%d of %d images predicted: %s", num_predicted, len(images), output)
    return failures


def _make_output(config, output):
    """Returns the output folder, made new; an older one needs --overwrite."""
    if (output / "scores.csv").is_file():
        if not config.overwrite:
            raise ValueError(
                f"{output} holds predictions already. Name another --output, or give --overwrite"
            )
        for name in ("masks", "overlays"):
            shutil.rmtree(output / name, ignore_errors=True)
    elif output.exists() and any(output.iterdir()):
        raise ValueError(f'"--output" must be a new or empty folder. {output} holds other files')
    output.mkdir(parents=True, exist_ok=True)
    return output


def _read(path, max_megapixels):
    """Returns the pixels, or why there are none."""
    try:
        return inputs.read_image(path, max_megapixels)
    except ValueError as error:
        return str(error)


def _predict_batch(config, model, good, output):
    """Returns a table row for each image; writes its mask and overlay where `output` is given."""
    if not good:
        return []
    small = [preprocessing.prepare_image(image, config) for _, image in good]
    outputs = model.predict_on_batch(np.stack(small).astype("float32"))
    logits = {name: np.asarray(value, "float64") for name, value in outputs.items()}
    rows = []
    scores = predictions.image_scores(logits, config)
    for (row, image), score, mask_logits in zip(good, scores, logits["mask"], strict=True):
        height, width = image.shape[:2]
        row = {**row, "width": width, "height": height}
        row["score"] = "" if np.isnan(score) else f"{score:.6f}"
        if output:
            mask = tf.image.resize(mask_logits, (height, width)).numpy()[..., 0] >= 0
            row["lesion_pixels"] = int(mask.sum())
            row["lesion_share"] = f"{mask.mean():.6f}"
            _write_pictures(output, row["image_id"], image, mask)
        rows.append(row)
    return rows


def _write_pictures(output, name, image, mask):
    for folder in ("masks", "overlays"):
        (output / folder).mkdir(exist_ok=True)
    Image.fromarray(mask.astype("uint8") * 255).save(output / "masks" / f"{name}.png")
    nothing = np.zeros((1, *mask.shape, 1), bool)
    overlay = tensorboard.overlay(image[None], nothing, mask[None, ..., None])[0]
    Image.fromarray(overlay).save(output / "overlays" / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    entry.run(main, "predict", takes_paths=True)
