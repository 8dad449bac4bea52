"""Self-attention and atrous pyramid pooling on the deepest features."""

import keras
import numpy as np
import pytest

from lbunet_tf.models import bottleneck
from tests import gradients


@pytest.fixture
def make_bottleneck():
    """A function of a name and a shape: the model of one bottleneck, random weights."""

    def make(name, shape):
        keras.utils.set_random_seed(2)
        inputs = keras.Input(shape)
        return keras.Model(inputs, bottleneck.BOTTLENECKS[name](inputs, "bottleneck_s32"))

    return make


def _changed_positions(model, side):
    """Returns where the output changes when the feature in the upper left corner does."""
    features = np.random.default_rng(3).normal(0, 1, (1, side, side, 16)).astype("float32")
    changed = features.copy()
    changed[:, 0, 0, :8] += 3
    before, after = (np.asarray(model(array)) for array in (features, changed))
    return np.abs(after - before).max(axis=(0, 3)) > 1e-4


def test_without_a_bottleneck_a_feature_stays_where_it_is(make_bottleneck):
    changed = _changed_positions(make_bottleneck("none", (8, 8, 16)), 8)

    assert np.argwhere(changed).tolist() == [[0, 0]]


@pytest.mark.parametrize("name", [name for name in bottleneck.BOTTLENECKS if name != "none"])
def test_a_bottleneck_lets_a_corner_reach_every_position(make_bottleneck, name):
    changed = _changed_positions(make_bottleneck(name, (8, 8, 16)), 8)

    assert changed.all()


def test_attention_adds_to_the_features(make_bottleneck):
    model = make_bottleneck("self_attention", (4, 4, 16))
    features = np.random.default_rng(3).normal(0, 1, (2, 4, 4, 16)).astype("float32")
    attention = model.get_layer("bottleneck_s32_attention")
    attention.set_weights([0 * weight for weight in attention.get_weights()])

    np.testing.assert_array_equal(model(features), features)


def test_attention_tells_equal_features_apart_by_their_position(make_bottleneck):
    model = make_bottleneck("self_attention", (4, 4, 16))
    same = np.broadcast_to(np.random.default_rng(3).normal(0, 1, 16), (1, 4, 4, 16))

    outputs = np.asarray(model(same.astype("float32"))).reshape(16, 16)

    distances = np.abs(outputs[:, None] - outputs[None]).max(axis=-1)
    assert distances[~np.eye(16, dtype=bool)].min() > 1e-3


def test_attention_stays_finite_for_features_of_80(make_bottleneck):
    model = make_bottleneck("self_attention", (4, 4, 16))
    features = np.random.default_rng(3).choice([-80.0, 80.0], (2, 4, 4, 16)).astype("float32")

    assert np.all(np.isfinite(model(features)))


def test_positions_are_sines_and_cosines_of_row_and_column():
    layer = bottleneck.PositionEncoding(wavelengths=(4.0, 4.0))

    encoding = np.asarray(layer(np.zeros((1, 2, 3, 4), "float32")))

    # A wave of 4 positions: sine 0, 1, 0 and cosine 1, 0, -1.
    np.testing.assert_allclose(encoding[0, 1, 2], [1, 0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(encoding[0, 0, 1], [0, 1, 1, 0], atol=1e-6)


def test_positions_need_a_multiple_of_four_channels():
    with pytest.raises(ValueError, match="multiple of 4 channels.*Received: 6"):
        bottleneck.PositionEncoding()(np.zeros((1, 2, 2, 6), "float32"))


def test_positions_are_rebuilt_from_their_settings():
    layer = bottleneck.PositionEncoding(wavelengths=(3.0, 30.0), name="position")

    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))

    zeros = np.zeros((1, 4, 4, 16), "float32")
    np.testing.assert_array_equal(again(zeros), layer(zeros))


def test_every_tap_of_every_rate_meets_a_map_of_4_by_4(make_bottleneck):
    model = make_bottleneck("aspp", (4, 4, 16))
    features = np.random.default_rng(3).normal(0, 1, (4, 4, 4, 16)).astype("float32")
    kernels = [model.get_layer(f"bottleneck_s32_rate{rate}_conv").kernel for rate in (1, 2, 3)]

    found = gradients.of_weights(model, features, lambda output: keras.ops.sum(output**2))

    of_path = dict(zip((w.path for w in model.trainable_weights), found, strict=True))
    for kernel in kernels:
        assert np.abs(of_path[kernel.path]).max(axis=(2, 3)).min() > 0


@pytest.mark.parametrize("size, side", [(16, 1), (124, 4)])
def test_aspp_gives_the_decoder_256_features_at_any_size(make_model, size, side):
    model = make_model(bottleneck="aspp", image_size=size)

    output = model.get_layer("bottleneck_s32_project_relu").output

    assert output.shape == (None, side, side, 256)
