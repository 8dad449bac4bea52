"""An encoder of five convolutions, for tests of what is around the network.

Training with it starts in half of the time. A child process takes it as
`python -m tests.tiny_encoder lbunet_tf.evaluate --run=...`.
"""

import runpy
import sys

import keras
import tensorflow as tf

from lbunet_tf.models import encoders

NAME = "tiny"
CHANNELS = (8, 8, 16, 16, 32)


def build(weights: str, size: int) -> encoders.Encoder:
    """Returns the encoder at (size, size, 3); its weights are random whatever is asked for."""
    del weights
    image = keras.Input((size, size, 3))
    features = [image]
    for number, channels in enumerate(CHANNELS, 1):
        x = keras.layers.Conv2D(
            channels, 3, strides=2, padding="same", use_bias=False, name=f"conv{number}"
        )(features[-1])
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"bn{number}")(x)
        features.append(keras.layers.Activation("relu", name=f"relu{number}")(x))
    return encoders.Encoder(keras.Model(image, features[1:], name="encoder"))


if __name__ == "__main__":
    # As in the tests' own process: starts a third sooner.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    encoders.ENCODERS[NAME] = build
    sys.argv[:2] = [sys.argv[1]]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
