"""Exports a run as a SavedModel for TF Serving, to RUN/export/<version>/, the next free number.

    python -m lbunet_tf.export --run=runs/lesion
    python -m lbunet_tf.export --run=runs/a --run=runs/b --output=DIR --tta=flips

Several runs and --tta are inside the model; --output=DIR gives DIR/<version>/.

Signature `serving_default`: `image_bytes` (JPEG or PNG, any sizes up to --max_megapixels in one
batch) to `probability`, `mask_png_bytes`, `lesion_share` and `error`, empty where all is well: a
bad image has NaN and no mask, and costs the others nothing. Signature `identity`: runs, flags,
hash of the data, limit and version of the package. Loading it needs TensorFlow alone. Requests
in `assets.extra` warm a server up.

--format=openvino writes RUN/export_openvino/<version>/model.xml instead: resized pixels
(B, S, S, 3) float32 in 0..255 to `probability`, `mask_probability` and `mask`.
"""

import dataclasses
import hashlib
import pathlib

import keras
import tensorflow as tf
from absl import logging

import lbunet_tf
from lbunet_tf.data.pixels import limits
from lbunet_tf.data.pixels import preprocessing
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import openvino_model
from lbunet_tf.serving import signature
from lbunet_tf.serving import warmup
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import published_flags
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import whole_files


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
    model = ensemble.load_mean(settings)
    version = 1 + max((int(path.name) for path in _versions(folder)), default=0)
    write = {"savedmodel": _write_saved_model, "openvino": _write_openvino}[settings.export.format]
    with output_folder.staged(folder / str(version), "export") as partial:
        write(settings, model, _mask_rule(settings), partial)
    logging.info(
        "exported %s: %s",
        folder / str(version),
        ensemble.describe(settings.score.tta, len(settings.paths.runs)),
    )
    return folder / str(version)


def _write_saved_model(settings, model, mask_rule, folder):
    serve = signature.make_serving_function(
        model,
        lambda contents: limits.problem(contents, settings.reading.max_megapixels),
        preprocessing.decode_jpeg_or_png,
        lambda image: preprocessing.prepare_image(image, settings.preprocessing),
        settings.outputs.score_rule,
        mask_rule,
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


def _write_openvino(settings, model, mask_rule, folder):
    plain = image_groups.Preprocessing(image_size=settings.preprocessing.image_size)
    before = config.differing(settings.preprocessing, plain)
    if before:
        logging.warning(
            "--%s is not in the OpenVINO model; apply it first, with "
            "lbunet_tf.data.pixels.preprocessing.prepare_image",
            ", --".join(before),
        )
    folder.mkdir()
    openvino_model.write(
        model,
        folder,
        settings.outputs.score_rule,
        mask_rule,
        _identity(settings, mask_rule),
    )


def _versions(folder):
    return [path for path in folder.glob("*") if path.name.isascii() and path.name.isdecimal()]


def _mask_rule(settings):
    """Returns how masks become outlines, None where they are none."""
    if settings.outputs.mask_source != "lesion":
        return None
    return mask_threshold.rule_of(settings.paths.runs, settings.mask_cleanup)


def _identity(settings, mask_rule):
    others = [_run_identity(flagfiles.read(run)) for run in settings.paths.other_runs]
    return {
        "package": f"lbunet_tf {lbunet_tf.__version__}",
        "tta": settings.score.tta,
        **({"mask_rule": dataclasses.asdict(mask_rule)} if mask_rule else {}),
        **_run_identity(settings),
        "other_runs": others,
    }


def _run_identity(settings):
    run = pathlib.Path(settings.paths.run)
    manifest = (run / run_directory.MANIFEST).read_bytes()
    return {
        "run": run.resolve().name,
        "flags": " ".join(flagfiles.flag_lines(published_flags.without_folders(settings))),
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
    }


if __name__ == "__main__":
    entry.run(main, "export")
