"""What a decoder may do to the deepest features before its first stage: see the whole image."""

from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from lbunet_tf.models import decoder


def self_attention(
    x: keras.KerasTensor, name: str, num_heads: int = 4, head_width: int = 64
) -> keras.KerasTensor:
    """Returns x plus multi-head self-attention over all its positions, (B, H, W, C).

    Pre-norm (Xiong et al. 2020): layer norm, position, attention (Vaswani et al. 2017)
    and the residual. Queries, keys and values have 256 channels, whatever C is.
    """
    tokens = keras.layers.LayerNormalization(name=f"{name}_norm")(x)
    tokens = PositionEncoding(name=f"{name}_position")(tokens)
    # No biases: a key's cancels in the softmax and would never be trained.
    tokens = keras.layers.MultiHeadAttention(
        num_heads, head_width, use_bias=False, attention_axes=(1, 2), name=f"{name}_attention"
    )(tokens, tokens)
    return keras.layers.Add(name=f"{name}_add")([x, tokens])


def aspp(
    x: keras.KerasTensor, name: str, filters: int = 256, rates: Sequence[int] = (1, 2, 3)
) -> keras.KerasTensor:
    """Returns atrous spatial pyramid pooling, (B, H, W, filters) (Chen et al. 2017, 3.3).

    A 1x1 convolution, a 3x3 one for each rate and the image's mean, concatenated and
    projected. The paper's rates 6, 12, 18 are for maps of 32 and more a side. At stride
    32 a map has 4 (128 px) to 8 (256 px): 3 is the highest rate at which every tap of a
    kernel still meets a position of a 4x4 map; beyond it a 3x3 kernel is a 1x1 one.
    """
    branches = [decoder.conv_block(x, filters, f"{name}_point", kernel_size=1)]
    for rate in rates:
        branches.append(decoder.conv_block(x, filters, f"{name}_rate{rate}", dilation_rate=rate))
    mean = keras.layers.GlobalAveragePooling2D(
        keepdims=True, dtype="float32", name=f"{name}_image_pool"
    )(x)
    mean = decoder.conv_block(mean, filters, f"{name}_image", kernel_size=1)
    branches.append(keras.layers.UpSampling2D(x.shape[1:3], name=f"{name}_image_up")(mean))
    x = keras.layers.Concatenate(name=f"{name}_concat")(branches)
    return decoder.conv_block(x, filters, f"{name}_project", kernel_size=1)


@keras.saving.register_keras_serializable("lbunet_tf")
class PositionEncoding(keras.layers.Layer):
    """Adds sines and cosines of row and column, a quarter of the channels each.

    Without it attention could not tell where in the image a feature lies. Fixed, after
    Vaswani et al. 2017 (3.5), and in two dimensions as Carion et al. 2020; a layer
    because a constant in a functional model is not saved.

    Args:
        wavelengths: Shortest and longest, in positions. The 6 to 62,832 of Vaswani et
            al. are for sentences: on a map 4 wide most of them stay constant.
        **keywords: Of every layer.
    """

    def __init__(self, wavelengths: Sequence[float] = (4.0, 64.0), **keywords):
        super().__init__(**keywords)
        self.wavelengths = tuple(wavelengths)

    def build(self, input_shape):
        """Computes the encoding of the map's size.

        Raises:
            ValueError: The channels are no multiple of 4.
        """
        height, width, channels = input_shape[1:]
        if channels % 4:
            raise ValueError(
                "PositionEncoding needs a multiple of 4 channels: sine and cosine of row and "
                f"column. Received: {channels}"
            )
        angles = 2 * np.pi / np.geomspace(*self.wavelengths, channels // 4)
        rows = np.broadcast_to(
            np.arange(height)[:, None, None] * angles, (height, width, len(angles))
        )
        columns = np.broadcast_to(np.arange(width)[:, None] * angles, rows.shape)
        waves = [np.sin(rows), np.cos(rows), np.sin(columns), np.cos(columns)]
        self._encoding = np.concatenate(waves, axis=-1).astype("float32")

    def call(self, x):
        """Returns x plus the encoding, in the type of x."""
        return x + keras.ops.cast(self._encoding, x.dtype)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "wavelengths": self.wavelengths}


def _same(x, name):
    return x


BOTTLENECKS: dict[str, Callable[[keras.KerasTensor, str], keras.KerasTensor]] = {
    "none": _same,
    "self_attention": self_attention,
    "aspp": aspp,
}
