import socket

import h5py
import keras
import numpy as np
import pytest
from keras.src.backend import config as keras_config
from keras.src.legacy.saving import legacy_h5_format

from lbunet_tf.models import encoders
from lbunet_tf.models import hub_encoders
from lbunet_tf.models import keras_encoders
from lbunet_tf.settings import config

NONE_MEAN = 255 * np.array([0.485, 0.456, 0.406])
NONE_STD = 255 * np.array([0.229, 0.224, 0.225])


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Makes every look-up of a host fail, and gives Keras an empty home."""

    def fail(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras_home"))
    # Keras reads KERAS_HOME once, when it is imported.
    monkeypatch.setattr(keras_config, "_KERAS_DIR", str(tmp_path / "keras_home"))


@pytest.fixture(scope="module")
def original_resnet50():
    """keras.applications' ResNet50 with random weights, biases and batch-norm statistics."""
    original = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(3)
    for weight in original.weights:
        if weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return original


@pytest.fixture(scope="module")
def resnet50_file(original_resnet50, tmp_path_factory):
    """A weights file in the old HDF5 format, which Keras' own downloads have."""
    path = tmp_path_factory.mktemp("weights") / "resnet50_notop.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, original_resnet50)
    return path


def _normalize(encoder, pixels):
    return ((pixels - np.array(encoder.mean)) / np.array(encoder.std)).astype("float32")


# Those of keras.applications are built by one function; keras-hub's have other strides.
OTHERS = {*keras_encoders.NETWORKS, *hub_encoders.PRESETS}
KINDS = [name for name in encoders.ENCODERS if name not in OTHERS]
KINDS += ["resnet50", "vgg16", "efficientnetb0"]


@pytest.fixture(scope="module", params=KINDS)
def random_encoder(request):
    """Each encoder without pretrained weights."""
    return encoders.build_encoder(request.param, "none", 64)


def test_features_stand_at_strides_2_to_32(random_encoder):
    sides = [feature.shape[1:3] for feature in random_encoder.model.outputs]

    assert sides == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]


def test_without_pretrained_weights_an_encoder_expects_the_papers_normalisation(random_encoder):
    np.testing.assert_allclose(random_encoder.mean, NONE_MEAN, atol=1e-5)
    np.testing.assert_allclose(random_encoder.std, NONE_STD, atol=1e-5)


def test_without_pretrained_weights_a_model_has_the_papers_normalisation(make_model):
    normalization = make_model().get_layer("normalization")
    pixels = np.array([[[[0.0, 128.0, 255.0], [124.0, 116.0, 104.0]]]], "float32")

    normalized = np.asarray(normalization(pixels))

    np.testing.assert_allclose(normalized, (pixels - NONE_MEAN) / NONE_STD, atol=1e-5)


def test_with_imagenet_weights_lite0_maps_bytes_to_minus_one_to_one(make_model):
    model = make_model(encoder_weights="imagenet")
    pixels = np.array([[[[0.0, 127.0, 255.0]]]], "float32")

    normalized = np.asarray(model.get_layer("normalization")(pixels))

    np.testing.assert_allclose(normalized, [[[[-127 / 128, 0.0, 1.0]]]], atol=1e-6)


def test_with_keras_weights_the_normalisation_is_kerass_in_rgb_order(make_model, resnet50_file):
    model = make_model(encoder="resnet50", encoder_weights=str(resnet50_file))
    pixels = np.array([[[[0.0, 0.0, 0.0], [255.0, 128.0, 1.0]]]], "float32")

    normalized = np.asarray(model.get_layer("normalization")(pixels))

    blue_green_red = keras.applications.resnet.preprocess_input(pixels.copy())
    np.testing.assert_allclose(normalized, blue_green_red[..., ::-1], atol=1e-5)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_resnet50_from_a_file_has_the_features_of_keras_applications(
    original_resnet50, resnet50_file, tmp_path, suffix
):
    path = resnet50_file
    if suffix == ".weights.h5":
        path = tmp_path / "resnet50_notop.weights.h5"
        original_resnet50.save_weights(path)
    pixels = np.random.default_rng(4).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    skips = ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out")
    layers = [original_resnet50.get_layer(name).output for name in skips]
    expected = keras.Model(original_resnet50.input, [*layers, original_resnet50.output])(
        keras.applications.resnet.preprocess_input(pixels.copy()), training=False
    )

    encoder = encoders.build_encoder("resnet50", str(path), 64)

    features = encoder.model(_normalize(encoder, pixels), training=False)
    for ours, theirs in zip(features, expected, strict=True):
        error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        assert error < 1e-4


@pytest.mark.parametrize("name", ["resnet101", "resnet34", "efficientnet_lite0"])
def test_a_file_of_another_encoder_is_refused_by_name(resnet50_file, name):
    with pytest.raises(ValueError, match="resnet50_notop.h5"):
        encoders.build_encoder(name, str(resnet50_file), 64)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
@pytest.mark.parametrize("file_name", ["weights.h5", "weights.weights.h5", "weights.keras"])
def test_a_file_that_is_no_weights_file_is_refused_by_name(tmp_path, name, file_name):
    path = tmp_path / file_name
    path.write_text("not weights")

    with pytest.raises(ValueError, match=file_name):
        encoders.build_encoder(name, str(path), 64)


@pytest.mark.parametrize("name", list(encoders.ENCODERS))
@pytest.mark.parametrize("file_name", ["absent.h5", "absent.keras"])
def test_a_missing_file_is_refused_with_flag_and_path(tmp_path, name, file_name):
    with pytest.raises(ValueError, match=rf'"--encoder_weights" must .*{file_name}'):
        encoders.build_encoder(name, str(tmp_path / file_name), 64)


@pytest.mark.parametrize(
    "name, folder, file_name",
    [
        (
            "resnet50",
            "tensorflow/keras-applications/resnet/",
            "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        ),
        (
            "mobilenetv2",
            "tensorflow/keras-applications/mobilenet_v2/",
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        ),
        ("efficientnetb0", "keras-applications/", "efficientnetb0_notop.h5"),
    ],
)
def test_a_failed_download_says_which_file_to_place_where(
    no_network, tmp_path, name, folder, file_name
):

    with pytest.raises(ValueError) as error:
        encoders.build_encoder(name, "imagenet", 64)

    message = str(error.value)
    assert f"at {tmp_path / 'keras_home' / 'models' / file_name}" in message
    assert f"{file_name} (from https://storage.googleapis.com/{folder})" in message
    assert "--encoder_weights=PATH" in message


def test_resnet34_refuses_imagenet_and_names_what_it_takes():
    with pytest.raises(ValueError, match='"--encoder_weights" of resnet34 must be none'):
        encoders.build_encoder("resnet34", "imagenet", 64)


@pytest.mark.parametrize(
    "name, reason, instead",
    [
        ("xception", "strides 2 and 4", "efficientnetv2s"),
        ("InceptionV3", "strides 2 to 32", "resnet50v2"),
        ("convnext_tiny", "stride 2: it starts with patches", "efficientnetv2s"),
        ("nasnetmobile", "stride 2: its first", "efficientnetb0"),
    ],
)
def test_a_network_of_other_strides_is_refused_with_reason_and_way_out(name, reason, instead):
    with pytest.raises(ValueError, match=f'"--encoder" must .*{reason}.* Take {instead}.*{name}'):
        config.check(config.make(encoder=name))


def test_the_keras_file_of_a_run_gives_its_encoders_weights(make_model, tmp_path):
    run = make_model(seed=5)
    run.save(tmp_path / "model.keras")

    model = make_model(encoder_weights=str(tmp_path / "model.keras"), seed=6)

    theirs = run.get_layer("encoder").get_weights()
    for ours, expected in zip(model.get_layer("encoder").get_weights(), theirs, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_the_keras_file_of_a_run_may_have_another_image_size(make_model, tmp_path):
    run = make_model(image_size=64)
    run.save(tmp_path / "model.keras")

    encoder = encoders.build_encoder("efficientnet_lite0", str(tmp_path / "model.keras"), 96)

    assert encoder.model.outputs[-1].shape == (None, 3, 3, 1280)


def test_the_keras_file_of_a_run_brings_its_normalisation(make_model, tmp_path):
    make_model(encoder_weights="imagenet").save(tmp_path / "model.keras")

    encoder = encoders.build_encoder("efficientnet_lite0", str(tmp_path / "model.keras"), 32)

    np.testing.assert_allclose([encoder.mean, encoder.std], [[127.0] * 3, [128.0] * 3], rtol=1e-6)


def test_the_keras_file_of_another_encoder_is_refused(make_model, tmp_path):
    make_model().save(tmp_path / "lite0.keras")

    with pytest.raises(ValueError, match="must be for --encoder=resnet34.*lite0.keras"):
        encoders.build_encoder("resnet34", str(tmp_path / "lite0.keras"), 32)


def test_a_keras_file_without_encoder_is_refused(tmp_path):
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs)).save(tmp_path / "other.keras")

    with pytest.raises(ValueError, match="other.keras has no encoder"):
        encoders.build_encoder("efficientnet_lite0", str(tmp_path / "other.keras"), 32)


def test_a_damaged_keras_file_is_refused_with_flag_and_path(make_model, tmp_path):
    path = tmp_path / "damaged.keras"
    make_model().save(path)
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 255
    path.write_bytes(bytes(contents))

    with pytest.raises(ValueError, match=r'(?s)"--encoder_weights" must .*damaged.keras'):
        encoders.build_encoder("efficientnet_lite0", str(path), 32)
