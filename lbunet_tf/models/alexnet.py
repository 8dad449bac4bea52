"""AlexNet, as it was published in 2012 and as torchvision has it; both without the last layer."""

import math

import keras
import numpy as np

WIDTH = 4096


def build_2012(size: int) -> keras.Model:
    """Returns AlexNet (Krizhevsky et al. 2012), (B, S, S, 3) to (B, 4096), without its last layer.

    Section 3: two halves of each wide convolution that see one another only in the third
    (groups), local response normalisation (3.3), overlapping max-pooling (3.4), dropout 0.5 of
    the outputs of both dense layers (4.2). 60,965,224 parameters with a last layer of 1,000
    classes at 227 px; the paper writes 224, at which its 55 x 55 map does not come out. At
    another size the first dense layer has another number of inputs.

    He's initialisation is ours: the paper's Gaussian of 0.01 needs its schedule.

    Args:
        size: Side of the images in pixels, at least 67, below which the last pool is empty.
    """
    images = keras.Input((size, size, 3), name="encoder_image")
    x = _convolution(images, 96, 11, "conv1", strides=4, padding="valid")
    x = LocalResponseNormalization(name="conv1_lrn")(x)
    x = _pool(x, "pool1")
    x = _convolution(x, 256, 5, "conv2", groups=2)
    x = LocalResponseNormalization(name="conv2_lrn")(x)
    x = _pool(x, "pool2")
    x = _convolution(x, 384, 3, "conv3")
    x = _convolution(x, 384, 3, "conv4", groups=2)
    x = _convolution(x, 256, 3, "conv5", groups=2)
    x = keras.layers.Flatten(name="flatten")(_pool(x, "pool5"))
    for number in (6, 7):
        x = keras.layers.Dropout(0.5, name=f"drop{number}")(_dense(x, f"fc{number}"))
    return keras.Model(images, x, name="encoder")


def build_tv(size: int) -> keras.Model:
    """Returns torchvision's AlexNet, (B, S, S, 3) to (B, 4096), without its last layer.

    That of Krizhevsky 2014 ("One weird trick", footnote 1): fewer filters, neither groups nor
    local response normalisation, dropout 0.5 of the inputs of both dense layers. 61,100,840
    parameters with a last layer of 1,000 classes, at every size: as in torchvision, the last map
    is averaged to 6 x 6 (a smaller one is repeated); at 224 px it is 6 x 6 already.

    He's initialisation is ours.

    Args:
        size: Side of the images in pixels, at least 63, below which the last pool is empty.
    """
    images = keras.Input((size, size, 3), name="encoder_image")
    x = keras.layers.ZeroPadding2D(2, name="conv1_padding")(images)
    x = _convolution(x, 64, 11, "conv1", strides=4, padding="valid")
    x = _convolution(_pool(x, "pool1"), 192, 5, "conv2")
    x = _pool(x, "pool2")
    for number, filters in ((3, 384), (4, 256), (5, 256)):
        x = _convolution(x, filters, 3, f"conv{number}")
    x = _pool(x, "pool5")
    if x.shape[1] != 6:
        x = AdaptiveMean(6, name="average")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for number in (6, 7):
        x = _dense(keras.layers.Dropout(0.5, name=f"drop{number}")(x), f"fc{number}")
    return keras.Model(images, x, name="encoder")


def _convolution(x, filters, kernel_size, name, strides=1, padding="same", groups=1):
    layer = keras.layers.Conv2D if groups == 1 else GroupedConv2D
    return layer(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        groups=groups,
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )(x)


def _pool(x, name):
    return keras.layers.MaxPooling2D(3, 2, name=name)(x)


def _dense(x, name):
    return keras.layers.Dense(WIDTH, activation="relu", kernel_initializer="he_normal", name=name)(
        x
    )


@keras.saving.register_keras_serializable("lbunet_tf")
class GroupedConv2D(keras.layers.Conv2D):
    """Conv2D of groups as a convolution of each, with the same weights and results.

    On CPUs Keras leaves groups to XLA, with which a training step took six times as long here, and
    which other runtimes do not take.
    """

    def convolution_op(self, inputs, kernel):
        """Returns (B, H, W, filters), without bias and activation."""
        groups = (keras.ops.split(each, self.groups, axis=-1) for each in (inputs, kernel))
        options = (list(self.strides), self.padding, self.data_format, self.dilation_rate)
        maps = [keras.ops.conv(*group, *options) for group in zip(*groups, strict=True)]
        return keras.ops.concatenate(maps, axis=-1)


@keras.saving.register_keras_serializable("lbunet_tf")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by what its neighbours among the channels have (AlexNet, 3.3).

    x / (bias + alpha * sum of x^2 over the channels at most `radius` away) ^ beta, in float32:
    the squares of large values overflow float16. What tf.nn.local_response_normalization
    computes, under every backend.

    Args:
        radius: The paper's n = 5 channels are 2 on either side.
        bias: The paper's k.
        alpha: Of the sum.
        beta: The exponent.
        **keywords: Of every layer.
    """

    def __init__(
        self,
        radius: int = 2,
        bias: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        **keywords,
    ):
        super().__init__(**keywords)
        self.radius, self.bias, self.alpha, self.beta = radius, bias, alpha, beta

    def call(self, inputs):
        """Returns (B, H, W, C), as the inputs."""
        x = keras.ops.cast(inputs, "float32")
        channels = x.shape[-1]
        padding = [(0, 0)] * (len(x.shape) - 1) + [(self.radius, self.radius)]
        squares = keras.ops.pad(keras.ops.square(x), padding)
        total = sum(squares[..., shift : shift + channels] for shift in range(2 * self.radius + 1))
        x = x / keras.ops.power(self.bias + self.alpha * total, self.beta)
        return keras.ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the inputs."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        names = ("radius", "bias", "alpha", "beta")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("lbunet_tf")
class AdaptiveMean(keras.layers.Layer):
    """Means over windows that make a map of any size S x S one of `size` x `size`.

    Window i reaches from floor(i S / size) to ceil((i + 1) S / size), as in PyTorch's
    AdaptiveAvgPool2d. Keras' AdaptiveAveragePooling2D fails in a graph for a map of one position.

    Args:
        size: Side of the output.
        **keywords: Of every layer.
    """

    def __init__(self, size: int, **keywords):
        super().__init__(**keywords)
        self.size = size

    def call(self, inputs):
        """Returns (B, size, size, C) from (B, S, S, C)."""
        means = keras.ops.convert_to_tensor(self._windows(inputs.shape[1]), self.compute_dtype)
        x = keras.ops.einsum("ih,bhwc->biwc", means, inputs)
        return keras.ops.einsum("jw,biwc->bijc", means, x)

    def _windows(self, side):
        """Returns (size, side): the weight of each row in each window."""
        weights = np.zeros((self.size, side), "float32")
        for index in range(self.size):
            first, end = index * side // self.size, math.ceil((index + 1) * side / self.size)
            weights[index, first:end] = 1 / (end - first)
        return weights

    def compute_output_shape(self, input_shape):
        """Returns (B, size, size, C)."""
        return (input_shape[0], self.size, self.size, input_shape[3])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "size": self.size}
