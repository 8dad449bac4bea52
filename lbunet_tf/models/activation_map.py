"""The class activation map: where in the image the melanoma head finds its evidence."""

from collections.abc import Sequence

import keras

OUTPUT = "activation"


def melanoma_by_position(model: keras.Model) -> keras.KerasTensor:
    """Returns (B, h, w, 1) melanoma logits by position of the deepest features.

    Zhou et al. 2016: the head is a mean over positions and a Dense layer, so the same
    Dense before the mean gives sum_k w_k f_k(x, y) + b, whose mean over positions is the
    head's logit.
    """
    # Dense takes (B, h, w, C) as it takes (B, C): the last axis counts.
    return model.get_layer("melanoma_logits")(model.get_layer("melanoma_pool").input)


def build_activation_model(
    model: keras.Model, heads: Sequence[str], melanoma_pool: str
) -> keras.Model:
    """Returns the model with one output more, `activation` (B, S, S, 1).

    `melanoma_by_position`, bilinear to the size of the input, without its padding.

    Raises:
        ValueError: The run has no melanoma head, or one that looks at more than the mean, or at no
            mean (a backbone's vector).
    """
    if "melanoma" not in heads or melanoma_pool != "encoder":
        raise ValueError(
            '"--weak_targets=activation" needs a run with melanoma in its --heads and '
            f"--melanoma_pool=encoder. Received: "
            f"--heads={','.join(heads)} --melanoma_pool={melanoma_pool}"
        )
    if all(layer.name != "melanoma_pool" for layer in model.layers):
        raise ValueError(
            '"--weak_targets=activation" needs features by position, of which the head takes the '
            "mean: a run whose --encoder gives no single vector. Received: a run without"
        )
    size, padding = model.inputs[0].shape[1], ((0, 0), (0, 0))
    for layer in model.layers:
        if layer.name == "pad_to_stride":
            padding = layer.padding
    padded = [size + sum(both) for both in padding]
    maps = keras.ops.image.resize(melanoma_by_position(model), padded, interpolation="bilinear")
    maps = keras.layers.Cropping2D(padding, dtype="float32", name=OUTPUT)(maps)
    return keras.Model(model.input, {**model.output, OUTPUT: maps}, name=model.name)
