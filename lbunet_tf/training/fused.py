"""TensorFlow's fused kernels in training, in the place of Keras' chains of small operations.

Keras 3 writes batch norm and Adam as some fifteen operations a layer and a variable, each of
which reads and writes whole tensors. TensorFlow has one kernel for each. The arithmetic is the
same except for rounding; what is saved is the same file. Other backends fuse by themselves.
"""

import functools
from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import ops

from lbunet_tf.training import replicas


def fuse_batch_norm(model: keras.Model) -> None:
    """Makes the batch norm layers of a model use the fused kernel while they train.

    Their class stays keras.layers.BatchNormalization, and so does the saved model. Frozen
    layers and inference are Keras' own. Over the replicas of a MirroredStrategy the statistics
    are those of the global batch. Nothing happens under another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.axis in (-1, 3):
            layer.call = functools.partial(_batch_norm, layer)


def _batch_norm(layer, inputs, training=None, mask=None):
    """Returns what `layer` returns for (B, H, W, C), by FusedBatchNormV3."""
    if training and layer.trainable and replicas.count() > 1:
        return _synchronized_batch_norm(layer, inputs)
    is_plain = layer.scale and layer.center and not (layer.renorm or layer.synchronized)
    trains = training and layer.trainable
    if not (trains and is_plain and mask is None and len(inputs.shape) == 4):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=layer.gamma.value,
        offset=layer.beta.value,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel's variance is that of a sample, n / (n - 1) of Keras'.
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
    variance *= (count - 1) / count
    _move(layer, mean, variance)
    return outputs


def _synchronized_batch_norm(layer, inputs):
    """Returns what Keras' layer with synchronized=True returns.

    That layer could not be loaded under another backend, so a saved model must not have it.
    """
    axes = tuple(range(len(inputs.shape) - 1))
    inputs = ops.cast(inputs, "float32")
    mean, variance = ops.moments(inputs, axes, synchronized=True)
    _move(layer, mean, variance)
    gamma, beta = layer.gamma if layer.scale else None, layer.beta if layer.center else None
    outputs = ops.batch_normalization(inputs, mean, variance, -1, beta, gamma, layer.epsilon)
    return ops.cast(outputs, layer.compute_dtype)


def _move(layer, mean, variance):
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + value * (1 - layer.momentum))


class FusedAdam(keras.optimizers.Adam):
    """keras.optimizers.Adam by ResourceApplyAdam, one kernel a variable, under TensorFlow."""

    # Of the step that is being traced: 1 - beta^t is the same for every variable.
    _bias_correction = None

    def apply(self, grads: Sequence, trainable_variables: Sequence | None = None):
        """Updates the variables once."""
        self._bias_correction = None
        return super().apply(grads, trainable_variables)

    def _clip_gradients(self, grads):
        if replicas.count() == 1 or not self.global_clipnorm:
            return super()._clip_gradients(grads)
        return replicas.clip_by_global_norm(grads, self.global_clipnorm)

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable (Kingma and Ba 2015, algorithm 1 in the order of section 2)."""
        # A mirrored variable has a handle on each device; Keras knows how to go through them.
        if keras.backend.backend() != "tensorflow" or replicas.count() > 1:
            super().update_step(gradient, variable, learning_rate)
            return
        if self._bias_correction is None:
            step = ops.cast(self.iterations + 1, "float32")
            first, second = (1 - ops.power(beta, step) for beta in (self.beta_1, self.beta_2))
            self._bias_correction = ops.sqrt(second) / first
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            # The correction is in the rate already.
            beta1_power=0.0,
            beta2_power=0.0,
            lr=learning_rate * self._bias_correction,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
