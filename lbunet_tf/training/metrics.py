"""Metrics that are watched during training. Reported numbers come from `evaluation`."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from lbunet_tf.settings import output_group

KNOWN_LOSS = "known_loss"
# Thresholds of an AUC over images, even in the logit: 0.06 apart. Above, 32 bits have no more.
THRESHOLDS = (1 / (1 + np.exp(-np.linspace(-32, 16, 768)))).tolist()


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
    """An AUC that is NaN, not 0, where all targets are of one class.

    Keras' 200 thresholds are evenly spaced in probability. Where melanoma is rare, nearly all
    scores lie below the first of them, and their order counts for nothing: hence `_OfImages`.
    """

    def result(self):
        """Returns the AUC."""
        positive = self.true_positives[0] + self.false_negatives[0]
        negative = self.false_positives[0] + self.true_negatives[0]
        is_defined = ops.logical_and(positive > 0, negative > 0)
        return ops.where(is_defined, super().result(), float("nan"))


class _OfImages(_DefinedAUC):
    """An AUC of scores of images, by `THRESHOLDS` where no others are given."""

    def __init__(self, **keywords):
        super().__init__(**{"thresholds": THRESHOLDS, **keywords})


@keras.saving.register_keras_serializable("lbunet_tf")
class MelanomaAUC(_OfImages):
    """ROC AUC over images of the melanoma head, by thresholds even in the logit."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch. y_true and y_pred: (B, 1), y_pred logits; weight (B,)."""
        return super().update_state(_hard(y_true), ops.sigmoid(y_pred), sample_weight)


@keras.saving.register_keras_serializable("lbunet_tf")
class ImageAUC(_OfImages):
    """ROC AUC over images; an image's score is the mean of its pixel probabilities, or the largest.

    For masks that hold the image's label on every pixel (paper IV.A). Thresholds even in the
    logit: a training-time estimate; the reported AUC is exact.

    Args:
        score: "mean", or "max" of --image_score.
        **keywords: Of `keras.metrics.AUC`.
    """

    def __init__(self, score: str = "mean", **keywords):
        super().__init__(**keywords)
        self.score = score

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch. y_true and y_pred: (B, H, W, 1), y_pred logits; weight (B, H, W)."""
        score = getattr(ops, self.score)(ops.sigmoid(y_pred), axis=(1, 2, 3))
        if sample_weight is not None:
            sample_weight = sample_weight[:, 0, 0]
        label = ops.mean(y_true, axis=(1, 2, 3))  # CutMix pastes another's into some pixels.
        return super().update_state(_hard(label), score, sample_weight)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "score": self.score}


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


@keras.saving.register_keras_serializable("lbunet_tf")
class ClassAUC(_OfImages):
    """ROC AUC over images of one class against the others, by thresholds even in the logit.

    Args:
        position: Of the class, from 0.
        **keywords: Of `keras.metrics.AUC`.
    """

    def __init__(self, position: int, **keywords):
        super().__init__(**keywords)
        self.position = position

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch. y_true and y_pred: (B, K), y_pred logits; weight (B,)."""
        probability = ops.softmax(y_pred, axis=-1)[:, self.position]
        true = _hard(ops.convert_to_tensor(y_true)[:, self.position])
        return super().update_state(true, probability, sample_weight)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "position": self.position}


@keras.saving.register_keras_serializable("lbunet_tf")
class BalancedAccuracy(keras.metrics.Metric):
    """Mean recall over the classes that occur; NaN before any does. A mixed target is its largest.

    Args:
        num_classes: K.
        **keywords: Of every metric.
    """

    def __init__(self, num_classes: int, **keywords):
        super().__init__(**keywords)
        self.num_classes = num_classes
        self.hits = self.add_variable((num_classes,), "zeros", name="hits")
        self.counts = self.add_variable((num_classes,), "zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch. y_true and y_pred: (B, K), y_pred logits; weight (B,)."""
        true, predicted = ops.argmax(y_true, axis=-1), ops.argmax(y_pred, axis=-1)
        weight = ops.ones(ops.shape(true)) if sample_weight is None else sample_weight
        # An image is known or not; a half-known one counts whole.
        known = ops.cast(ops.convert_to_tensor(weight) > 0, "float32")
        classes = ops.one_hot(true, self.num_classes, dtype="float32") * known[:, None]
        is_hit = ops.cast(true == predicted, "float32")[:, None]
        self.hits.assign_add(ops.sum(classes * is_hit, axis=0))
        self.counts.assign_add(ops.sum(classes, axis=0))

    def result(self):
        """Returns the balanced accuracy."""
        occurs = ops.cast(self.counts > 0, "float32")
        recalls = ops.divide_no_nan(self.hits, self.counts)
        mean = ops.divide_no_nan(ops.sum(recalls), ops.sum(occurs))
        return ops.where(ops.sum(occurs) > 0, mean, float("nan"))

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_classes": self.num_classes}


def make_metrics(
    heads: Sequence[str],
    mask_source: str,
    class_names: Sequence[str] = (),
    score_rule: str = "mean",
) -> dict[str, list[keras.metrics.Metric]]:
    """Returns fresh metrics for each head; all of them count only what is known.

    `mask`: accuracy over pixels, and image AUC (label masks) or pixel AUC and Dice
    (lesion masks).
    `melanoma`: accuracy and AUC over images.
    `diagnosis`: accuracy, balanced accuracy and, where a class is mel, its AUC.
    `score_rule`: `Outputs.score_rule`; image AUC follows "max", and is of the mean else.
    """
    of_pixels = "max" if score_rule == "max" else "mean"
    melanoma_class = output_group.MELANOMA_CLASS
    metrics = {
        "mask": [
            Accuracy(name="accuracy", threshold=0.0),
            *(
                [ImageAUC(of_pixels, name="auc")]
                if mask_source == "label"
                else [PixelAUC(name="auc"), MaskDice(name="dice")]
            ),
        ],
        "melanoma": [
            Accuracy(name="accuracy", threshold=0.0),
            MelanomaAUC(name="auc"),
        ],
        "diagnosis": [
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            BalancedAccuracy(len(class_names), name="balanced_accuracy"),
            *(
                [ClassAUC(list(class_names).index(melanoma_class), name="auc")]
                if melanoma_class in class_names
                else []
            ),
        ],
    }
    return {head: metrics[head] for head in heads}
