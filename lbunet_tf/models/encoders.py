"""Encoders: features at strides 2 to 32, their weights and the normalisation these expect."""

import dataclasses
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from lbunet_tf.models import efficientnet_lite
from lbunet_tf.models import hed
from lbunet_tf.models import hub_encoders
from lbunet_tf.models import keras_encoders
from lbunet_tf.models import normalizations
from lbunet_tf.models import saved_models

# Networks of keras.applications that have other strides, by the beginning of their names; and a
# relative that has them all.
UNSUITABLE = {
    "xception": ("strides 2 and 4: its first convolutions are not padded", "efficientnetv2s"),
    "inception": ("strides 2 to 32: its convolutions are not padded", "resnet50v2"),
    "nasnet": ("stride 2: its first convolution is not padded", "efficientnetb0"),
    "convnext": ("stride 2: it starts with patches of 4 x 4 pixels", "efficientnetv2s"),
}


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A model (B, S, S, 3) normalised -> features, and the normalisation of its input.

    The features are at strides 2 to 32, or at the last of these only: transformers have none at
    stride 2.
    """

    model: keras.Model
    mean: tuple[float, float, float] = normalizations.IMAGENET.mean
    std: tuple[float, float, float] = normalizations.IMAGENET.std

    def features(self, x: keras.KerasTensor) -> list[keras.KerasTensor | None]:
        """Returns the features at strides 2, 4, 8, 16 and 32; None where there are none."""
        found = self.model(x)
        return [None] * (len(keras_encoders.STRIDES) - len(found)) + list(found)


def build_encoder(name: str, weights: str, size: int) -> Encoder:
    """Returns an encoder with its weights.

    Args:
        name: A key of ENCODERS.
        weights: "imagenet", "none", "hed" (of vgg16), or the path of a weights file; of a
            preset's folder for those of keras-hub.
        size: Side of the input in pixels; padded to a multiple of 32 inside.

    Raises:
        ValueError: No such weights, or they are of another encoder.
    """
    takes_folder = name in hub_encoders.PRESETS
    return with_weights(ENCODERS[name], name, weights, size + -size % 32, takes_folder)


def with_weights(
    build: Callable[[str, int], Encoder],
    name: str,
    weights: str,
    size: int,
    takes_folder: bool,
    described: str = "",
) -> Encoder:
    """Returns what `build` makes of (weights, size), or of none with those of a saved run.

    Args:
        build: A value of ENCODERS, or of a backbone.
        name: The encoder, for messages.
        weights: As in `build_encoder`.
        size: Side of the input in pixels.
        takes_folder: Whether the weights may be a folder.
        described: What the weights of a run must be for, where that is more than the name.

    Raises:
        ValueError: No such weights, or they are of another encoder.
    """
    if weights == "hed":
        hed.refuse_others(name)
    path = pathlib.Path(weights)
    is_there = path.is_file() or takes_folder and path.is_dir()
    if weights not in ("imagenet", "none", "hed") and not is_there:
        raise ValueError(
            '"--encoder_weights" must be imagenet, none, hed (of vgg16), or the path of a '
            f"{'file or folder' if takes_folder else 'file'}. Received: {weights}, and there is no "
            "such file"
        )
    if weights.endswith(".keras"):
        return from_run(build("none", size), described or name, weights)
    return build(weights, size)


def why_unsuitable(name: str) -> str:
    """Returns why a network of keras.applications is no encoder, "" for any other name."""
    for start, (missing, relative) in UNSUITABLE.items():
        if name.lower().startswith(start):
            return (
                '"--encoder" must have features at strides 2, 4, 8, 16 and 32, for the skips of '
                f"the decoder. {name} has none at {missing}. Take {relative}, its nearest "
                f"relative. Received: {name}"
            )
    return ""


def from_run(encoder: Encoder, name: str, path: str) -> Encoder:
    """Returns an encoder with the weights and normalisation of a model that was saved.

    Raises:
        ValueError: The file is damaged, no model of ours, or of another encoder.
    """
    try:
        saved = saved_models.load(path)
    except ValueError as error:
        raise ValueError(f'"--encoder_weights" must be a whole model of ours. {error}') from error
    layers = {layer.name: layer for layer in saved.layers}
    if "encoder" not in layers:
        raise ValueError(
            f'"--encoder_weights" must be of a model of ours with an encoder. {path} has no encoder'
        )
    theirs = [tuple(weight.shape) for weight in layers["encoder"].weights]
    ours = [tuple(weight.shape) for weight in encoder.model.weights]
    if theirs != ours:
        raise ValueError(
            f'"--encoder_weights" must be for --encoder={name}: {len(ours)} weights of its shapes. '
            f"{path} has {len(theirs)} weights of other shapes"
        )
    encoder.model.set_weights(layers["encoder"].get_weights())
    mean, std = _normalization(layers, path)
    return dataclasses.replace(encoder, mean=mean, std=std)


def _normalization(layers, path):
    """Returns mean and standard deviation of each channel, as a saved model has them."""
    settings = layers["normalization"].get_config() if "normalization" in layers else {}
    mean, variance = (np.ravel(settings.get(name) or ()) for name in ("mean", "variance"))
    is_number = all(values.dtype.kind in "if" and len(values) == 3 for values in (mean, variance))
    if not is_number or not np.isfinite([mean, variance]).all() or (variance < 0).any():
        raise ValueError(
            f'"--encoder_weights" must be of a model of ours, whose layer "normalization" has '
            f"three means and variances. {path} has means {mean[:3]} and variances {variance[:3]}"
        )
    return tuple(mean.tolist()), tuple((variance**0.5).tolist())


def of_network(
    build: Callable[[str, str, int], tuple[keras.Model, normalizations.Normalization]], name: str
) -> Callable[[str, int], Encoder]:
    """Returns the builder of one of the networks that `build` makes of (name, weights, size)."""

    def build_encoder_of(weights, size):
        model, normalization = build(name, weights, size)
        return Encoder(model, *normalization)

    return build_encoder_of


def refuse_published(name: str, weights: str) -> None:
    """Raises a ValueError for weights of a network of which none are published for Keras."""
    if weights != "none":
        raise ValueError(
            f'"--encoder_weights" of {name} must be none or a .keras file of ours: no ImageNet '
            f"weights of it are published for Keras. Received: {weights}"
        )


def _vgg16(weights, size):
    build = of_network(keras_encoders.build, "vgg16")
    if weights != "hed" and pathlib.Path(weights).name != hed.FILE_NAME:
        return build(weights, size)
    path = hed.shipped_weights_path() if weights == "hed" else weights
    model = build("none", size).model
    hed.load_weights(model, path)
    return Encoder(model, *hed.NORMALIZATION)


def _resnet34(weights, size):
    """keras-cv's ResNet-34; Keras has no ImageNet weights of it."""
    refuse_published("resnet34", weights)
    # Imported here: keras-cv takes seconds, and is no longer developed.
    from keras_cv.models import ResNetBackbone

    backbone = ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        input_shape=(size, size, 3),
        block_type="basic_block",
    )
    levels = backbone.pyramid_level_inputs
    names = ["conv1_relu", *(levels[f"P{level}"] for level in (2, 3, 4, 5))]
    outputs = [backbone.get_layer(name).output for name in names]
    return Encoder(keras_encoders.for_training(keras.Model(backbone.input, outputs), "encoder"))


def _lite(name):
    def build(weights, size):
        model = efficientnet_lite.build(name, size)
        if weights == "none":
            return Encoder(model)
        is_shipped = weights == "imagenet"
        path = efficientnet_lite.shipped_weights_path(name) if is_shipped else weights
        efficientnet_lite.load_torch_weights(model, name, path)
        return Encoder(model, *normalizations.LITE)

    return build


ENCODERS: dict[str, Callable[[str, int], Encoder]] = {
    **{name: of_network(keras_encoders.build, name) for name in keras_encoders.NETWORKS},
    "vgg16": _vgg16,
    "resnet34": _resnet34,
    **{name: _lite(name) for name in efficientnet_lite.VARIANTS},
    **{name: of_network(hub_encoders.build, name) for name in hub_encoders.PRESETS},
}
