"""Whatever computes them, the logits of images are those of the Keras model."""

import concurrent.futures
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf import models
from lbunet_tf.models import policies
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import networks
from lbunet_tf.settings import config
from lbunet_tf.settings import precision

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(untrained_run):
    return ensemble.load_best(pathlib.Path(untrained_run))


@pytest.fixture(scope="module")
def squares():
    return list(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype("uint8"))


def expect_same(logits_of, model, squares, atol):
    expected = model.predict(np.stack(squares).astype("float32"), verbose=0)
    found = logits_of(squares)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], values, atol=atol, rtol=0)


@pytest.mark.parametrize("runtime", networks.RUNTIMES)
def test_every_runtime_gives_the_same_logits_of_any_number_of_images(model, squares, runtime):
    logits_of = networks.make_network(model, runtime, "float32")

    for number in (2, 1, 5, 3):
        expect_same(logits_of, model, squares[:number], atol=1e-4)


@pytest.mark.parametrize("runtime", networks.RUNTIMES)
def test_auto_precision_gives_the_same_within_what_bfloat16_rounds(model, squares, runtime):
    logits_of = networks.make_network(model, runtime, "auto")

    for number in (2, 3):
        expect_same(logits_of, model, squares[:number], atol=0.1)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_keras_computes_by_a_policy_and_gives_float32(model, squares, policy):
    logits_of = networks.make_network(model, "keras", policy)

    expect_same(logits_of, model, squares, atol=0.1)
    found = logits_of(squares)["melanoma"]
    assert (
        found != model.predict(np.stack(squares).astype("float32"), verbose=0)["melanoma"]
    ).all()


def test_a_policy_leaves_heads_in_float32_and_nothing_else(model):
    changed = policies.with_policy(model, "mixed_bfloat16")

    layers = changed._flatten_layers()
    plain = (keras.layers.InputLayer, keras.Model)
    in_float32 = {
        layer.name
        for layer in layers
        if layer.compute_dtype == "float32" and not isinstance(layer, plain)
    }
    assert in_float32 == {"mask", "melanoma"}
    for before, after in zip(model.get_weights(), changed.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("runtime", ["openvino", "onnx", "litert"])
def test_a_policy_of_keras_is_refused_elsewhere(model, runtime):
    with pytest.raises(
        ValueError, match=f"must be float32 or auto with --runtime={runtime}.*mixed_bfloat16"
    ):
        networks.make_network(model, runtime, "mixed_bfloat16")


def test_a_runtime_that_is_not_installed_is_named_with_its_flag(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert.interpreter", None)

    with pytest.raises(ValueError, match=r"--runtime=litert.* pip install 'lbunet_tf\[litert\]'"):
        networks.make_network(model, "litert", "float32")


@pytest.mark.parametrize("runtime", networks.RUNTIMES)
def test_threads_that_share_a_network_get_the_logits_of_their_own_images(model, squares, runtime):
    logits_of = networks.make_network(model, runtime, "float32")
    # A last batch is smaller.
    batches = [squares[: 1 + number % 5] for number in range(40)]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(logits_of, batches))

    expected = model.predict(np.stack(squares).astype("float32"), verbose=0)
    for batch, logits in zip(batches, found, strict=True):
        for name, values in logits.items():
            np.testing.assert_allclose(values, expected[name][: len(batch)], atol=1e-4)


@pytest.mark.parametrize("runtime", ["keras", "openvino"])
def test_a_network_of_reduced_precision_before_leaves_float32_to_the_next(model, squares, runtime):
    networks.make_network(model, "keras", "auto")(squares)
    again = keras.models.clone_model(model)
    again.set_weights(model.get_weights())

    logits_of = networks.make_network(again, runtime, "float32")

    for _ in range(2):
        expect_same(logits_of, model, squares, atol=1e-4)
    assert (
        "bfloat16" not in str(tf.config.optimizer.get_experimental_options())
        or not (
            tf.config.optimizer.get_experimental_options()["auto_mixed_precision_onednn_bfloat16"]
        )
    )


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_policy_of_the_program_around_it_stays(model, squares, precision):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        networks.make_network(model, "keras", precision)(squares)
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy(before)


def test_what_a_runtime_converts_is_gone_with_it(model, squares, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    logits_of = networks.make_network(model, "litert", "float32")
    expect_same(logits_of, model, squares, atol=1e-4)
    assert len(list(tmp_path.glob("lbunet-*/model.tflite"))) == 1
    del logits_of

    assert list(tmp_path.glob("lbunet-*")) == []
    assert keras.config.dtype_policy().name == "float32"


def test_a_policy_keeps_in_float32_what_a_training_by_that_policy_does():
    settings = config.make(
        encoder="tiny",
        encoder_weights="none",
        # No multiple of 32: there is a border to crop.
        image_size=48,
        heads=("mask", "melanoma"),
        attention="scse",
        bottleneck="aspp",
        melanoma_pool="mask",
        deep_supervision=True,
    )

    def in_float32(model):
        plain = (keras.layers.InputLayer, keras.Model)
        layers = [one for one in model._flatten_layers() if not isinstance(one, plain)]
        return {layer.name for layer in layers if layer.compute_dtype == "float32"}

    changed = policies.with_policy(models.build_model(settings), "mixed_bfloat16")
    with precision.precision_scope("mixed_bfloat16"):
        trained = models.build_model(settings)

    assert {"melanoma_lesion_mean", "mask"} <= in_float32(trained) == in_float32(changed)


@pytest.mark.skipif(
    not precision.has_bfloat16_instructions(precision.CPU_INFO), reason="no bfloat16 on this CPU"
)
def test_a_network_keeps_its_precision_where_another_is_loaded_after_it(
    model, squares, graph_rewriting
):
    first = networks.make_network(model, "keras", "float32")
    # The first batch is computed without a graph.
    expected = first(squares)

    reduced = networks.make_network(model, "keras", "onednn_bfloat16")(squares)

    again = first(squares)
    assert np.abs(reduced["mask"] - expected["mask"]).max() > 1e-4
    np.testing.assert_allclose(again["mask"], expected["mask"], atol=1e-5)
