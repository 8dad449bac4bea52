"""HAM10000 and a person's own folders: one function each, folder -> manifest."""

import os
import pathlib
import re
import unicodedata

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import diagnoses
from lbunet_tf.data import identifiers
from lbunet_tf.data import listing
from lbunet_tf.data import tables
from lbunet_tf.data.sources import downloads

MELANOMA_FOLDERS = ("melanoma", "malignant", "mel")
HAM10000_PARTS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
HAM10000_DIAGNOSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def ham10000(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of HAM10000 (Tschandl et al. 2018), with Tschandl's lesion masks."""
    path = downloads.first_existing(
        folder, ("HAM10000_metadata.csv", "HAM10000_metadata"), "the labels"
    )
    table = tables.read_csv(path, ("lesion_id", "image_id", "dx"))
    wrong = ~table["dx"].isin(("", *HAM10000_DIAGNOSES))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{path} must hold a dx of {', '.join(HAM10000_DIAGNOSES)}. Received: "
            f"{table['dx'].iloc[row]!r} in row {row + 1}, image {table['image_id'].iloc[row]!r}"
        )
    where = _ham10000_images(folder)
    masks = downloads.find(folder, "HAM10000_segmentations_lesion_tschandl")
    return pd.DataFrame(
        {
            "image_id": table["image_id"],
            "image": [
                where.get(name.lower(), str(folder / HAM10000_PARTS[0] / f"{name}.jpg"))
                for name in table["image_id"]
            ],
            "mask": downloads.masks_in(masks, table["image_id"]),
            "label": (table["dx"] == "mel").astype(float).where(table["dx"] != ""),
            "diagnosis": table["dx"],
            "lesion_id": table["lesion_id"],
            "age": table.get("age", ""),
            "sex": table.get("sex", ""),
            "site": table.get("localization", ""),
            "official_part": "train",
        }
    )


def _ham10000_images(folder):
    """Returns name -> path; the two archives lie in folders of their own, or unpacked flat."""
    folders = [*(downloads.find(folder, part) for part in HAM10000_PARTS), folder]
    where = {
        stem.lower(): str(images / name)
        for images in folders
        for stem, name in listing.images_by_stem(images).items()
    }
    if not where:
        raise ValueError(f"{folder} must hold the images. Looked for HAM10000_images_part_1/*.jpg")
    return where


def folder(path: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of a folder with one folder per class, masks next to the images.

    `melanoma`, `malignant` or `mel` is the melanoma class, and so is a folder that is named for a
    kind of melanoma, as `lentigo maligna`; of `unknown` nothing is known, and every other folder is
    not melanoma, `not_melanoma` and `non-melanoma` among them.
    A mask is `NAME_segmentation.*` or `NAME_mask.*` next to `NAME.*`. Where two classes have
    a name in common, as those that both count from 1.jpg, the ids are `CLASS/NAME`.

    Raises:
        ValueError: No melanoma folder, one whose name has melanoma among other words, an image
            outside a class folder, a folder inside one, an image of another format, a mask without
            its image, or a folder of masks with a file that is no mask of an image.
    """
    left_out = {}
    classes, files = listing.children(path, left_out)
    _refuse_first(files, _is_image, "images must lie in the folder of their class")
    _refuse_first(files, _is_other_image, "images must lie in the folder of their class")
    inside = {child: _files_in(child, left_out) for child in classes}
    every = [*classes, *(file for files in inside.values() for file in files)]
    _refuse_first(every, _has_other_name, "names must be UTF-8, as tables are; rename the files")
    images = [file for files in inside.values() for file in files if _is_image(file)]
    masks = listing.masks_among(images, path)
    rows = []
    for child, files in inside.items():
        own = [file for file in files if _is_image(file)]
        if listing.is_for_masks(child, path):
            _refuse_first(
                set(own) - masks,
                _is_image,
                f"every file of {child}, a folder of masks by its name, must be the mask of an "
                "image of a class: delete the files that are not, or rename the folder",
            )
        if own and masks.issuperset(own):
            left_out |= dict.fromkeys(own, "masks in a folder of their own")
        else:
            rows += _class_rows(child, files)
    listing.say_left_out(path, left_out)
    table = pd.DataFrame(rows)
    if table.empty or not (table["label"] == 1).any():
        raise ValueError(
            f"{path} must hold one folder with images per class, one of them named "
            f"{', '.join(MELANOMA_FOLDERS)} or a kind of melanoma. Received: "
            f"{', '.join(child.name for child in classes) or 'no folder'}"
        )
    return _with_distinct_ids(table)


def _with_distinct_ids(table):
    """Returns the rows; ids that stand in several classes gain the name of their class."""
    ids = identifiers.normalised(identifiers.stripped(table["image_id"]))
    is_shared = table["diagnosis"].groupby(ids).transform("nunique") > 1
    by_class = table["diagnosis"] + "/" + table["image_id"]
    return table.assign(image_id=table["image_id"].mask(is_shared, by_class))


def _files_in(class_folder, left_out):
    folders, files = listing.children(class_folder, left_out)
    _refuse_first(folders, pathlib.Path.is_dir, "a class folder must hold files, not folders")
    _refuse_first(files, _is_other_image, "images must be JPEG, PNG or BMP; convert them")
    return files


def _class_rows(class_folder, files):
    images = [file for file in files if _is_image(file)]
    masks = {}
    for image in (image for image in images if listing.owner_of_mask(image.stem)):
        twin = masks.setdefault(listing.owner_of_mask(image.stem), image)
        if twin is not image:
            raise ValueError(f"an image must have one mask. Received: {twin} and {image}")
    owners = {image.stem for image in images if not listing.owner_of_mask(image.stem)}
    orphans = [mask for owner, mask in masks.items() if owner not in owners]
    _refuse_first(
        orphans, _is_image, "a mask must be next to its image: NAME_mask.png next to NAME.jpg"
    )
    others = [file for file in files if not _is_image(file)]
    if others:
        logging.warning(
            "%s: %d files are not images, the first is %s", class_folder, len(others), others[0]
        )
    label = _label_of(class_folder) if owners else np.nan
    for image in images:
        if not listing.owner_of_mask(image.stem):
            yield {
                "image_id": image.stem,
                "image": str(image),
                "mask": str(masks.get(image.stem, "")),
                "label": label,
                "diagnosis": class_folder.name,
            }


def _label_of(class_folder):
    """Returns 1 or 0 of a class, NaN of `unknown`."""
    name = unicodedata.normalize("NFC", class_folder.name).lower()
    if name == "unknown":
        return np.nan
    code = diagnoses.codes_of([name])[0]
    if name in MELANOMA_FOLDERS or code == "mel":
        return 1.0
    # In any language: "melanom", "mélanome".
    rest = diagnoses.NOT_MELANOMA.sub("", name)
    if code in ("", *diagnoses.COARSE) and re.search("m[eé]lanom|lentigo.malign", rest):
        raise ValueError(
            "the name of a class must say whether it is melanoma: rename the folder to melanoma, "
            f"to a kind of it, or to not_melanoma. Received: {class_folder}"
        )
    return 0.0


def _is_image(path):
    return listing.is_image(path.name)


def _is_other_image(path):
    return path.suffix.lower() in (".tif", ".tiff", ".webp", ".gif", ".heic", ".dcm")


def _has_other_name(path):
    return not identifiers.is_utf8(path.name)


def _refuse_first(paths, is_wrong, rule):
    wrong = sorted(path for path in paths if is_wrong(path))
    if wrong:
        first = os.fsencode(wrong[0]).decode(errors="backslashreplace")
        raise ValueError(f"{rule}. Received: {first}, and {len(wrong) - 1} more")
