"""Sources: one function an official download, folder -> manifest."""

import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd
from absl import logging
from scipy.sparse import csgraph
from scipy.sparse import csr_array

from lbunet_tf import config as config_lib
from lbunet_tf.data import manifest
from lbunet_tf.data import synthetic

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
MELANOMA_FOLDERS = ("melanoma", "malignant", "mel")


def make_manifest(config: config_lib.Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (manifest, skipped) of all sources that the flags name.

    `skipped` lists the images that the labels name and the folder lacks
    (columns image_id, image, source, reason); they are left out of the manifest.

    Raises:
        ValueError: A source is unknown, its folder, a column or a file is missing,
            or an image_id stands twice.
    """
    if not config.source:
        raise ValueError(
            f'"--source" must name at least one of {", ".join(SOURCES)}. Received: nothing'
        )
    parts = []
    for position, name in enumerate(config.source):
        if name not in SOURCES:
            raise ValueError(f'"--source" must be of {", ".join(SOURCES)}. Received: {name}')
        if name == "synthetic":
            folder = config.data_dir[position] if config.data_dir else ""
            table = synthetic.draw_folder(
                folder or f"runs/drawn-{config.synthetic_count}-{config.image_size}-{config.seed}",
                config.synthetic_count,
                config.image_size,
                config.seed,
            )
        else:
            table = SOURCES[name](_folder(config, name, position))
        table = table if name == "manifest" else manifest.complete(table, name)
        parts.append(table)
    return _without_missing(
        manifest.check(pd.concat(parts, ignore_index=True)), config.allow_missing_images
    )


def _folder(config, name, position):
    if not config.data_dir:
        raise ValueError(
            f'"--data_dir" must name the folder of --source={name}, as in '
            f"--data_dir=$DATA/{name}. Received: nothing"
        )
    folder = pathlib.Path(config.data_dir[position]).expanduser().absolute()
    if not folder.exists():
        raise ValueError(
            f'"--data_dir" must exist. Received: {folder} for --source={name}, which is not there'
        )
    return folder


def _without_missing(table, allow_missing_images):
    there = np.array([pathlib.Path(path).is_file() for path in table["image"]])
    missing = table[~there]
    if len(missing) and not allow_missing_images:
        first = missing.iloc[0]
        raise ValueError(
            f"every image that the labels name must be there; {len(missing)} of {len(table)} are "
            f"not. The first is {first['image_id']!r} of source {first['source']}, row "
            f"{int(missing.index[0]) + 1}: looked for {first['image']}. Complete the download, "
            "or give --allow_missing_images to go on without them"
        )
    if not there.any():
        raise ValueError(
            f"at least one image must be there. Received: none of {len(table)}; the first is "
            f"{table['image'].iloc[0]}"
        )
    skipped = missing[["image_id", "image", "source"]].assign(reason="image is missing")
    if len(skipped):
        logging.warning(
            "%d of %d images are missing and left out (--allow_missing_images)",
            len(skipped),
            len(table),
        )
    has_mask = np.array([not path or pathlib.Path(path).is_file() for path in table["mask"]])
    no_mask = table[there & ~has_mask]
    if len(no_mask):
        first = no_mask.iloc[0]
        raise ValueError(
            f"every mask that is named must be there; {len(no_mask)} of {int(there.sum())} are "
            f"not. The first is of image {first['image_id']!r} of source {first['source']}, row "
            f"{int(no_mask.index[0]) + 1}: looked for {first['mask']}. Complete the download; or "
            "write the manifest (python -m lbunet_tf.prepare --output), empty its mask, and use "
            "--source=manifest"
        )
    return table[there].reset_index(drop=True), skipped


def _read_csv(path, columns):
    if not path.is_file():
        raise ValueError(f"the labels must be there. Looked for {path}")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(
            f"{path} must have the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}. Received: {', '.join(table.columns)}"
        )
    return table


def _first_existing(folder, names, what):
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise ValueError(f"{folder} must hold {what}. Looked for {', '.join(names)}")


def isic2020(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of the ISIC 2020 training set (Rotemberg et al. 2021; no masks)."""
    path = _first_existing(
        folder,
        (
            "ISIC_2020_Training_GroundTruth_v2.csv",
            "ISIC_2020_Training_GroundTruth.csv",
            "train.csv",
        ),
        "the labels (ground truth v2 or v1, or Kaggle's train.csv)",
    )
    table = _read_csv(path, ("image_name", "patient_id", "target"))
    images = _first_existing(
        folder, ("ISIC_2020_Training_JPEG/train", "jpeg/train", "train"), "the JPEG images"
    )
    return pd.DataFrame(
        {
            "image_id": table["image_name"],
            "image": [str(images / f"{name}.jpg") for name in table["image_name"]],
            "label": table["target"],
            "diagnosis": table.get("diagnosis", ""),
            "patient_id": table["patient_id"],
            "lesion_id": table.get("lesion_id", ""),
            "age": table.get("age_approx", ""),
            "sex": table.get("sex", ""),
            "site": table.get("anatom_site_general_challenge", ""),
            "duplicate_group": _duplicate_groups(folder, table["image_name"]),
            "official_part": "train",
        }
    )


def _duplicate_groups(folder, names):
    """Returns a value for each name that known duplicates share, "" where there is none."""
    path = folder / "ISIC_2020_Training_Duplicates.csv"
    if not path.is_file():
        logging.warning("no list of known duplicates; looked for %s", path)
        return ""
    pairs = _read_csv(path, ("image_name_1", "image_name_2"))
    pairs = pairs[["image_name_1", "image_name_2"]].to_numpy()
    members, flat = np.unique(pairs, return_inverse=True)
    ends = flat.reshape(-1, 2)
    graph = csr_array(
        (np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(members), len(members))
    )
    component = csgraph.connected_components(graph, directed=False)[1]
    group = dict(zip(members, component, strict=True))
    return [f"isic2020-duplicate-{group[name]}" if name in group else "" for name in names]


def isic2017(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of ISIC 2017 (Codella et al. 2018): Task 1 masks, Task 3 labels.

    `official_part` is train for the training part. The validation part is val where
    the test part is there too, else test, so that a score can be stated on it.
    """
    parts = [
        part
        for part in ("Training", "Validation", "Test_v2")
        if (folder / f"ISIC-2017_{part}_Data").is_dir()
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
    labels = _read_csv(
        folder / f"ISIC-2017_{part}_Part3_GroundTruth.csv",
        ("image_id", "melanoma", "seborrheic_keratosis"),
    )
    metadata_path = folder / f"ISIC-2017_{part}_Data_metadata.csv"
    if metadata_path.is_file():
        metadata = _read_csv(metadata_path, ("image_id", "age_approximate", "sex"))
        _refuse_repeated(metadata, "image_id", metadata_path)
        labels = labels.merge(metadata, on="image_id", how="left")
    images = folder / f"ISIC-2017_{part}_Data"
    masks = folder / f"ISIC-2017_{part}_Part1_GroundTruth"
    if not masks.is_dir():
        logging.warning("no lesion masks for the %s part of isic2017; looked for %s", part, masks)
    melanoma = labels["melanoma"].astype(float)
    keratosis = labels["seborrheic_keratosis"].astype(float)
    return pd.DataFrame(
        {
            "image_id": labels["image_id"],
            "image": [str(images / f"{name}.jpg") for name in labels["image_id"]],
            "mask": _masks_in(masks, labels["image_id"]),
            "label": melanoma,
            "diagnosis": np.select(
                [melanoma == 1, keratosis == 1], ["melanoma", "seborrheic keratosis"], "nevus"
            ),
            "age": labels.get("age_approximate", ""),
            "sex": labels.get("sex", pd.Series("", index=labels.index)).replace("unknown", ""),
            "official_part": role,
        }
    )


def _masks_in(masks, names):
    """Returns the path of each mask, "" where the download has no masks at all."""
    there = masks.is_dir()
    return [str(masks / f"{name}_segmentation.png") if there else "" for name in names]


def _refuse_repeated(table, column, path):
    repeated = table[column][table[column].duplicated()]
    if len(repeated):
        raise ValueError(f"{path} must name each {column} once. Received twice: {repeated.iloc[0]}")


def ham10000(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of HAM10000 (Tschandl et al. 2018), with Tschandl's lesion masks."""
    table = _read_csv(
        folder / "HAM10000_metadata.csv"
        if (folder / "HAM10000_metadata.csv").is_file()
        else folder / "HAM10000_metadata",
        ("lesion_id", "image_id", "dx"),
    )
    folders = [
        path
        for path in (folder / "HAM10000_images_part_1", folder / "HAM10000_images_part_2")
        if path.is_dir()
    ]
    if not folders:
        raise ValueError(f"{folder} must hold the images. Looked for HAM10000_images_part_1")
    where = {path.stem: str(path) for images in folders for path in images.glob("*.jpg")}
    masks = folder / "HAM10000_segmentations_lesion_tschandl"
    if not masks.is_dir():
        logging.warning("no lesion masks for ham10000; looked for %s", masks)
    return pd.DataFrame(
        {
            "image_id": table["image_id"],
            "image": [
                where.get(name, str(folders[0] / f"{name}.jpg")) for name in table["image_id"]
            ],
            "mask": _masks_in(masks, table["image_id"]),
            "label": (table["dx"] == "mel").astype(float),
            "diagnosis": table["dx"],
            "lesion_id": table["lesion_id"],
            "age": table.get("age", ""),
            "sex": table.get("sex", pd.Series("", index=table.index)).replace("unknown", ""),
            "site": table.get("localization", pd.Series("", index=table.index)).replace(
                "unknown", ""
            ),
            "official_part": "train",
        }
    )


def folder(path: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of a folder a class, masks beside the images.

    `melanoma`, `malignant` or `mel` is the melanoma class; every other folder is not.
    A mask is `NAME_segmentation.*` or `NAME_mask.*` beside `NAME.*`. Files that are no
    JPEG, PNG or BMP are counted in a warning.
    """
    rows, others = [], []
    for class_folder in sorted(child for child in path.iterdir() if child.is_dir()):
        for image in sorted(class_folder.iterdir()):
            if image.suffix.lower() not in IMAGE_SUFFIXES:
                others.append(image)
                continue
            if _is_mask(image):
                continue
            masks = [
                image.with_name(f"{image.stem}_{word}{suffix}")
                for word in ("segmentation", "mask")
                for suffix in IMAGE_SUFFIXES
            ]
            mask = next((str(mask) for mask in masks if mask.is_file()), "")
            rows.append(
                {
                    "image_id": image.stem,
                    "image": str(image),
                    "mask": mask,
                    "label": float(class_folder.name.lower() in MELANOMA_FOLDERS),
                    "diagnosis": class_folder.name,
                }
            )
    if others:
        logging.warning(
            "left out %d files that are no JPEG, PNG or BMP, the first is %s",
            len(others),
            others[0],
        )
    table = pd.DataFrame(rows)
    if table.empty or not (table["label"] == 1).any():
        found = sorted(child.name for child in path.iterdir() if child.is_dir())
        raise ValueError(
            f"{path} must hold a folder a class with images, one of them named "
            f"{', '.join(MELANOMA_FOLDERS)}. Received: {', '.join(found) or 'no folder'}"
        )
    return table


def _is_mask(path):
    return path.stem.endswith(("_segmentation", "_mask"))


# `synthetic` is drawn, not read: `make_manifest` calls it with the count, size and seed.
SOURCES: dict[str, Callable[[pathlib.Path], pd.DataFrame]] = {
    "isic2020": isic2020,
    "isic2017": isic2017,
    "ham10000": ham10000,
    "folder": folder,
    "manifest": manifest.read,
    "synthetic": synthetic.draw_folder,
}
