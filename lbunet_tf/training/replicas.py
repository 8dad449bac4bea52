"""Losses and gradients over the replicas of a MirroredStrategy, each of a part of the batch."""

from collections.abc import Callable
from collections.abc import Sequence

import keras
import tensorflow as tf


def count() -> int:
    """Returns the replicas of the strategy in whose scope this is called; 1 without one."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def batch_number(batches: keras.KerasTensor) -> keras.KerasTensor:
    """Returns a number of this replica's batch that no other batch of the training has."""
    if count() == 1:
        return batches
    context = tf.distribute.get_replica_context()
    place = keras.ops.cast(context.replica_id_in_sync_group, batches.dtype)
    return batches * context.num_replicas_in_sync + place


def over_replicas(losses: dict[str, keras.losses.Loss]) -> dict[str, keras.losses.Loss]:
    """Returns losses whose sum over replicas is the mean over what the global batch knows.

    Keras takes the mean over replicas of their own means, which is another number where they
    know unequally many targets. Without replicas they are returned as they are.
    """
    if count() == 1:
        return losses
    return {name: _Scaled(loss, _share_of_known) for name, loss in losses.items()}


def of_replica(losses: dict[str, keras.losses.Loss]) -> dict[str, keras.losses.Loss]:
    """Returns losses that are the mean over what the replica knows, as metrics need it.

    Keras divides a loss by the number of replicas, because it adds up their gradients.
    """
    if count() == 1:
        return losses
    return {name: _Scaled(loss, lambda _: float(count())) for name, loss in losses.items()}


def clip_by_global_norm(gradients: Sequence[tf.Tensor], clip_norm: float) -> list[tf.Tensor]:
    """Returns each replica's gradients, scaled so that the norm of their sum is at most clip_norm.

    Keras would clip those of each replica before it adds them up: another step than one device's.
    """
    context = tf.distribute.get_replica_context()
    norm = tf.linalg.global_norm(context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients)))
    return tf.clip_by_global_norm(list(gradients), clip_norm, use_norm=norm)[0]


class _Scaled(keras.losses.Loss):
    """A loss times what `scale` makes of the weights of a replica's targets."""

    def __init__(self, loss: keras.losses.Loss, scale: Callable):
        super().__init__(name=loss.name)
        self.loss, self.scale = loss, scale

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the scaled loss of a batch."""
        return self.loss(y_true, y_pred, sample_weight) * self.scale(sample_weight)


def _share_of_known(sample_weight):
    context = tf.distribute.get_replica_context()
    if context is None:
        # Keras builds the model outside of any replica.
        return 1.0
    known = tf.reduce_sum(tf.cast(sample_weight, tf.float32))
    everywhere = context.all_reduce(tf.distribute.ReduceOp.SUM, known)
    return tf.math.divide_no_nan(known * context.num_replicas_in_sync, everywhere)
