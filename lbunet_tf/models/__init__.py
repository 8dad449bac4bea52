"""The architectures, by name."""

from collections.abc import Callable

import keras

from lbunet_tf import config as config_lib
from lbunet_tf.models import lbunet
from lbunet_tf.models import unet

MODELS: dict[str, Callable[[config_lib.Config], keras.Model]] = {
    "lbunet": lbunet.build_lbunet,
    "unet": unet.build_unet,
}


def build_model(config: config_lib.Config) -> keras.Model:
    """Returns the functional model that the flags name, weights loaded or seeded.

    Input (B, S, S, 3) RGB in 0..255. Output: dict with `mask` (B, S, S, 1) logits and,
    where that head is on, `melanoma` (B, 1) logits.
    """
    keras.utils.set_random_seed(config.seed)
    return MODELS[config.model](config)
