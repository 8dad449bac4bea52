"""Helper of the tests of diagnoses: a predictions table of a network with that head."""

import numpy as np
import pandas as pd

HAM10000 = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def add(table: pd.DataFrame, codes=HAM10000, true=None, sharpness=2.0, seed=5) -> pd.DataFrame:
    """Returns a table with class, p_CODE and predicted; `true`: numbers of classes, -1 unknown."""
    rng = np.random.default_rng(seed)
    if true is None:
        # Half of the images are of the second to last class, as nv is in HAM10000.
        shares = np.full(len(codes), 0.5 / (len(codes) - 1))
        shares[-2] = 0.5
        true = rng.choice(len(codes), len(table), p=shares)
    logits = rng.normal(0, 1, (len(table), len(codes)))
    logits += sharpness * (np.arange(len(codes)) == np.asarray(true)[:, None])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return with_probabilities(table, codes, true, probabilities)


def with_probabilities(table, codes, true, probabilities) -> pd.DataFrame:
    """Returns a table with the columns of a diagnosis of (N, K) probabilities."""
    probabilities = np.asarray(probabilities, float)
    names = np.array(codes, dtype=object)
    true = np.asarray(true)
    found = {f"p_{code}": probabilities[:, number] for number, code in enumerate(codes)}
    known = np.where(true >= 0, names[true], "")
    return table.assign(true_class=known, **found, predicted=names[probabilities.argmax(axis=1)])


def without_masks(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table as of a network without a mask head."""
    named = ("mask_", "uncleaned_", "predicted_share", "dice", "iou", "thresholded_jaccard")
    return table.drop(columns=[name for name in table if name.startswith(named)])


def without_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table of a network that scores no melanoma."""
    return table.drop(columns=["score", "score_logit"], errors="ignore")


def alone(table: pd.DataFrame, has_scores=False) -> pd.DataFrame:
    """Returns a table of a network whose only head is the diagnosis, with a melanoma class or not.

    Each of its four classes has ten test images or more.
    """
    codes = ("mel", "nv", "bcc", "df")
    if has_scores:
        true = np.where(table["label"] == 1, 0, 1 + np.arange(len(table)) % 3)
        found = without_masks(add(table, codes, true))
        return found.assign(score=found["p_mel"])
    found = add(table.assign(label=np.nan), ("nv", "rest"), np.arange(len(table)) % 2)
    return without_scores(without_masks(found))
