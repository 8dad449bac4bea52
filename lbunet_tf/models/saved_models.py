"""Saved models, read without believing the file."""

import concurrent.futures
import contextlib
import json
import math
import os

import keras

from lbunet_tf.models import finite
from lbunet_tf.storage import archives


def load(path: str | os.PathLike) -> keras.Model:
    """Returns the uncompiled model that a .keras file holds.

    Raises:
        ValueError: The file is damaged, no functional model that this version knows, claims to
            hold more than it does, names code, or has weights that are not finite.
    """
    damaged = archives.damage(path)
    if damaged:
        raise ValueError(f"{path} must be a complete Keras model. Received: {damaged}")
    text, num_bytes = archives.read_config(path)
    with _named_errors(path):
        num_weights = _count_weights(text)
    if num_weights > num_bytes:
        # Built, they would fill memory before Keras sees that the file lacks them.
        raise ValueError(
            f"{path} must be a Keras model that holds its weights. Received: layers with "
            f"{num_weights} weights, but {num_bytes} bytes of weights"
        )
    with _named_errors(path):
        # safe_mode: a model may carry Python code, which is never run.
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    if not isinstance(model, keras.Model) or not hasattr(model, "output"):
        raise ValueError(f"{path} must be a functional Keras model. Received: {type(model)}")
    finite.check_model(model, path)
    return model


@contextlib.contextmanager
def _named_errors(path):
    """Makes whatever Keras raises about a file a ValueError that names it."""
    try:
        yield
    except Exception as error:
        # Keras raises whatever comes to pass where the file says what it does not expect.
        raise ValueError(
            f"{path} must be a Keras model of this version. Keras says: {archives.in_words(error)}"
        ) from error


def _count_weights(text):
    """Returns how many numbers the weights of a model have, none of which is allocated."""
    # As load_model(compile=False).
    config = {**json.loads(text), "compile_config": None}

    def count():
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            weights = model.weights if isinstance(model, keras.Model) else []
            return sum(math.prod(map(int, weight.shape)) for weight in weights)

    # A thread: Keras lists variables that wait for their values, for each thread apart; the next
    # layer that this one builds would allocate them.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(count).result()


def check_hdf5(path: str | os.PathLike) -> None:
    """Raises a ValueError where an HDF5 file of weights holds other than numbers of its own."""
    try:
        archives.check_hdf5(path, os.path.getsize(path))
    except Exception as error:
        # h5py raises whatever comes to pass where the bytes are not what it expects.
        raise ValueError(
            f"{path} must be a complete HDF5 file of weights. Received: "
            f"{archives.describe_error(path, error, 'HDF5')}"
        ) from error
