import keras
import numpy as np
import pytest

from lbunet_tf.runs import training_history
from lbunet_tf.training import callbacks
from lbunet_tf.training import losses

SIZE = 16


def _make_model(learning_rate=1e-2, dropout=0.1):
    keras.utils.set_random_seed(0)
    images = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 128, -1)(images)
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="bn")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(keras.layers.ReLU(name="relu")(x))
    x = keras.layers.Conv2D(1, 1, name="mask")(x)
    model = keras.Model(images, {"mask": x})
    model.compile(keras.optimizers.Adam(learning_rate), loss=losses.make_losses(("mask",)))
    return model


@pytest.fixture(scope="module")
def make_model():
    """A function that returns a tiny compiled mask model, always with the same weights."""
    return _make_model


@pytest.fixture(scope="module")
def batch():
    """(images, targets, weights) of 6 images: a brighter square is the mask."""
    rng = np.random.default_rng(7)
    masks = np.zeros((6, SIZE, SIZE, 1), "float32")
    masks[:, 4:10, 5:13] = 1
    images = rng.integers(0, 100, (6, SIZE, SIZE, 3)) + 120 * masks
    weights = np.ones((6, SIZE, SIZE), "float32")
    return images.astype("float32"), {"mask": masks}, {"mask": weights}


@pytest.fixture(scope="module")
def fit(batch):
    """A function that trains in a run directory, going on from its backup, as the entry does."""

    def train(model, run, epochs, patience=100, more=(), images=None, val_images=None):
        train_images, targets, weights = batch
        ours = callbacks.make_callbacks(run, patience, batch, "lesion")
        model.fit(
            train_images if images is None else images,
            targets,
            sample_weight=weights,
            batch_size=2,
            epochs=epochs,
            initial_epoch=training_history.finished_epochs(run),
            shuffle=False,
            validation_data=(train_images if val_images is None else val_images, targets, weights),
            callbacks=[*more, *ours],
            verbose=0,
        )
        return model

    return train


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder
