"""Encoders: features at strides 2 to 32, their weights and the normalisation these expect."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from lbunet_tf.models import efficientnet_lite
from lbunet_tf.models import finite
from lbunet_tf.models import saved_models
from lbunet_tf.storage import archives

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
# keras.applications' "caffe" mode, in RGB order: means only.
CAFFE_MEAN = (123.68, 116.779, 103.939)
NO_STD = (1.0, 1.0, 1.0)
# Google's EfficientNet-Lite checkpoints.
LITE_MEAN = (127.0, 127.0, 127.0)
LITE_STD = (128.0, 128.0, 128.0)


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A model (B, S, S, 3) normalised -> features, and the normalisation of its input."""

    model: keras.Model
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def build_encoder(name: str, weights: str, size: int) -> Encoder:
    """Returns an encoder with its weights.

    Args:
        name: A key of ENCODERS.
        weights: "imagenet", "none", or the path of a weights file.
        size: Side of the input in pixels; padded to a multiple of 32 inside.

    Raises:
        ValueError: No such weights, or they are of another encoder.
    """
    if weights not in ("imagenet", "none") and not pathlib.Path(weights).is_file():
        raise ValueError(
            '"--encoder_weights" must be imagenet, none, or the path of a file. '
            f"Received: {weights}, and there is no such file"
        )
    padded = size + -size % 32
    if weights.endswith(".keras"):
        return from_run(ENCODERS[name]("none", padded), name, weights)
    return ENCODERS[name](weights, padded)


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
            f'"--encoder_weights" must be of an lbunet model, whose layer "normalization" has '
            f"three means and variances. {path} has means {mean[:3]} and variances {variance[:3]}"
        )
    return tuple(mean.tolist()), tuple((variance**0.5).tolist())


def _keras_resnet(constructor, skip_names):
    def build(weights, size):
        original = _keras_original(constructor, weights, size)
        outputs = [original.get_layer(name).output for name in skip_names]
        model = _for_training(keras.Model(original.input, outputs), "encoder")
        if weights == "none":
            return Encoder(model)
        _copy_without_biases(original, model)
        return Encoder(model, CAFFE_MEAN, NO_STD)

    return build


def _keras_original(constructor, weights, size):
    """Returns the keras.applications model; a failed download says what to put where."""
    name = constructor.__name__.lower()
    keywords = {"include_top": False, "input_shape": (size, size, 3)}
    file_name = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    is_file = weights not in ("imagenet", "none")
    if is_file:
        saved_models.check_hdf5(weights)
    try:
        model = constructor(weights=None if weights == "none" else weights, **keywords)
    except Exception as error:
        # get_file raises a bare Exception where the network fails.
        if is_file:
            raise ValueError(
                f'"--encoder_weights" must be a file of keras.applications\' {name} without top '
                f"(like {file_name}), or a .keras file of ours. Received: {weights}. "
                f"{archives.in_words(error)}"
            ) from error
        place = (
            pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
            / "models"
            / file_name
        )
        raise ValueError(
            f"the ImageNet weights of {name} could not be downloaded. Place {file_name} (from "
            f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/) at {place}, or "
            "give its path as --encoder_weights=PATH, or --encoder_weights=none to train from "
            f"random weights. The download said: {error}"
        ) from error
    if is_file:
        finite.check_model(model, weights)
    return model


def _for_training(model, name):
    """Returns the model rebuilt for training at small batches.

    Batch norm gets momentum 0.9 (PyTorch's; Keras' 0.99 leaves running statistics at
    their initial values for epochs at batch 8), and convolutions no bias (batch norm
    takes it away again) and He's initialisation by fan-out, as PyTorch's ResNet.
    """

    def rebuilt(layer):
        settings = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            settings.update(momentum=0.9)
        if isinstance(layer, keras.layers.Conv2D):
            initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
            settings.update(use_bias=False, kernel_initializer=initializer)
        return type(layer).from_config(settings)

    clone = keras.models.clone_model(model, clone_function=rebuilt)
    return keras.Model(clone.inputs, clone.outputs, name=name)


def _copy_without_biases(original, model):
    """Copies weights; a convolution's bias goes into the mean of the batch norm behind it.

    The first convolution's input channels are turned from BGR, in which
    keras.applications trained, to RGB.
    """
    for layer in model.layers:
        if not layer.weights:
            continue
        source = original.get_layer(layer.name)
        weights = source.get_weights()
        if isinstance(layer, keras.layers.Conv2D):
            kernel = weights[0]
            layer.set_weights([kernel[:, :, ::-1] if kernel.shape[2] == 3 else kernel])
        elif isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = weights
            convolution = original.get_layer(layer.name.replace("_bn", "_conv"))
            layer.set_weights([gamma, beta, mean - convolution.get_weights()[1], variance])


def _resnet34(weights, size):
    """keras-cv's ResNet-34; Keras has no ImageNet weights of it."""
    if weights != "none":
        raise ValueError(
            '"--encoder_weights" of resnet34 must be none or a .keras file of ours: no ImageNet '
            f"weights of it are published for Keras. Received: {weights}"
        )
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
    return Encoder(_for_training(keras.Model(backbone.input, outputs), "encoder"))


def _lite(name):
    def build(weights, size):
        model = efficientnet_lite.build(name, size)
        if weights == "none":
            return Encoder(model)
        is_shipped = weights == "imagenet"
        path = efficientnet_lite.shipped_weights_path(name) if is_shipped else weights
        efficientnet_lite.load_torch_weights(model, name, path)
        return Encoder(model, LITE_MEAN, LITE_STD)

    return build


def _resnet_skips(blocks):
    return ("conv1_relu", *(f"conv{stage}_block{number}_out" for stage, number in blocks))


ENCODERS: dict[str, Callable[[str, int], Encoder]] = {
    "resnet101": _keras_resnet(
        keras.applications.ResNet101, _resnet_skips(((2, 3), (3, 4), (4, 23), (5, 3)))
    ),
    "resnet50": _keras_resnet(
        keras.applications.ResNet50, _resnet_skips(((2, 3), (3, 4), (4, 6), (5, 3)))
    ),
    "resnet34": _resnet34,
    **{name: _lite(name) for name in efficientnet_lite.VARIANTS},
}
