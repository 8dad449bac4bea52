"""Attention in the decoder: on the skips it takes in, and on what its stages give out."""

import dataclasses
from collections.abc import Callable

import keras


def gate(
    skip: keras.KerasTensor, signal: keras.KerasTensor, name: str, reduction: int = 2
) -> keras.KerasTensor:
    """Returns the skip times an additive attention gate in 0..1 (Oktay et al. 2018, eq. 1).

    sigmoid(w . relu(W_s skip + W_g signal)) at the signal's resolution, then bilinearly
    up-sampled. W_s is a 2x2 convolution with stride 2, as in the authors' code.

    Args:
        skip: (B, 2H, 2W, C) encoder features.
        signal: (B, H, W, D) decoder features of the stage before, which know more context.
        name: Of the stage; the layer `{name}_gate` is the gate before up-sampling.
        reduction: The sum has C / reduction channels (authors' code: 2).
    """
    filters = max(skip.shape[-1] // reduction, 1)
    from_skip = keras.layers.Conv2D(
        filters, 2, strides=2, use_bias=False, name=f"{name}_gate_skip"
    )(skip)
    from_signal = keras.layers.Conv2D(filters, 1, name=f"{name}_gate_signal")(signal)
    x = keras.layers.Add(name=f"{name}_gate_sum")([from_skip, from_signal])
    x = keras.layers.ReLU(name=f"{name}_gate_relu")(x)
    x = keras.layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_gate")(x)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_gate_up")(x)
    return keras.layers.Multiply(name=f"{name}_gated_skip")([skip, x])


def squeeze_and_excite(x: keras.KerasTensor, name: str, reduction: int = 2) -> keras.KerasTensor:
    """Returns x times a weight a channel, plus x times a weight a pixel; weights in 0..1.

    The "scSE" of Roy et al. 2018: a channel's weight comes from the means of all
    channels, a pixel's from its own channels; the two products are added.

    Args:
        x: (B, H, W, C).
        name: Of the stage.
        reduction: The channels are squeezed to C / reduction (paper: 2).
    """
    filters = x.shape[-1]
    # float32: a mean over all pixels of a large map is too coarse in bfloat16.
    pooled = keras.layers.GlobalAveragePooling2D(
        keepdims=True, dtype="float32", name=f"{name}_scse_pool"
    )(x)
    squeezed = keras.layers.Dense(
        max(filters // reduction, 1), activation="relu", name=f"{name}_scse_squeeze"
    )(pooled)
    channels = keras.layers.Dense(filters, activation="sigmoid", name=f"{name}_scse_channels")(
        squeezed
    )
    pixels = keras.layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_scse_pixels")(x)
    by_channel = keras.layers.Multiply(name=f"{name}_scse_by_channel")([x, channels])
    by_pixel = keras.layers.Multiply(name=f"{name}_scse_by_pixel")([x, pixels])
    return keras.layers.Add(name=f"{name}_scse")([by_channel, by_pixel])


def _same_skip(skip, signal, name):
    return skip


def _same_features(x, name):
    return x


@dataclasses.dataclass(frozen=True)
class Attention:
    """What a decoder does to a skip before it takes it in, and to a stage's features."""

    on_skip: Callable = _same_skip
    after_stage: Callable = _same_features


ATTENTIONS: dict[str, Attention] = {
    "none": Attention(),
    "gate": Attention(on_skip=gate),
    "scse": Attention(after_stage=squeeze_and_excite),
}
