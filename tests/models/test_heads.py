"""Deep supervision, models for inference, and where the melanoma head looks."""

import keras
import numpy as np
import pytest

from lbunet_tf import models
from lbunet_tf.models import heads
from lbunet_tf.settings import config
from lbunet_tf.settings import output_group
from tests import gradients

BOTH_HEADS = ("mask", "melanoma")
NO_PADDING = ((0, 0), (0, 0))


@pytest.fixture
def deep(make_model):
    """A model with deep supervision and both heads, at 64 px."""
    return make_model(heads=BOTH_HEADS, deep_supervision=True, image_size=64)


@pytest.fixture
def pooled():
    """A function (features 2x2, mask logits 64x64) -> global mean joined with lesion mean."""

    def pool(features, logits, padding=NO_PADDING):
        inputs = keras.Input((2, 2, features.shape[-1])), keras.Input(logits.shape[1:])
        model = keras.Model(inputs, heads.image_and_lesion_mean(*inputs, padding))
        return np.asarray(model([features, logits])[0])

    return pool


# Features 1, 2, 3, 4; their mean is 2.5.
FEATURES = np.arange(1, 5, dtype="float32").reshape(1, 2, 2, 1)


def _logits(value=-80.0, side=64):
    return np.full((1, side, side, 1), value, "float32")


def test_deep_supervision_adds_a_mask_for_each_stride(deep):
    assert set(deep.output) == {*BOTH_HEADS, *output_group.AUXILIARY}


def test_outputs_of_deep_supervision_are_those_that_the_flags_name(deep):
    settings = config.make(heads=BOTH_HEADS, deep_supervision=True)

    assert set(deep.output_names) == set(settings.outputs.in_training)


def test_outputs_are_named_as_their_keys(deep):
    assert {name: tensor.name for name, tensor in deep.output.items()} == {
        name: deep.get_layer(name).output.name for name in deep.output
    }


def test_an_auxiliary_mask_is_its_stages_logits_up_sampled_and_cropped(make_model):
    model = make_model(deep_supervision=True, image_size=124)
    logits = model.get_layer("mask_logits_s8").output
    probe = keras.Model(model.input, [logits, model.output["mask_s8"]])
    image = np.random.default_rng(1).integers(0, 256, (1, 124, 124, 3)).astype("float32")

    coarse, mask = probe(image, training=False)

    # Padding is 2 on every side.
    large = keras.layers.UpSampling2D(8, interpolation="bilinear")(coarse)
    np.testing.assert_allclose(mask, large[:, 2:-2, 2:-2], atol=1e-5)


def test_deep_supervision_leaves_the_initial_weights_of_the_rest(deep, make_model):
    default = make_model(heads=BOTH_HEADS, image_size=64)

    ours = models.inference_model(deep, BOTH_HEADS)

    for weight, expected in zip(ours.get_weights(), default.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_model_for_inference_has_the_heads_only_and_their_numbers(deep, images):
    model = models.inference_model(deep, BOTH_HEADS)

    outputs, expected = model(images, training=False), deep(images, training=False)

    assert list(outputs) == model.output_names == list(BOTH_HEADS)
    for head in BOTH_HEADS:
        np.testing.assert_array_equal(outputs[head], expected[head])


def test_a_model_for_inference_has_the_layers_of_a_model_without_deep_supervision(deep, make_model):
    default = make_model(heads=BOTH_HEADS, image_size=64)

    model = models.inference_model(deep, BOTH_HEADS)

    ours, theirs = ([layer.name for layer in each.layers] for each in (model, default))
    assert sorted(ours) == sorted(theirs)
    assert model.count_params() == default.count_params()


def test_a_model_for_inference_shares_its_weights_and_keeps_its_name(deep):
    model = models.inference_model(deep, ("mask",))

    assert model.name == deep.name
    assert model.get_layer("decoder_s1_1_conv").kernel is deep.get_layer("decoder_s1_1_conv").kernel


def test_a_model_for_inference_is_not_compiled(deep):
    deep.compile("adam", loss=dict.fromkeys(deep.output_names, "binary_crossentropy"))

    assert not models.inference_model(deep, BOTH_HEADS).compiled


def test_a_model_for_inference_is_saved_and_loaded_with_its_numbers(deep, images, tmp_path):
    model = models.inference_model(deep, BOTH_HEADS)
    model.save(tmp_path / "model.keras")

    loaded = keras.models.load_model(tmp_path / "model.keras")

    outputs, expected = loaded(images, training=False), model(images, training=False)
    assert sorted(outputs) == sorted(BOTH_HEADS)
    for head in BOTH_HEADS:
        np.testing.assert_array_equal(outputs[head], expected[head])


def test_a_model_for_inference_can_be_made_of_a_loaded_model(deep, images, tmp_path):
    deep.save(tmp_path / "model.keras")

    loaded = keras.models.load_model(tmp_path / "model.keras")

    model = models.inference_model(loaded, ("mask",))
    expected = deep(images, training=False)["mask"]
    np.testing.assert_array_equal(model(images, training=False)["mask"], expected)


def test_a_head_that_the_model_lacks_is_refused(make_model):
    with pytest.raises(ValueError, match="must be outputs of the model, mask. Received: melanoma"):
        models.inference_model(make_model(), BOTH_HEADS)


def test_the_lesion_mean_is_that_of_the_features_under_the_mask(pooled):
    logits = _logits()
    logits[:, :32, 32:] = 80

    means = pooled(FEATURES, logits)

    np.testing.assert_allclose(means, [2.5, 2.0], atol=1e-3)


def test_the_lesion_mean_weighs_a_window_by_the_share_that_the_mask_covers(pooled):
    logits = _logits()
    logits[:, :32, :32] = 80
    logits[:, 32:48, 32:] = 80

    _, lesion = pooled(FEATURES, logits)

    # A whole window of 1 and half a window of 4.
    assert lesion == pytest.approx((1 * 1 + 0.5 * 4) / 1.5, abs=1e-3)


@pytest.mark.parametrize("logit", [-80.0, 0.0, 80.0])
def test_an_even_mask_empty_or_full_gives_the_plain_mean(pooled, logit):
    means = pooled(FEATURES, _logits(logit))

    np.testing.assert_allclose(means, [2.5, 2.5], atol=1e-5)


def test_a_change_outside_the_mask_moves_the_image_mean_and_not_the_lesion_mean(pooled):
    logits = _logits()
    logits[:, :32, :32] = 80
    changed = FEATURES.copy()
    changed[:, 1, 1] += 100

    image, lesion = pooled(changed, logits) - pooled(FEATURES, logits)

    assert image == pytest.approx(25, abs=1e-4)
    # Epsilon's share of it: 1e-4 x 100.
    assert lesion == pytest.approx(0.01, abs=1e-4)


def test_padding_counts_as_background(pooled):
    # 60 px with 4 of padding on the right and below: a full mask covers windows unequally.
    _, lesion = pooled(FEATURES, _logits(80, side=60), padding=((0, 4), (0, 4)))

    weights = np.array([1, 28 / 32, 28 / 32, (28 / 32) ** 2])
    assert lesion == pytest.approx(np.average([1, 2, 3, 4], weights=weights), abs=1e-3)


def test_the_melanoma_loss_does_not_move_the_mask(make_model, images):
    model = make_model(heads=BOTH_HEADS, melanoma_pool="mask", image_size=64)
    head = model.get_layer("mask_logits").kernel

    found = gradients.of_weights(
        model, images, lambda outputs: keras.ops.sum(outputs["melanoma"]), training=False
    )

    of_path = dict(zip((w.path for w in model.trainable_weights), found, strict=True))
    assert not np.any(of_path[head.path])


def test_the_mask_changes_where_the_melanoma_head_looks(make_model, images):
    model = make_model(heads=BOTH_HEADS, melanoma_pool="mask", image_size=64)
    mask = model.get_layer("mask_logits")
    before = np.asarray(model(images, training=False)["melanoma"])

    mask.kernel.assign(30 * mask.kernel)
    after = np.asarray(model(images, training=False)["melanoma"])

    assert np.abs(after - before).min() > 0


def test_a_weighted_mean_is_rebuilt_from_its_settings():
    layer = heads.WeightedMean(epsilon=0.5, name="mean")

    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))

    assert (again.epsilon, again.name) == (0.5, "mean")
