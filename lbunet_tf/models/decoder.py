"""The parts around an encoder: padding to its stride, U-Net decoder, heads."""

from collections.abc import Sequence

import keras

# segmentation_models_pytorch's widths; the paper states none (SYSTEMS G14).
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


def conv_block(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Returns x after 3x3 convolution without bias, batch norm (momentum 0.9) and ReLU."""
    x = keras.layers.Conv2D(
        filters,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def unet_decoder(
    features: Sequence[keras.KerasTensor], filters: Sequence[int] = DECODER_FILTERS
) -> keras.KerasTensor:
    """Returns features at full resolution.

    Each stage: nearest up-sampling by 2, concatenation with the skip (none at stride 1),
    two `conv_block`s.

    Args:
        features: Encoder features at strides 2, 4, 8, ... from fine to coarse.
        filters: Widths of the stages, from coarse to fine; one a feature.
    """
    x = features[-1]
    skips = [*features[-2::-1], None]
    for stage, (skip, width) in enumerate(zip(skips, filters, strict=True)):
        stride = 2 ** (len(filters) - 1 - stage)
        name = f"decoder_s{stride}"
        x = keras.layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_up")(x)
        if skip is not None:
            x = keras.layers.Concatenate(name=f"{name}_concat")([x, skip])
        x = conv_block(x, width, f"{name}_1")
        x = conv_block(x, width, f"{name}_2")
    return x


def mask_head(x: keras.KerasTensor, padding: tuple, kernel_size: int) -> keras.KerasTensor:
    """Returns `mask` (B, S, S, 1) logits in float32, the padding cropped away."""
    x = keras.layers.Conv2D(1, kernel_size, padding="same", name="mask_logits")(x)
    if any(map(any, padding)):
        x = keras.layers.Cropping2D(padding, name="crop_padding")(x)
    return keras.layers.Activation("linear", dtype="float32", name="mask")(x)


def melanoma_head(deepest: keras.KerasTensor) -> keras.KerasTensor:
    """Returns `melanoma` (B, 1) logits in float32 from the mean of the deepest features."""
    x = keras.layers.GlobalAveragePooling2D(name="melanoma_pool")(deepest)
    x = keras.layers.Dense(1, name="melanoma_logits")(x)
    return keras.layers.Activation("linear", dtype="float32", name="melanoma")(x)


def outputs(
    x: keras.KerasTensor,
    deepest: keras.KerasTensor,
    padding: tuple,
    heads: Sequence[str],
    kernel_size: int,
) -> dict[str, keras.KerasTensor]:
    """Returns the outputs of the heads that are on."""
    heads_on = {"mask": mask_head(x, padding, kernel_size)}
    if "melanoma" in heads:
        heads_on["melanoma"] = melanoma_head(deepest)
    return heads_on
