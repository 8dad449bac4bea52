"""The architectures, by name."""

from collections.abc import Callable
from collections.abc import Sequence

import keras

from lbunet_tf.models import classifier
from lbunet_tf.models import lbunet
from lbunet_tf.models import unet
from lbunet_tf.settings import config
from lbunet_tf.settings import process

MODELS: dict[str, Callable[..., keras.Model]] = {
    "lbunet": lbunet.build_lbunet,
    "classifier": classifier.build_classifier,
    "unet": unet.build_unet,
}


def build_model(settings: config.Config) -> keras.Model:
    """Returns the functional model that the flags name, weights loaded or seeded.

    Input (B, S, S, 3) RGB in 0..255. Output: dict of the heads that are on, all of them logits:
    `mask` (B, S, S, 1), `melanoma` (B, 1), `diagnosis` (B, K). Deep supervision adds further masks
    (B, S, S, 1), which `inference_model` leaves out.
    """
    process.set_keras()
    keras.utils.set_random_seed(settings.source.seed)
    build = MODELS[settings.model.model]
    return build(settings.model, settings.outputs, settings.preprocessing.image_size)


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
