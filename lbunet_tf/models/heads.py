"""The heads: what becomes the outputs of a model."""

from collections.abc import Callable
from collections.abc import Mapping

import keras

from lbunet_tf.settings import output_group


def outputs(
    x: keras.KerasTensor | None,
    deepest: keras.KerasTensor,
    padding: tuple,
    run_outputs: output_group.Outputs,
    kernel_size: int,
    melanoma_pool: str = "encoder",
) -> dict[str, keras.KerasTensor]:
    """Returns the outputs of the heads that are on.

    Args:
        x: (B, P, P, C) features at the padded image's resolution; None without a mask head.
        deepest: (B, P / 32, P / 32, D) features of the encoder.
        padding: What `decoder.pad_to_stride` added.
        run_outputs: Which heads, and the classes of the diagnosis.
        kernel_size: Of the mask head.
        melanoma_pool: A key of MELANOMA_POOLS.
    """
    heads_on = {}
    if run_outputs.has_mask:
        heads_on["mask"] = mask_head(x, padding, kernel_size)
    if run_outputs.heads != ("mask",):
        pooled = MELANOMA_POOLS[melanoma_pool](deepest, heads_on.get("mask"), padding)
        heads_on |= image_heads(pooled, run_outputs)
    return heads_on


def image_heads(
    pooled: keras.KerasTensor, run_outputs: output_group.Outputs
) -> dict[str, keras.KerasTensor]:
    """Returns `melanoma` (B, 1) and `diagnosis` (B, K), those that are on, from features (B, D)."""
    heads_on = {}
    if "melanoma" in run_outputs.heads:
        heads_on["melanoma"] = image_head(pooled, "melanoma", 1)
    if "diagnosis" in run_outputs.heads:
        heads_on["diagnosis"] = image_head(pooled, "diagnosis", len(run_outputs.class_names))
    return heads_on


def mask_head(x: keras.KerasTensor, padding: tuple, kernel_size: int) -> keras.KerasTensor:
    """Returns `mask` (B, S, S, 1) logits in float32, the padding cropped away."""
    x = keras.layers.Conv2D(1, kernel_size, padding="same", name="mask_logits")(x)
    if _is_padded(padding):
        x = keras.layers.Cropping2D(padding, name="crop_padding")(x)
    return keras.layers.Activation("linear", dtype="float32", name="mask")(x)


def auxiliary_mask_heads(
    stages: Mapping[int, keras.KerasTensor], padding: tuple
) -> dict[str, keras.KerasTensor]:
    """Returns `mask_s2`, `mask_s4`, `mask_s8`: (B, S, S, 1) logits in float32.

    Deep supervision (Lee et al. 2015): a 1x1 convolution of a decoder stage, bilinearly
    up-sampled, so that the coarse stages too learn the mask itself.

    Args:
        stages: Features by stride, as `decoder.unet_decoder` returns them.
        padding: What `decoder.pad_to_stride` added.
    """
    masks = {}
    for name in output_group.AUXILIARY:
        stride = int(name.removeprefix("mask_s"))
        x = keras.layers.Conv2D(1, 1, name=f"mask_logits_s{stride}")(stages[stride])
        x = keras.layers.UpSampling2D(
            stride, interpolation="bilinear", dtype="float32", name=f"mask_up_s{stride}"
        )(x)
        if _is_padded(padding):
            x = keras.layers.Cropping2D(padding, dtype="float32", name=f"crop_padding_s{stride}")(x)
        masks[name] = keras.layers.Activation("linear", dtype="float32", name=name)(x)
    return masks


def image_head(pooled: keras.KerasTensor, name: str, width: int) -> keras.KerasTensor:
    """Returns (B, width) logits in float32 from pooled features (B, D)."""
    x = keras.layers.Dense(width, name=f"{name}_logits")(pooled)
    return keras.layers.Activation("linear", dtype="float32", name=name)(x)


def image_mean(
    deepest: keras.KerasTensor, mask: keras.KerasTensor, padding: tuple
) -> keras.KerasTensor:
    """Returns the mean of the deepest features, (B, D); the mask is not looked at."""
    return keras.layers.GlobalAveragePooling2D(name="melanoma_pool")(deepest)


def image_and_lesion_mean(
    deepest: keras.KerasTensor, mask: keras.KerasTensor, padding: tuple
) -> keras.KerasTensor:
    """Returns the mean of the deepest features joined with their mean over the lesion, (B, 2 D).

    The lesion is the mask's probability, averaged to the size of the deepest map; the
    padding, which no mask was ever learned on, counts as background. No gradient goes
    back through it: the melanoma loss would move the outline to whatever tells the
    classes apart, most of all on images that have a label but no mask.

    Args:
        deepest: (B, P / 32, P / 32, D).
        mask: (B, S, S, 1) logits.
        padding: From S to P.
    """
    x = keras.layers.Activation("sigmoid", dtype="float32", name="melanoma_mask")(mask)
    if _is_padded(padding):
        x = keras.layers.ZeroPadding2D(padding, dtype="float32", name="melanoma_mask_padding")(x)
    window = (x.shape[1] // deepest.shape[1], x.shape[2] // deepest.shape[2])
    x = keras.layers.AveragePooling2D(window, dtype="float32", name="melanoma_mask_pool")(x)
    lesion = WeightedMean(dtype="float32", name="melanoma_lesion_mean")(deepest, x)
    image = image_mean(deepest, mask, padding)
    return keras.layers.Concatenate(name="melanoma_concat")([image, lesion])


@keras.saving.register_keras_serializable("lbunet_tf")
class WeightedMean(keras.layers.Layer):
    """Mean of features (B, H, W, D) by weights (B, H, W, 1) in 0..1, to (B, D).

    sum((w + epsilon) x) / sum(w + epsilon). Where all weights are 0 it is the plain mean:
    an empty mask says nothing of where the lesion is. The weights get no gradient. A
    layer because Keras has none that divides.

    Args:
        epsilon: 1e-4 is a tenth of a pixel in a window of 32x32, and large enough that
            float32 keeps it next to 1.
        **keywords: Of every layer.
    """

    def __init__(self, epsilon: float = 1e-4, **keywords):
        super().__init__(**keywords)
        self.epsilon = epsilon

    def call(self, features, weights):
        """Returns the weighted mean, (B, D)."""
        weights = keras.ops.stop_gradient(weights) + self.epsilon
        total = keras.ops.sum(weights, axis=(1, 2))
        return keras.ops.sum(features * weights, axis=(1, 2)) / total

    def compute_output_shape(self, features_shape, weights_shape):
        """Returns (B, D)."""
        return (features_shape[0], features_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}


def _is_padded(padding):
    return any(map(any, padding))


MELANOMA_POOLS: dict[str, Callable[..., keras.KerasTensor]] = {
    "encoder": image_mean,
    "mask": image_and_lesion_mean,
}
