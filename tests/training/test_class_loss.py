"""The cross-entropy of classes: worked values, Keras' own, weights and smoothing."""

import keras
import numpy as np
import pandas as pd
import pytest

from lbunet_tf.settings import config
from lbunet_tf.training import compilation
from lbunet_tf.training import losses

LOGITS = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]], "float32")
TARGETS = np.array([[1, 0, 0], [0, 0.25, 0.75]], "float32")


def make_loss(**keywords):
    return losses.make_losses(("diagnosis",), **keywords)["diagnosis"]


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_keras_own(smoothing):
    peer = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)

    found = make_loss(label_smoothing=smoothing)(TARGETS, LOGITS)

    assert float(found) == pytest.approx(float(peer(TARGETS, LOGITS)), rel=1e-6)


def test_an_unknown_class_neither_costs_nor_dilutes():
    targets, weights = TARGETS.copy(), np.array([1, 0], "float32")
    targets[1] = 0

    found = make_loss()(targets, LOGITS, weights)

    assert float(found) == pytest.approx(-log_softmax(LOGITS)[0, 0], rel=1e-6)


def test_a_batch_of_nothing_known_costs_nothing():
    found = make_loss()(np.zeros_like(TARGETS), LOGITS, np.zeros(2, "float32"))

    assert float(found) == 0


def test_weights_of_classes_multiply_the_images_of_their_class():
    weights = (1.0, 2.0, 4.0)

    found = make_loss(class_weights={"diagnosis": weights})(TARGETS, LOGITS)

    of_images = -(TARGETS * log_softmax(LOGITS)).sum(1) * [1, 0.25 * 2 + 0.75 * 4]
    assert float(found) == pytest.approx(of_images.mean(), rel=1e-6)


def test_large_logits_have_a_finite_loss():
    found = make_loss()(np.eye(2, dtype="float32"), np.array([[-80, 80], [80, -80]], "float32"))

    assert float(found) == pytest.approx(160)


def test_the_loss_is_saved_with_its_arguments():
    loss = losses.ClassLoss(0.1, (1.0, 2.0), name="diagnosis")

    copy = keras.losses.deserialize(keras.losses.serialize(loss))

    assert copy.get_config() == loss.get_config()


def test_the_weights_of_classes_are_logged_by_their_names(caplog):
    caplog.set_level("INFO", logger="absl")
    settings = config.make(heads=("mask", "diagnosis"), class_weights=("diagnosis",))
    names = settings.outputs.class_names
    # Two of the first class and one of each other.
    rows = pd.DataFrame({"diagnosis": [names[0], *names]})

    weights = compilation._logged_class_weights(settings.loss.class_weights, settings.outputs, rows)

    assert weights["diagnosis"] == pytest.approx([8 / 14, *[8 / 7] * 6])
    listed = ", ".join([f"{names[0]} 0.571", *(f"{name} 1.143" for name in names[1:])])
    assert f"class weights of diagnosis: {listed}" in caplog.text
