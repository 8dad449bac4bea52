"""What a predictions table must be before a number is made of it, and who its patients are."""

import os

import numpy as np
import pandas as pd
from scipy import special

from lbunet_tf.data import diagnoses
from lbunet_tf.data import prediction_columns
from lbunet_tf.storage import whole_files

# Who is one unit: the first of these that is known of an image.
KEYS = ("patient_id", "lesion_id", "image_id")
KEY_WORDS = {"patient_id": "patient", "lesion_id": "lesion", "image_id": "image"}

MASK_COUNTS = prediction_columns.MASK_COUNTS
UNCLEANED = prediction_columns.UNCLEANED
# By how much a score and the probability of its logit may differ.
ROUNDING = 1e-6
# Of a diagnosis: the true class, the probability of each (p_CODE), and the largest.
CLASS = diagnoses.TRUE_CLASS
PROBABILITY = diagnoses.PROBABILITY
PREDICTED = diagnoses.PREDICTED
# By how much the sum of an image's probabilities may differ from 1.
SUM_ROUNDING = 1e-5


def read(path: str | os.PathLike) -> pd.DataFrame:
    """Returns a predictions table that was written, its ids as text, checked.

    Raises:
        ValueError: As `check`, or it is no table.
    """
    # An id may be a word that pandas takes for nothing, as NA.
    nothing = {"keep_default_na": False, "na_values": ["", "nan", "NaN"]}
    text = dict.fromkeys((*KEYS, CLASS, PREDICTED), str)
    table = whole_files.read_table(path, dtype=text, **nothing)
    check(table, os.fspath(path))
    return table


def check(table: pd.DataFrame, name: str) -> None:
    """Refuses a table of which numbers would be wrong without a word.

    Args:
        table: Rows of images, with `image_id`, and where they are there `label` and `score`.
        name: Of the table, as its path.

    Raises:
        ValueError: An image has no id or stands twice, a label is not 0, 1 or missing, a score is
            not in 0..1 or missing, or has no logit or that of another score, a count of a mask's
            pixels is no count, or the columns of a diagnosis contradict one another. It names the
            first such row, counted from 1 below the header.
    """
    if "image_id" not in table:
        raise ValueError(
            f"{name} must have a column image_id, to tell its images apart. Received: "
            f"{', '.join(map(str, table.columns))[:200] or 'no column'}"
        )
    _refuse_half_a_diagnosis(table, name)
    ids = table["image_id"].fillna("").astype(str)
    for column, is_bad, needed in _faults(table, ids):
        if is_bad.any():
            row = int(np.argmax(is_bad))
            raise ValueError(
                f"{name} must have a {column} {needed} in every row; {int(is_bad.sum())} are not "
                f"so. Received: row {row + 1}, image {ids.iloc[row]!r}, {column} "
                f"{table[column].iloc[row]!r}"
            )


def _refuse_half_a_diagnosis(table, name):
    codes = classes(table)
    columns = [PROBABILITY + code for code in codes]
    lacking = [column for column in (CLASS, PREDICTED) if column not in table]
    if codes and lacking:
        raise ValueError(
            f"{name} must have the columns {CLASS} and {PREDICTED} next to {', '.join(columns)}: "
            "together they are a diagnosis. Evaluate the run again, or give columns of your own "
            f"other names. Received: no {' and no '.join(lacking)}"
        )
    if not codes and PREDICTED in table:
        raise ValueError(
            f"{name} must have a column {PROBABILITY}CODE for each class next to {PREDICTED}: "
            "together they are a diagnosis. Evaluate the run again, or give a column of your own "
            f"another name. Received: {PREDICTED} alone"
        )
    if len(codes) == 1:
        raise ValueError(
            f"{name} must have a column {PROBABILITY}CODE for each of two classes or more. "
            f"Received: {columns[0]} alone"
        )


def _faults(table, ids):
    """Yields (column, which rows are bad, what each must have)."""
    yield "image_id", ids == "", "that is not empty"
    yield "image_id", ids.duplicated(), "each image once"
    if "label" in table:
        label = table["label"]
        yield "label", label.notna() & ~label.isin([0, 1]), "0, 1 or empty"
    if "score" in table:
        yield from _faults_of_scores(table)
    if classes(table):
        yield from _faults_of_classes(table)
    for column in (prefix + name for prefix in ("", UNCLEANED) for name in MASK_COUNTS):
        if column in table:
            counts = _numbers(table[column])
            is_bad = table[column].notna() & ~(np.isfinite(counts) & (counts >= 0))
            yield column, is_bad, "that is finite and not negative, or empty"
            yield column, _are_text(table[column]), "as a number, not as text"
    if set(MASK_COUNTS[:3]) <= set(table):
        for column in MASK_COUNTS[1:3]:
            # Dice of an image without one of them would be 1.
            is_alone = table[column].isna() != table["mask_tp"].isna()
            yield column, is_alone, "where there is a mask_tp, and nowhere else"


def _faults_of_scores(table):
    score = _numbers(table["score"])
    is_number = score.notna() | table["score"].isna()
    yield "score", ~is_number | (score < 0) | (score > 1), "in 0..1 or empty"
    yield "score", _are_text(table["score"]), "as a number, not as text"
    if "score_logit" not in table:
        # Of an earlier version.
        return
    logit = _numbers(table["score_logit"])
    yield "score_logit", score.notna() & logit.isna(), "where there is a score"
    yield "score_logit", _are_text(table["score_logit"]), "as a number, not as text"
    said = special.expit(logit)
    # Only 0 and 1 have an infinite logit.
    is_other = np.where(np.isinf(logit), said != score, (said - score).abs() > ROUNDING)
    yield "score_logit", score.notna() & is_other, "that is the logit of its score"


def _faults_of_classes(table):
    codes = classes(table)
    columns = [PROBABILITY + code for code in codes]
    for column in columns:
        value = _numbers(table[column])
        yield column, ~np.isfinite(value) | (value < 0) | (value > 1), "in 0..1"
        yield column, _are_text(table[column]), "as a number, not as text"
    found = table[columns].to_numpy(float)
    is_other = np.abs(found.sum(axis=1) - 1) > SUM_ROUNDING
    yield columns[0], is_other, f"that sums to 1 with {', '.join(columns[1:])}"
    largest = np.array(codes, dtype=object)[found.argmax(axis=1)]
    predicted = table[PREDICTED].fillna("").astype(str).to_numpy()
    needed = "that names the largest probability, of equal ones the first"
    yield PREDICTED, predicted != largest, needed
    known = table[CLASS].fillna("").astype(str)
    yield CLASS, ~known.isin(["", *codes]), f"that is empty or one of {', '.join(codes)}"


def _numbers(column):
    return pd.to_numeric(column, errors="coerce").astype(float)


def _are_text(column):
    return column.map(lambda value: isinstance(value, str)).astype(bool)


def has_masks(table: pd.DataFrame) -> bool:
    """Returns whether a table is of a network with a mask head."""
    return MASK_COUNTS[0] in table


def classes(table: pd.DataFrame) -> list[str]:
    """Returns the codes of the classes of a diagnosis in their order, [] without one."""
    known = {PROBABILITY + name: name for name in diagnoses.CLASS_NAMES}
    return [known[column] for column in table if column in known]


def with_class(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows whose class is known; the table has the columns of a diagnosis."""
    return table[table[CLASS].fillna("") != ""]


def are_scored(table: pd.DataFrame) -> np.ndarray:
    """Returns (N,) bool: which rows have both a label and a score; none of a table without."""
    if "score" not in table:
        return np.zeros(len(table), bool)
    return (table["label"].notna() & table["score"].notna()).to_numpy()


def with_score(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows that have both a label and a score, always with the columns of both."""
    if "score" not in table:
        return table.iloc[:0].assign(score=0.0, score_logit=0.0)
    return table[are_scored(table)]


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
