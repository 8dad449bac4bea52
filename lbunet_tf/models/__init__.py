"""The architectures, by name."""

import pathlib
from collections.abc import Callable
from collections.abc import Sequence

import keras
from absl import logging

from lbunet_tf import config as config_lib
from lbunet_tf import environment
from lbunet_tf import flagfiles
from lbunet_tf import run_directory
from lbunet_tf.models import combined
from lbunet_tf.models import lbunet
from lbunet_tf.models import saved_models
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
        ValueError: Training has not saved one yet, or the file is damaged or of another run.
    """
    path = run / run_directory.MODEL
    if not path.is_file():
        raise ValueError(
            f"{path} must be there: train first (python -m lbunet_tf.train). "
            "It is written after the first epoch"
        )
    if not (run / run_directory.FINISHED).is_file():
        logging.warning("%s is not finished; taking its best epoch so far", run)
    environment.set_keras()
    model = saved_models.load(path)
    _check_outputs(path, model, flagfiles.read(str(run)))
    return model


def _check_outputs(path, model, config):
    """Raises a ValueError where a model is not the one that the flags of its run describe."""
    size = config.image_size
    expected = {"mask": (None, size, size, 1), "melanoma": (None, 1)}
    expected = {"input": (None, size, size, 3), **{head: expected[head] for head in config.heads}}
    outputs = model.output if isinstance(model.output, dict) else {}
    # A list in runs of deep supervision.
    inputs = model.inputs if len(model.inputs) == 1 else [None]
    found = {"input": getattr(inputs[0], "shape", None)}
    found |= {name: getattr(outputs.get(name), "shape", None) for name in config.heads}
    wrong = {name: shape for name, shape in found.items() if shape != expected[name]}
    if wrong:
        words = ", ".join(
            f"{name} {expected[name]}, in the file {shape or 'missing'}"
            for name, shape in wrong.items()
        )
        raise ValueError(
            f"{path} must be the model of its run's {run_directory.FLAGS}: {words}. Put back the "
            "file that belongs there, or train again with --overwrite"
        )


def load_mean(runs: Sequence[str], tta: str) -> keras.Model:
    """Returns the model of one run, or of the mean of several and of the symmetries of `tta`."""
    return combined.build_mean([load_best(pathlib.Path(run)) for run in runs], tta)
