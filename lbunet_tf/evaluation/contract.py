"""What a predictions table must be before a number is made of it, and who its patients are."""

import os

import numpy as np
import pandas as pd

from lbunet_tf.storage import whole_files

# Who is one unit: the first of these that is known of an image.
KEYS = ("patient_id", "lesion_id", "image_id")
KEY_WORDS = {"patient_id": "patient", "lesion_id": "lesion", "image_id": "image"}


def read(path: str | os.PathLike) -> pd.DataFrame:
    """Returns a predictions table that was written, its ids as text, checked.

    Raises:
        ValueError: As `check`, or it is no table.
    """
    table = whole_files.read_table(path, dtype=dict.fromkeys(KEYS, str))
    check(table, os.fspath(path))
    return table


def check(table: pd.DataFrame, name: str) -> None:
    """Refuses a table of which numbers would be wrong without a word.

    Args:
        table: Rows of images, with `image_id`, and where they are there `label` and `score`.
        name: Of the table, as its path.

    Raises:
        ValueError: An image stands twice, a label is not 0, 1 or missing, a score is not in
            0..1 or missing, or has no logit. It names the first such row, counted from 1 below
            the header.
    """
    ids = table["image_id"].astype(str)
    faults = [("image_id", ids.duplicated(), "each image once")]
    if "label" in table:
        label = table["label"]
        faults.append(("label", label.notna() & ~label.isin([0, 1]), "0, 1 or empty"))
    if "score" in table:
        score = pd.to_numeric(table["score"], errors="coerce")
        is_number = score.notna() | table["score"].isna()
        outside = ~is_number | (score < 0) | (score > 1)
        faults.append(("score", outside, "in 0..1 or empty"))
        if "score_logit" in table:
            is_without = score.notna() & pd.to_numeric(table["score_logit"], errors="coerce").isna()
            faults.append(("score_logit", is_without, "where there is a score"))
    for column, is_bad, needed in faults:
        if is_bad.any():
            row = int(np.argmax(is_bad))
            raise ValueError(
                f"{name} must have a {column} {needed} in every row; {int(is_bad.sum())} are not "
                f"so. Received: row {row + 1}, image {ids.iloc[row]!r}, {column} "
                f"{table[column].iloc[row]!r}"
            )


def with_score(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows that have both a label and a score."""
    return table[table["label"].notna() & table["score"].notna()]


def scored(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (labels 0 or 1, scores, patients) of the rows that have both label and score."""
    rows = with_score(table)
    return rows["label"].to_numpy(int), rows["score"].to_numpy(float), patients(rows)[0]


def patients(table: pd.DataFrame) -> tuple[np.ndarray, str]:
    """Returns ((N,) str: who is one unit, what that is in words).

    The patient where it is known, else the lesion, else the image; of several sources, each
    source's ids are its own.
    """
    key = pd.Series("", index=table.index, dtype=object)
    used = []
    for column in KEYS:
        if column not in table:
            continue
        known = table[column].fillna("").astype(str)
        fills = (key == "") & (known != "")
        if fills.any():
            used.append(KEY_WORDS[column])
            key[fills] = f"{column}:" + known[fills]
    if "source" in table:
        key = table["source"].astype(str) + "/" + key
    return key.to_numpy(str), ", else ".join(used)
