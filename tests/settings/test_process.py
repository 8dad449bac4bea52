"""What a notebook, a shell or keras.json say must neither stop a command nor change a model."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import keras
import numpy as np
import pytest

from lbunet_tf import models
from lbunet_tf.runs import ensemble
from lbunet_tf.settings import config
from lbunet_tf.settings import process

ROOT = pathlib.Path(__file__).parents[2]
FOREIGN = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.01}


@pytest.fixture
def foreign_keras():
    """Keras as a foreign keras.json leaves it; what was set is put back."""
    before = {name: getattr(keras.config, name)() for name in FOREIGN}
    for name, value in FOREIGN.items():
        getattr(keras.config, f"set_{name}")(value)
    yield
    for name, value in before.items():
        getattr(keras.config, f"set_{name}")(value)


def test_what_must_hold_is_set_and_what_was_otherwise_is_said(foreign_keras, caplog):
    process.set_keras()

    assert {name: getattr(keras.config, name)() for name in FOREIGN} == process.KERAS
    for name, value in FOREIGN.items():
        assert f"Keras' {name} was {value}" in caplog.text


def test_nothing_is_said_where_all_holds(caplog):
    process.set_keras()

    assert caplog.text == ""


@pytest.fixture(scope="module")
def small():
    return config.make(encoder="efficientnet_lite0", encoder_weights="none", image_size=32)


@pytest.fixture(scope="module")
def expected(small):
    return models.build_model(small).get_weights()


def test_a_model_is_built_alike_under_a_foreign_keras_json(small, expected, foreign_keras):
    model = models.build_model(small)

    assert model.input_shape == (None, 32, 32, 3)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    for weight, other in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.parametrize("tta", ["none", "flips"])
def test_a_run_predicts_alike_whatever_a_program_has_set(untrained_run, foreign_keras, tta):
    images = np.random.default_rng(5).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    plain = ensemble.load_mean(config.make(run=str(untrained_run), tta=tta))(images)
    for name, value in FOREIGN.items():
        getattr(keras.config, f"set_{name}")(value)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        predicted = ensemble.load_mean(config.make(run=str(untrained_run), tta=tta))(images)
    finally:
        keras.config.set_dtype_policy("float32")

    for name, logits in plain.items():
        np.testing.assert_allclose(predicted[name], logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "argv, original, answer",
    [
        (["-m", "--help"], ["python", "-m", "lbunet_tf.train", "--help"], "train"),
        (["-m"], ["python", "-OOmlbunet_tf.train"], "train"),
        (["-m"], ["python", "-m", "pytest", "tests"], ""),
        (["train.py"], ["python", "train.py", "--module=lbunet_tf.train"], ""),
        (["-c"], ["python", "-c", "import lbunet_tf.train"], ""),
        ([], ["python"], ""),
    ],
)
def test_a_command_is_known_from_a_program_that_imports_the_package(argv, original, answer):
    assert process.command_of(argv, original) == answer


def _run(arguments, redirected="", **changes):
    """Runs Python through a shell, where a stream can be closed; returns what came."""
    command = " ".join([sys.executable, *arguments, redirected])
    return subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **changes},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_command_starts_in_an_unkind_environment():
    ended = _run(
        ["-m", "lbunet_tf.train", "--help"],
        MPLBACKEND="module://no_such_module.backend_inline",
        KERAS_HOME="/dev/null/none",
        TF_USE_LEGACY_KERAS="1",
        PYTHONIOENCODING="ascii:strict",
    )

    assert (ended.returncode, "--learning_rate=X" in ended.stdout) == (0, True), ended.stderr[-999:]
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_backend_that_is_not_there_is_one_line_that_names_keras_json(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "no_such_backend"}')

    ended = _run(["-m", "lbunet_tf.export", "--help"], KERAS_HOME=str(tmp_path), KERAS_BACKEND="")

    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    (line,) = re.findall("^ERROR: .*$", ended.stderr, re.MULTILINE)
    assert str(tmp_path / "keras.json") in line and "no_such_backend" in line


@pytest.mark.slow
def test_a_wrong_flag_is_said_where_nobody_reads_the_output(tmp_path):
    (tmp_path / "flags.cfg").write_text("--seed=1764379357123")

    ended = _run(["-m", "lbunet_tf.export", f"--run={tmp_path}"], redirected=">&-")

    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert '"--seed" must be at most 4294967295. Received: 1764379357123' in ended.stderr


IMPORTS = """
import matplotlib, keras
keras.config.set_floatx("float64")
import lbunet_tf, lbunet_tf.train, lbunet_tf.evaluate, lbunet_tf.prepare
print(matplotlib.get_backend(), keras.config.floatx(), keras.config.dtype_policy().name)
"""


@pytest.mark.slow
def test_importing_the_package_changes_neither_matplotlib_nor_keras():
    ended = _run(["-c", f"'{IMPORTS}'"], MPLBACKEND="pdf")

    assert ended.stdout.split() == ["pdf", "float64", "float64"], ended.stderr[-999:]


@pytest.mark.parametrize(
    "command, arguments, said",
    [
        ("train", ["--image_sise=64"], "Unknown command line flag 'image_sise'"),
        ("train", ["--epochs=many"], '"--epochs" must be a whole number. Received: many'),
        ("predict", ["--flagfile=nowhere.cfg"], '"--flagfile" must name a file of flags'),
        ("evaluate", ["--run=a", "--rum=b"], "Unknown command line flag 'rum'"),
    ],
)
def test_a_wrong_flag_is_said_before_keras_is_imported(tmp_path, command, arguments, said):
    (tmp_path / "keras.py").write_text("raise SystemExit('imported')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    ended = subprocess.run(
        [sys.executable, "-m", f"lbunet_tf.{command}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("ERROR: ") and said in line and line.endswith("All flags: --help")


@pytest.mark.slow
def test_a_flagfile_that_is_a_pipe_is_read_once_and_loses_no_flag():
    ended = subprocess.run(
        [sys.executable, "-m", "lbunet_tf.train", "--flagfile=/dev/stdin"],
        input="--image_size=64\n--epochs=many\n",
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert ended.returncode == 1
    assert '"--epochs" must be a whole number. Received: many' in ended.stderr


UNASKED = """
import gc, sys
from lbunet_tf.settings import process
process.start_command("train", [])
print(sorted({"keras", "tensorflow", "sklearn", "matplotlib"} & set(sys.modules)), gc.isenabled())
import matplotlib.pyplot, sklearn.metrics
print(matplotlib.get_backend().lower())
"""


def test_a_command_starts_without_what_keras_takes_along_and_can_import_it_later():
    ended = _run(["-c", shlex.quote(UNASKED)])

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["['keras', 'tensorflow'] True", "agg"]


def test_what_tensorflow_alone_can_do_is_refused_under_jax(monkeypatch):
    process.refuse_other_backends("export")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")

    with pytest.raises(ValueError, match="export needs .*KERAS_BACKEND=tensorflow. Received.*jax"):
        process.refuse_other_backends("export")
