"""Classifiers: what every encoder and backbone must do as one."""

import keras
import numpy as np
import pandas as pd
import pytest

from lbunet_tf import models
from lbunet_tf.models import activation_map
from lbunet_tf.models import alexnet
from lbunet_tf.models import backbones
from lbunet_tf.models import saved_models
from lbunet_tf.settings import config
from lbunet_tf.training import compilation
from lbunet_tf.training import losses
from tests import gradients

HEADS = ("melanoma", "diagnosis")
# An encoder that needs padding, and each backbone at a small size.
SIZES = {"tiny": 60, "alexnet_2012": 67, "alexnet_tv": 64, "ahmad_vit": 28, "vit_b32": 32}
EXPORTED = ("tiny", "alexnet_2012", "alexnet_tv", "ahmad_vit")


@pytest.fixture(scope="module")
def make_classifier():
    """A function of Config's fields: a classifier with both heads and random weights."""

    def make(encoder="tiny", **fields):
        fields = {
            "encoder_weights": "none",
            "heads": HEADS,
            "image_size": SIZES.get(encoder, 32),
            **fields,
        }
        return models.build_model(config.make(model="classifier", encoder=encoder, **fields))

    return make


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name == "vit_b32" else name for name in SIZES
    ],
)
def classifier(request, make_classifier):
    """A classifier of each encoder; tests leave its weights as they are."""
    return make_classifier(request.param)


@pytest.fixture
def make_images():
    """A function of a model: (4, S, S, 3) float32 in 0..255 of its size."""

    def make(model):
        size = model.input.shape[1]
        return np.random.default_rng(1).integers(0, 256, (4, size, size, 3)).astype("float32")

    return make


def _targets():
    classes = np.eye(7, dtype="float32")[[0, 1, 4, 5]]
    return {"melanoma": classes[:, 4:5], "diagnosis": classes}


def _loss(outputs):
    loss, targets = losses.make_losses(HEADS), _targets()
    return sum(loss[name](targets[name], outputs[name]) for name in outputs)


def _encoder_weights(model):
    return model.get_layer("encoder").get_weights()


def _are_equal(weights, others):
    return all(np.array_equal(one, other) for one, other in zip(weights, others, strict=True))


def test_outputs_are_float32_logits_in_the_order_of_the_heads(classifier, make_images):
    outputs = classifier(make_images(classifier), training=False)

    shapes = {name: tuple(output.shape) for name, output in outputs.items()}
    assert shapes == {"melanoma": (4, 1), "diagnosis": (4, 7)}
    assert list(outputs) == list(classifier.output) == list(HEADS)
    assert {keras.backend.standardize_dtype(o.dtype) for o in outputs.values()} == {"float32"}


def test_a_saved_and_loaded_classifier_gives_the_same_numbers(classifier, make_images, tmp_path):
    images = make_images(classifier)
    classifier.save(tmp_path / "model.keras")

    loaded = saved_models.load(tmp_path / "model.keras")

    outputs, expected = loaded(images, training=False), classifier(images, training=False)
    differences = [float(np.abs(outputs[name] - expected[name]).max()) for name in HEADS]
    assert differences == [0, 0]


def test_every_trainable_weight_receives_gradient(classifier, make_images):
    assert gradients.weights_without(classifier, make_images(classifier), _loss) == []


def test_outputs_at_inference_do_not_depend_on_the_other_images(classifier, make_images):
    images = make_images(classifier)
    together = classifier(images, training=False)

    alone = classifier(images[2:3], training=False)

    for name in HEADS:
        scale = float(np.abs(together[name]).max())
        np.testing.assert_allclose(alone[name][0], together[name][2], atol=1e-4 * scale)


def test_training_drops_and_inference_does_not(classifier, make_images):
    images = make_images(classifier)

    trained, again = (classifier(images, training=True)["diagnosis"] for _ in range(2))
    first, second = (classifier(images, training=False)["diagnosis"] for _ in range(2))

    assert not np.array_equal(trained, again)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("encoder", ["tiny", "alexnet_2012", "ahmad_vit"])
def test_a_seed_decides_the_weights_and_what_is_dropped(make_classifier, make_images, encoder):
    def outputs_of(seed):
        model = make_classifier(encoder, seed=seed)
        return np.asarray(model(make_images(model), training=True)["diagnosis"])

    first = outputs_of(3)
    np.testing.assert_array_equal(outputs_of(3), first)
    assert not np.array_equal(outputs_of(4), first)


def test_an_encoder_gets_a_mean_and_dropout_before_the_heads(make_classifier):
    model = make_classifier("tiny")

    assert {layer.name for layer in model.layers} == {
        *("image", "normalization", "pad_to_stride", "encoder", "melanoma_pool", "dropout"),
        *("melanoma_logits", "diagnosis_logits", "melanoma", "diagnosis"),
    }
    assert model.get_layer("dropout").rate == 0.2


def test_a_network_with_dropout_of_its_own_gets_no_more(make_classifier):
    names = [layer.name for layer in make_classifier("ahmad_vit").layers]

    assert "dropout" not in names


def test_one_head_alone_is_possible(make_classifier):
    model = make_classifier("tiny", heads=("diagnosis",), classes="clinical")

    shapes = {name: output.shape for name, output in model.output.items()}
    assert shapes == {"diagnosis": (None, 2)}


def test_ahmads_vit_as_a_whole_has_its_stated_parameters(make_classifier):
    model = make_classifier("ahmad_vit", image_size=56, heads=("diagnosis",))

    assert model.count_params() == 910_527


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["tiny", "ahmad_vit", "alexnet_tv"])
def test_a_classifier_starts_from_the_encoder_of_another(make_classifier, encoder, tmp_path):
    trained = make_classifier(encoder, seed=5)
    trained.save(tmp_path / "model.keras")

    model = make_classifier(
        encoder, heads=("melanoma",), encoder_weights=str(tmp_path / "model.keras")
    )

    assert _are_equal(_encoder_weights(model), _encoder_weights(trained))


@pytest.mark.parametrize("first, second", [("lbunet", "classifier"), ("classifier", "lbunet")])
def test_the_encoder_of_lbunet_is_that_of_a_classifier(tmp_path, first, second):
    def build(model, **fields):
        heads = ("melanoma",) if model == "classifier" else ("mask",)
        return models.build_model(config.make(model=model, heads=heads, image_size=32, **fields))

    trained = build(first, encoder="efficientnet_lite0", encoder_weights="imagenet")
    path = str(tmp_path / "model.keras")
    trained.save(path)

    model = build(second, encoder="efficientnet_lite0", encoder_weights=path)

    assert _are_equal(_encoder_weights(model), _encoder_weights(trained))
    means = [each.get_layer("normalization").mean for each in (model, trained)]
    np.testing.assert_array_equal(*means)


def test_a_backbone_of_another_size_is_refused(make_classifier, tmp_path):
    path = str(tmp_path / "model.keras")
    make_classifier("ahmad_vit", image_size=28).save(path)

    with pytest.raises(ValueError, match="for --encoder=ahmad_vit at --image_size=35: 137 weights"):
        make_classifier("ahmad_vit", image_size=35, encoder_weights=path)


@pytest.mark.parametrize("freeze_batch_norm", [False, True])
def test_frozen_epochs_train_the_heads_alone(make_classifier, make_images, freeze_batch_norm):
    settings = config.make(
        model="classifier",
        encoder="tiny",
        heads=HEADS,
        epochs=2,
        frozen_epochs=1,
        freeze_batch_norm=freeze_batch_norm,
        learning_rate=0.01,
        batch_size=4,
    )
    model = make_classifier("tiny")
    compilation.compile_model(model, settings, pd.DataFrame({"label": [0, 0, 1, 0]}))
    encoder = model.get_layer("encoder")
    watched = {
        "kernels": encoder.trainable_variables[0],
        "statistics": next(w for w in encoder.weights if "moving_mean" in w.path),
        "head": model.get_layer("diagnosis_logits").kernel,
    }
    moved = []
    for _ in range(2):
        before = {name: np.array(variable) for name, variable in watched.items()}
        model.train_on_batch(make_images(model), _targets())
        moved.append({name for name in watched if not np.array_equal(before[name], watched[name])})

    statistics = set() if freeze_batch_norm else {"statistics"}
    assert moved == [{"head"} | statistics, {"head", "kernels"} | statistics]


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoder, rate, steps", [("alexnet_tv", 1e-4, 12), ("ahmad_vit", 3e-3, 30), ("tiny", 1e-2, 20)]
)
def test_a_classifier_overfits_eight_images(make_classifier, encoder, rate, steps):
    model = make_classifier(encoder, seed=1)
    size = model.input.shape[1]
    # Each class has a colour, under noise.
    rng = np.random.default_rng(2)
    classes = np.arange(8) % 4
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [180, 180, 40]])
    images = colours[classes][:, None, None] + rng.normal(0, 20, (8, size, size, 3))
    targets = {
        "melanoma": (classes == 3)[:, None].astype("float32"),
        "diagnosis": np.eye(7, dtype="float32")[classes],
    }
    model.compile(keras.optimizers.Adam(rate), loss=losses.make_losses(HEADS))

    def loss():
        model.reset_metrics()
        return float(model.test_on_batch(images.astype("float32"), targets)[0])

    before = loss()
    for _ in range(steps):
        model.train_on_batch(images.astype("float32"), targets)

    assert loss() < 0.5 * before


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")
@pytest.mark.parametrize("encoder", EXPORTED)
def test_a_saved_model_says_what_the_classifier_says(
    make_classifier, make_images, encoder, tmp_path
):
    import tensorflow as tf

    model = make_classifier(encoder)
    module, images = tf.Module(), make_images(model)
    module.model = model
    module.serve = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, *model.input.shape[1:]))],
    )
    tf.saved_model.save(module, tmp_path)

    loaded = tf.saved_model.load(tmp_path)

    outputs, expected = loaded.serve(images), model(images, training=False)
    for name in HEADS:
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="ONNX is written of TensorFlow")
def test_onnx_takes_groups_and_gelu(tmp_path):
    from lbunet_tf.serving import portable_models

    images = keras.Input((8, 8, 4))
    x = alexnet.GroupedConv2D(6, 3, groups=2)(images)
    x = keras.layers.Dense(3, activation="gelu")(keras.layers.Flatten()(x))
    model, path = keras.Model(images, {"diagnosis": x}), tmp_path / "model.onnx"
    values = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")

    # Checked by itself on an image of three channels: this takes four.
    plain = portable_models._of_simple_operations(model)
    plain.predict_on_batch(values)
    portable_models.FORMATS["onnx"].write(plain, path, "float32", None, {})

    found = portable_models.FORMATS["onnx"].open(path, values.shape)(values)
    np.testing.assert_allclose(found["diagnosis"], model(values)["diagnosis"], atol=1e-5)


def test_groups_are_those_of_keras():
    layer = alexnet.GroupedConv2D(6, 3, strides=2, padding="same", groups=2, dilation_rate=1)
    plain = keras.layers.Conv2D(6, 3, strides=2, padding="same", groups=2)
    images = np.random.default_rng(0).normal(size=(2, 9, 9, 4)).astype("float32")
    for one in (layer, plain):
        one.build(images.shape)
    plain.set_weights(layer.get_weights())

    np.testing.assert_allclose(layer(images), plain(images), atol=1e-5)


def test_an_activation_map_of_a_classifier_has_the_size_of_its_images(make_classifier, make_images):
    model = make_classifier("tiny")

    activation = activation_map.build_activation_model(model, HEADS, "encoder")

    outputs = activation(make_images(model), training=False)
    assert outputs["activation"].shape == (4, 60, 60, 1)


def test_a_vector_has_no_activation_map(make_classifier):
    with pytest.raises(ValueError, match='"--weak_targets=activation" needs features by position'):
        activation_map.build_activation_model(make_classifier("ahmad_vit"), HEADS, "encoder")


@pytest.mark.parametrize("encoder", backbones.BACKBONES)
def test_a_backbone_under_a_decoder_is_refused_with_the_way_out(encoder):
    with pytest.raises(ValueError, match=f'"--encoder={encoder}" .*--model=classifier.*lbunet'):
        config.check(config.make(encoder=encoder))


@pytest.mark.parametrize(
    "encoder, size, words",
    [
        ("ahmad_vit", 128, "multiple of 7 .* nearest are 126 or 133; usual is 56 or 224"),
        ("vit_b16", 124, "multiple of 16 .* nearest are 112 or 128; usual is 224"),
        ("vit_b32", 20, "multiple of 32 .* nearest are 32; usual is 224"),
        ("alexnet_2012", 66, "at least 67 .* usual is 227. Received: --image_size=66"),
        ("alexnet_tv", 62, "at least 63 .* usual is 224. Received: --image_size=62"),
    ],
)
def test_a_size_that_a_backbone_cannot_take_is_refused(encoder, size, words):
    settings = config.make(
        model="classifier", heads=("diagnosis",), encoder=encoder, image_size=size
    )
    with pytest.raises(ValueError, match=f'"--image_size" must be .*{words}'):
        config.check(settings)
    with pytest.raises(ValueError, match=f'"--image_size" must be .*{words}'):
        models.build_model(settings)


def test_a_unet_does_not_look_at_the_encoder():
    settings = config.make(model="unet", encoder="ahmad_vit", encoder_weights="none")

    assert config.check(settings) is settings


@pytest.mark.parametrize("encoder", ["alexnet_2012", "alexnet_tv", "ahmad_vit"])
def test_weights_that_nobody_published_are_refused(make_classifier, encoder):
    with pytest.raises(ValueError, match=f'"--encoder_weights" of {encoder} must be none'):
        make_classifier(encoder, encoder_weights="imagenet", image_size=70)


def test_weights_that_are_not_there_are_refused(make_classifier):
    with pytest.raises(ValueError, match="Received: nowhere, and there is no such file"):
        make_classifier("ahmad_vit", encoder_weights="nowhere")


def test_a_mask_head_is_refused():
    with pytest.raises(ValueError, match='"--model=classifier" has no mask head'):
        config.check(config.make(model="classifier", heads=("mask", "diagnosis")))
