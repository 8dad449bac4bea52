"""What the logits of a model say of an image: a melanoma score, and a mask at the image's size.

Here once for evaluate, predict, pseudo_label and `lbunet_tf.load`, and for exported models, which
are why it stands on the ground floor.
"""

import typing
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Why an image has no result.
NOT_FINITE = "the network gives NaN or infinity for it; check the weights of the run"


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities; exp is taken of negative numbers only, so +-80 is safe."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


class Functions(typing.NamedTuple):
    """What `image_scores` takes of an array library; mean and max take `axis`."""

    sigmoid: Callable
    mean: Callable
    max: Callable


NUMPY = Functions(sigmoid, np.mean, np.max)
TENSORFLOW = Functions(tf.sigmoid, tf.reduce_mean, tf.reduce_max)


def image_scores(
    logits: Mapping[str, np.ndarray], score_rule: str, functions: Functions = NUMPY
) -> np.ndarray:
    """Returns (B,) melanoma probabilities, NaN where no output knows about melanoma.

    The paper does not say how pixels become one score (docs/paper.md#g15): the mean of the
    pixel probabilities by default, the melanoma head where there is one.

    Args:
        logits: `mask` (B, S, S, 1) and, for "melanoma", `melanoma` (B, 1).
        score_rule: "melanoma", "mean", "max", or "none".
        functions: Of the library that the logits belong to.
    """
    if score_rule == "none":
        return np.full(len(logits["mask"]), np.nan)
    if score_rule == "melanoma":
        return functions.sigmoid(logits["melanoma"])[:, 0]
    reduce = {"mean": functions.mean, "max": functions.max}[score_rule]
    return reduce(functions.sigmoid(logits["mask"]), axis=(1, 2, 3))


def score_logits(
    logits: Mapping[str, np.ndarray],
    scores: np.ndarray,
    score_rule: str,
    log: Callable = np.log,
    log1p: Callable = np.log1p,
) -> np.ndarray:
    """Returns (B,) logits of melanoma probabilities.

    A probability of 1 - 1e-17 is 1 in 64 bits, and its logit is not.

    Args:
        logits: As in `image_scores`.
        scores: What that returns of them.
        score_rule: As there.
        log: Of the library that the logits belong to.
        log1p: Likewise.
    """
    if score_rule == "melanoma":
        return logits["melanoma"][:, 0]
    with np.errstate(divide="ignore"):
        return log(scores) - log1p(-scores)


def are_finite(logits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns (B,) bool: for which images every output is a number, neither NaN nor infinite."""
    return np.all([np.isfinite(x).all(tuple(range(1, x.ndim))) for x in logits.values()], axis=0)


def logits_at_size(logits: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """Returns (H, W, 1) float32 logits at an image's own size (height, width), bilinear.

    Args:
        logits: (S, S, 1), of the square that the network saw.
        size: Height and width in pixels.
    """
    return tf.image.resize(logits, size)


def mask_at_size(logits: tf.Tensor, size: Sequence[int], threshold: float = 0.0) -> tf.Tensor:
    """Returns (H, W, 1) bool: where the logits at the image's own size reach the threshold.

    The default is probability 0.5. Of logits in float32, the threshold keeps its 64 bits.
    """
    lowest = np.float32(threshold)
    if lowest < threshold:
        # It was rounded down, and logits of that value are below the threshold.
        lowest = np.nextafter(lowest, np.float32(np.inf))
    return logits_at_size(logits, size) >= lowest
