"""Presets of keras-hub: folders of weights, and how images are scaled for them.

keras-hub is an extra (docs/dependencies.md) and imported where a network of it is asked for.
"""

import os
import pathlib
import types

import keras
import numpy as np

from lbunet_tf.models import finite
from lbunet_tf.models import saved_models
from lbunet_tf.models.normalizations import Normalization
from lbunet_tf.storage import archives
from lbunet_tf.storage import whole_files

CONVERTER, WEIGHTS = "image_converter.json", "model.weights.h5"


def import_hub(reason: str) -> types.ModuleType:
    """Returns keras_hub.

    Raises:
        ValueError: It is not installed. The error begins with `reason`.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ValueError(
            f'{reason}: pip install "lbunet_tf[hub]", or, '
            "without its 240 MB of dependencies for text, pip install --no-deps keras-hub==0.32.0 "
            f"and pip install tokenizers. Received: {error}"
        ) from error
    return keras_hub


def download(name: str, preset: str) -> pathlib.Path:
    """Returns the folder of a preset on Kaggle, which is downloaded once.

    keras-hub is there already: it brings what downloads.

    Args:
        name: The encoder, for the error.
        preset: Kaggle's handle of it.

    Raises:
        ValueError: It could not be downloaded.
    """
    import kagglehub

    try:
        return pathlib.Path(kagglehub.model_download(preset))
    except Exception as error:
        # kagglehub raises whatever its network library does.
        cache = pathlib.Path(os.environ.get("KAGGLEHUB_CACHE", "~/.cache/kagglehub")).expanduser()
        raise ValueError(
            f"the weights of {name} could not be downloaded. Place the preset {preset} of "
            f"Kaggle ({WEIGHTS}, {CONVERTER}) in {cache / 'models' / preset}, or give its "
            "folder as --encoder_weights=PATH, or --encoder_weights=none to train from random "
            f"weights. The download said: {archives.in_words(error)}"
        ) from error


def check_folder(name: str, folder: pathlib.Path) -> None:
    """Raises a ValueError where a folder holds no weights, or other than numbers."""
    if not (folder / WEIGHTS).is_file():
        raise ValueError(
            f'"--encoder_weights" must be the folder of a preset of {name}, with {WEIGHTS}. '
            f"Received: {folder}, which has no such file"
        )
    saved_models.check_hdf5(folder / WEIGHTS)


def load_weights(backbone: keras.Model, name: str, folder: pathlib.Path) -> None:
    """Reads the weights of a preset into a network of our own making.

    What classes its config.json names does not matter.

    Raises:
        ValueError: There are none, or they are damaged or of another network.
    """
    check_folder(name, folder)
    try:
        backbone.load_weights(folder / WEIGHTS)
    except Exception as error:
        # Keras raises whatever comes to pass where the file says what it does not expect.
        raise ValueError(
            f'"--encoder_weights" must be the folder of a preset of {name}. Received: {folder}. '
            f"{archives.in_words(error)}"
        ) from error
    finite.check_model(backbone, folder / WEIGHTS)


def normalization(folder: pathlib.Path, default: Normalization) -> Normalization:
    """Returns the normalisation of a preset, `default` where it states none.

    Raises:
        ValueError: It scales images by what is no number.
    """
    path = folder / CONVERTER
    if not path.is_file():
        return default
    settings = whole_files.read_json(path, ("config",))["config"]
    scale, offset = (
        np.broadcast_to(np.asarray(settings.get(name) or neutral, "float64").ravel(), 3)
        for name, neutral in (("scale", 1.0), ("offset", 0.0))
    )
    if not (np.isfinite(scale) & np.isfinite(offset) & (scale > 0)).all():
        raise ValueError(
            f"{path} must hold a scale above 0 and an offset. Received: scale={settings['scale']}, "
            f"offset={settings['offset']}"
        )
    return Normalization(tuple((-offset / scale).tolist()), tuple((1 / scale).tolist()))
