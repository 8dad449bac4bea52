#!/usr/bin/env python3
"""Puts a finished, evaluated run into the package as a released one, its weights in float16.

    python scripts/release_weights.py RUN NAME [--antialias] [--target_sensitivity=0.9]

Writes lbunet_tf/released/NAME: model.keras, flags.cfg, training.json, history.csv, manifest.csv
(without folders), scores.json, data_license.txt, SHA256SUMS, and what is chosen on val:
mask_threshold.json, operating_point.json, calibration.json and conformal.json. What is released,
weights in float16, is evaluated for it; with --antialias it predicts with that flag, which it need
not have been trained with: the images of its users may be larger than those that it was trained
on. A model card, model_card.md, is written by hand next to them, from scores.json.

Only images that anyone may use for anything are learnt from: a run that has learnt from another
source than ISIC 2017's training part (CC0) is refused.
"""

import argparse
import io
import os
import pathlib
import shutil
import sys
import tempfile
import zipfile

import h5py
import numpy as np

from lbunet_tf import evaluate
from lbunet_tf.data import manifests
from lbunet_tf.runs import held_out
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import released_runs
from lbunet_tf.settings import trained_flags
from lbunet_tf.storage import archives
from lbunet_tf.storage import whole_files

SOURCE, PART = "isic2017", "train"
# Of a run: what an evaluation reads next to model, flags and manifest, and what it chooses.
COPIED = (
    run_directory.CHECKS,
    run_directory.SKIPPED,
    run_directory.HISTORY,
)
CHOSEN = (
    run_directory.MASK_THRESHOLD,
    run_directory.OPERATING_POINT,
    run_directory.CALIBRATION,
    run_directory.CONFORMAL,
)
STARTS = ("imagenet", "none")
# What leaking into a score, or a search for known images, needs; no folder.
COLUMNS = (
    *("image_id", "image", "mask", "label", "patient_id", "lesion_id", "source", "split"),
    *("duplicate_group", "official_part", "content_hash"),
)
LICENSE = """\
The network was trained on the training part of the ISIC 2017 challenge (2,000 images with lesion
outlines and diagnoses), which the ISIC Archive publishes under CC0 1.0 (no rights reserved):
https://challenge.isic-archive.com/data/#2017

Codella et al., "Skin Lesion Analysis Toward Melanoma Detection: A Challenge at the 2017
International Symposium on Biomedical Imaging (ISBI), Hosted by the International Skin Imaging
Collaboration (ISIC)", arXiv:1710.05006.

Its encoder started from the ImageNet weights of EfficientNet-Lite0, published by its authors under
the Apache License 2.0: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet

It has learnt from no image of HAM10000, ISIC 2019 or ISIC 2020, whose licences exclude commercial
use.
"""


def refuse_other_sources(settings: config.Config, manifest) -> None:
    """Raises a ValueError where a run has learnt from anything but ISIC 2017's training part."""
    learnt = manifest[manifest["split"].isin(held_out.LEARNT)]
    found = set(learnt["source"]) | {
        f"the part {part!r} of {SOURCE}" for part in set(learnt["official_part"]) - {PART}
    }
    start = settings.model.encoder_weights
    found |= set(settings.distillation.teacher) | ({start} - set(STARTS))
    others = sorted(found - {SOURCE})
    if others:
        raise ValueError(
            f"a released network must have learnt from the training part of {SOURCE} alone. "
            f"{settings.paths.run} has learnt from {', '.join(others)}"
        )


def write_half(model: pathlib.Path, path: pathlib.Path) -> None:
    """Writes a .keras file with its weights in float16.

    Raises:
        ValueError: A weight leaves the range of float16.
    """
    with zipfile.ZipFile(model) as archive:
        others = {name: archive.read(name) for name in (archives.CONFIG, archives.METADATA)}
        weights = io.BytesIO(archive.read(archives.WEIGHTS))
    half = io.BytesIO()
    with h5py.File(weights) as source, h5py.File(half, "w") as target:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                group = target.require_group(name)
                group.attrs.update(item.attrs)
                return
            with np.errstate(over="ignore"):
                values = item[()].astype("float16") if item.dtype == "float32" else item[()]
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of {model} must fit into float16")
            target.create_dataset(name, data=values).attrs.update(item.attrs)

        source.visititems(copy)
        target.attrs.update(source.attrs)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # Of one date, so that the same run gives the same bytes.
        for name, content in {**others, archives.WEIGHTS: half.getvalue()}.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _evaluate(settings, manifest, folder):
    """Returns the metrics of the released model; what is chosen for it on val goes to its folder.

    In a copy of the run that has the released weights.
    """
    with tempfile.TemporaryDirectory() as place:
        copy = pathlib.Path(place, "run")
        copy.mkdir()
        for name in COPIED:
            shutil.copyfile(pathlib.Path(settings.paths.run, name), copy / name)
        shutil.copyfile(folder / run_directory.MODEL, copy / run_directory.MODEL)
        _write_flags(settings, copy, pathlib.Path(settings.paths.run) / run_directory.FINISHED)
        for column in ("image", "mask"):
            manifest[column] = [os.path.abspath(file) if file else "" for file in manifest[column]]
        whole_files.write_table(copy / run_directory.MANIFEST, manifest)
        metrics = evaluate.evaluate(settings.replace(run=str(copy)))
        for name in CHOSEN:
            shutil.copyfile(copy / name, folder / name)
    return metrics


def _write_flags(settings, folder, finished):
    """Writes flags.cfg to a folder, and the training.json of a run, which must agree with it."""
    lines = flagfiles.flag_lines(settings)
    whole_files.write_text(folder / run_directory.FLAGS, "\n".join(lines) + "\n")
    content = whole_files.read_json(finished)
    content[trained_flags.KEY] = trained_flags.kept(lines, flagfiles.PATH_FLAGS)
    whole_files.write_json(folder / run_directory.FINISHED, content)


def release(run: str, name: str, antialias: bool, target_sensitivity: float) -> pathlib.Path:
    """Returns the folder of the released run."""
    settings = flagfiles.read(run)
    settings = settings.replace(antialias=antialias or settings.preprocessing.antialias)
    path = pathlib.Path(run)
    manifest = manifests.read(path / run_directory.MANIFEST)
    refuse_other_sources(settings, manifest)
    folder = released_runs.FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    write_half(path / run_directory.MODEL, folder / run_directory.MODEL)
    metrics = _evaluate(settings.replace(target_sensitivity=target_sensitivity), manifest, folder)
    shutil.copyfile(path / run_directory.HISTORY, folder / run_directory.HISTORY)
    shown = settings.replace(run=name, data_dir=(SOURCE,))
    _write_flags(shown, folder, path / run_directory.FINISHED)
    for column in ("image", "mask"):
        manifest[column] = [pathlib.PurePath(file).name for file in manifest[column]]
    whole_files.write_table(folder / run_directory.MANIFEST, manifest[list(COLUMNS)])
    whole_files.write_json(folder / "scores.json", metrics)
    whole_files.write_text(folder / "data_license.txt", LICENSE)
    others = (released_runs.SUMS, released_runs.CARD)
    files = sorted(file for file in folder.iterdir() if file.name not in others)
    lines = [f"{whole_files.sha256(file)}  {file.name}" for file in files]
    whole_files.write_text(folder / released_runs.SUMS, "\n".join(lines) + "\n")
    return folder


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run directory")
    parser.add_argument("name", help="its name in the package")
    parser.add_argument("--antialias", action="store_true", help="predict with --antialias")
    parser.add_argument("--target_sensitivity", type=float, default=0.9, help="of val")
    arguments = parser.parse_args()
    try:
        print(
            release(
                arguments.run, arguments.name, arguments.antialias, arguments.target_sensitivity
            )
        )
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
