"""Compiles a model with the optimizer, losses and metrics of the flags."""

import functools
from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
from absl import logging
from keras import ops

from lbunet_tf.data import diagnoses
from lbunet_tf.settings import config
from lbunet_tf.settings import output_group
from lbunet_tf.training import distribution
from lbunet_tf.training import fused
from lbunet_tf.training import losses
from lbunet_tf.training import metrics
from lbunet_tf.training import optimizers
from lbunet_tf.training import replicas


def compile_model(
    model: keras.Model,
    settings: config.Config,
    train_rows: pd.DataFrame,
) -> None:
    """Compiles with the flags' optimizer, losses and metrics; the paper's are III.L.

    Args:
        model: Outputs `settings.outputs.in_training`.
        settings: The flags.
        train_rows: The training part of the manifest, for --class_weights and schedules.
    """
    encoder = [layer for layer in model.layers if layer.name == "encoder"]
    if encoder and settings.optimizer.freeze_batch_norm:
        _freeze_batch_norm(encoder[0], settings.model.encoder)
    fused.fuse_batch_norm(model)
    make_losses = functools.partial(
        losses.make_losses,
        settings.outputs.in_training,
        settings.loss.mask_loss,
        settings.loss.melanoma_loss,
        settings.loss.label_smoothing,
        _logged_class_weights(settings.loss.class_weights, settings.outputs, train_rows),
    )
    watched = metrics.make_metrics(
        settings.outputs.heads,
        settings.outputs.mask_source,
        settings.outputs.class_names,
        settings.outputs.score_rule,
    )
    for name, known in _known_losses(make_losses()).items():
        watched[name] = [*watched.get(name, []), *known]
    weights = settings.loss.weights(settings.outputs.in_training)
    model.compile(
        optimizer=optimizers.make_optimizer(
            settings.optimizer,
            settings.budget.epochs,
            settings.device.steps_per_epoch(len(train_rows)),
            encoder[0].trainable_variables if encoder else (),
        ),
        loss=replicas.over_replicas(make_losses()),
        loss_weights=weights if set(weights.values()) != {1.0} else None,
        weighted_metrics=watched,
    )
    if not distribution.is_distributed():
        _create_variables(model)


def _freeze_batch_norm(encoder, name):
    layers = [one for one in encoder.layers if isinstance(one, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.trainable = False
    if not layers:
        logging.warning('"--freeze_batch_norm" changes nothing: %s has no batch norm', name)


def _create_variables(model):
    """Creates the variables of optimizer, losses and metrics.

    Made within the first step, they would cost a second tracing of it under TensorFlow.
    """
    model.optimizer.build(model.trainable_variables)
    shapes = {name: (1, *output.shape[1:]) for name, output in model.output.items()}
    targets = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
    weights = {name: np.ones(shape[:-1], "float32") for name, shape in shapes.items()}
    logits = {name: ops.convert_to_tensor(target) for name, target in targets.items()}
    model.compute_loss(None, targets, logits, weights)
    model.compute_metrics(None, targets, logits, weights)
    model.reset_metrics()


def _known_losses(measured):
    return metrics.make_known_losses(replicas.of_replica(measured))


def _logged_class_weights(heads, outputs, rows):
    weights = class_weights(heads, outputs, rows)
    for head, values in weights.items():
        names = outputs.class_names if head == "diagnosis" else ("class 0", "class 1")
        named = zip(names, values, strict=True)
        listed = ", ".join(f"{name} {weight:.3f}" for name, weight in named)
        logging.info("class weights of %s: %s", head, listed)
    return weights


def class_weights(
    heads: Sequence[str], outputs: output_group.Outputs, rows: pd.DataFrame
) -> dict[str, tuple[float, ...]]:
    """Returns head -> weights that give each of its classes the same sum over training.

    Args:
        heads: Of --class_weights.
        outputs: What the network gives.
        rows: The training part of the manifest.

    Raises:
        ValueError: A class has no training image.
    """
    weights = {}
    for head in heads:
        if head == "diagnosis":
            counts = diagnoses.targets_of(rows["diagnosis"], outputs.classes).sum(0)
            weights[head] = tuple((counts.sum() / (len(counts) * counts)).tolist())
            continue
        of_pixels = head == "mask" and outputs.mask_source == "lesion"
        share = float(rows["mask_share" if of_pixels else "label"].mean())
        if not 0 < share < 1:
            raise ValueError(
                f'"--class_weights={head}" needs both classes among the training images. '
                f"Received: a fraction of {share} of class 1"
            )
        weights[head] = (0.5 / (1 - share), 0.5 / share)
    return weights
