"""The ISIC Archive as its own client and its website hand it out: a table next to the images."""

import pathlib

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import diagnoses
from lbunet_tf.data import listing
from lbunet_tf.data import tables
from lbunet_tf.data.sources import downloads

LEVELS = tuple(f"diagnosis_{level}" for level in range(1, 6))
# Under these a lesion may or may not be a melanoma: neither 1 nor 0.
UNDECIDED = (
    "Indeterminate melanocytic proliferations",
    "Collision - At least one malignant proliferation",
)
OPTIONAL = (
    "patient_id",
    "lesion_id",
    "age_approx",
    "sex",
    "anatom_site_general",
    # In place of anatom_site_general since isic-metadata 6.
    "anatom_site_1",
    "fitzpatrick_skin_type",
)
SKIN_TYPES = {"I": "1", "II": "2", "III": "3", "IV": "4", "V": "5", "VI": "6"}
FURTHER = (
    "attribution",
    "copyright_license",
    "diagnosis_confirm_type",
    "dermoscopic_type",
    "image_manipulation",
)


def isic_archive(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of a folder that `isic image download` has filled (no masks).

    Melanoma is the archive's branch of that name: in situ, invasive, metastatic or not
    otherwise specified. Images that are not dermoscopic (close-ups, body maps,
    confocal microscopy) are left out and counted.
    """
    table = _read(folder / "metadata.csv")
    further = table[[column for column in FURTHER if column in table]]
    # A column that no image has a value for is not in the file.
    table = table.reindex(columns=["isic_id", *LEVELS, *OPTIONAL], fill_value="")
    levels, site = table[list(LEVELS)], table["anatom_site_general"]
    return pd.DataFrame(
        {
            "image_id": table["isic_id"],
            "image": downloads.files_of(folder, table["isic_id"]),
            "label": _labels(table["diagnosis_1"], table["diagnosis_2"]),
            "diagnosis": _diagnoses(levels),
            "patient_id": table["patient_id"],
            "lesion_id": table["lesion_id"],
            "age": table["age_approx"],
            "sex": table["sex"],
            "site": site.where(site != "", table["anatom_site_1"]),
            "skin_type": table["fitzpatrick_skin_type"].replace(SKIN_TYPES),
            **further,
        }
    )


def _diagnoses(levels):
    """Returns the deepest level of each row; where it has no code, the deepest that has one behind.

    As in "Merkel cell carcinoma, Malignant".
    """
    words = levels.mask(levels == "").ffill(axis=1)[LEVELS[-1]].fillna("")
    codes = levels.apply(diagnoses.codes_of)
    coded = levels.where(codes != "").ffill(axis=1)[LEVELS[-1]].fillna("")
    lacks_code = (diagnoses.codes_of(words) == "") & (coded != "")
    return words.mask(lacks_code, words + ", " + coded)


def _read(path):
    """Returns the rows of dermoscopic images with a known kind of diagnosis_1, or raises."""
    try:
        table = tables.read_csv(path, ("isic_id", "image_type", "diagnosis_1"))
    except ValueError as error:
        raise ValueError(
            f"{error}. isic writes this file last: run scripts/download_isic.sh again; images "
            "that are already there are kept"
        ) from error
    known = table["diagnosis_1"].isin(("Benign", "Malignant", "Indeterminate", ""))
    if not known.all():
        row = int(np.flatnonzero(~known)[0])
        raise ValueError(
            f"{path} must hold a diagnosis_1 of Benign, Malignant, Indeterminate or nothing. "
            f"Received: {table['diagnosis_1'].iloc[row]!r} in row {row + 1}, image "
            f"{table['isic_id'].iloc[row]!r}"
        )
    known = set(table["isic_id"].str.lower())
    there = listing.images_by_stem(path.parent)
    strangers = [stem for stem in there if stem.lower() not in known]
    if strangers:
        logging.warning(
            "%d images have no row in %s and are left out, the first is %s",
            len(strangers),
            path,
            min(strangers),
        )
    return _dermoscopic(table, path)


def _dermoscopic(table, path):
    is_dermoscopic = table["image_type"] == "dermoscopic"
    others = (
        table.loc[~is_dermoscopic, "image_type"].replace("", "without image_type").value_counts()
    )
    counts = ", ".join(f"{count} {kind}" for kind, count in others.items())
    if not is_dermoscopic.any():
        raise ValueError(
            f"{path} must have rows with the image_type dermoscopic. Received: "
            f"{counts or 'no rows'}"
        )
    if counts:
        logging.warning(
            "of %d images in %s these are not dermoscopic and left out: %s",
            len(table),
            path,
            counts,
        )
    return table[is_dermoscopic]


def _labels(first, second):
    """Returns 1 for melanoma, 0 for what is known to be another lesion, else NaN.

    "Benign" alone is enough for a 0; "Malignant" alone may be a melanoma.
    """
    is_melanoma = second.str.contains("melanoma", case=False)
    is_unknown = second.isin(UNDECIDED) | ((second == "") & (first != "Benign"))
    return np.select([is_melanoma, is_unknown], [1.0, np.nan], 0.0)
