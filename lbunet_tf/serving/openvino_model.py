"""An OpenVINO model: resized pixels in, probabilities out, for fast scoring on CPUs."""

import json
import pathlib

import keras
import tensorflow as tf
from keras import ops

from lbunet_tf.serving import outlines
from lbunet_tf.serving import postprocessing

NAME = "model.xml"
IDENTITY = "identity.json"
INSTALL = "pip install 'lbunet_tf[openvino]'"


def write(
    model: keras.Model,
    folder: pathlib.Path,
    score_rule: str,
    mask_rule: outlines.MaskRule | None,
    identity: dict,
) -> None:
    """Writes model.xml, model.bin and identity.json.

    Input (B, S, S, 3) float32 RGB in 0..255, resized as the run's images are. Outputs:
    `probability` (B,) of melanoma, where an output of the model scores it; and
    `mask_probability` (B, S, S, 1) and `mask` (B, S, S, 1), 0 or 1, where the mask head learnt
    outlines.

    Args:
        model: Outputs logits by name.
        folder: Exists.
        score_rule: `Config.score_rule`.
        mask_rule: How the logits of `mask` become an outline; None where it is the label on every
            pixel.
        identity: What the model is of, for JSON.

    Raises:
        ValueError: OpenVINO is not installed.
    """
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'"--format=openvino" needs OpenVINO: {INSTALL}. Received: {error}'
        ) from error
    _resizing(_with_probabilities(model, score_rule, mask_rule)).export(
        str(folder / NAME), format="openvino", verbose=False
    )
    (folder / IDENTITY).write_text(json.dumps(identity, indent=1) + "\n")


def _with_probabilities(model, score_rule, mask_rule):
    outputs = {}
    if score_rule != "none":
        functions = postprocessing.Functions(ops.sigmoid, ops.mean, ops.max)
        outputs["probability"] = postprocessing.image_scores(model.output, score_rule, functions)
    if mask_rule:
        outputs["mask_probability"] = ops.sigmoid(model.output["mask"])
        outputs["mask"] = _Outline(mask_rule, name="outline")(model.output["mask"])
    return keras.Model(model.input, outputs)


class _Outline(keras.layers.Layer):
    """Logits to the mask that `MaskRule` makes of them, 0 or 1."""

    def __init__(self, mask_rule, **keywords):
        super().__init__(**keywords)
        self.mask_rule = mask_rule

    def compute_output_spec(self, logits):
        return keras.KerasTensor(logits.shape, "uint8")

    def call(self, logits):
        logits = self.mask_rule.clean_in_graph(logits)
        # Not a cast, in which OpenVINO loses the output's name.
        return tf.where(logits >= self.mask_rule.logit, tf.constant(1, tf.uint8), 0)


class _Nearest(keras.layers.Layer):
    """Nearest up-sampling as OpenVINO has it: Keras' own becomes four operations there."""

    def __init__(self, size, **keywords):
        super().__init__(**keywords)
        self.size = size

    def call(self, x):
        shape = [side * times for side, times in zip(x.shape[1:3], self.size, strict=True)]
        return ops.image.resize(x, shape, "nearest")


def _resizing(model):
    """Returns the model, of the same weights, with `_Nearest` for Keras' nearest up-sampling."""

    def replace(layer):
        is_nearest = isinstance(layer, keras.layers.UpSampling2D) and (
            layer.interpolation == "nearest"
        )
        return _Nearest(layer.size, name=layer.name) if is_nearest else layer

    return keras.models.clone_model(model, clone_function=replace)
