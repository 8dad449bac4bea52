"""`python -m lbunet_tf.train` with a very small model in the place of --model=unet.

LOGICAL_CPUS=2 in the environment makes two devices of the CPU, as if they were GPUs.
"""

import os

import keras
import tensorflow as tf

from lbunet_tf import models
from lbunet_tf import train
from lbunet_tf.settings import entry


def build_small(model, outputs, image_size):
    """Returns a model with batch norm that compiles in two seconds."""
    del model, outputs
    images = keras.Input((image_size, image_size, 3), name="image")
    x = keras.layers.Rescaling(1 / 64, -2)(images)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = keras.layers.ReLU()(x)
    mask = keras.layers.UpSampling2D()(keras.layers.Conv2D(1, 3, padding="same")(x))
    mask = keras.layers.Activation("linear", name="mask", dtype="float32")(mask)
    melanoma = keras.layers.Dense(1, name="melanoma")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(images, {"mask": mask, "melanoma": melanoma}, name="small")


if __name__ == "__main__":
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * int(os.environ.get("LOGICAL_CPUS", "1")),
    )
    models.MODELS["unet"] = build_small
    entry.run(train.main, "train")
