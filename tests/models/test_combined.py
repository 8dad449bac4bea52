"""The mean over symmetries and members: arithmetic on small models whose output is known."""

import itertools

import keras
import numpy as np
import pytest

from lbunet_tf.models import combined

SIZE = 12
DIHEDRAL = combined.SYMMETRIES["dihedral"]


@pytest.fixture
def pictures():
    """(3, 12, 12, 3) float32 in 0..255, without any symmetry."""
    return np.random.default_rng(3).uniform(0, 255, (3, SIZE, SIZE, 3)).astype("float32")


def make_network(kernel_size, seed, scale=0.002):
    """A model of both outputs; with kernel_size=1 its mask turns along with the image."""
    image = keras.Input((SIZE, SIZE, 3))
    kernel = keras.initializers.RandomNormal(stddev=scale, seed=seed)
    mask = keras.layers.Conv2D(1, kernel_size, padding="same", kernel_initializer=kernel)(image)
    weighted = mask if kernel_size == 1 else mask[:, :5, 2:]
    melanoma = keras.layers.GlobalAveragePooling2D()(weighted)
    return keras.Model(image, {"mask": mask, "melanoma": melanoma}, name="network")


def constant_network(logit):
    """A model that says the same logit everywhere."""
    image = keras.Input((SIZE, SIZE, 3))
    constant = keras.initializers.Constant(logit)
    mask = keras.layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer=constant)(image)
    return keras.Model(image, {"mask": mask})


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, "float64")))


def turned(pictures, symmetry):
    """What a symmetry means, in NumPy."""
    is_transposed, axes = symmetry
    return np.flip(pictures.swapaxes(1, 2) if is_transposed else pictures, axes)


def test_one_model_without_symmetries_is_returned_as_it_is():
    network = make_network(3, seed=0)

    assert combined.build_mean([network], "none") is network


@pytest.mark.parametrize("tta", ["flips", "dihedral"])
def test_symmetries_change_nothing_of_a_model_that_turns_along(pictures, tta):
    network = make_network(1, seed=0)

    mean = combined.build_mean([network], tta).predict_on_batch(pictures)

    for name, logits in network.predict_on_batch(pictures).items():
        np.testing.assert_allclose(mean[name], logits, atol=1e-5)


@pytest.mark.parametrize("tta", ["flips", "dihedral"])
def test_the_mean_turns_along_with_the_image(pictures, tta):
    mean = combined.build_mean([make_network(3, seed=0)], tta)
    expected = mean.predict_on_batch(pictures)

    for symmetry in combined.SYMMETRIES[tta]:
        result = mean.predict_on_batch(turned(pictures, symmetry))

        np.testing.assert_allclose(result["mask"], turned(expected["mask"], symmetry), atol=1e-5)
        np.testing.assert_allclose(result["melanoma"], expected["melanoma"], atol=1e-5)


def test_the_flips_of_a_real_network_turn_along_with_the_image(make_model):
    mean = combined.build_mean([make_model(heads=("mask", "melanoma"))], "flips")
    image = np.random.default_rng(5).uniform(0, 255, (2, 32, 32, 3)).astype("float32")

    expected, result = mean.predict_on_batch(image), mean.predict_on_batch(image[:, :, ::-1])

    np.testing.assert_allclose(result["mask"], expected["mask"][:, :, ::-1], atol=1e-5)
    np.testing.assert_allclose(result["melanoma"], expected["melanoma"], atol=1e-5)


@pytest.mark.parametrize("tta", list(combined.SYMMETRIES))
def test_the_mean_is_that_of_the_probabilities_of_all_members_and_symmetries(pictures, tta):
    members = [make_network(3, seed=0), make_network(3, seed=1)]
    expected = {"mask": [], "melanoma": []}
    for network, symmetry in itertools.product(members, combined.SYMMETRIES[tta]):
        logits = network.predict_on_batch(np.ascontiguousarray(turned(pictures, symmetry)))
        back = np.flip(logits["mask"], symmetry[1])
        expected["mask"].append(sigmoid(back.swapaxes(1, 2) if symmetry[0] else back))
        expected["melanoma"].append(sigmoid(logits["melanoma"]))

    mean = combined.build_mean(members, tta).predict_on_batch(pictures)

    for name, several in expected.items():
        np.testing.assert_allclose(sigmoid(mean[name]), np.mean(several, axis=0), atol=1e-6)


def test_a_fifth_and_three_fifths_have_a_mean_of_two_fifths(pictures):
    members = [constant_network(np.log(0.2 / 0.8)), constant_network(np.log(0.6 / 0.4))]

    mean = combined.build_mean(members, "none").predict_on_batch(pictures)

    np.testing.assert_allclose(sigmoid(mean["mask"]), 0.4, atol=1e-6)


def test_a_model_with_itself_is_the_model(pictures):
    network = make_network(3, seed=0)

    mean = combined.build_mean([network, network], "none").predict_on_batch(pictures)

    np.testing.assert_allclose(mean["mask"], network.predict_on_batch(pictures)["mask"], atol=1e-5)


def test_the_members_keep_their_names():
    network = make_network(3, seed=0)

    combined.build_mean([network, network], "flips")

    assert network.name == "network"


def test_the_mean_has_the_input_and_the_outputs_of_a_member():
    network = make_network(3, seed=0)

    mean = combined.build_mean([network], "dihedral")

    assert (mean.input_shape, set(mean.output_names)) == (network.input_shape, {"mask", "melanoma"})


@pytest.mark.parametrize(
    "logits, expected",
    [
        ((80, 80), 80),
        ((-80, -80), -80),
        ((80, -80), 0),
        ((0, 80), np.log(3)),
        ((0, -80), -np.log(3)),
        ((-80, -82), np.log((np.exp(-80.0) + np.exp(-82.0)) / 2)),
    ],
)
def test_mean_logits_of_large_logits_are_right(logits, expected):
    result = combined.mean_logits(np.array(logits, "float32").reshape(-1, 1))

    np.testing.assert_allclose(keras.ops.convert_to_numpy(result), [expected], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("symmetry", DIHEDRAL)
def test_turning_back_gives_the_picture(pictures, symmetry):
    result = combined.turn_back(combined.turn(pictures, symmetry), symmetry)

    np.testing.assert_array_equal(keras.ops.convert_to_numpy(result), pictures)


@pytest.mark.parametrize("symmetry", DIHEDRAL)
def test_a_symmetry_does_what_it_says(pictures, symmetry):
    result = keras.ops.convert_to_numpy(combined.turn(pictures, symmetry))

    np.testing.assert_array_equal(result, turned(pictures, symmetry))


def test_the_dihedral_symmetries_are_the_quarter_turns_with_and_without_a_flip(pictures):
    several = {turned(pictures, symmetry).tobytes() for symmetry in DIHEDRAL}

    expected = {
        np.rot90(flipped, turns, (1, 2)).tobytes()
        for flipped in (pictures, np.flip(pictures, 2))
        for turns in range(4)
    }
    assert (several, len(several)) == (expected, 8)


def test_the_flips_are_left_right_up_down_and_both(pictures):
    several = {turned(pictures, symmetry).tobytes() for symmetry in combined.SYMMETRIES["flips"]}

    axes = ((), (1,), (2,), (1, 2))
    assert several == {np.flip(pictures, axis).tobytes() for axis in axes}


def class_network(logits):
    """A model that says the same classes of every image."""
    image = keras.Input((SIZE, SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    constant = keras.initializers.Constant(np.array(logits))
    dense = keras.layers.Dense(
        len(logits), kernel_initializer="zeros", bias_initializer=constant, name="diagnosis"
    )
    return keras.Model(image, {"diagnosis": dense(pooled)})


@pytest.mark.parametrize("tta", ["none", "dihedral"])
def test_the_mean_of_classes_is_that_of_their_softmax(pictures, tta):
    members = [class_network([5, 0, 0]), class_network([0, 5, 0])]

    logits = combined.build_mean(members, tta).predict_on_batch(pictures)["diagnosis"]

    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    # The mean of sigmoids would give the third class 15 %.
    np.testing.assert_allclose(probabilities[:, 2], 0.0066, atol=5e-5)
    np.testing.assert_allclose(probabilities[:, 0], probabilities[:, 1], rtol=1e-6)


def test_the_mean_of_certain_classes_is_finite(pictures):
    members = [class_network([80, -80, 0]), class_network([80, -80, 0])]

    logits = combined.build_mean(members, "none").predict_on_batch(pictures)["diagnosis"]

    np.testing.assert_allclose(logits - logits[:, :1], [[0, -160, -80]] * 3, rtol=1e-6)
