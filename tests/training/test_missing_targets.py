"""One training from sets that know different things: what is missing counts for nothing.

Three images: both targets known, mask alone, label alone. Whatever stands in the places of
the missing ones, loss, metrics and gradients must be the same to the last bit.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.data import pipeline
from lbunet_tf.settings import config
from lbunet_tf.training import compilation
from lbunet_tf.training import losses

SIZE = 16
HEADS = ("mask", "melanoma")


def _batch(missing_mask, missing_label):
    """Returns a batch as the pipeline makes it, with arbitrary values behind weight 0."""
    rng = np.random.default_rng(0)
    examples = {
        "image": rng.integers(0, 256, (3, SIZE, SIZE, 3)).astype("uint8"),
        "mask": rng.integers(0, 2, (3, SIZE, SIZE, 1)).astype("uint8"),
        "has_mask": np.array([True, True, False]),
        "label": np.array([1.0, -1.0, 0.0], "float32"),
    }
    images, targets, weights = pipeline.as_batch(
        {name: tf.constant(value) for name, value in examples.items()}, "lesion", HEADS
    )
    targets = {name: np.array(target) for name, target in targets.items()}
    targets["mask"][2] = missing_mask
    targets["melanoma"][1] = missing_label
    return images.numpy(), targets, {name: np.array(weight) for name, weight in weights.items()}


def _model():
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 128, -1)(image)
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="bn")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(
        image,
        {
            "mask": keras.layers.Conv2D(1, 1, name="mask")(x),
            "melanoma": keras.layers.Dense(1, name="melanoma")(pooled),
        },
    )


@pytest.fixture(scope="module", params=sorted(losses.MASK_LOSSES))
def make_compiled(request):
    """A function that gives a fresh compiled model, always of the same weights."""
    settings = config.make(
        heads=HEADS,
        mask_loss=request.param,
        melanoma_loss="focal" if request.param == "focal" else "bce",
    )
    # Of other weights, just half of the pixels may be right, and as many once all are turned.
    keras.utils.set_random_seed(0)
    model = _model()
    start = model.get_weights()

    def make():
        model.set_weights(start)
        compilation.compile_model(model, settings, train_rows=[0, 1, 2])
        # A step of plain descent shows the gradient itself.
        model.optimizer = keras.optimizers.SGD(1.0)
        return model

    return make


def _train(make_compiled, batch):
    images, targets, weights = batch
    model = make_compiled()
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = model.train_on_batch(images, targets, sample_weight=weights, return_dict=True)
    after = [weight.numpy() for weight in model.trainable_weights]
    gradients = [old - new for old, new in zip(before, after, strict=True)]
    return {name: float(value) for name, value in logs.items()}, gradients


def test_what_stands_for_a_missing_target_changes_neither_loss_nor_metric_nor_gradient(
    make_compiled,
):
    logs, gradients = _train(make_compiled, _batch(missing_mask=0, missing_label=0))
    others, other_gradients = _train(make_compiled, _batch(missing_mask=1, missing_label=1))

    assert others == logs
    for ours, theirs in zip(gradients, other_gradients, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any(np.any(gradient) for gradient in gradients)


def test_a_known_target_does_change_them(make_compiled):
    images, targets, weights = _batch(missing_mask=0, missing_label=0)
    logs, _ = _train(make_compiled, (images, targets, weights))
    targets["mask"][0] = 1 - targets["mask"][0]
    targets["melanoma"][2] = 1

    others, _ = _train(make_compiled, (images, targets, weights))

    assert {name for name in logs if logs[name] != others[name]} >= {
        "loss",
        "mask_accuracy",
        "melanoma_accuracy",
    }


def test_the_first_step_traces_the_training_once_and_starts_metrics_at_nothing():
    model = _model()
    compilation.compile_model(model, config.make(heads=HEADS), train_rows=[0, 1, 2])
    # The layers are seen by each tracing, and by nothing else.
    tracings = []
    conv = model.get_layer("conv")
    inner = conv.call
    conv.call = lambda inputs: tracings.append(0) or inner(inputs)
    assert not any(np.any(state) for metric in model.metrics for state in metric.variables)

    images, targets, weights = _batch(missing_mask=0, missing_label=0)
    model.train_on_batch(images, targets, sample_weight=weights)

    assert len(tracings) == 1
