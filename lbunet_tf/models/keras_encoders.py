"""Encoders of keras.applications: their features by stride, biases, weights and normalisation."""

import dataclasses
import os
import pathlib
import warnings

import keras
import numpy as np

from lbunet_tf.models import finite
from lbunet_tf.models import normalizations
from lbunet_tf.models import saved_models
from lbunet_tf.models.normalizations import Normalization
from lbunet_tf.storage import archives

STORAGE = "https://storage.googleapis.com"
STRIDES = (2, 4, 8, 16, 32)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of keras.applications, and what its ImageNet weights are.

    Args:
        constructor: Its name in keras.applications.
        file: Of the weights without top, below STORAGE; {rows} is one of `rows`.
        normalization: What these weights expect. That which a network does itself is taken out.
        rows: The sizes that weights were trained at, where there are several; 224 at any other.
    """

    constructor: str
    file: str
    normalization: Normalization
    rows: tuple[int, ...] = ()


def _network(constructor, folder, file, normalization):
    return Network(constructor, f"tensorflow/keras-applications/{folder}/{file}", normalization)


def _caffe(constructor, folder):
    file = f"{constructor.lower()}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return _network(constructor, folder, file, normalizations.CAFFE)


def _resnet_v2(constructor):
    caffe = _caffe(constructor, "resnet")
    return dataclasses.replace(caffe, normalization=normalizations.SYMMETRIC)


def _densenet(constructor):
    caffe = _caffe(constructor, "densenet")
    return dataclasses.replace(caffe, normalization=normalizations.IMAGENET)


def _mobilenet(constructor, folder, file, rows=()):
    network = _network(constructor, folder, file, normalizations.SYMMETRIC)
    return dataclasses.replace(network, rows=rows)


def _efficientnet(constructor):
    file = f"keras-applications/{constructor.lower()}_notop.h5"
    return Network(constructor, file, normalizations.IMAGENET)


def _efficientnet_v2(constructor, file, normalization):
    return _network(constructor, "efficientnet_v2", file, normalization)


NETWORKS = {
    "resnet101": _caffe("ResNet101", "resnet"),
    "resnet50": _caffe("ResNet50", "resnet"),
    "resnet152": _caffe("ResNet152", "resnet"),
    "resnet50v2": _resnet_v2("ResNet50V2"),
    "resnet101v2": _resnet_v2("ResNet101V2"),
    "resnet152v2": _resnet_v2("ResNet152V2"),
    "vgg16": _caffe("VGG16", "vgg16"),
    "vgg19": _caffe("VGG19", "vgg19"),
    "densenet121": _densenet("DenseNet121"),
    "densenet169": _densenet("DenseNet169"),
    "densenet201": _densenet("DenseNet201"),
    "mobilenet": _mobilenet(
        "MobileNet", "mobilenet", "mobilenet_1_0_{rows}_tf_no_top.h5", (128, 160, 192, 224)
    ),
    "mobilenetv2": _mobilenet(
        "MobileNetV2",
        "mobilenet_v2",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{rows}_no_top.h5",
        (96, 128, 160, 192, 224),
    ),
    "mobilenetv3_small": _mobilenet(
        "MobileNetV3Small",
        "mobilenet_v3",
        "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    ),
    "mobilenetv3_large": _mobilenet(
        "MobileNetV3Large",
        "mobilenet_v3",
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    ),
    "efficientnetb0": _efficientnet("EfficientNetB0"),
    "efficientnetb1": _efficientnet("EfficientNetB1"),
    "efficientnetb2": _efficientnet("EfficientNetB2"),
    "efficientnetb3": _efficientnet("EfficientNetB3"),
    "efficientnetv2b0": _efficientnet_v2(
        "EfficientNetV2B0", "efficientnetv2-b0_notop.h5", normalizations.IMAGENET
    ),
    "efficientnetv2s": _efficientnet_v2(
        "EfficientNetV2S", "efficientnetv2-s_notop.h5", normalizations.EFFICIENTNET_V2S
    ),
}


def build(name: str, weights: str, size: int) -> tuple[keras.Model, Normalization]:
    """Returns (normalised (B, size, size, 3) -> features at strides 2 to 32, the normalisation).

    Args:
        name: A key of NETWORKS.
        weights: "imagenet", "none", or the path of a weights file without top.
        size: Side of the input in pixels, a multiple of 32.

    Raises:
        ValueError: The weights could not be downloaded, or the file holds others.
    """
    network = NETWORKS[name]
    original = _original(network, weights, size)
    inputs = _behind_normalization(original)
    model = for_training(keras.Model(inputs, last_of_each_stride(original)), "encoder")
    if weights == "none":
        return model, normalizations.IMAGENET
    _copy_weights(original, model, is_bgr=network.normalization is normalizations.CAFFE)
    return model, _stated_in_weights(original) or network.normalization


def last_of_each_stride(model: keras.Model) -> list[keras.KerasTensor]:
    """Returns the last features at each stride from 2 to 32.

    By shape: the names of MobileNetV3's layers change with each build. What is padded is left
    out: at 64 px, 2 x 2 features of ResNetV2 become 4 x 4, as those of another stride are.
    """
    size, last = model.input.shape[1], {}
    for layer in model.layers:
        is_padding = isinstance(layer, keras.layers.ZeroPadding2D)
        if not is_padding and len(layer.output.shape) == 4:
            last[layer.output.shape[1]] = layer.output
    return [last[size // stride] for stride in STRIDES]


def for_training(model: keras.Model, name: str) -> keras.Model:
    """Returns the model rebuilt for training at small batches.

    Batch norm gets momentum 0.9 (PyTorch's; Keras' 0.99 and MobileNet's 0.999 leave running
    statistics near their initial values for epochs at batch 8). A convolution right before batch
    norm gets no bias, which batch norm takes away again. Kernels get He's initialisation by
    fan-out, as those of PyTorch's ResNet, VGG and MobileNet.
    """

    def rebuilt(layer):
        settings = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            settings.update(momentum=0.9)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            settings.update(depthwise_initializer=_he_by_fan_out())
        if isinstance(layer, keras.layers.Conv2D):
            settings.update(kernel_initializer=_he_by_fan_out())
        if _batch_norm_behind(layer):
            settings.update(use_bias=False)
        return type(layer).from_config(settings)

    inputs = keras.Input(model.input.shape[1:], name="normalized")
    clone = keras.models.clone_model(model, inputs, clone_function=rebuilt)
    return keras.Model(clone.inputs, clone.outputs, name=name)


def _he_by_fan_out():
    # One for each kernel: it draws a seed where it is made.
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _batch_norm_behind(layer):
    """Returns the batch norm that alone takes what a convolution gives, None where none does."""
    if not isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
        return None
    behind = {node.operation for node in layer._outbound_nodes}
    only = behind.pop() if len(behind) == 1 else None
    return only if isinstance(only, keras.layers.BatchNormalization) else None


def _original(network, weights, size):
    """Returns the keras.applications model; a failed download says what to put where."""
    is_file = weights not in ("imagenet", "none")
    if is_file:
        saved_models.check_hdf5(weights)
    constructor = getattr(keras.applications, network.constructor)
    try:
        with warnings.catch_warnings():
            # MobileNet's, that weights of 224 px are loaded at other sizes.
            warnings.simplefilter("ignore", UserWarning)
            model = constructor(
                include_top=False,
                weights=None if weights == "none" else weights,
                input_shape=(size, size, 3),
            )
    except Exception as error:
        # get_file raises a bare Exception where the network fails.
        raise _words_of(network, weights, size, error) from error
    if is_file:
        finite.check_model(model, weights)
    return model


def _words_of(network, weights, size, error):
    """Returns the ValueError for weights that could not be read or downloaded."""
    name = network.constructor.lower()
    url, _, file_name = file_url(network, size).rpartition("/")
    if weights != "imagenet":
        return ValueError(
            f'"--encoder_weights" must be a file of keras.applications\' {name} without top '
            f"(like {file_name}), or a .keras file of ours. Received: {weights}. "
            f"{archives.in_words(error)}"
        )
    home = pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    return ValueError(
        f"the ImageNet weights of {name} could not be downloaded. Place {file_name} (from "
        f"{url}/) at {home / 'models' / file_name}, or give its path as --encoder_weights=PATH, "
        f"or --encoder_weights=none to train from random weights. The download said: {error}"
    )


def file_url(network: Network, size: int) -> str:
    """Returns where keras.applications downloads the weights from, for images of a size."""
    rows = size if size in network.rows else 224
    return f"{STORAGE}/{network.file.format(rows=rows)}"


def _behind_normalization(model):
    """Returns the input of what comes behind the scaling that some networks do themselves."""
    inputs = model.input
    for layer in model.layers[1:]:
        if not isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            return inputs
        inputs = layer.output
    return inputs


def _stated_in_weights(model):
    """Returns the normalisation that weights hold (EfficientNet's do), None where they do not."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    if not (layers and layers[0].weights):
        return None
    mean, variance, _ = layers[0].get_weights()
    std = np.sqrt(variance)
    published = np.divide(normalizations.IMAGENET.std, 255)
    # The published files hold standard deviations where the layer expects variances, which
    # keras.applications makes good for "imagenet" only (TensorFlow's issue 49930).
    if np.allclose(variance, published, atol=1e-4):
        std = variance
    return Normalization(tuple((255.0 * mean).tolist()), tuple((255.0 * std).tolist()))


def _copy_weights(original, model, is_bgr):
    """Copies weights; a bias that was dropped goes into the mean of the batch norm behind it.

    Args:
        original: As keras.applications made it.
        model: The same, as `for_training` rebuilt it.
        is_bgr: Whether the first convolution takes BGR; its input channels become RGB.
    """
    biases = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        source = original.get_layer(layer.name)
        weights = source.get_weights()
        if isinstance(layer, keras.layers.Conv2D) and is_bgr and weights[0].shape[2] == 3:
            weights[0] = weights[0][:, :, ::-1]
        if len(weights) > len(layer.weights):
            biases[_batch_norm_behind(source).name] = weights.pop()
        if layer.name in biases:
            gamma, beta, mean, variance = weights
            weights = [gamma, beta, mean - biases[layer.name], variance]
        layer.set_weights(weights)
