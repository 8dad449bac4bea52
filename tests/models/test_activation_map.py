import keras
import numpy as np
import pytest

from lbunet_tf import models
from lbunet_tf.models import activation_map
from lbunet_tf.models import combined
from lbunet_tf.settings import config


def build(**changes):
    settings = config.make(
        encoder="efficientnet_lite0", encoder_weights="none", heads=("mask", "melanoma")
    ).replace(**changes)
    return settings, models.build_model(settings)


def pictures(size):
    return np.random.default_rng(0).uniform(0, 255, (3, size, size, 3)).astype("float32")


@pytest.mark.parametrize(
    ("changes", "positions"),
    [({"image_size": 64}, 2), ({"image_size": 60}, 2), ({"model": "unet", "image_size": 48}, 3)],
    ids=["lbunet", "padded", "unet"],
)
def test_the_mean_of_the_map_over_positions_is_the_heads_logit(changes, positions):
    settings, model = build(**changes)
    images = pictures(settings.preprocessing.image_size)

    maps = keras.Model(model.input, activation_map.melanoma_by_position(model)).predict_on_batch(
        images
    )

    assert maps.shape == (3, positions, positions, 1)
    logits = model.predict_on_batch(images)["melanoma"][:, 0]
    np.testing.assert_allclose(maps.mean((1, 2, 3)), logits, atol=1e-4)


def test_the_map_has_the_size_of_the_input_beside_the_models_own_outputs():
    settings, model = build(image_size=60)
    images = pictures(60)

    outputs = activation_map.build_activation_model(
        model, settings.outputs.heads, settings.model.melanoma_pool
    ).predict_on_batch(images)

    assert outputs["activation"].shape == (3, 60, 60, 1)
    for name, values in model.predict_on_batch(images).items():
        np.testing.assert_allclose(outputs[name], values, atol=1e-4)


def test_the_padding_of_the_input_is_cut_off_the_map():
    settings, model = build(image_size=60)
    images = pictures(60)
    coarse = keras.Model(model.input, activation_map.melanoma_by_position(model)).predict_on_batch(
        images
    )

    maps = activation_map.build_activation_model(
        model, settings.outputs.heads, settings.model.melanoma_pool
    ).predict_on_batch(images)["activation"]

    # Two positions over 64 px, 2 px of padding on each side: both are centred 16 px from
    # the padded border, and the map is constant outside of the centres.
    np.testing.assert_allclose(maps[:, 0, 0], coarse[:, 0, 0], atol=1e-4)
    np.testing.assert_allclose(maps[:, 13, 13], coarse[:, 0, 0], atol=1e-4)
    assert not np.allclose(maps[:, 15, 15], coarse[:, 0, 0], atol=1e-4)


def test_the_mean_over_flips_of_a_mirrored_image_is_the_mirrored_map():
    settings, model = build(image_size=64)
    images = pictures(64)
    mean = combined.build_mean(
        [
            activation_map.build_activation_model(
                model, settings.outputs.heads, settings.model.melanoma_pool
            )
        ],
        "flips",
    )

    maps = mean.predict_on_batch(images)["activation"]

    mirrored = mean.predict_on_batch(images[:, :, ::-1])["activation"]
    np.testing.assert_allclose(mirrored[:, :, ::-1], maps, atol=1e-4)


@pytest.mark.parametrize("changes", [{"heads": ("mask",)}, {"melanoma_pool": "mask"}])
def test_a_head_that_is_no_mean_over_positions_has_no_map(changes):
    settings = config.make(heads=("mask", "melanoma")).replace(**changes)

    with pytest.raises(
        ValueError, match='"--weak_targets=activation" needs a run with melanoma in its --heads'
    ):
        activation_map.build_activation_model(
            keras.Model(), settings.outputs.heads, settings.model.melanoma_pool
        )
