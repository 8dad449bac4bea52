"""Vision Transformers: their sizes, their layers, and the weights of keras-hub."""

import collections
import sys

import keras
import numpy as np
import pytest

from lbunet_tf.models import backbones
from lbunet_tf.models import hub_backbones
from lbunet_tf.models import hub_presets
from lbunet_tf.models import vision_transformer

OF_7_CLASSES = 28 * 7 + 7


@pytest.fixture(scope="module")
def ahmad():
    """Ahmad's ViT at 56 px."""
    return vision_transformer.build_ahmad(56)


@pytest.fixture(scope="module")
def hub():
    """keras-hub, an extra."""
    return pytest.importorskip("keras_hub")


@pytest.fixture(scope="module")
def preset(hub, tmp_path_factory):
    """keras-hub's ViT-B/32 of random weights at 64 px, and the folder of it as a preset."""
    backbone = hub.models.ViTBackbone(
        image_shape=(64, 64, 3),
        patch_size=32,
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        mlp_dim=3072,
    )
    rng = np.random.default_rng(0)
    backbone.set_weights([rng.normal(0, 0.05, weight.shape) for weight in backbone.weights])
    folder = tmp_path_factory.mktemp("preset") / "vit"
    backbone.save_to_preset(str(folder))
    return backbone, folder


def _normal(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


@pytest.mark.parametrize("size, parameters", [(56, 910_527), (224, 4_412_607)])
def test_ahmads_has_its_stated_parameters(size, parameters):
    model = vision_transformer.build_ahmad(size)

    assert model.count_params() + OF_7_CLASSES == parameters


def test_ahmads_has_the_layers_of_the_abstract(ahmad):
    counts = collections.Counter(type(layer).__name__ for layer in ahmad.layers)

    # The 19th dense layer is the head's.
    assert (
        counts["LayerNormalization"],
        counts["MultiHeadAttention"],
        counts["Dense"] + 1,
        counts["Dropout"],
    ) == (17, 8, 19, 19)


def test_ahmads_knows_where_a_patch_is(ahmad):
    images = _normal(1, 56, 56, 3)
    moved = np.roll(images, 7, axis=1)

    assert not np.allclose(ahmad(images), ahmad(moved), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("patch, parameters", [(16, 85_798_656), (32, 87_455_232)])
def test_a_base_has_its_stated_parameters(patch, parameters):
    model = vision_transformer.build_base(224, patch)

    assert (model.count_params(), model.output.shape) == (parameters, (None, 768))


def test_a_class_token_is_put_first_and_is_the_same_for_each_image():
    layer, tokens = vision_transformer.ClassToken(), _normal(2, 3, 4)

    outputs = np.asarray(layer(tokens))

    np.testing.assert_array_equal(outputs[:, 1:], tokens)
    np.testing.assert_array_equal(outputs[:, 0], np.repeat(np.asarray(layer.token)[0], 2, axis=0))


def test_positions_of_the_same_number_stay_as_they_are():
    embedding = _normal(5, 2)

    assert hub_backbones.resized_positions(embedding, 5) is embedding


def test_positions_of_another_size_keep_the_class_token_and_the_order_of_the_grid():
    # Row and column of a 2 x 2 grid, behind the class token.
    embedding = np.array([[9, 9], [0, 0], [0, 1], [1, 0], [1, 1]], "float32")

    resized = hub_backbones.resized_positions(embedding, 17)

    np.testing.assert_array_equal(resized[0], [9, 9])
    grid = resized[1:].reshape(4, 4, 2)
    np.testing.assert_allclose(grid[:, 0, 0], [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(grid[0, :, 1], [0, 0.25, 0.75, 1])


@pytest.mark.parametrize("weights", ["imagenet", "folder"])
def test_a_preset_without_keras_hub_says_what_to_install(monkeypatch, tmp_path, weights):
    # What Python has for a module that is not there.
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    monkeypatch.setattr(hub_presets, "check_folder", lambda name, folder: None)

    with pytest.raises(ValueError, match=r'"--encoder_weights=.*" of vit_b16 .*lbunet_tf\[hub\]'):
        hub_backbones.build("vit_b16", weights, 32)


def test_a_folder_without_a_preset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="with model.weights.h5. Received: .* no such file"):
        backbones.build_backbone("vit_b32", str(tmp_path), 32)


@pytest.mark.slow
def test_a_base_computes_what_keras_hubs_does(preset):
    backbone, _ = preset
    model, images = vision_transformer.build_base(64, 32), _normal(2, 64, 64, 3)

    hub_backbones.copy_weights(backbone, model)

    np.testing.assert_allclose(model(images), backbone(images)[:, 0], atol=1e-5)


@pytest.mark.slow
def test_a_preset_is_read_from_its_folder(preset):
    backbone, folder = preset
    images = _normal(1, 64, 64, 3)

    encoder = backbones.build_backbone("vit_b32", str(folder), 64)

    np.testing.assert_allclose(encoder.model(images), backbone(images)[:, 0], atol=1e-5)
    assert (encoder.mean, encoder.std) == ((127.5,) * 3, (127.5,) * 3)


@pytest.mark.slow
def test_a_preset_is_read_at_another_size_and_with_its_own_scale(preset, hub, tmp_path):
    backbone, _ = preset
    backbone.save_to_preset(str(tmp_path))
    hub.layers.ViTImageConverter(
        image_size=(64, 64), scale=[1 / 50, 1 / 60, 1 / 70], offset=[-2.0, -1.0, 0.0]
    ).save_to_preset(str(tmp_path))

    encoder = backbones.build_backbone("vit_b32", str(tmp_path), 96)

    assert encoder.model(_normal(1, 96, 96, 3)).shape == (1, 768)
    np.testing.assert_allclose(encoder.mean, (100, 60, 0), atol=1e-4)
    np.testing.assert_allclose(encoder.std, (50, 60, 70), rtol=1e-6)


@pytest.mark.slow
def test_a_preset_of_another_patch_is_refused(preset):
    _, folder = preset
    with pytest.raises(
        ValueError, match='"--encoder_weights" must be the folder of a preset of vit_b16'
    ):
        backbones.build_backbone("vit_b16", str(folder), 64)


@pytest.mark.slow
def test_a_preset_of_another_network_is_refused(hub, tmp_path):
    hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    ).save_to_preset(str(tmp_path))

    with pytest.raises(ValueError, match="must be the folder of a preset of vit_b32"):
        backbones.build_backbone("vit_b32", str(tmp_path), 32)


def test_layers_of_ours_come_back_from_their_config():
    for kind in (vision_transformer.ClassToken, vision_transformer.PositionEmbedding):
        layer = kind(name="x", dtype="float32")
        assert keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(layer)
        ).get_config() == (layer.get_config())


@pytest.mark.slow
@pytest.mark.parametrize("name", hub_backbones.NETWORKS)
def test_a_preset_on_kaggle_is_one_of_keras_hubs(hub, name):
    presets = hub.models.ViTBackbone.presets.values()

    assert f"kaggle://{hub_backbones.NETWORKS[name].preset}" in {
        preset["kaggle_handle"] for preset in presets
    }
