"""The loss of each head."""

from collections.abc import Sequence

import keras


def make_losses(heads: Sequence[str]) -> dict[str, keras.losses.Loss]:
    """Returns binary cross-entropy on logits for each head (paper III.L, eq. 1).

    The mean is over what is known: pixels or images of weight 0 add nothing, and do
    not dilute the rest.
    """
    return {
        head: keras.losses.BinaryCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight", name=f"{head}_bce"
        )
        for head in heads
    }
