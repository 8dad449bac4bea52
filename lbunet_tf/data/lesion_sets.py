"""HAM10000, PH2 and a person's own folders: one function each, folder -> manifest."""

import pathlib

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import tables

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
MELANOMA_FOLDERS = ("melanoma", "malignant", "mel")
HAM10000_DIAGNOSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
PH2_DIAGNOSES = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}


def ham10000(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of HAM10000 (Tschandl et al. 2018), with Tschandl's lesion masks."""
    path = tables.first_existing(
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
    name = "HAM10000_segmentations_lesion_tschandl"
    masks = folder / name / name if (folder / name / name).is_dir() else folder / name
    return pd.DataFrame(
        {
            "image_id": table["image_id"],
            "image": [
                where.get(name, str(folder / "HAM10000_images_part_1" / f"{name}.jpg"))
                for name in table["image_id"]
            ],
            "mask": tables.masks_in(masks, table["image_id"]),
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
    folders = [folder / "HAM10000_images_part_1", folder / "HAM10000_images_part_2", folder]
    where = {path.stem: str(path) for images in folders for path in images.glob("*.jpg")}
    if not where:
        raise ValueError(f"{folder} must hold the images. Looked for HAM10000_images_part_1/*.jpg")
    return where


def ph2(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of PH2 (Mendonca et al. 2013): 200 BMP images with lesion masks.

    `PH2_dataset.txt` is a table drawn with bars; the clinical diagnosis is 0 common
    nevus, 1 atypical nevus, 2 melanoma.
    """
    path = tables.first_existing(
        folder, ("PH2_dataset.txt", "PH2Dataset/PH2_dataset.txt"), "the table"
    )
    images = tables.first_existing(path.parent, ("PH2 Dataset images",), "the images")
    rows = []
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        cells = [cell.strip() for cell in line.split("||")]
        if len(cells) < 2 or not cells[1].startswith("IMD"):
            continue
        if len(cells) < 4:
            raise ValueError(
                f"{path} must have a clinical diagnosis in line {number}. Received: {line}"
            )
        name, clinical = cells[1], cells[3]
        if clinical not in PH2_DIAGNOSES:
            raise ValueError(
                f"{path} must give each image a clinical diagnosis of 0, 1 or 2. Received: "
                f"{clinical!r} for {name} in line {number}"
            )
        rows.append(
            {
                "image_id": name,
                "image": str(images / name / f"{name}_Dermoscopic_Image" / f"{name}.bmp"),
                "mask": str(images / name / f"{name}_lesion" / f"{name}_lesion.bmp"),
                "label": float(clinical == "2"),
                "diagnosis": PH2_DIAGNOSES[clinical],
                "official_part": "train",
            }
        )
    if not rows:
        raise ValueError(f"{path} must have rows such as '|| IMD003 || ... ||'. Received: none")
    return pd.DataFrame(rows)


def folder(path: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of a folder a class, masks beside the images.

    `melanoma`, `malignant` or `mel` is the melanoma class; every other folder is not.
    A mask is `NAME_segmentation.*` or `NAME_mask.*` beside `NAME.*`.

    Raises:
        ValueError: No melanoma folder, an image outside a class folder, a folder inside
            one, an image of another format, or a mask without its image.
    """
    classes = sorted(child for child in path.iterdir() if child.is_dir())
    files = [child for child in path.iterdir() if child.is_file()]
    _refuse_first(files, _is_image, "images must lie in the folder of their class")
    _refuse_first(files, _is_other_image, "images must lie in the folder of their class")
    table = pd.DataFrame([row for child in classes for row in _class_rows(child)])
    if table.empty or not (table["label"] == 1).any():
        raise ValueError(
            f"{path} must hold a folder a class with images, one of them named "
            f"{', '.join(MELANOMA_FOLDERS)}. Received: "
            f"{', '.join(child.name for child in classes) or 'no folder'}"
        )
    return table


def _class_rows(class_folder):
    files = sorted(class_folder.iterdir())
    _refuse_first(files, pathlib.Path.is_dir, "a class folder must hold files, not folders")
    _refuse_first(files, _is_other_image, "images must be JPEG, PNG or BMP; convert them")
    images = [file for file in files if _is_image(file)]
    masks = {}
    for image in filter(_owner_of_mask, images):
        twin = masks.setdefault(_owner_of_mask(image), image)
        if twin is not image:
            raise ValueError(f"an image must have one mask. Received: {twin} and {image}")
    owners = {image.stem for image in images if not _owner_of_mask(image)}
    orphans = [mask for owner, mask in masks.items() if owner not in owners]
    _refuse_first(
        orphans, _is_image, "a mask must stand beside its image, NAME.jpg for NAME_mask.png"
    )
    others = [file for file in files if not _is_image(file)]
    if others:
        logging.warning(
            "%s: %d files are no images, the first is %s", class_folder, len(others), others[0]
        )
    for image in images:
        if not _owner_of_mask(image):
            yield {
                "image_id": image.stem,
                "image": str(image),
                "mask": str(masks.get(image.stem, "")),
                "label": float(class_folder.name.lower() in MELANOMA_FOLDERS),
                "diagnosis": class_folder.name,
            }


def _is_image(path):
    return path.suffix.lower() in IMAGE_SUFFIXES


def _is_other_image(path):
    return path.suffix.lower() in (".tif", ".tiff", ".webp", ".gif", ".heic", ".dcm")


def _owner_of_mask(path):
    """Returns the name of the image that a mask belongs to, "" for an image."""
    for word in ("_segmentation", "_mask"):
        if path.stem.lower().endswith(word):
            return path.stem[: -len(word)]
    return ""


def _refuse_first(paths, is_wrong, rule):
    wrong = sorted(path for path in paths if is_wrong(path))
    if wrong:
        raise ValueError(f"{rule}. Received: {wrong[0]}, and {len(wrong) - 1} more")
