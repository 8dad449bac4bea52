"""ISIC challenge downloads as they lie on disk: one function a year, folder -> manifest."""

import pathlib

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import components
from lbunet_tf.data import diagnoses
from lbunet_tf.data import listing
from lbunet_tf.data import tables
from lbunet_tf.data.sources import downloads

OFFICIAL_PARTS = {"Training": "train", "Validation": "val", "Test": "test"}
# One-hot columns of ISIC 2018 Task 3 and ISIC 2019, by the name that HAM10000 gives them.
ONE_HOT_DIAGNOSES = {
    "MEL": "mel",
    "NV": "nv",
    "BCC": "bcc",
    "AKIEC": "akiec",
    "AK": "ak",
    "BKL": "bkl",
    "DF": "df",
    "VASC": "vasc",
    "SCC": "scc",
    "UNK": "unk",
}


def isic2016(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of ISIC 2016 (Gutman et al. 2016): Part 1 masks, Part 3 labels.

    The label files have no header; the training part says benign or malignant, the test
    part 0.0 or 1.0.
    """
    parts = [
        part
        for part in ("Training", "Test")
        if downloads.find(folder, f"ISBI2016_ISIC_Part3_{part}_GroundTruth.csv").is_file()
    ]
    if not parts:
        raise ValueError(
            f"{folder} must hold the labels. Looked for "
            "ISBI2016_ISIC_Part3_Training_GroundTruth.csv"
        )
    return pd.concat([_isic2016_part(folder, part) for part in parts])


def _isic2016_part(folder, part):
    path = downloads.find(folder, f"ISBI2016_ISIC_Part3_{part}_GroundTruth.csv")
    table = tables.stripped(tables.read_text(path, has_header=False))
    if len(table.columns) != 2:
        raise ValueError(
            f"{path} must have two columns, image and class, and no header. Received: "
            f"{len(table.columns)}"
        )
    labels = table[1].map({"benign": 0.0, "malignant": 1.0, "0.0": 0.0, "1.0": 1.0})
    if labels.isna().any():
        row = int(np.flatnonzero(labels.isna())[0])
        raise ValueError(
            f"{path} must say benign or malignant (or 0.0, 1.0) for each image. Received: "
            f"{table[1].iloc[row]!r} in row {row + 1}"
        )
    names = (f"ISBI2016_ISIC_Part3_{part}_Data", f"ISBI2016_ISIC_Part1_{part}_Data")
    images = downloads.first_existing(folder, names, "the images")
    masks = downloads.find(folder, f"ISBI2016_ISIC_Part1_{part}_GroundTruth")
    return pd.DataFrame(
        {
            "image_id": table[0],
            "image": downloads.files_of(images, table[0]),
            "mask": downloads.masks_in(masks, table[0], "_Segmentation"),
            "label": labels,
            "diagnosis": labels.map({0.0: "benign", 1.0: "melanoma"}),
            "official_part": {"Training": "train", "Test": "test"}[part],
        }
    )


def isic2017(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of ISIC 2017 (Codella et al. 2018): Task 1 masks, Task 3 labels.

    `official_part` is train for the training part. The validation part is val where
    the test part is there too, else test, so that a score can be stated on it.
    """
    parts = [
        part
        for part in ("Training", "Validation", "Test_v2")
        if downloads.find(folder, f"ISIC-2017_{part}_Data").is_dir()
    ]
    if not parts:
        raise ValueError(f"{folder} must hold the images. Looked for ISIC-2017_Training_Data")
    roles = {
        "Training": "train",
        "Validation": "val" if "Test_v2" in parts else "test",
        "Test_v2": "test",
    }
    return pd.concat([_isic2017_part(folder, part, roles[part]) for part in parts])


def _isic2017_part(folder, part, role):
    labels = tables.read_csv(
        downloads.find(folder, f"ISIC-2017_{part}_Part3_GroundTruth.csv"),
        ("image_id", "melanoma", "seborrheic_keratosis"),
    )
    name = f"ISIC-2017_{part}_Data"
    names = (f"{name}_metadata.csv", f"{name}/{name}_metadata.csv")
    metadata_path = downloads.first_file(folder, names)
    if metadata_path is None:
        looked_for = (folder / name for name in names)
        logging.warning("no ages and sexes for isic2017; looked for %s and %s", *looked_for)
    else:
        metadata = tables.read_csv(metadata_path, ("image_id", "age_approximate", "sex"))
        tables.refuse_repeated(metadata, "image_id", metadata_path)
        labels = labels.merge(metadata, on="image_id", how="left")
    images = downloads.find(folder, f"ISIC-2017_{part}_Data")
    masks = downloads.find(folder, f"ISIC-2017_{part}_Part1_GroundTruth")
    melanoma = labels["melanoma"]
    is_melanoma = pd.to_numeric(melanoma, errors="coerce") == 1
    is_keratosis = pd.to_numeric(labels["seborrheic_keratosis"], errors="coerce") == 1
    return pd.DataFrame(
        {
            "image_id": labels["image_id"],
            "image": downloads.files_of(images, labels["image_id"]),
            "mask": downloads.masks_in(masks, labels["image_id"]),
            "label": melanoma,
            "diagnosis": np.select(
                [is_melanoma, is_keratosis, melanoma == ""],
                ["melanoma", "seborrheic keratosis", ""],
                "nevus",
            ),
            "age": labels.get("age_approximate", ""),
            "sex": labels.get("sex", ""),
            "official_part": role,
        }
    )


def isic2018(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of ISIC 2018 (Codella et al. 2019): Task 1 masks and Task 3 labels.

    The two tasks have images of their own: Task 1 has masks and no label, Task 3 labels
    and no mask. An image that stands in both has one row with both.
    """
    found = [
        *(_isic2018_masks(folder, part) for part in OFFICIAL_PARTS),
        *(_isic2018_labels(folder, part) for part in OFFICIAL_PARTS),
    ]
    found = [table for table in found if table is not None]
    if not found:
        raise ValueError(
            f"{folder} must hold a task. Looked for ISIC2018_Task1-2_Training_Input and "
            "ISIC2018_Task3_Training_GroundTruth"
        )
    rows = pd.concat(found).replace("", None)
    return rows.groupby("image_id", sort=False, as_index=False).first()


def _isic2018_masks(folder, part):
    images = downloads.find(folder, f"ISIC2018_Task1-2_{part}_Input")
    if not images.is_dir():
        return None
    names = sorted(listing.images_by_stem(images))
    masks = downloads.find(folder, f"ISIC2018_Task1_{part}_GroundTruth")
    return pd.DataFrame(
        {
            "image_id": names,
            "image": downloads.files_of(images, names),
            "mask": downloads.masks_in(masks, names),
            "official_part": OFFICIAL_PARTS[part],
        }
    )


def _isic2018_labels(folder, part):
    name = f"ISIC2018_Task3_{part}_GroundTruth"
    path = downloads.first_file(folder, (f"{name}/{name}.csv", f"{name}.csv"))
    if path is None:
        return None
    table = _one_hot(path)
    tables.refuse_repeated(table, "image", path)
    lesions = _isic2018_lesions(folder) if part == "Training" else {}
    images = downloads.find(folder, f"ISIC2018_Task3_{part}_Input")
    return pd.DataFrame(
        {
            "image_id": table["image"],
            "image": downloads.files_of(images, table["image"]),
            "label": table["label"],
            "diagnosis": table["diagnosis"],
            "lesion_id": [lesions.get(image) for image in table["image"]],
            "official_part": OFFICIAL_PARTS[part],
        }
    )


def _isic2018_lesions(folder):
    """Returns image -> lesion of the training part; images of one lesion share it."""
    name = "ISIC2018_Task3_Training_LesionGroupings.csv"
    names = (name, f"ISIC2018_Task3_Training_GroundTruth/{name}")
    path = downloads.first_file(folder, names)
    if path is None:
        logging.warning("no lesion groups for isic2018; looked for %s", folder / name)
        return {}
    table = tables.read_csv(path, ("image", "lesion_id"))
    return dict(zip(table["image"], table["lesion_id"], strict=True))


def _one_hot(path):
    """Returns image, diagnosis and label of a one-hot table; exactly one class an image."""
    table = tables.read_csv(path, ("image", "MEL", "NV"))
    columns = [column for column in ONE_HOT_DIAGNOSES if column in table]
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    wrong = (values.sum(1) != 1) | ~np.isin(values, (0, 1)).all(1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{path} must give each image exactly one class. Received: "
            f"{table['image'].iloc[row]!r} in row {row + 1} with "
            f"{', '.join(table[columns].iloc[row])}"
        )
    chosen = np.array(columns)[values.argmax(1)]
    return table.assign(
        diagnosis=[ONE_HOT_DIAGNOSES[name] for name in chosen],
        label=(chosen == "MEL").astype(float),
    )


def isic2019(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of ISIC 2019 (HAM10000, BCN20000 and MSK; no masks)."""
    parts = [
        part
        for part in ("Training", "Test")
        if downloads.find(folder, f"ISIC_2019_{part}_GroundTruth.csv").is_file()
    ]
    if not parts:
        raise ValueError(
            f"{folder} must hold the labels. Looked for ISIC_2019_Training_GroundTruth.csv"
        )
    return pd.concat([_isic2019_part(folder, part) for part in parts])


def _isic2019_part(folder, part):
    table = _one_hot(downloads.find(folder, f"ISIC_2019_{part}_GroundTruth.csv"))
    path = downloads.find(folder, f"ISIC_2019_{part}_Metadata.csv")
    if path.is_file():
        metadata = tables.read_csv(path, ("image", "age_approx", "anatom_site_general", "sex"))
        tables.refuse_repeated(metadata, "image", path)
        table = table.merge(metadata, on="image", how="left", suffixes=("", "_metadata"))
    else:
        logging.warning("no metadata for isic2019; looked for %s", path)
    name = f"ISIC_2019_{part}_Input"
    images = downloads.first_existing(folder, (name,), "the JPEG images")
    return pd.DataFrame(
        {
            "image_id": table["image"],
            "image": downloads.files_of(images, table["image"]),
            "label": table["label"],
            "diagnosis": table["diagnosis"],
            "lesion_id": table.get("lesion_id", ""),
            "age": table.get("age_approx", ""),
            "sex": table.get("sex", ""),
            "site": table.get("anatom_site_general", ""),
            "official_part": OFFICIAL_PARTS[part],
        }
    )


def isic2020(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of the ISIC 2020 training set (Rotemberg et al. 2021; no masks)."""
    path = downloads.first_existing(
        folder,
        (
            "ISIC_2020_Training_GroundTruth_v2.csv",
            "ISIC_2020_Training_GroundTruth.csv",
            "train.csv",
        ),
        "the labels (ground truth v2 or v1, or Kaggle's train.csv)",
    )
    table = tables.read_csv(path, ("image_name", "patient_id", "target"))
    images = downloads.first_existing(
        folder, ("ISIC_2020_Training_JPEG/train", "jpeg/train", "train"), "the JPEG images"
    )
    return pd.DataFrame(
        {
            "image_id": table["image_name"],
            "image": downloads.files_of(images, table["image_name"]),
            "label": table["target"],
            "diagnosis": _known_diagnoses(table),
            "patient_id": table["patient_id"],
            "lesion_id": table.get("lesion_id", ""),
            "age": table.get("age_approx", ""),
            "sex": table.get("sex", ""),
            "site": table.get("anatom_site_general_challenge", ""),
            "duplicate_group": _duplicate_groups(folder, table["image_name"]),
            "official_part": "train",
        }
    )


def _known_diagnoses(table):
    """Returns the diagnoses, for an unknown one what the target says of it."""
    found = table.get("diagnosis", pd.Series("", index=table.index))
    of_target = table["target"].map({"0": "benign", "1": "melanoma"}).fillna("")
    is_unknown = diagnoses.codes_of(found) == ""
    return found.mask(is_unknown & (of_target != ""), of_target)


def _duplicate_groups(folder, names):
    """Returns a value for each name that known duplicates share, "" where there is none."""
    path = downloads.find(folder, "ISIC_2020_Training_Duplicates.csv")
    if not path.is_file():
        logging.warning("no list of known duplicates; looked for %s", path)
        return ""
    pairs = tables.read_csv(path, ("image_name_1", "image_name_2"))
    pairs = pairs[["image_name_1", "image_name_2"]].to_numpy()
    members, flat = np.unique(pairs, return_inverse=True)
    ends = flat.reshape(-1, 2)
    component = components.of_pairs(ends[:, 0], ends[:, 1], len(members))
    group = dict(zip(members, component, strict=True))
    return [f"isic2020-duplicate-{group[name]}" if name in group else "" for name in names]
