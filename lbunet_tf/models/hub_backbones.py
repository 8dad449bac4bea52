"""ViT-B with the weights of keras-hub, an optional extra that only a preset needs.

The network is `vision_transformer.build_base`: a trained run then is loaded, exported and put
into another precision without keras-hub, whose patch layer cannot be made again from its config.
"""

import dataclasses
import pathlib

import keras
import numpy as np

from lbunet_tf.models import finite
from lbunet_tf.models import normalizations
from lbunet_tf.models import saved_models
from lbunet_tf.models import vision_transformer
from lbunet_tf.storage import archives


@dataclasses.dataclass(frozen=True)
class Network:
    """A ViT-B.

    Args:
        patch: Side of a patch in pixels.
        preset: keras-hub's name of the weights that --encoder_weights=imagenet downloads.
    """

    patch: int
    preset: str


NETWORKS = {
    "vit_b16": Network(16, "vit_base_patch16_224_imagenet"),
    # Of patch 32 at 224 px, keras-hub has ImageNet-21k only.
    "vit_b32": Network(32, "vit_base_patch32_224_imagenet21k"),
}


def build(name: str, weights: str, size: int) -> tuple[keras.Model, normalizations.Normalization]:
    """Returns (normalised (B, S, S, 3) to the class token (B, 768), the normalisation).

    Args:
        name: A key of NETWORKS.
        weights: "none", "imagenet", or the folder of a preset of keras-hub. Position embeddings
            of another image size are interpolated (Dosovitskiy et al. 2021, 3.2).
        size: Side of the images in pixels, a multiple of the patch.

    Raises:
        ValueError: A preset is asked for and keras-hub is not installed; or the preset is not
            there, damaged, or of another network.
    """
    patch, preset = NETWORKS[name].patch, NETWORKS[name].preset
    if weights == "none":
        return vision_transformer.build_base(size, patch), normalizations.SYMMETRIC
    if weights != "imagenet":
        _check_folder(name, pathlib.Path(weights))
        preset = weights
    hub = _keras_hub(name, weights)
    try:
        backbone = hub.models.ViTBackbone.from_preset(preset)
        normalization = _normalization(hub, preset)
    except Exception as error:
        # keras-hub and the libraries that it downloads with raise whatever comes to pass.
        raise ValueError(_words_of(name, weights, error)) from error
    finite.check_model(backbone, preset)
    model = vision_transformer.build_base(size, patch)
    copy_weights(backbone, model, name, weights)
    return model, normalization


def _check_folder(name, folder):
    """Raises a ValueError for what is no folder of a preset, or whose weights are no numbers."""
    needed = ("config.json", "model.weights.h5")
    lacking = [file for file in needed if not (folder / file).is_file()]
    if lacking:
        raise ValueError(
            f'"--encoder_weights" of {name} must be imagenet, none, a .keras file of ours, or the '
            f"folder of a preset of keras-hub. Received: {folder}, which has no "
            f"{' and no '.join(lacking)}"
        )
    saved_models.check_hdf5(folder / "model.weights.h5")


def _keras_hub(name, weights):
    try:
        import keras_hub
    except ImportError as error:
        raise ValueError(
            f"\"--encoder_weights\" of {name} needs keras-hub: pip install 'lbunet_tf[hub]', or "
            "give --encoder_weights=none to train from random weights. "
            f"Received: --encoder_weights={weights}, and {error}"
        ) from error
    return keras_hub


def _words_of(name, weights, error):
    said = archives.in_words(error)
    if weights != "imagenet":
        return (
            f'"--encoder_weights" of {name} must be the folder of a ViT preset of this version of '
            f"keras-hub. Received: {weights}. keras-hub says: {said}"
        )
    return (
        f"the ImageNet weights of {name} (keras-hub's preset {NETWORKS[name].preset}) could not be "
        "downloaded. Give the folder of the preset as --encoder_weights=PATH, or "
        f"--encoder_weights=none to train from random weights. The download said: {said}"
    )


def _normalization(hub, preset):
    """Returns what the preset does to RGB in 0..255; where it says nothing, as Google's ViTs."""
    try:
        converter = hub.layers.ViTImageConverter.from_preset(preset)
    except (OSError, ValueError):
        return normalizations.SYMMETRIC
    if converter.scale is None:
        return normalizations.SYMMETRIC
    offset = 0.0 if converter.offset is None else converter.offset
    scale, offset = (
        np.broadcast_to(np.ravel(value), 3).astype("float64") for value in (converter.scale, offset)
    )
    # x * scale + offset is (x - mean) / deviation.
    mean, std = -offset / scale, 1 / scale
    return normalizations.Normalization(tuple(mean.tolist()), tuple(std.tolist()))


def copy_weights(backbone: keras.Model, model: keras.Model, name: str, weights: str) -> None:
    """Copies the weights of keras-hub's ViTBackbone to `vision_transformer.build_base`.

    Raises:
        ValueError: It has others than the network `name`. The error names `weights`.
    """
    values = [np.asarray(weight) for weight in backbone.weights]
    # Theirs begin with the class token, ours with kernel and bias of the patches.
    values = [*values[1:3], values[0], *values[3:]]
    shapes = [tuple(weight.shape) for weight in model.weights]
    position = shapes.index(tuple(model.get_layer("position").embedding.shape))
    if len(values) > position and values[position].shape[1:] == shapes[position][1:]:
        values[position] = resized_positions(values[position], shapes[position][0])
    if [value.shape for value in values] != shapes:
        raise ValueError(
            f'"--encoder_weights" must be for --encoder={name}: {len(shapes)} weights of its '
            f"shapes. {weights} has {len(values)} weights of other shapes"
        )
    model.set_weights(values)


def resized_positions(embedding: np.ndarray, count: int) -> np.ndarray:
    """Returns position embeddings (1 + n * n, D) as (count, D), the grid resized bilinearly.

    The first, that of the class token, has no position and stays.
    """
    if len(embedding) == count:
        return embedding
    before, after = (round((number - 1) ** 0.5) for number in (len(embedding), count))
    grid = embedding[1:].reshape(before, before, -1)
    grid = keras.ops.image.resize(grid, (after, after), interpolation="bilinear")
    return np.concatenate([embedding[:1], np.reshape(grid, (after * after, -1))])
