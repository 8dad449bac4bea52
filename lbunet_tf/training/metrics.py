"""Metrics that are watched during training. Reported numbers come from `evaluation`."""

from collections.abc import Sequence

import keras
from keras import ops

KNOWN_LOSS = "known_loss"


def _hard(y_true):
    """Returns 0 or 1: a mixed target (MixUp, a teacher) counts as the nearer class."""
    return ops.cast(ops.convert_to_tensor(y_true) >= 0.5, "float32")


@keras.saving.register_keras_serializable("lbunet_tf")
class Accuracy(keras.metrics.BinaryAccuracy):
    """Share of the pixels or images on whose side of the logit 0 the target lies."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of logits."""
        return super().update_state(_hard(y_true), y_pred, sample_weight)


class _DefinedAUC(keras.metrics.AUC):
    """An AUC that is NaN, not 0, where all targets are of one class."""

    def result(self):
        """Returns the AUC."""
        positive = self.true_positives[0] + self.false_negatives[0]
        negative = self.false_positives[0] + self.true_negatives[0]
        is_defined = ops.logical_and(positive > 0, negative > 0)
        return ops.where(is_defined, super().result(), float("nan"))


@keras.saving.register_keras_serializable("lbunet_tf")
class MelanomaAUC(_DefinedAUC):
    """ROC AUC over images of the melanoma head, by 200 thresholds on the probability."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch. y_true and y_pred: (B, 1), y_pred logits; weight (B,)."""
        return super().update_state(_hard(y_true), ops.sigmoid(y_pred), sample_weight)


@keras.saving.register_keras_serializable("lbunet_tf")
class ImageAUC(_DefinedAUC):
    """ROC AUC over images; an image's score is the mean of its pixel probabilities.

    For masks that hold the image's label on every pixel (paper IV.A). 200 thresholds:
    a training-time estimate; the reported AUC is exact.
    """

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch. y_true and y_pred: (B, H, W, 1), y_pred logits; weight (B, H, W)."""
        score = ops.mean(ops.sigmoid(y_pred), axis=(1, 2, 3))
        if sample_weight is not None:
            sample_weight = sample_weight[:, 0, 0]
        label = ops.mean(y_true, axis=(1, 2, 3))  # CutMix pastes another's into some pixels.
        return super().update_state(_hard(label), score, sample_weight)


@keras.saving.register_keras_serializable("lbunet_tf")
class PixelAUC(_DefinedAUC):
    """ROC AUC over pixels, by 200 thresholds on the probability: a training-time estimate."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch. y_true and y_pred: (B, H, W, 1), y_pred logits; weight (B, H, W)."""
        if sample_weight is not None:
            sample_weight = ops.reshape(sample_weight, (-1,))
        probability = ops.reshape(ops.sigmoid(y_pred), (-1,))
        return super().update_state(_hard(ops.reshape(y_true, (-1,))), probability, sample_weight)


@keras.saving.register_keras_serializable("lbunet_tf")
class MaskDice(keras.metrics.Mean):
    """Mean over images of Dice at probability 0.5; empty mask and empty prediction count 1."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch. y_true and y_pred: (B, H, W, 1), y_pred logits; weight (B, H, W)."""
        predicted = ops.cast(y_pred > 0, "float32")
        true = _hard(y_true)
        both = ops.sum(predicted * true, axis=(1, 2, 3))
        total = ops.sum(predicted, axis=(1, 2, 3)) + ops.sum(true, axis=(1, 2, 3))
        dice = ops.where(total > 0, 2 * both / ops.maximum(total, 1), 1.0)
        if sample_weight is not None:
            sample_weight = ops.mean(ops.cast(sample_weight, "float32"), axis=(1, 2))
        return super().update_state(dice, sample_weight)


class KnownLoss(keras.metrics.Mean):
    """Mean of a loss over the images whose target is known, over a whole epoch.

    Keras' own loss of an epoch is the mean of its batches' losses, in which a batch that
    knows nothing counts as 0. It is for training only, and is never saved.
    """

    def __init__(self, loss: keras.losses.Loss):
        super().__init__(name=KNOWN_LOSS)
        self.loss = loss

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch. sample_weight: (B,) or (B, H, W), 0 where the target is not known."""
        loss = self.loss(y_true, y_pred, sample_weight)
        if sample_weight is None:
            return super().update_state(loss, ops.shape(y_pred)[0])
        weight = ops.convert_to_tensor(sample_weight, "float32")
        of_images = ops.mean(ops.reshape(weight, (ops.shape(weight)[0], -1)), axis=1)
        return super().update_state(loss, ops.sum(of_images))


def make_known_losses(losses: dict[str, keras.losses.Loss]) -> dict[str, list[KnownLoss]]:
    """Returns a `KnownLoss` for each output."""
    return {name: [KnownLoss(loss)] for name, loss in losses.items()}


def make_metrics(heads: Sequence[str], mask_source: str) -> dict[str, list[keras.metrics.Metric]]:
    """Returns fresh metrics for each head; all of them count only what is known.

    `mask`: accuracy over pixels, and image AUC (label masks) or pixel AUC and Dice
    (lesion masks).
    `melanoma`: accuracy and AUC over images.
    """
    metrics = {
        "mask": [
            Accuracy(name="accuracy", threshold=0.0),
            *(
                [ImageAUC(name="auc")]
                if mask_source == "label"
                else [PixelAUC(name="auc"), MaskDice(name="dice")]
            ),
        ],
        "melanoma": [
            Accuracy(name="accuracy", threshold=0.0),
            MelanomaAUC(name="auc"),
        ],
    }
    return {head: metrics[head] for head in heads}
