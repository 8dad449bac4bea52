"""AlexNet: its two layouts, their sizes, and local response normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.models import alexnet

OF_1000_CLASSES = 4096 * 1000 + 1000
# The least image size of each.
LEAST = {alexnet.build_2012: 67, alexnet.build_tv: 63}


@pytest.fixture
def activations():
    """(2, 5, 5, 11) float32 of both signs, some of them large."""
    return np.random.default_rng(0).normal(0, 30, (2, 5, 5, 11)).astype("float32")


def _kinds(model):
    return [type(layer).__name__ for layer in model.layers[1:]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "build, size, parameters",
    [(alexnet.build_2012, 227, 60_965_224), (alexnet.build_tv, 224, 61_100_840)],
)
def test_with_1000_classes_it_has_its_stated_parameters(build, size, parameters):
    model = build(size)

    assert model.count_params() + OF_1000_CLASSES == parameters


def test_wide_convolutions_of_2012_have_two_groups():
    model = alexnet.build_2012(67)

    shapes = {
        layer.name: tuple(layer.kernel.shape)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    }
    assert shapes == {
        "conv1": (11, 11, 3, 96),
        "conv2": (5, 5, 48, 256),
        "conv3": (3, 3, 256, 384),
        "conv4": (3, 3, 192, 384),
        "conv5": (3, 3, 192, 256),
    }


def test_2012_normalises_before_it_pools_and_drops_behind_each_dense_layer():
    kinds = _kinds(alexnet.build_2012(67))

    stem = ["LocalResponseNormalization", "MaxPooling2D"]
    convolutions = ["Conv2D", *stem, "GroupedConv2D", *stem, "Conv2D", *["GroupedConv2D"] * 2]
    assert kinds == [*convolutions, "MaxPooling2D", "Flatten", *["Dense", "Dropout"] * 2]


def test_the_layout_of_torchvision_drops_before_each_dense_layer():
    assert _kinds(alexnet.build_tv(224))[-5:] == ["Flatten", *["Dropout", "Dense"] * 2]


def test_the_layout_of_torchvision_has_the_same_weights_at_every_size():
    small, large = (alexnet.build_tv(size).weights for size in (64, 224))

    assert [weight.shape for weight in small] == [weight.shape for weight in large]


@pytest.mark.parametrize("build", LEAST)
def test_it_takes_its_least_size_and_nothing_less(build):
    assert build(LEAST[build]).output.shape == (None, 4096)
    with pytest.raises(ValueError, match="MaxPooling2D"):
        build(LEAST[build] - 1)


def test_local_response_normalisation_is_that_of_tensorflow(activations):
    expected = tf.nn.local_response_normalization(activations, 2, 2.0, 1e-4, 0.75)

    outputs = alexnet.LocalResponseNormalization()(activations)

    np.testing.assert_allclose(outputs, expected, rtol=1e-6)


def test_local_response_normalisation_with_other_settings_is_that_of_tensorflow(activations):
    expected = tf.nn.local_response_normalization(activations, 3, 1.0, 0.5, 0.5)

    outputs = alexnet.LocalResponseNormalization(3, 1.0, 0.5, 0.5)(activations)

    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_local_response_normalisation_of_large_values_is_finite_in_float16():
    layer = alexnet.LocalResponseNormalization(dtype="mixed_float16")

    outputs = np.asarray(layer(np.full((1, 1, 1, 5), 6e4, "float16")))

    assert outputs.dtype == np.float16 and np.isfinite(outputs).all()


def test_local_response_normalisation_comes_back_from_its_config():
    layer = alexnet.LocalResponseNormalization(3, 1.0, 0.5, 0.25, name="lrn")

    again = alexnet.LocalResponseNormalization.from_config(layer.get_config())

    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 7, 13])
def test_an_adaptive_mean_takes_the_windows_of_pytorch(side):
    features = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype("float32")
    # From the documentation of AdaptiveAvgPool2d.
    windows = [slice(i * side // 6, -(-(i + 1) * side // 6)) for i in range(6)]
    expected = [[features[:, r, c].mean(axis=(1, 2)) for c in windows] for r in windows]

    outputs = alexnet.AdaptiveMean(6)(features)

    np.testing.assert_allclose(outputs, np.moveaxis(expected, 2, 0), atol=1e-6)


def test_an_adaptive_mean_comes_back_from_its_config():
    layer = alexnet.AdaptiveMean(5, name="mean")

    assert alexnet.AdaptiveMean.from_config(layer.get_config()).get_config() == layer.get_config()
