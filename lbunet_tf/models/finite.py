"""Weights that are numbers: NaN and infinity give empty masks and no scores, without a word."""

import os

import keras
import numpy as np


def check_weight(array: np.ndarray, name: str, path: str | os.PathLike) -> None:
    """Raises a ValueError where an array that a file gives as a weight is not finite."""
    is_finite = np.isfinite(array)
    if not is_finite.all():
        raise ValueError(
            f"{path} must hold weights that are finite numbers. {name} has "
            f"{array.size - np.count_nonzero(is_finite)} of {array.size} that are NaN or infinite. "
            "Copy the file again, or use another one"
        )


def check_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Raises a ValueError that names the first weight of a loaded model that is not finite."""
    for weight in model.weights:
        # As float32: bfloat16 is no number of numpy's own. Seeds are whole numbers.
        check_weight(np.asarray(weight.numpy(), "float32"), weight.path, path)
