"""The architectures, by name."""

import pathlib
from collections.abc import Callable
from collections.abc import Sequence

import keras
from absl import logging

from lbunet_tf import config as config_lib
from lbunet_tf import environment
from lbunet_tf import run_directory
from lbunet_tf.models import combined
from lbunet_tf.models import lbunet
from lbunet_tf.models import unet

MODELS: dict[str, Callable[[config_lib.Config], keras.Model]] = {
    "lbunet": lbunet.build_lbunet,
    "unet": unet.build_unet,
}


def build_model(config: config_lib.Config) -> keras.Model:
    """Returns the functional model that the flags name, weights loaded or seeded.

    Input (B, S, S, 3) RGB in 0..255. Output: dict with `mask` (B, S, S, 1) logits and,
    where that head is on, `melanoma` (B, 1) logits. Deep supervision adds further masks
    (B, S, S, 1), which `inference_model` leaves out.
    """
    environment.set_keras()
    keras.utils.set_random_seed(config.seed)
    return MODELS[config.model](config)


def inference_model(model: keras.Model, heads: Sequence[str]) -> keras.Model:
    """Returns a model of the same layers with the outputs of `heads` only, uncompiled.

    The weights are shared: what trains one changes the other.

    Raises:
        ValueError: The model has no such head.
    """
    missing = [head for head in heads if head not in model.output]
    if missing:
        raise ValueError(
            f"the heads must be outputs of the model, {', '.join(model.output)}. "
            f"Received: {', '.join(missing)}"
        )
    outputs = {head: model.output[head] for head in heads}
    return keras.Model(model.input, outputs, name=model.name)


def load_best(run: pathlib.Path) -> keras.Model:
    """Returns the model of the best epoch by --monitor.

    Raises:
        ValueError: Training has not saved one yet, or the file is damaged.
    """
    path = run / run_directory.MODEL
    if not path.is_file():
        raise ValueError(
            f"{path} must be there: train first (python -m lbunet_tf.train). "
            "It is written after the first epoch"
        )
    if not (run / run_directory.FINISHED).is_file():
        logging.warning("%s is not finished; taking its best epoch so far", run)
    run_directory.check_model(path)
    environment.set_keras()
    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} must be a Keras model of this version. Train again with --overwrite. Keras "
            f"says: {error}"
        ) from error


def load_mean(runs: Sequence[str], tta: str) -> keras.Model:
    """Returns the model of one run, or of the mean of several and of the symmetries of `tta`."""
    return combined.build_mean([load_best(pathlib.Path(run)) for run in runs], tta)
