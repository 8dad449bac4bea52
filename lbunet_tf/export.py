"""Exports a run as a SavedModel for TF Serving, to RUN/export/<version>/, the next free number.

    python -m lbunet_tf.export --run=runs/lesion
    python -m lbunet_tf.export --run=runs/a --run=runs/b --output=DIR --tta=flips

Several runs and --tta are inside the model; --output=DIR gives DIR/<version>/.

Signature `serving_default`: `image_bytes` (JPEG or PNG, any sizes up to --max_megapixels in one
batch) to `probability`, `mask_png_bytes`, `lesion_share` and `error`, empty where all is well: a
bad image has NaN and no mask, and costs the others nothing; with a diagnosis head also to
`class_probabilities` and `class_names`. Signature `identity`: runs, flags,
hash of the data, limit and version of the package. Loading it needs TensorFlow alone. Requests
in `assets.extra` warm a server up.

--format=openvino, onnx or litert writes RUN/export_FORMAT/<version>/ instead, the network alone:
resized pixels (B, S, S, 3) float32 in 0..255 to `probability` and `mask_probability`.
"""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl import logging

import lbunet_tf
from lbunet_tf.data import manifests
from lbunet_tf.data.pixels import limits
from lbunet_tf.data.pixels import new_images
from lbunet_tf.data.pixels import preprocessing
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import frozen
from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import predictor
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import chosen
from lbunet_tf.serving import portable_models
from lbunet_tf.serving import signature
from lbunet_tf.serving import warmup
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import process
from lbunet_tf.settings import published_flags
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import whole_files

NUM_CALIBRATION = 100


def main(settings: config.Config) -> None:
    """Exports the mean of the runs that --run names; mostly one."""
    export(settings)


def export(settings: config.Config) -> pathlib.Path:
    """Returns the folder of a new version, written whole or not at all."""
    name = run_directory.EXPORTS[settings.export.format]
    folder = ensemble.output_folder(settings.paths, name)
    with whole_files.locked(folder, "export"):
        return _export(settings, folder)


def _export(settings, folder):
    process.refuse_other_backends("export")
    precision = portable_models.precision_of(
        settings.export.format, settings.export.export_precision
    )
    if settings.export.calibration_images and precision != "int8":
        raise ValueError(
            '"--calibration_images" needs --format=litert --export_precision=int8. Received: '
            f"--format={settings.export.format} of {precision}"
        )
    model = ensemble.load_mean(settings)
    version = 1 + max((int(path.name) for path in _versions(folder)), default=0)
    is_saved_model = settings.export.format == "savedmodel"
    write = _write_saved_model if is_saved_model else _write_portable
    with output_folder.staged(folder / str(version), "export") as partial:
        write(settings, model, _mask_rule(settings), precision, partial)
    logging.info(
        "exported %s: %s",
        folder / str(version),
        ensemble.describe(settings.score.tta, len(settings.paths.runs)),
    )
    return folder / str(version)


def _write_saved_model(settings, model, mask_rule, precision, folder):
    # It has one.
    del precision
    serve = signature.make_serving_function(
        model,
        lambda contents: limits.problem(contents, settings.reading.max_megapixels),
        preprocessing.decode_jpeg_or_png,
        lambda image: preprocessing.prepare_image(image, settings.preprocessing),
        settings.outputs.score_rule,
        mask_rule,
        _frozen(settings),
        settings.outputs.class_names,
    )
    # Not `track`: it would save each weight twice; what the endpoints use is saved once.
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        signature.NAME, serve, [tf.TensorSpec((None,), tf.string, name=signature.INPUT)]
    )
    identity = {**_identity(settings, mask_rule), "max_megapixels": settings.reading.max_megapixels}
    archive.add_endpoint("identity", signature.make_identity_function(identity), [])
    verbosity = logging.get_verbosity()
    # TensorFlow logs five lines of its own here.
    logging.set_verbosity(logging.WARNING)
    try:
        archive.write_out(str(folder), verbose=False)
    finally:
        logging.set_verbosity(verbosity)
    warmup.write_requests(folder)


def _write_portable(settings, model, mask_rule, precision, folder):
    plain = image_groups.Preprocessing(image_size=settings.preprocessing.image_size)
    before = config.differing(settings.preprocessing, plain)
    if before:
        logging.warning(
            "--%s is not in the exported network; apply it first, with "
            "lbunet_tf.data.pixels.preprocessing.prepare_image",
            ", --".join(before),
        )
    if settings.score.calibrated:
        logging.warning(
            "--calibrated is not in the exported network; %s holds what to apply to `probability`",
            portable_models.IDENTITY,
        )
    calibration = _calibration_images(settings) if precision == "int8" else None
    folder.mkdir()
    portable_models.write(
        settings.export.format,
        model,
        folder,
        settings.outputs.score_rule,
        mask_rule is not None,
        {**_identity(settings, mask_rule), "export_precision": precision},
        precision,
        calibration,
        settings.outputs.class_names,
    )


def _calibration_images(settings):
    """Returns (100, S, S, 3) float32 of --calibration_images, or the run's training images."""
    if settings.export.calibration_images:
        paths = new_images.list_images(settings.export.calibration_images)["image"]
        # A CSV may give an image several ids.
        paths = paths.drop_duplicates()
    else:
        manifest = manifests.read(pathlib.Path(settings.paths.run) / run_directory.MANIFEST)
        paths = manifest["image"][manifest["split"] == "train"]
        paths = paths[[pathlib.Path(path).is_file() for path in paths]]
    if len(paths) < NUM_CALIBRATION:
        raise ValueError(
            f'"--calibration_images" must name at least {NUM_CALIBRATION} images for '
            "--export_precision=int8, or the run's training images be there. "
            f"Received: {len(paths)}"
        )
    drawn = paths.sample(NUM_CALIBRATION, random_state=settings.source.seed)
    flags = (settings.preprocessing, settings.reading.max_megapixels)
    return np.stack([predictor.read(path, *flags)[1] for path in drawn]).astype("float32")


def _versions(folder):
    return [path for path in folder.glob("*") if path.name.isascii() and path.name.isdecimal()]


def _mask_rule(settings):
    """Returns how masks become outlines, None where they are none."""
    if not settings.outputs.has_outlines:
        return None
    return mask_threshold.rule_of(settings.paths.runs, settings.mask_cleanup)


def _frozen(settings):
    """Returns what the run has frozen; the calibration only where it is asked for."""
    if settings.outputs.score_rule == "none" and not settings.score.calibrated:
        return chosen.NOTHING
    return frozen.chosen_of(settings.paths.runs, settings.score)


def _identity(settings, mask_rule):
    choices = _frozen(settings)
    others = [_run_identity(flagfiles.read(run)) for run in settings.paths.other_runs]
    return {
        "package": f"lbunet_tf {lbunet_tf.__version__}",
        "tta": settings.score.tta,
        **({"mask_rule": dataclasses.asdict(mask_rule)} if mask_rule else {}),
        **({"calibration": dataclasses.asdict(choices.calibration)} if choices.calibration else {}),
        **({} if choices.threshold is None else {"flagged_from_probability": choices.threshold}),
        **({"prediction_sets": dataclasses.asdict(choices.sets)} if choices.sets else {}),
        **_run_identity(settings),
        "other_runs": others,
    }


def _run_identity(settings):
    run = pathlib.Path(settings.paths.run)
    return {
        "run": run.resolve().name,
        "flags": " ".join(flagfiles.shown_lines(published_flags.without_folders(settings))),
        "manifest_sha256": whole_files.sha256(run / run_directory.MANIFEST),
    }


if __name__ == "__main__":
    entry.run(main, "export")
