"""The loss of an epoch in which some batches know nothing."""

import keras
import numpy as np
import pandas as pd
import pytest

from lbunet_tf.training import callbacks
from lbunet_tf.training import losses
from lbunet_tf.training import metrics


@pytest.fixture
def half_known(batch):
    """The batch of 6 images, of which 2 have a mask."""
    images, targets, weights = batch
    known = np.array([1, 0, 0, 0, 0, 1], "float32")
    return images, targets, {"mask": weights["mask"] * known[:, None, None]}


@pytest.mark.parametrize("batch_size", [1, 2, 4, 6])
def test_the_loss_over_what_is_known_does_not_depend_on_the_batches(
    make_model, half_known, batch_size
):
    images, targets, weights = half_known
    model = make_model()
    loss = losses.make_losses(("mask",))
    model.compile("sgd", loss=loss, weighted_metrics=metrics.make_known_losses(loss))

    logs = model.evaluate(
        images, targets, sample_weight=weights, batch_size=batch_size, return_dict=True, verbose=0
    )

    known = weights["mask"][:, 0, 0] > 0
    logits = model.predict(images[known], verbose=0)["mask"]
    expected = float(loss["mask"](targets["mask"][known], logits))
    assert logs["known_loss"] == pytest.approx(expected, rel=1e-4)


def test_the_loss_over_what_is_known_takes_the_place_of_keras_mean(run):
    logs = {
        **{"loss": 9.0, "mask_loss": 9.0, "mask_known_loss": 0.5, "melanoma_known_loss": 0.25},
        **{"val_loss": 9.0, "val_mask_known_loss": 1.0, "val_melanoma_known_loss": 2.0},
    }

    callbacks.KnownLosses({"mask": 1.0, "melanoma": 0.5}).on_epoch_end(0, logs)

    assert logs == {
        **{"loss": 0.625, "mask_loss": 0.5, "melanoma_loss": 0.25},
        **{"val_loss": 2.0, "val_mask_loss": 1.0, "val_melanoma_loss": 2.0},
    }


def test_history_and_checkpoint_see_the_loss_over_what_is_known(make_model, half_known, run):
    images, targets, weights = half_known
    model = make_model()
    loss = losses.make_losses(("mask",))
    model.compile("sgd", loss=loss, weighted_metrics=metrics.make_known_losses(loss))
    ours = callbacks.make_callbacks(
        run, 9, (images, targets, weights), "lesion", known_losses={"mask": 1.0}
    )

    model.fit(
        images,
        targets,
        sample_weight=weights,
        batch_size=2,
        validation_data=(images, targets, weights),
        validation_batch_size=2,
        callbacks=ours,
        verbose=0,
    )

    history = pd.read_csv(run / "history.csv")
    known = weights["mask"][:, 0, 0] > 0
    saved = keras.models.load_model(run / "model.keras", compile=False)
    logits = saved.predict(images[known], verbose=0)["mask"]
    expected = float(loss["mask"](targets["mask"][known], logits))
    assert history["val_loss"].iloc[0] == pytest.approx(expected, rel=1e-4)
    assert "known_loss" not in set(history)
