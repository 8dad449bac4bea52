"""Saved models, read without believing the file."""

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
        raise ValueError(f"{path} must be a whole Keras model. Received: {damaged}")
    try:
        # safe_mode: a model may carry Python code, which is never run.
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # Keras raises whatever comes to pass where the file says what it does not expect.
        raise ValueError(
            f"{path} must be a Keras model of this version. Keras says: {archives.in_words(error)}"
        ) from error
    if not isinstance(model, keras.Model) or not hasattr(model, "output"):
        raise ValueError(f"{path} must be a functional Keras model. Received: {type(model)}")
    finite.check_model(model, path)
    return model


def check_hdf5(path: str | os.PathLike) -> None:
    """Raises a ValueError where an HDF5 file of weights holds other than numbers of its own."""
    try:
        archives.check_hdf5(path, os.path.getsize(path))
    except Exception as error:
        # h5py raises whatever comes to pass where the bytes are not what it expects.
        raise ValueError(
            f"{path} must be a whole HDF5 file of weights. Received: "
            f"{archives.describe_error(path, error, 'HDF5')}"
        ) from error
