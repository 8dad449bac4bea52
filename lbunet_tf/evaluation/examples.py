"""Which test images a reader should look at because of their melanoma score."""

import numpy as np
import pandas as pd

# What stands for a probability of 0 or 1, which has no logit.
SMALLEST = 1e-12
NEAREST = "nearest to the threshold"
MISSED = "melanomas of the lowest score"
FLAGGED = "others of the highest score"
WORDS = {1.0: "melanoma", 0.0: "not melanoma"}


def choose(table: pd.DataFrame, threshold: float, count: int = 4) -> pd.DataFrame:
    """Returns at most `count` rows each: nearest to the threshold, and most wrong in each class.

    Nearest on the logit scale, labelled or not; ties by image_id. An image may be in two of them.

    Args:
        table: Rows of predictions; those without a score are left out.
        threshold: Of the melanoma probability.
        count: Rows of each kind.

    Returns:
        The rows with the columns `rank`, which of the three, and `truth`, the label in words.
    """
    rows = table[table["score"].notna()].sort_values("image_id", kind="stable")
    rows = rows.assign(truth=rows["label"].map(WORDS).fillna("unknown"), logit=_logits(rows))
    distance = (rows["logit"] - _logit(threshold)).abs()
    by_score = rows.sort_values("logit", kind="stable")
    chosen = {
        NEAREST: rows.loc[distance.sort_values(kind="stable").index],
        MISSED: by_score[by_score["label"] == 1],
        FLAGGED: by_score[by_score["label"] == 0].iloc[::-1],
    }
    parts = [part.head(count).assign(rank=rank) for rank, part in chosen.items()]
    return pd.concat(parts, ignore_index=True).drop(columns="logit")


def _logits(rows):
    if "score_logit" in rows:
        return rows["score_logit"].astype(float)
    return rows["score"].map(_logit)


def _logit(probability):
    p = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return np.log(p / (1 - p))
