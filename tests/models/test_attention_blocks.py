"""Attention gates on skips, and squeeze-and-excitation after stages."""

import keras
import numpy as np
import pytest

from lbunet_tf.models import attention_blocks


@pytest.fixture
def gate_model():
    """A model (skip, signal) -> (gate before up-sampling, gated skip), and two inputs."""
    keras.utils.set_random_seed(2)
    skip, signal = keras.Input((8, 8, 6)), keras.Input((4, 4, 10))
    gated = attention_blocks.gate(skip, signal, "decoder_s8")
    model = keras.Model([skip, signal], gated)
    rng = np.random.default_rng(2)
    arrays = [rng.normal(0, 5, (2, *x.shape[1:])).astype("float32") for x in (skip, signal)]
    return keras.Model(model.inputs, [model.get_layer("decoder_s8_gate").output, gated]), arrays


@pytest.fixture
def scse_model():
    """A model of squeeze-and-excitation after a stage of 8 channels, and an input."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((8, 8, 8))
    model = keras.Model(inputs, attention_blocks.squeeze_and_excite(inputs, "decoder_s4"))
    return model, np.random.default_rng(2).normal(0, 1, (2, 8, 8, 8)).astype("float32")


def _set(model, name, kernel, bias):
    """Fills kernel and bias of a layer with two numbers."""
    layer = model.get_layer(name)
    layer.kernel.assign(np.full(layer.kernel.shape, kernel))
    layer.bias.assign(np.full(layer.bias.shape, bias))


def test_a_gate_lies_between_0_and_1_and_differs_between_pixels(gate_model):
    model, inputs = gate_model

    gate, _ = model(inputs)

    assert gate.shape == (2, 4, 4, 1)
    assert 0 <= np.min(gate) < np.max(gate) <= 1


def test_a_gate_multiplies_the_skip_by_itself_up_sampled(gate_model):
    model, inputs = gate_model

    gate, gated = model(inputs)

    large = keras.layers.UpSampling2D(2, interpolation="bilinear")(gate)
    np.testing.assert_allclose(gated, inputs[0] * np.asarray(large), atol=1e-5)


@pytest.mark.parametrize("logit, factor", [(80, 1), (-80, 0)])
def test_an_open_gate_leaves_the_skip_and_a_closed_one_takes_it_away(gate_model, logit, factor):
    model, inputs = gate_model
    _set(model, "decoder_s8_gate", 0, logit)

    _, gated = model(inputs)

    np.testing.assert_allclose(gated, factor * inputs[0], atol=1e-6)


def test_a_gate_follows_the_signal_from_the_coarser_stage(gate_model):
    model, (skip, signal) = gate_model
    changed = signal.copy()
    changed[:, 0, 0] += 10

    before, after = (np.asarray(model([skip, array])[0]) for array in (signal, changed))

    different = np.argwhere(np.abs(after - before).max(axis=(0, 3)) > 1e-4)
    assert different.tolist() == [[0, 0]]


@pytest.mark.parametrize("size", [16, 124])
def test_every_skip_of_a_model_has_a_gate(make_model, size):
    model = make_model(attention="gate", image_size=size)

    gates = [layer.name for layer in model.layers if layer.name.endswith("_gated_skip")]

    assert gates == [f"decoder_s{stride}_gated_skip" for stride in (16, 8, 4, 2)]


def test_undecided_excitations_of_one_half_each_leave_the_features(scse_model):
    model, features = scse_model
    _set(model, "decoder_s4_scse_channels", 0, 0)
    _set(model, "decoder_s4_scse_pixels", 0, 0)

    np.testing.assert_allclose(model(features), features, atol=1e-6)


@pytest.mark.parametrize("channels, pixels, factor", [(80, 80, 2), (80, -80, 1), (-80, -80, 0)])
def test_excited_channels_and_excited_pixels_are_added(scse_model, channels, pixels, factor):
    model, features = scse_model
    _set(model, "decoder_s4_scse_channels", 0, channels)
    _set(model, "decoder_s4_scse_pixels", 0, pixels)

    np.testing.assert_allclose(model(features), factor * features, atol=1e-5)


def test_the_weights_of_channels_follow_the_mean_of_the_image(scse_model):
    model, features = scse_model
    changed = features.copy()
    changed[:, 0, 0] += 100

    before, after = (np.asarray(model(array)) for array in (features, changed))

    assert np.abs(after[:, 7, 7] - before[:, 7, 7]).max() > 1e-3


def test_every_stage_of_a_model_is_excited(make_model):
    model = make_model(attention="scse")

    excited = [layer.name for layer in model.layers if layer.name.endswith("_scse")]

    assert excited == [f"decoder_s{stride}_scse" for stride in (16, 8, 4, 2, 1)]
