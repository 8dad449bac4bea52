"""Builds and checks a manifest without training, and prints what is in it.

    python -m lbunet_tf.prepare --source=isic2020 --data_dir=$DATA/isic2020 --mask_source=label

Every image and mask is decoded once; bad or missing ones are named. With --preview=FILE.png it
draws images of the training part as the network sees them, and versions of them by --augment.
With --records=DIR it writes them at --image_size for --source=records; the same command continues
after a kill. With --beam_options="--runner=DirectRunner" Apache Beam's workers write them.
"""

import filecmp
import os
import pathlib
import sys

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import manifests
from lbunet_tf.data import preparation
from lbunet_tf.data import sources
from lbunet_tf.data.records import reader
from lbunet_tf.data.records import writer
from lbunet_tf.drawing import canvas
from lbunet_tf.drawing import preview
from lbunet_tf.drawing import sheets
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.storage import failed_files
from lbunet_tf.storage import file_names
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import whole_files

# The marker of a folder of records.
WORK = "prepare"
NUM_PREVIEWED, NUM_VERSIONS = 6, 7
# Skipped images whose names are printed.
NUM_NAMED = 10


def main(settings: config.Config) -> None:
    """Prepares and prints; writes what is asked for: manifest, preview, records."""
    _check_files(settings)
    beam_options = settings.preparation.beam_options
    if beam_options and not settings.preparation.records:
        raise ValueError(
            '"--beam_options" is about the writing of records: add --records=DIR. Received: '
            f"--beam_options={beam_options}"
        )
    if settings.preparation.records:
        with whole_files.locked(settings.preparation.records, WORK):
            _prepare_records(settings)
        return
    # An error at the first bad file would lose the good ones.
    prepared = preparation.prepare(settings.replace(on_bad_image="skip"))
    _show(settings, prepared)
    _name_failures(settings, prepared, "in the list of skipped images")


def _check_files(settings):
    """Raises a ValueError where --output or --preview must not be written where they name."""
    preview_file, records = settings.preparation.preview, settings.preparation.records
    inputs = {os.path.realpath(folder) for folder in settings.source.data_dir}
    for flag, is_ours in (("output", manifests.is_prepared), ("preview", canvas.is_ours)):
        path = pathlib.Path(settings.values()[flag])
        if not settings.values()[flag]:
            continue
        if os.path.realpath(path) in inputs:
            raise ValueError(
                f'"--{flag}" must not be a file that is read. {path} is the --data_dir; name '
                "another file"
            )
        if records and output_folder.holds(records, path):
            raise ValueError(
                f'"--{flag}" must not lie among the records of --records={records}, which have a '
                f"manifest of their own. Received: --{flag}={path}"
            )
        if not os.path.lexists(path):
            continue
        if path.is_symlink() or not path.is_file() or not is_ours(path) or _is_of_others(path):
            raise ValueError(
                f'"--{flag}" must be a new file, or one that this command wrote. {path} is '
                "something else, which is left as it is; name another file"
            )
    if preview_file and pathlib.Path(preview_file).suffix.lower() != ".png":
        raise ValueError(f'"--preview" must name a .png file. Received: --preview={preview_file}')


def _is_of_others(path):
    """Returns whether a file stands in a run or in another folder that a command wrote."""
    names = (output_folder.MARKER, run_directory.FLAGS, reader.PLAN)
    return any((path.parent / name).exists() for name in names)


def _prepare_records(settings):
    """Writes records of every good image; what is bad is known, and said, only then."""
    planned = writer.read_plan(settings)
    if planned is None:
        output_folder.check(settings.preparation.records, WORK, writer.OWN, "--records")
    output_folder.refuse_links(settings.preparation.records, writer.OWN)
    if planned is None:
        # An error now would lose the good ones.
        prepared = preparation.prepare(settings.replace(on_bad_image="skip"))
        output_folder.mark(settings.preparation.records, WORK)
        writer.write_plan(settings, prepared.manifest, prepared.skipped)
    else:
        prepared = preparation.of_manifest(settings.split.split_by, *planned)
    _show(settings, prepared)
    writer.write_shards(settings.preparation, settings.preprocessing.image_size)
    logging.info(
        "wrote %s (use it as --source=records --data_dir=%s --split_by=official)",
        settings.preparation.records,
        settings.preparation.records,
    )
    _name_failures(settings, prepared, f"{settings.preparation.records}/{run_directory.SKIPPED}")


def _name_failures(settings, prepared, where):
    """Raises a ValueError that names the bad images, unless --on_bad_image=skip."""
    is_bad = ~prepared.skipped["reason"].isin((sources.NO_IMAGE, sources.NO_MASK))
    if settings.source.on_bad_image == "error":
        failed_files.raise_for(
            prepared.skipped["reason"][is_bad].tolist(),
            where,
            "Replace these files with good ones and prepare again under another name, or give "
            "--on_bad_image=skip to leave them out",
        )


def _show(settings, prepared):
    manifest = prepared.manifest
    num_more = len(prepared.skipped) - NUM_NAMED
    lines = [
        manifests.describe(manifest),
        "",
        _known(manifest),
        f"skipped: {len(prepared.skipped)}",
        *(
            f"  {file_names.printable(_reason(row))}"
            for row in prepared.skipped.head(NUM_NAMED).itertuples()
        ),
        *([f"  ... and {num_more} more"] if num_more > 0 else []),
        "known and on more than one side of the split: "
        + ", ".join(f"{count} {name}" for name, count in prepared.crossings.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    try:
        preparation.check_targets(
            settings.outputs, settings.split.balance, settings.score.monitor, manifest
        )
    except ValueError as error:
        logging.warning("training with these flags would stop: %s", error)
    if settings.paths.output:
        _write_file(settings, "output", lambda path: whole_files.write_csv(path, manifest))
        logging.info(
            "wrote %s (use it as --source=manifest --data_dir=%s --split_by=official)",
            settings.paths.output,
            settings.paths.output,
        )
    if settings.preparation.preview:
        write_preview(settings, manifest)


def _reason(row):
    """Returns why an image was skipped, with its name."""
    is_named = row.image in row.reason
    return row.reason if is_named else f"{row.image}: {row.reason}"


def _write_file(settings, flag, write):
    """Writes the file of a flag whole; one of ours with other content needs --overwrite."""
    path = pathlib.Path(settings.values()[flag])
    with whole_files.locked(path, WORK), whole_files.whole_file(path) as partial:
        write(partial)
        is_there = path.is_file() and not filecmp.cmp(partial, path, shallow=False)
        if is_there and not settings.paths.overwrite:
            raise ValueError(
                f"{path} is there already, with other content. Name another --{flag}, or give "
                "--overwrite"
            )


def write_preview(settings: config.Config, manifest: pd.DataFrame) -> None:
    """Draws training images and what --augment makes of them, evenly taken from the manifest."""
    rows = manifest[manifest["split"] == "train"]
    if rows.empty:
        raise ValueError('"--preview" needs training images. Received: a split without any')
    count = min(NUM_PREVIEWED, len(rows))
    rows = rows.iloc[np.linspace(0, len(rows) - 1, count).astype(int)]
    num_versions = 0 if settings.augmentation.augment == "none" else NUM_VERSIONS
    original, *versions = preview.make_versions(
        settings.preprocessing,
        settings.augmentation.augment,
        settings.source.seed,
        rows,
        num_versions,
    )
    columns = {"as the network sees it": original}
    for number, version in enumerate(versions, start=1):
        columns[f"--augment={settings.augmentation.augment} {number}"] = version
    names = rows["image_id"].tolist()
    _write_file(settings, "preview", lambda path: sheets.contact_sheet(columns, names, path))
    logging.info("wrote %s", settings.preparation.preview)


def _known(manifest):
    """Returns how many rows know each optional column."""
    columns = ("age", "sex", "site", "skin_type", "patient_id", "lesion_id", "diagnosis")
    known = {
        column: int((manifest[column].notna() & (manifest[column].astype(str) != "")).sum())
        for column in columns
    }
    return f"known, of {len(manifest)} images: " + ", ".join(
        f"{name} {count}" for name, count in known.items()
    )


if __name__ == "__main__":
    entry.run(main, "prepare")
