"""The manifest: one row an image, the only thing that sources give and pipelines take."""

import csv
import os
import pathlib
import re

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import diagnoses
from lbunet_tf.data import identifiers
from lbunet_tf.data import prediction_columns
from lbunet_tf.data import tables
from lbunet_tf.data.records import record_path

# `label`: 1 melanoma, 0 not, missing unknown. `age`: years. `skin_type`: Fitzpatrick 1-6.
# `group`: known duplicates share a value. `official_part`: the part of the download.
COLUMNS = (
    "image_id",
    "image",
    "mask",
    "label",
    "diagnosis",
    "patient_id",
    "lesion_id",
    "age",
    "sex",
    "site",
    "skin_type",
    "source",
    "split",
    "duplicate_group",
    "official_part",
)
NUMBERS = ("label", "age", "skin_type")
PATHS = ("image", "mask")
# Equal ones stand on one side of a split.
GROUPS = ("patient_id", "lesion_id", "duplicate_group")
OF_ARCHIVE = re.compile(r"^isic_(\d{7})(?:_downsampled)?(?:\.[a-z]{3,4})?$", re.IGNORECASE)
# Of so many images more than half are rarely of one patient.
MANY = 20
IDENTITIES = (*GROUPS, "sex", "site")
SPLITS = ("train", "val", "test")
# May be there: what is chosen and calibrated after training is, on images that chose no epoch.
CALIBRATION = "calibration"
ALL_SPLITS = (*SPLITS, CALIBRATION)


def complete(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Returns the table with every column in order: text "" and numbers NaN where unknown.

    Text is stripped, except of paths; equal ids have one form of Unicode. Further columns are
    kept as they are, after ours.
    """
    table = table.copy()
    table["source"] = source
    for column in COLUMNS:
        if column not in table:
            table[column] = np.nan if column in NUMBERS else ""
        if column not in NUMBERS:
            table[column] = identifiers.as_text(table[column], source)
        if column not in (*NUMBERS, *PATHS):
            table[column] = identifiers.stripped(table[column])
        if column in IDENTITIES:
            table[column] = _identity(table[column], source)
    for column in NUMBERS:
        table[column] = _numbers(table, column, source)
    others = [column for column in table.columns if column not in COLUMNS]
    return table[[*COLUMNS, *others]].reset_index(drop=True)


def _identity(column, source):
    """Returns the column, "" where it says that the id or word is unknown.

    "unknown" as an id would make one patient of all the unknown ones.
    """
    column = identifiers.normalised(column)
    nameless = identifiers.are_nameless(column)
    words = column[nameless & (column != "")]
    if len(words):
        logging.info(
            "%s of source %s: %d of %d say %s and are taken as unknown",
            column.name,
            source,
            len(words),
            len(column),
            ", ".join(map(repr, sorted(words.unique())[:5])),
        )
    return column.mask(nameless, "")


def _numbers(table, column, source):
    text = table[column].astype(object).fillna("").astype(str).str.strip()
    unknown = _is_unknown(text)
    numbers = pd.to_numeric(text.where(~unknown), errors="coerce")
    wrong = numbers.isna() & ~unknown
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f'column "{column}" of source {source} must hold numbers or nothing. Received: '
            f"{table[column].iloc[row]!r} in row {row + 1}, image {table['image_id'].iloc[row]!r}"
        )
    return numbers.astype("float64")


def _is_unknown(text):
    return text.str.strip().str.lower().isin(identifiers.UNKNOWN_WORDS)


def check(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the manifest, or raises a ValueError that names the first wrong row."""
    reserved = [column for column in prediction_columns.RESERVED if column in manifest]
    if reserved:
        raise ValueError(
            f"a manifest must not have the columns that evaluation adds. Received: "
            f"{', '.join(reserved)}; rename them"
        )
    if manifest.empty:
        raise ValueError("a manifest must have at least one image. Received: 0 rows")
    ids = manifest["image_id"]
    _refuse(manifest, ids == "", "every image needs an image_id")
    alike = identifiers.normalised(ids)
    _refuse(manifest, alike.duplicated(keep=False), "image_id must be unique")
    for column in ("image_id", *GROUPS, *PATHS):
        _refuse(
            manifest,
            identifiers.are_unwritable(manifest[column]),
            f"{column} must be UTF-8 without line breaks, NUL and other control characters; "
            "rename the file, or correct the cell",
            column,
        )
    labels = manifest["label"]
    _refuse(
        manifest,
        labels.notna() & ~labels.isin((0, 1)),
        "label must be 1 (melanoma), 0 (not) or empty",
    )
    _refuse(
        manifest,
        ~manifest["split"].isin(("", *ALL_SPLITS)),
        f"split must be one of {', '.join(ALL_SPLITS)} or empty",
    )
    return manifest


def archive_ids(image_ids: pd.Series) -> pd.Series:
    """Returns the ids that tell images apart, in one form of Unicode.

    ISIC 2019 names smaller copies ID_downsampled. The archive's ids also stand in tables in small
    letters or with the suffix of a file.
    """
    ids = identifiers.normalised(image_ids).str.removesuffix("_downsampled")
    return ids.str.replace(OF_ARCHIVE, r"ISIC_\1", regex=True)


def is_made(rows: pd.DataFrame, target: str) -> pd.Series:
    """Returns (N,) bool: whose `target`, mask or label, a network made (pseudo_label)."""
    marks = rows.get(f"pseudo_{target}", pd.Series(0, rows.index))
    return pd.to_numeric(marks, errors="coerce") == 1


def _refuse(manifest, wrong, rule, column="image_id"):
    if not wrong.any():
        return
    rows = manifest[wrong]
    first = rows.iloc[0]
    value = f", {column}={first[column]!r}" if column != "image_id" else ""
    twin = ""
    if rule.endswith("unique"):
        ids = identifiers.normalised(rows["image_id"])
        twins = rows[ids == ids.iloc[0]]
        twin = f"; it is in the sources {', '.join(twins['source'])}: {', '.join(twins['image'])}"
    raise ValueError(
        f"{rule}. Received: {int(wrong.sum())} rows that break this, the first is row "
        f"{int(rows.index[0]) + 1} (image_id={first['image_id']!r}, label={first['label']}, "
        f"split={first['split']!r}, source={first['source']!r}{value}){twin}"
    )


def read(path: str | os.PathLike) -> pd.DataFrame:
    """Returns the manifest that a CSV file holds; paths may be relative to its folder."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"a manifest must be a CSV file. Received: {path}")
    try:
        return _read(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path):
    table = _with_our_names(tables.read_text(path), path)
    missing = {"image_id", "image"} - set(table.columns)
    if missing:
        raise ValueError(
            'a manifest must have the columns "image_id" and "image". '
            f"Received: {', '.join(table.columns)}"
        )
    completed = complete(table, "manifest")
    if "source" in table:
        completed["source"] = identifiers.stripped(table["source"].fillna(""))
    if "mask_share" in completed:
        completed["mask_share"] = _numbers(completed, "mask_share", "manifest")
    for column in PATHS:
        completed[column] = _placed(path.parent, identifiers.stripped(completed[column]))
    return check(completed)


def _with_our_names(table, path):
    """Returns the table; Patient_ID or "Lesion ID" is our column, where ours is not there.

    And where all values could be ours: a Split of folds is none.
    """
    ours = {_plain(column): column for column in COLUMNS if column not in table}
    renamed = {}
    for column in table.columns:
        name = ours.get(_plain(column))
        if name and _fits(table[column].fillna("").str.strip(), name):
            renamed[column] = ours.pop(_plain(column))
    if renamed:
        words = ", ".join(f"{before} as {after}" for before, after in renamed.items())
        logging.warning("%s: columns of other names are taken for ours: %s", path, words)
    return table.rename(columns=renamed)


def _fits(values, name):
    if name == "split":
        return values.isin(("", *ALL_SPLITS)).all()
    numbers = pd.to_numeric(values, errors="coerce")
    allowed = numbers.isin((0, 1)) if name == "label" else numbers.notna()
    return name not in NUMBERS or (allowed | _is_unknown(values)).all()


def _plain(name):
    return re.sub(r"[\s_-]", "", str(name).lower())


def _placed(folder, names):
    """Returns the paths of files that are named relative to a folder; "" stays ""."""
    paths = names.where((names == "") | names.str.startswith("/"), str(folder / "_")[:-1] + names)
    # What pathlib would shorten. It takes 5 us a name, too much for a million.
    odd = names.str.contains(r"//|(?:^|/)\.(?:/|$)|.+/$")
    paths[odd] = [str(folder / name) for name in names[odd]]
    return paths


def is_prepared(path: str | os.PathLike) -> bool:
    """Returns whether a file is a manifest with checked files and splits, as `prepare` writes."""
    try:
        with open(path, encoding="utf-8") as file:
            header = next(csv.reader([file.readline(10_000)]), [])
    except (OSError, UnicodeDecodeError):
        return False
    return header[: len(COLUMNS)] == list(COLUMNS) and "content_hash" in header


def warn_of_one_patient(manifest: pd.DataFrame) -> None:
    """Logs where most images have one id of a patient or lesion: it may mean that none is known."""
    for column in GROUPS:
        counts = manifest.loc[manifest[column] != "", column].value_counts()
        if len(manifest) >= MANY and counts.max() > len(manifest) / 2:
            logging.warning(
                "%s %r is the value for %d of %d images, which are then all on one side of a "
                'split; empty these cells if the value means "unknown"',
                column,
                counts.idxmax(),
                counts.max(),
                len(manifest),
            )


def warn_of_contradictions(manifest: pd.DataFrame) -> None:
    """Logs where a label and the diagnosis of an image say different things of melanoma."""
    labels = diagnoses.labels_of(manifest["diagnosis"])
    is_other = manifest["label"].notna() & ~np.isnan(labels) & (manifest["label"] != labels)
    if is_other.any():
        first = manifest[is_other].iloc[0]
        logging.warning(
            "%d of %d images have a label that their diagnosis contradicts, the first is %r: label "
            "%g, diagnosis %r. A melanoma head learns labels, a diagnosis head diagnoses",
            is_other.sum(),
            len(manifest),
            first["image_id"],
            first["label"],
            first["diagnosis"],
        )


def check_files_exist(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the manifest, or raises a ValueError that names the first file that is gone."""
    for column in PATHS:
        paths = manifest[column]
        gone = [bool(path) and not os.path.isfile(record_path.file_of(path)) for path in paths]
        if any(gone):
            row = manifest[gone].iloc[0]
            raise ValueError(
                f"every {column} of the run's manifest must still be there; {sum(gone)} of "
                f"{len(gone)} are gone. The first is of image {row['image_id']!r}, row "
                f"{int(manifest.index[gone][0]) + 1}: looked for {row[column]}. Put them back, or "
                "correct the paths in the run's manifest.csv"
            )
    return manifest


def describe(manifest: pd.DataFrame) -> str:
    """Returns counts by split, source and class as a small text table."""
    rows = []
    groups = manifest.groupby(["split", "source"], sort=False)
    order = {split: position for position, split in enumerate(ALL_SPLITS)}
    for (split, source), part in sorted(groups, key=lambda item: order.get(item[0][0], 3)):
        rows.append(
            {
                "split": split or "-",
                "source": source,
                "images": len(part),
                "melanoma": int((part["label"] == 1).sum()),
                "other": int((part["label"] == 0).sum()),
                "unknown": int(part["label"].isna().sum()),
                "masks": int((part["mask"] != "").sum()),
                "patients": part.loc[part["patient_id"] != "", "patient_id"].nunique(),
                "lesions": part.loc[part["lesion_id"] != "", "lesion_id"].nunique(),
            }
        )
    return pd.DataFrame(rows).to_string(index=False)
