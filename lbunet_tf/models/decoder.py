"""The parts around an encoder: padding to its stride, and the U-Net decoder."""

from collections.abc import Callable
from collections.abc import Sequence

import keras

from lbunet_tf.models import attention_blocks

# segmentation_models_pytorch's widths; the paper states none (docs/paper.md#g14).
DECODER_FILTERS = (256, 128, 64, 32, 16)


def pad_to_stride(images: keras.KerasTensor, stride: int) -> tuple[keras.KerasTensor, tuple]:
    """Returns (images padded with 0 to a multiple of `stride`, the padding that was added).

    124 px becomes 128 at stride 32: without it the skips of odd size do not fit
    (31 against 32).
    """
    padding = []
    for side in images.shape[1:3]:
        missing = -side % stride
        padding.append((missing // 2, missing - missing // 2))
    if any(map(any, padding)):
        images = keras.layers.ZeroPadding2D(tuple(padding), name="pad_to_stride")(images)
    return images, tuple(padding)


def conv_block(
    x: keras.KerasTensor, filters: int, name: str, kernel_size: int = 3, dilation_rate: int = 1
) -> keras.KerasTensor:
    """Returns x after a convolution without bias, batch norm (momentum 0.9) and ReLU."""
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        dilation_rate=dilation_rate,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def unet_decoder(
    features: Sequence[keras.KerasTensor | None],
    filters: Sequence[int] = DECODER_FILTERS,
    upsampling: str = "nearest",
    attention: str = "none",
) -> dict[int, keras.KerasTensor]:
    """Returns the features of the stages by their stride; 1 is the full resolution.

    Each stage: up-sampling by 2, concatenation with the skip (none at stride 1, nor where a
    feature is None), two `conv_block`s.

    Args:
        features: Encoder features at strides 2, 4, 8, ... from fine to coarse; None but the last
            where the encoder has none.
        filters: Widths of the stages, from coarse to fine; one a feature.
        upsampling: A key of UPSAMPLINGS.
        attention: A key of `attention_blocks.ATTENTIONS`.
    """
    upsample, attend = UPSAMPLINGS[upsampling], attention_blocks.ATTENTIONS[attention]
    x, stages = features[-1], {}
    skips = [*features[-2::-1], None]
    for stage, (skip, width) in enumerate(zip(skips, filters, strict=True)):
        stride = 2 ** (len(filters) - 1 - stage)
        name = f"decoder_s{stride}"
        signal, x = x, upsample(x, width, f"{name}_up")
        if skip is not None:
            skip = attend.on_skip(skip, signal, name)
            x = keras.layers.Concatenate(name=f"{name}_concat")([x, skip])
        x = conv_block(x, width, f"{name}_1")
        x = conv_block(x, width, f"{name}_2")
        stages[stride] = x = attend.after_stage(x, name)
    return stages


def _interpolation(kind):
    def upsample(x, filters, name):
        return keras.layers.UpSampling2D(2, interpolation=kind, name=name)(x)

    return upsample


def _transposed(x, filters, name):
    """Returns x after a learned 2x2 transposed convolution (Ronneberger et al. 2015).

    Kernel and stride are the same, so no pixel is written twice: overlaps of a larger
    kernel are what draws checkerboards. No bias: batch norm takes it away again.
    """
    return keras.layers.Conv2DTranspose(filters, 2, strides=2, use_bias=False, name=name)(x)


UPSAMPLINGS: dict[str, Callable[[keras.KerasTensor, int, str], keras.KerasTensor]] = {
    "nearest": _interpolation("nearest"),
    "bilinear": _interpolation("bilinear"),
    "transposed": _transposed,
}
