"""Gradients under whichever backend Keras has."""

import keras
import numpy as np


def of_array(function, array):
    """Returns function(array), (B,) or a scalar, and the gradient of its sum, as arrays."""
    if keras.backend.backend() == "jax":
        import jax

        value = function(array)
        gradient = jax.grad(lambda array: function(array).sum())(jax.numpy.asarray(array))
        return np.asarray(value), np.asarray(gradient)
    import tensorflow as tf

    variable = tf.Variable(array)
    with tf.GradientTape() as tape:
        value = function(variable)
    return value.numpy(), tape.gradient(value, variable).numpy()


def of_weights(model, images, loss, training=True):
    """Returns the gradient of `loss(outputs)` for each trainable weight; no state is changed."""
    before = [weight.numpy() for weight in model.non_trainable_weights]
    if keras.backend.backend() == "jax":
        import jax

        trainable = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]

        def of_trainable(values):
            outputs, _ = model.stateless_call(values, others, images, training=training)
            return loss(outputs)

        return [np.asarray(gradient) for gradient in jax.jit(jax.grad(of_trainable))(trainable)]
    import tensorflow as tf

    weights = [weight.value for weight in model.trainable_weights]
    with tf.GradientTape() as tape:
        total = loss(model(images, training=training))
    gradients = tape.gradient(total, weights, unconnected_gradients="zero")
    for weight, value in zip(model.non_trainable_weights, before, strict=True):
        weight.assign(value)
    return [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def weights_without(model, images, loss):
    """Returns the paths of the trainable weights that `loss(outputs)` gives no gradient."""
    found = of_weights(model, images, loss)
    pairs = zip(model.trainable_weights, found, strict=True)
    return [weight.path for weight, gradient in pairs if not np.any(gradient)]
