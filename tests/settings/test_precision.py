"""--precision: what each choice sets, and what `auto` takes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.settings import precision

OPTION = "auto_mixed_precision_onednn_bfloat16"


@pytest.fixture(autouse=True)
def restored(graph_rewriting):
    yield
    precision.set_precision("float32")


def _write(folder, flags):
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    return path


@pytest.mark.parametrize("flags, has", [("fpu avx512_bf16", True), ("fpu avx512f", False)])
def test_bfloat16_instructions_are_read_from_what_the_cpu_says(tmp_path, flags, has):
    assert precision.has_bfloat16_instructions(_write(tmp_path, flags)) == has


def test_a_machine_without_cpuinfo_has_none(tmp_path):
    assert not precision.has_bfloat16_instructions(tmp_path / "nothing")


def test_a_policy_is_that_of_keras():
    assert precision.set_precision("mixed_bfloat16") == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == "mixed_bfloat16"


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="oneDNN is TensorFlow's")
def test_onednn_bfloat16_on_another_cpu_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "CPU_INFO", _write(tmp_path, "fpu avx512f"))
    with pytest.raises(ValueError, match="avx512_bf16.*Received: a CPU that has neither"):
        precision.set_precision("onednn_bfloat16")


@pytest.mark.skipif(
    any(not device.startswith("cpu") for device in keras.distribution.list_devices()),
    reason="of a machine without an accelerator",
)
def test_auto_on_another_cpu_is_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "CPU_INFO", _write(tmp_path, "fpu avx512f"))
    assert precision.set_precision("auto") == "float32"


def test_after_its_block_the_precision_is_float32():
    with precision.precision_scope("mixed_bfloat16") as name:
        assert name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow"
    or not precision.has_bfloat16_instructions(precision.CPU_INFO),
    reason="needs TensorFlow on a CPU with bfloat16 instructions",
)
def test_what_runs_after_a_block_is_not_rewritten():
    with precision.precision_scope("onednn_bfloat16"):
        assert tf.config.optimizer.get_experimental_options()[OPTION]
    assert not tf.config.optimizer.get_experimental_options()[OPTION]


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="of the other backends")
def test_onednn_bfloat16_under_another_backend_is_refused():
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
        precision.set_precision("onednn_bfloat16")


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow"
    or not precision.has_bfloat16_instructions(precision.CPU_INFO),
    reason="needs TensorFlow on a CPU with bfloat16 instructions",
)
def test_auto_rounds_convolutions_on_a_cpu_that_can_and_leaves_the_policy_float32():
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 16)).astype("float32")
    kernel = np.random.default_rng(1).normal(size=(3, 3, 16, 16)).astype("float32")
    results = {}
    for name in ("float32", "auto"):
        precision.set_precision(name)
        assert keras.config.dtype_policy().name == "float32"
        convolve = tf.function(lambda x: tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")))
        results[name] = convolve(images).numpy()

    difference = np.abs(results["auto"] - results["float32"]).max()
    assert 0 < difference < 0.02 * results["float32"].max()
