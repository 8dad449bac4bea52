"""Each encoder against keras.applications' model and preprocess_input, with the same weights."""

import contextlib
import importlib
import json
import types

import keras
import numpy as np
import pytest
from keras.src.models import functional
from keras.src.utils import file_utils

from lbunet_tf.models import keras_encoders
from lbunet_tf.models import normalizations

SIZE = 32
# keras.applications' model without top, and ours: without biases that batch norm takes away
# (ResNet), and without the normalisation that EfficientNet does itself (7 numbers).
PARAMETERS = {
    "resnet101": (42_658_176, 42_605_504),
    "resnet50": (23_587_712, 23_561_152),
    "resnet152": (58_370_944, 58_295_232),
    "resnet50v2": (23_564_800, 23_564_800),
    "resnet101v2": (42_626_560, 42_626_560),
    "resnet152v2": (58_331_648, 58_331_648),
    "vgg16": (14_714_688, 14_714_688),
    "vgg19": (20_024_384, 20_024_384),
    "densenet121": (7_037_504, 7_037_504),
    "densenet169": (12_642_880, 12_642_880),
    "densenet201": (18_321_984, 18_321_984),
    "mobilenet": (3_228_864, 3_228_864),
    "mobilenetv2": (2_257_984, 2_257_984),
    "mobilenetv3_small": (939_120, 939_120),
    "mobilenetv3_large": (2_996_352, 2_996_352),
    "efficientnetb0": (4_049_571, 4_049_564),
    "efficientnetb1": (6_575_239, 6_575_232),
    "efficientnetb2": (7_768_569, 7_768_562),
    "efficientnetb3": (10_783_535, 10_783_528),
    "efficientnetv2b0": (5_919_312, 5_919_312),
    "efficientnetv2s": (20_331_360, 20_331_360),
}
# Deeper ones of a family: built once, as they take long, and compared by numbers only.
DEEP = (
    "resnet152",
    "resnet101v2",
    "resnet152v2",
    "densenet169",
    "densenet201",
    "efficientnetb1",
    "efficientnetb2",
)
# The module of keras.applications whose preprocess_input a network needs.
MODULES = {
    "resnet101": "resnet",
    "resnet50": "resnet",
    "resnet50v2": "resnet_v2",
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "densenet121": "densenet",
    "mobilenet": "mobilenet",
    "mobilenetv2": "mobilenet_v2",
    "mobilenetv3_small": "mobilenet_v3",
    "mobilenetv3_large": "mobilenet_v3",
    "efficientnetb0": "efficientnet",
    "efficientnetb3": "efficientnet",
    "efficientnetv2b0": "efficientnet_v2",
    "efficientnetv2s": "efficientnet_v2",
}
# As the published files of EfficientNet hold them: the "variance" is the standard deviation.
PUBLISHED = {"mean": (0.485, 0.456, 0.406), "variance": (0.229, 0.224, 0.225)}


def fill(model):
    """Gives a model weights that stand for downloaded ones, the same for each build of it."""
    rng = np.random.default_rng(7)
    for layer in model.layers:
        for weight in layer.weights:
            shape = tuple(weight.shape)
            if isinstance(layer, keras.layers.Normalization):
                weight.assign(PUBLISHED.get(weight.name, 0))
            elif weight.name == "kernel":
                weight.assign(rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape))
            elif len(shape) == 4:
                weight.assign(rng.normal(0, (2 / np.prod(shape[:2])) ** 0.5, shape))
            elif weight.name in ("bias", "beta", "moving_mean"):
                weight.assign(rng.normal(0, 0.1, shape))
            else:
                weight.assign(rng.uniform(0.75, 1.25, shape))
        if isinstance(layer, keras.layers.Normalization):
            # As what reads the published files does.
            layer.finalize_state()


@contextlib.contextmanager
def downloads(load=fill):
    """Gives what is downloaded `load`'s weights; the value lists the (file, URL) asked for."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_utils, "get_file", lambda name, url, **_: asked.append((name, url)))
        patch.setattr(functional.Functional, "load_weights", lambda model, _: load(model))
        yield asked


@pytest.fixture(scope="module", params=MODULES)
def network(request):
    """An encoder with weights that stand for ImageNet's, and keras.applications' own model."""
    name = request.param
    with downloads() as asked:
        model, normalization = keras_encoders.build(name, "imagenet", SIZE)
        original = getattr(keras.applications, keras_encoders.NETWORKS[name].constructor)(
            include_top=False, weights="imagenet", input_shape=(SIZE, SIZE, 3)
        )
    return types.SimpleNamespace(
        name=name, model=model, normalization=normalization, original=original, asked=asked[0]
    )


def test_every_network_is_looked_at():
    assert {*MODULES, *DEEP} == set(PARAMETERS) == set(keras_encoders.NETWORKS)


@pytest.mark.parametrize("name", DEEP)
def test_a_deep_network_has_its_stated_parameters_strides_and_file(name):
    url = keras_encoders.file_url(keras_encoders.NETWORKS[name], SIZE)

    with downloads(load=lambda model: None) as asked:
        model, _ = keras_encoders.build(name, "imagenet", SIZE)

    strides = [SIZE // feature.shape[1] for feature in model.outputs]
    assert (model.count_params(), strides) == (PARAMETERS[name][1], [2, 4, 8, 16, 32])
    assert asked == [(url.rpartition("/")[2], url)]


def test_parameters_are_those_of_keras_applications_and_ours_those_stated(network):
    found = network.original.count_params(), network.model.count_params()

    assert found == PARAMETERS[network.name]


def test_features_stand_at_strides_2_to_32(network):
    assert [SIZE // feature.shape[1] for feature in network.model.outputs] == [2, 4, 8, 16, 32]


@pytest.mark.parametrize("kind", ["constant", "random"])
def test_normalised_once_features_are_those_of_keras_applications(network, kind):
    pixels = np.broadcast_to(np.array([200.0, 120.0, 40.0], "float32"), (1, SIZE, SIZE, 3))
    if kind == "random":
        pixels = np.random.default_rng(8).integers(0, 256, pixels.shape).astype("float32")
    module = importlib.import_module(f"keras.applications.{MODULES[network.name]}")
    taps = keras_encoders.last_of_each_stride(network.original)
    theirs = keras.Model(network.original.input, [*taps, network.original.output])(
        keras.ops.convert_to_tensor(module.preprocess_input(pixels.copy())), training=False
    )

    mean, std = network.normalization
    normalized = (pixels - np.array(mean, "float32")) / np.array(std, "float32")
    ours = network.model(keras.ops.convert_to_tensor(normalized), training=False)

    for feature, expected in zip([*ours, ours[-1]], theirs, strict=True):
        error = float(np.abs(feature - expected).max() / np.abs(expected).max())
        assert error < 1e-4


def test_the_file_of_a_download_is_the_one_that_keras_applications_asks_for(network):
    url = keras_encoders.file_url(keras_encoders.NETWORKS[network.name], SIZE)

    assert network.asked == (url.rpartition("/")[2], url)


def test_batch_norm_has_momentum_nine_tenths(network):
    norms = [
        layer for layer in network.model.layers if "BatchNormalization" in type(layer).__name__
    ]

    assert {layer.momentum for layer in norms} <= {0.9}
    assert bool(norms) != network.name.startswith("vgg")


def test_an_encoder_is_built_again_from_its_configuration(network):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(network.model)))

    again = keras.saving.deserialize_keras_object(config)

    shapes = [weight.shape for weight in network.model.weights]
    assert [weight.shape for weight in again.weights] == shapes


def test_only_biases_right_before_batch_norm_are_left_out(network):
    lost = [
        layer.name
        for layer in network.model.layers
        if isinstance(layer, keras.layers.Conv2D)
        and network.original.get_layer(layer.name).use_bias
        and not layer.use_bias
    ]

    is_resnet = MODULES[network.name] == "resnet"
    num_convolutions = sum(isinstance(la, keras.layers.Conv2D) for la in network.model.layers)
    assert len(lost) == (num_convolutions if is_resnet else 0)


@pytest.mark.parametrize("size", [96, 128, 160, 256])
@pytest.mark.parametrize("name", ["mobilenet", "mobilenetv2"])
def test_the_file_of_mobilenet_is_of_the_size_that_keras_applications_asks_for(name, size):
    url = keras_encoders.file_url(keras_encoders.NETWORKS[name], size)

    with downloads() as asked:
        keras_encoders.build(name, "imagenet", size)

    assert asked == [(url.rpartition("/")[2], url)]


@pytest.mark.parametrize("name", ["resnet50v2", "mobilenetv3_small"])
def test_features_do_not_depend_on_the_size(name):
    # At 64 px, padded features of ResNetV2's last stage are as large as those of the one before.
    model, _ = keras_encoders.build(name, "none", 64)
    again, _ = keras_encoders.build(name, "none", 256)

    assert [out.shape[-1] for out in model.outputs] == [out.shape[-1] for out in again.outputs]


@pytest.mark.parametrize(
    "variance, std",
    [
        # As published, and as a layer that was adapted to ImageNet would hold it.
        (PUBLISHED["variance"], normalizations.IMAGENET.std),
        (np.square(PUBLISHED["variance"]), normalizations.IMAGENET.std),
        ((0.25, 0.25, 0.25), (127.5, 127.5, 127.5)),
    ],
)
def test_a_file_of_efficientnet_brings_its_normalisation(tmp_path, variance, std):
    original = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    norm = next(la for la in original.layers if isinstance(la, keras.layers.Normalization))
    norm.set_weights([np.array(PUBLISHED["mean"]), np.array(variance), np.array(0)])
    original.save_weights(tmp_path / "b0.weights.h5")

    _, found = keras_encoders.build("efficientnetb0", str(tmp_path / "b0.weights.h5"), 32)

    np.testing.assert_allclose(found.mean, normalizations.IMAGENET.mean, rtol=1e-6)
    np.testing.assert_allclose(found.std, std, rtol=1e-6)
