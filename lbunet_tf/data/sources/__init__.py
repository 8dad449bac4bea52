"""Sources by name: what the flags ask for becomes one manifest, checked for missing files."""

import os
import pathlib
from collections.abc import Callable

import pandas as pd
from absl import logging

from lbunet_tf.data import diagnoses
from lbunet_tf.data import joining
from lbunet_tf.data import manifests
from lbunet_tf.data.records import reader
from lbunet_tf.data.records import record_path
from lbunet_tf.data.sources import isic
from lbunet_tf.data.sources import isic_archive
from lbunet_tf.data.sources import lesion_sets
from lbunet_tf.data.sources import ph2
from lbunet_tf.data.sources import synthetic
from lbunet_tf.settings import image_groups

NO_IMAGE, NO_MASK = "image is missing; left out", "mask is missing; image kept without"


def make_manifest(
    source: image_groups.Source,
    preprocessing: image_groups.Preprocessing,
    needs_masks: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (manifest, skipped) of all sources that the flags name.

    `skipped` lists the images that the labels name and the folder lacks
    (columns image_id, image, source, reason); they are left out of the manifest. Without
    `needs_masks` a mask that is missing is no error.

    Raises:
        ValueError: A source is unknown, its folder, a column or a file is missing,
            or an image_id stands twice.
    """
    if not source.source:
        raise ValueError(
            f'"--source" must name at least one of {", ".join(SOURCES)}. Received: nothing'
        )
    parts = []
    for position, name in enumerate(source.source):
        if name not in SOURCES:
            raise ValueError(f'"--source" must be one of {", ".join(SOURCES)}. Received: {name}')
        if name == "synthetic":
            folder = source.data_dir[position] if source.data_dir else ""
            drawn = (source.synthetic_count, preprocessing.image_size, source.seed)
            folder = folder or f"runs/drawn-{'-'.join(map(str, drawn))}"
            table = synthetic.draw_folder(folder, *drawn)
        else:
            folder = _folder(source, name, position)
            table = _read_source(name, folder)
            if name == "records":
                reader.check_flags(preprocessing, folder)
        # These two say themselves where each image comes from.
        is_complete = name in ("manifest", "records")
        table = table if is_complete else manifests.complete(table, name)
        if name == "manifest" and table["label"].isna().all():
            # Other sources, and tables with some labels, have reasons for those they lack.
            table["label"] = diagnoses.labels_of(table["diagnosis"])
            diagnoses.warn_of_unlabelled(table["diagnosis"])
        parts.append(table)
    table = manifests.check(joining.join(parts))
    manifests.warn_of_one_patient(table)
    manifests.warn_of_contradictions(table)
    return _without_missing(table, source.allow_missing_images, needs_masks)


def _read_source(name, folder):
    try:
        return SOURCES[name](folder)
    except ValueError as error:
        holds = ""
        if folder.is_dir():
            children = sorted(child.name for child in folder.iterdir())
            holds = f". The folder holds: {', '.join(children[:12])}"
            holds += ", ..." if len(children) > 12 else ""
        raise ValueError(f"--source={name} --data_dir={folder}: {error}{holds}") from error


def _folder(source, name, position):
    if not source.data_dir:
        raise ValueError(
            f'"--data_dir" must name the folder of --source={name}, as in '
            f"--data_dir=$DATA/{name}. Received: nothing"
        )
    folder = pathlib.Path(os.path.expanduser(source.data_dir[position])).absolute()
    if not folder.exists():
        raise ValueError(
            f'"--data_dir" must exist. Received: {folder} for --source={name}, which is not there'
        )
    if name != "manifest" and not folder.is_dir():
        raise ValueError(
            f'"--data_dir" must be a folder for --source={name}. Received: {folder}, a file'
        )
    return folder


def _without_missing(table, allow_missing_images, needs_masks):
    """Returns (rows whose image is there, what was skipped); a missing mask becomes none."""
    there = _exist(table["image"])
    if not there.any():
        raise ValueError(
            f"at least one image must exist. None of {len(table)} does; the first should be "
            f"{table['image'].iloc[0]}"
        )
    has_mask = (table["mask"] == "") | _exist(table["mask"])
    no_image, no_mask = table[~there], table[there & ~has_mask & needs_masks]
    if not allow_missing_images:
        _refuse_missing(no_image, "image", len(table), "without them")
        _refuse_missing(no_mask, "mask", len(table), "with these images without a mask")
    columns = ["image_id", "image", "source"]
    skipped = pd.concat(
        [
            no_image[columns].assign(reason=NO_IMAGE),
            no_mask[columns].assign(reason=NO_MASK),
        ]
    )
    if len(skipped):
        logging.warning(
            "of %d images %d are missing and were left out, %d have no mask file and are kept "
            "without a mask (--allow_missing_images)",
            len(table),
            len(no_image),
            len(no_mask),
        )
    table = table.assign(mask=table["mask"].where(has_mask, ""))
    return table[there].reset_index(drop=True), skipped


def _exist(paths):
    """Returns which paths are there; what is no regular file is named where it is read."""
    files = paths.map(record_path.file_of)
    there = {file: bool(file) and os.path.lexists(file) for file in files.unique()}
    return files.map(there).to_numpy(bool)


def _refuse_missing(missing, column, count, way):
    if missing.empty:
        return
    first = missing.iloc[0]
    raise ValueError(
        f"every {column} that the labels name must exist; {len(missing)} of {count} are missing. "
        f"The first is of image {first['image_id']!r} of source {first['source']}: looked for "
        f"{first[column]}. Complete the download, or give --allow_missing_images to continue {way}"
    )


# `synthetic` is drawn, not read: `make_manifest` calls it with the count, size and seed.
SOURCES: dict[str, Callable[[pathlib.Path], pd.DataFrame]] = {
    "isic2016": isic.isic2016,
    "isic2017": isic.isic2017,
    "isic2018": isic.isic2018,
    "isic2019": isic.isic2019,
    "isic2020": isic.isic2020,
    "isic_archive": isic_archive.isic_archive,
    "ham10000": lesion_sets.ham10000,
    "ph2": ph2.ph2,
    "folder": lesion_sets.folder,
    "manifest": manifests.read,
    "records": reader.read,
    "synthetic": synthetic.draw_folder,
}
