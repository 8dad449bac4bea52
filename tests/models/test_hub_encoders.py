"""The transformers of keras-hub, an extra: without it, only what the errors say is tested."""

import json
import sys

import keras
import numpy as np
import pytest

from lbunet_tf.models import encoders
from lbunet_tf.models import hub_encoders
from lbunet_tf.models import policies
from lbunet_tf.models import saved_models
from lbunet_tf.settings import keywords

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def keras_hub():
    return pytest.importorskip("keras_hub")


@pytest.fixture(scope="module")
def presets(keras_hub, tmp_path_factory):
    """By name: keras-hub's own network with random weights, and the folder of its preset."""
    found = {}
    for number, (name, (make, size)) in enumerate(hub_encoders._BACKBONES.items()):
        keras.utils.set_random_seed(number)
        backbone, folder = make(size), tmp_path_factory.mktemp("presets") / name
        rng = np.random.default_rng(number)
        for weight in backbone.weights:
            if "relative_position_bias_table" in weight.path:
                weight.assign(rng.normal(0, 1, weight.shape))
        backbone.save_to_preset(str(folder))
        settings = {"scale": (1 / 255 / STD).tolist(), "offset": (-MEAN / STD).tolist()}
        (folder / "image_converter.json").write_text(json.dumps({"config": settings}))
        found[name] = backbone, folder
    return found


@pytest.fixture
def images():
    return np.random.default_rng(5).normal(0, 1, (2, 224, 224, 3)).astype("float32")


def call(model, images):
    return model(keras.ops.convert_to_tensor(images), training=False)


@pytest.mark.parametrize(
    "name, size, num_parameters, channels",
    [
        ("mit_b0", 64, 3_319_392, [32, 64, 160, 256]),
        ("swin_t", 224, 27_519_354, [96, 192, 384, 768]),
        # Windows of 4 have smaller tables than windows of 7.
        ("swin_t", 128, 27_502_794, [96, 192, 384, 768]),
    ],
)
def test_features_stand_at_strides_4_to_32(keras_hub, name, size, num_parameters, channels):
    model = encoders.build_encoder(name, "none", size).model

    strides = [size // feature.shape[1] for feature in model.outputs]
    assert (strides, [feature.shape[-1] for feature in model.outputs]) == ([4, 8, 16, 32], channels)
    assert model.count_params() == num_parameters


def test_features_of_mit_are_those_of_keras_hub(presets, images):
    backbone, folder = presets["mit_b0"]
    images = images[:, :128, :128]

    encoder = encoders.build_encoder("mit_b0", str(folder), 128)

    theirs = call(keras.Model(backbone.input, list(backbone.pyramid_outputs.values())), images)
    for ours, expected in zip(call(encoder.model, images), theirs, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_the_last_features_of_swin_are_those_of_keras_hub(presets, images):
    backbone, folder = presets["swin_t"]

    encoder = encoders.build_encoder("swin_t", str(folder), 224)

    expected = np.asarray(call(backbone, images)).reshape(2, 7, 7, 768)
    np.testing.assert_allclose(call(encoder.model, images)[-1], expected, atol=1e-4)


def test_in_smaller_windows_offsets_keep_their_weights(presets):
    backbone, folder = presets["swin_t"]

    encoder = encoders.build_encoder("swin_t", str(folder), 128)

    large = backbone.get_layer("stage_1").blocks[0].attn.relative_position_bias_table
    small = encoder.model.get_layer("stage_1").blocks[0].attn.relative_position_bias_table
    # Rows are offsets (dy, dx), from -6 to 6 and from -3 to 3.
    large, small = np.reshape(large, (13, 13, 6)), np.reshape(small, (7, 7, 6))
    np.testing.assert_array_equal(small[3 + 2, 3 - 1], large[6 + 2, 6 - 1])
    np.testing.assert_array_equal(small, large[3:10, 3:10])


def test_a_preset_brings_its_normalisation(presets):
    encoder = encoders.build_encoder("mit_b0", str(presets["mit_b0"][1]), 64)

    np.testing.assert_allclose(encoder.mean, 255 * MEAN, rtol=1e-6)
    np.testing.assert_allclose(encoder.std, 255 * STD, rtol=1e-6)


def test_a_download_is_read_like_a_folder(presets, monkeypatch):
    asked = []
    backbone, folder = presets["mit_b0"]
    download = pytest.importorskip("kagglehub")
    monkeypatch.setattr(download, "model_download", lambda name: asked.append(name) or str(folder))

    encoder = encoders.build_encoder("mit_b0", "imagenet", 64)

    assert asked == ["keras/mit/keras/mit_b0_ade20k_512/4"]
    np.testing.assert_array_equal(encoder.model.get_weights()[0], backbone.get_weights()[0])


@pytest.mark.parametrize("name", hub_encoders.PRESETS)
def test_the_presets_are_those_of_keras_hub(keras_hub, name):
    backbone = type(hub_encoders._BACKBONES[name][0](224))

    handles = [preset["kaggle_handle"] for preset in backbone.presets.values()]

    assert f"kaggle://{hub_encoders.PRESETS[name]}" in handles


def test_without_network_the_error_names_folder_and_files(keras_hub, monkeypatch, tmp_path):
    def fail(_):
        raise OSError("no network in tests")

    monkeypatch.setattr(pytest.importorskip("kagglehub"), "model_download", fail)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))

    with pytest.raises(ValueError, match="no network in tests") as error:
        encoders.build_encoder("mit_b0", "imagenet", 64)

    folder = tmp_path / "models" / hub_encoders.PRESETS["mit_b0"]
    assert f"model.weights.h5, image_converter.json) in {folder}" in str(error.value)
    assert "--encoder_weights=PATH" in str(error.value)


def test_a_folder_that_is_no_preset_is_refused_by_name(keras_hub, tmp_path):
    with pytest.raises(ValueError, match=f'"--encoder_weights" must be the folder .*{tmp_path}'):
        encoders.build_encoder("mit_b0", str(tmp_path), 64)


def test_the_preset_of_another_network_is_refused_by_name(presets):
    folder = presets["mit_b0"][1]

    with pytest.raises(ValueError, match=f"a preset of swin_t. Received: {folder}"):
        encoders.build_encoder("swin_t", str(folder), 224)


@pytest.mark.parametrize("name, size, least", [("swin_t", 96, 97), ("mit_b0", 32, 33)])
def test_images_too_small_for_the_network_are_refused(keras_hub, name, size, least):
    with pytest.raises(ValueError, match=f'"--image_size" must be at least {least}.*{name}'):
        encoders.build_encoder(name, "none", size)


@pytest.mark.parametrize("name", hub_encoders.PRESETS)
def test_without_keras_hub_the_error_says_how_to_install_it(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "keras_hub", None)

    with pytest.raises(ValueError, match='"--encoder" .*pip install "lbunet_tf.hub."'):
        encoders.build_encoder(name, "none", 128)


@pytest.mark.parametrize(
    "name, trainable", [("mit_b0", 5_549_489), ("swin_t", 31_612_955)], ids=["mit_b0", "swin_t"]
)
def test_lbunet_decodes_without_a_skip_at_stride_2_and_loads_again(
    keras_hub, make_model, num_trainable, tmp_path, name, trainable
):
    model = make_model(encoder=name, image_size=124)
    images = np.random.default_rng(6).integers(0, 256, (2, 124, 124, 3)).astype("float32")

    model.save(tmp_path / "model.keras")
    loaded = saved_models.load(tmp_path / "model.keras")

    layers = {layer.name for layer in model.layers}
    assert {"decoder_s4_concat", "decoder_s2_up"} <= layers and "decoder_s2_concat" not in layers
    assert num_trainable(model) == trainable
    ours, theirs = (one(images, training=False)["mask"] for one in (model, loaded))
    np.testing.assert_array_equal(ours, theirs)


def test_a_run_of_it_is_continued_from_its_file(keras_hub, make_model, tmp_path):
    run = make_model(encoder="mit_b0", image_size=64)
    run.save(tmp_path / "model.keras")

    encoder = encoders.build_encoder("mit_b0", str(tmp_path / "model.keras"), 96)

    expected = run.get_layer("encoder").get_weights()
    for ours, theirs in zip(encoder.model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_file_says_what_it_needs_where_keras_hub_is_missing(
    keras_hub, make_model, tmp_path, monkeypatch
):
    make_model(encoder="mit_b0", image_size=64).save(tmp_path / "model.keras")
    monkeypatch.setitem(sys.modules, "keras_hub", None)

    with pytest.raises(ValueError, match="model.keras .*pip install"):
        saved_models.load(tmp_path / "model.keras")


def test_a_model_in_mixed_precision_is_loaded_as_such(keras_hub, make_model, tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoders.build_encoder("mit_b0", "none", 64).model.save(tmp_path / "encoder.keras")
    finally:
        keras.config.set_dtype_policy(before)

    loaded = keras.models.load_model(tmp_path / "encoder.keras")

    assert loaded.outputs[-1].dtype == "bfloat16"
    assert keras.config.dtype_policy() == before


def test_from_python_the_error_names_the_argument(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)

    with pytest.raises(ValueError, match='^"encoder" mit_b0'), keywords.as_arguments():
        encoders.build_encoder("mit_b0", "none", 64)


@pytest.mark.parametrize("name, size", [("mit_b0", 64), ("swin_t", 128)])
def test_a_network_computes_by_another_policy(keras_hub, make_model, name, size):
    model = make_model(encoder=name, image_size=size)

    changed = policies.with_policy(model, "mixed_bfloat16")

    assert changed.get_layer("encoder").outputs[-1].dtype == "bfloat16"
    for before, after in zip(model.get_weights(), changed.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
