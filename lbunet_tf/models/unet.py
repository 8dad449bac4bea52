"""The vanilla U-Net of Table I (Ronneberger et al. 2015, with same padding)."""

import keras

from lbunet_tf.models import decoder
from lbunet_tf.models import heads
from lbunet_tf.models import normalizations
from lbunet_tf.settings import output_group
from lbunet_tf.settings import training_groups

FILTERS = (64, 128, 256, 512, 1024)


def build_unet(
    model: training_groups.Model, outputs: output_group.Outputs, image_size: int
) -> keras.Model:
    """Returns the vanilla U-Net: 31,031,745 parameters with one mask output.

    Two 3x3 convolutions with ReLU a level, 2x2 max-pooling, 2x2 transposed
    convolutions, 1x1 head; no batch norm. Images are normalised with ImageNet's mean
    and standard deviation (paper IV.A).
    """
    images = keras.Input((image_size, image_size, 3), name="image")
    x = keras.layers.Normalization(
        mean=normalizations.IMAGENET.mean,
        variance=[std**2 for std in normalizations.IMAGENET.std],
        name="normalization",
    )(images)
    x, padding = decoder.pad_to_stride(x, 2 ** (len(FILTERS) - 1))
    skips = []
    for level, filters in enumerate(FILTERS):
        if level:
            x = keras.layers.MaxPooling2D(name=f"pool_s{2**level}")(x)
        x = _two_convolutions(x, filters, f"encoder_s{2**level}")
        skips.append(x)
    deepest = skips.pop()
    for level in reversed(range(len(FILTERS) - 1)) if outputs.has_mask else ():
        name = f"decoder_s{2**level}"
        x = keras.layers.Conv2DTranspose(FILTERS[level], 2, strides=2, name=f"{name}_up")(x)
        x = keras.layers.Concatenate(name=f"{name}_concat")([skips.pop(), x])
        x = _two_convolutions(x, FILTERS[level], name)
    logits = heads.outputs(x, deepest, padding, outputs, kernel_size=1)
    return keras.Model(images, logits, name="unet")


def _two_convolutions(x, filters, name):
    for number in (1, 2):
        x = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"{name}_{number}",
        )(x)
    return x
