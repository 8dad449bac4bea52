"""The loss of each head."""

from collections.abc import Sequence

import keras


def make_losses(
    outputs: Sequence[str],
    mask_loss: str = "bce",
    melanoma_loss: str = "bce",
    label_smoothing: float = 0.0,
    class_weights: dict[str, tuple[float, float]] | None = None,
) -> dict[str, keras.losses.Loss]:
    """Returns the loss of each output; every output but `melanoma` is a mask.

    The default is binary cross-entropy on logits (paper III.L, eq. 1).

    The mean is over what is known: pixels or images of weight 0 add nothing, and do
    not dilute the rest.
    """
    return {
        name: keras.losses.BinaryCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight", name=f"{name}_bce"
        )
        for name in outputs
    }
