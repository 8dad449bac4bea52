"""The fused kernels against Keras' own batch norm and Adam."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.training import fused

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="fused kernels are TensorFlow's"
)


def _model():
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(images)
    # As the ResNets of keras.applications name the axis.
    x = keras.layers.BatchNormalization(axis=3, momentum=0.9, epsilon=1e-5, name="norm")(x)
    inner = keras.Model(images, x, name="encoder")
    x = keras.layers.Conv2D(4, 1, use_bias=False)(keras.layers.ReLU()(inner(images)))
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    return keras.Model(images, keras.layers.Conv2D(1, 1)(keras.layers.ReLU()(x)))


def _images():
    return np.random.default_rng(0).normal(3, 2, (6, 8, 8, 3)).astype("float32")


def _trained(model, optimizer, steps=5):
    model.compile(optimizer, loss="mse")
    targets = np.ones((6, 6, 6, 1), "float32")
    losses = [model.train_on_batch(_images(), targets) for _ in range(steps)]
    return np.array(losses), model.get_weights()


def test_fused_training_gives_keras_losses_weights_and_moving_statistics():
    plain, fast = _model(), _model()
    fused.fuse_batch_norm(fast)
    settings = {"learning_rate": 0.01, "epsilon": 1e-8}
    losses, weights = _trained(plain, keras.optimizers.Adam(**settings))
    fused_losses, fused_weights = _trained(fast, fused.FusedAdam(**settings))
    np.testing.assert_allclose(fused_losses, losses, rtol=1e-5)
    for ours, theirs in zip(fused_weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_fused_batch_norm_traces_the_fused_kernel_and_predicts_as_before():
    model = _model()
    before = model.predict_on_batch(_images())
    fused.fuse_batch_norm(model)
    np.testing.assert_array_equal(model.predict_on_batch(_images()), before)
    train = tf.function(lambda images: model(images, training=True))
    graph = train.get_concrete_function(tf.constant(_images())).graph
    assert [node.type for node in graph.get_operations()].count("FusedBatchNormV3") == 2


def test_fused_batch_norm_leaves_a_frozen_layer_as_it_is():
    model = _model()
    norm = model.get_layer("encoder").get_layer("norm")
    norm.trainable = False
    fused.fuse_batch_norm(model)
    before = [np.array(weight) for weight in norm.weights]
    _trained(model, fused.FusedAdam(0.01), steps=2)
    for weight, old in zip(norm.weights, before, strict=True):
        np.testing.assert_array_equal(np.array(weight), old)


def test_a_fused_model_is_saved_as_plain_keras(tmp_path):
    model = _model()
    fused.fuse_batch_norm(model)
    _trained(model, fused.FusedAdam(0.01), steps=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert type(loaded.get_layer("encoder").get_layer("norm")) is keras.layers.BatchNormalization
    np.testing.assert_array_equal(
        loaded.predict_on_batch(_images()), model.predict_on_batch(_images())
    )


def test_fused_adam_with_accumulated_gradients_and_average_equals_keras():
    settings = {
        "learning_rate": 0.01,
        "gradient_accumulation_steps": 2,
        "use_ema": True,
        "ema_momentum": 0.9,
        "global_clipnorm": 0.5,
    }
    losses, weights = _trained(_model(), keras.optimizers.Adam(**settings))
    fused_losses, fused_weights = _trained(_model(), fused.FusedAdam(**settings))
    np.testing.assert_allclose(fused_losses, losses, rtol=1e-5)
    for ours, theirs in zip(fused_weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_fused_training_in_mixed_precision_follows_keras(policy):
    keras.config.set_dtype_policy(policy)
    try:
        plain, fast = _model(), _model()
    finally:
        keras.config.set_dtype_policy("float32")
    fused.fuse_batch_norm(fast)
    losses, _ = _trained(plain, keras.optimizers.Adam(0.01))
    fused_losses, _ = _trained(fast, fused.FusedAdam(0.01))
    np.testing.assert_allclose(fused_losses, losses, rtol=0.02)
    assert losses[-1] < losses[0]
