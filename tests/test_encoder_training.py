"""Encoders of each kind, fine-tuned with all flags that are about the encoder, and exported."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf import export
from lbunet_tf import models
from lbunet_tf import train
from lbunet_tf.models import saved_models
from lbunet_tf.runs import run_directory

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["mobilenetv3_small", "mit_b0"])
def test_an_encoder_is_fine_tuned_saved_and_exported(small_config, tmp_path, name):
    if name == "mit_b0":
        pytest.importorskip("keras_hub")
    start = tmp_path / "start.keras"
    settings = small_config.replace(encoder=name, encoder_weights="none")
    models.build_model(settings).save(start)
    settings = settings.replace(
        encoder_weights=str(start),
        encoder_learning_rate=1e-4,
        frozen_epochs=1,
        freeze_batch_norm=True,
    )

    run = train.train(settings)
    folder = export.export(settings)

    before, after = (
        saved_models.load(path).get_layer("encoder") for path in (start, run / run_directory.MODEL)
    )
    for layer, trained in zip(before.layers, after.layers, strict=True):
        if isinstance(layer, keras.layers.BatchNormalization):
            np.testing.assert_array_equal(layer.get_weights(), trained.get_weights())
    kernels = [
        [weight for weight in encoder.get_weights() if weight.ndim > 1]
        for encoder in (before, after)
    ]
    # Frozen for one epoch of two, then trained.
    assert any(not np.array_equal(*pair) for pair in zip(*kernels, strict=True))
    assert "serving_default" in tf.saved_model.load(str(folder)).signatures
