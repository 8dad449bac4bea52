"""From maps and scores to weak targets: where a mask begins, and what is sure enough."""

import numpy as np

NUM_BINS = 256


def otsu_threshold(values: np.ndarray) -> float:
    """Returns the threshold that parts `values` into two classes the farthest apart (Otsu 1979).

    The larger class mean differs most from the smaller one, weighted by the classes'
    sizes, over 256 bins from the smallest to the largest value. Equal values have no two
    classes: the threshold is then infinite, and nothing lies above it.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.inf
    counts, edges = np.histogram(values, NUM_BINS, (low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sum_below = np.cumsum(counts * centres)[:-1]
    mean_above = ((counts * centres).sum() - sum_below) / above
    between = below * above * (mean_above - sum_below / below) ** 2
    return float(edges[1:-1][np.argmax(between)])


def mask_threshold(logits: np.ndarray, rule: str) -> float:
    """Returns the logit at which the mask of one map begins: 0 for "half", Otsu's for "otsu"."""
    return otsu_threshold(logits) if rule == "otsu" else 0.0


def mean_inside(probabilities: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Returns (B,) the mean probability of the pixels of a mask, 0 of an empty one.

    It follows the true Dice better than the share of uncertain pixels and the Dice that
    the network itself expects: Spearman 0.68, 0.67, 0.50 on 353 val images of ISIC 2017.

    Args:
        probabilities: (B, H, W, 1), in 0..1.
        masks: (B, H, W, 1) bool, of these probabilities.
    """
    axes = (1, 2, 3)
    area = masks.sum(axes)
    return (probabilities * masks).sum(axes) / np.maximum(area, 1)


def sure_labels(scores: np.ndarray, confidence: float) -> np.ndarray:
    """Returns (N,) 1 where score >= `confidence`, 0 where 1 - score is, NaN where neither."""
    return np.select([scores >= confidence, 1 - scores >= confidence], [1.0, 0.0], np.nan)


def centred_ellipse(size: int, fraction: float) -> np.ndarray:
    """Returns (size, size) bool: a disc in the middle that covers about `fraction` of the square.

    In the image it is an ellipse, as the square is the squeezed image.
    """
    offsets = (np.arange(size) + 0.5) / size - 0.5
    return offsets[:, None] ** 2 + offsets[None] ** 2 <= fraction / np.pi
