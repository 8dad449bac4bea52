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

# The class whose probability is a melanoma score.
MELANOMA_CLASS = "mel"
# Why an image has no result.
NOT_FINITE = "the network gives NaN or infinity for it; check the weights of the run"


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities; exp is taken of negative numbers only, so +-80 is safe."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def log_sum_exp(values: np.ndarray, axis: int) -> np.ndarray:
    """Returns log(sum(exp(values))) over an axis; of +-80 too."""
    largest = values.max(axis=axis, keepdims=True)
    return np.log(np.exp(values - largest).sum(axis=axis)) + np.squeeze(largest, axis)


class Functions(typing.NamedTuple):
    """What is taken of an array library; all but sigmoid, log and log1p take `axis`."""

    sigmoid: Callable
    mean: Callable
    max: Callable
    log: Callable
    log1p: Callable
    log_sum_exp: Callable
    take: Callable


NUMPY = Functions(sigmoid, np.mean, np.max, np.log, np.log1p, log_sum_exp, np.take)
TENSORFLOW = Functions(
    *(tf.sigmoid, tf.reduce_mean, tf.reduce_max, tf.math.log, tf.math.log1p),
    *(tf.reduce_logsumexp, tf.gather),
)


def image_scores(
    logits: Mapping[str, np.ndarray],
    score_rule: str,
    class_names: Sequence[str] = (),
    functions: Functions = NUMPY,
) -> np.ndarray:
    """Returns (B,) melanoma probabilities, NaN where no output knows about melanoma.

    The paper does not say how pixels become one score (docs/paper.md#g15): the mean of the
    pixel probabilities by default, the melanoma head where there is one, else the diagnosis' class.

    Args:
        logits: `mask` (B, S, S, 1), `melanoma` (B, 1), `diagnosis` (B, K): what the rule takes.
        score_rule: "melanoma", "diagnosis", "mean", "max", or "none".
        class_names: Of the diagnosis, in its order.
        functions: Of the library that the logits belong to.
    """
    if score_rule == "none":
        return np.full(len(next(iter(logits.values()))), np.nan)
    if score_rule in ("melanoma", "diagnosis"):
        return functions.sigmoid(_melanoma_logits(logits, score_rule, class_names, functions))
    reduce = {"mean": functions.mean, "max": functions.max}[score_rule]
    return reduce(functions.sigmoid(logits["mask"]), axis=(1, 2, 3))


def score_logits(
    logits: Mapping[str, np.ndarray],
    scores: np.ndarray,
    score_rule: str,
    class_names: Sequence[str] = (),
    functions: Functions = NUMPY,
) -> np.ndarray:
    """Returns (B,) logits of melanoma probabilities.

    A probability of 1 - 1e-17 is 1 in 64 bits, and its logit is not.

    Args:
        logits: As in `image_scores`.
        scores: What that returns of them.
        score_rule: As there.
        class_names: As there.
        functions: As there.
    """
    if score_rule in ("melanoma", "diagnosis"):
        return _melanoma_logits(logits, score_rule, class_names, functions)
    with np.errstate(divide="ignore"):
        return functions.log(scores) - functions.log1p(-scores)


def _melanoma_logits(logits, score_rule, class_names, functions):
    """Returns (B,); of classes the logit of mel against all others together."""
    if score_rule == "melanoma":
        return logits["melanoma"][:, 0]
    position = list(class_names).index(MELANOMA_CLASS)
    others = [number for number in range(len(class_names)) if number != position]
    against = functions.log_sum_exp(functions.take(logits["diagnosis"], others, axis=1), axis=1)
    return logits["diagnosis"][:, position] - against


def class_probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns (B, K) probabilities that add up to 1 of the logits of classes (B, K)."""
    return np.exp(logits - log_sum_exp(logits, axis=1)[:, None])


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
