"""TensorFlow and JAX: each trains, evaluates and predicts, and reads the files of the other."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest

from lbunet_tf import models
from lbunet_tf.settings import config

ROOT = pathlib.Path(__file__).parents[1]
SMALL_JOB = ROOT / "tests/training/distributed_job.py"
BACKENDS = ("tensorflow", "jax")
# Of logits and probabilities: the two round convolutions differently.
TOLERANCE = 1e-4
LOAD_PREDICT_SAVE = """
import sys
import keras
import numpy as np
from lbunet_tf import models
loaded, images, outputs, saved = sys.argv[1:]
model = keras.models.load_model(loaded, compile=False)
np.savez(outputs, **model.predict_on_batch(np.load(images)))
model.save(saved)
"""
EVALUATE_PREDICT = """
import sys
from lbunet_tf import evaluate, predict
from lbunet_tf.settings import flagfiles
run, output, images = sys.argv[1:]
settings = flagfiles.read(run)
evaluate.evaluate(settings.replace(output=output))
predict.predict(settings.replace(output=f"{output}/predicted"), [images])
"""

pytestmark = pytest.mark.slow


def _run(backend, *arguments):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout


@pytest.fixture(scope="module", autouse=True)
def _needs_jax():
    pytest.importorskip("jax")


def test_a_model_file_of_one_backend_is_read_by_the_other(tmp_path):
    # Every layer of our own is in it.
    settings = config.make(
        encoder="tiny",
        encoder_weights="none",
        image_size=32,
        heads=("mask", "melanoma"),
        upsampling="transposed",
        attention="gate",
        bottleneck="self_attention",
        melanoma_pool="mask",
    )
    ours = models.build_model(settings)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    expected = ours.predict_on_batch(images)
    paths = [
        tmp_path / name for name in ("ours.keras", "images.npy", "outputs.npz", "theirs.keras")
    ]
    ours.save(paths[0])
    np.save(paths[1], images)
    (other,) = set(BACKENDS) - {keras.backend.backend()}

    _run(other, "-c", LOAD_PREDICT_SAVE, *paths)

    of_other = np.load(paths[2])
    back = keras.models.load_model(paths[3], compile=False).predict_on_batch(images)
    for name, logits in expected.items():
        np.testing.assert_allclose(of_other[name], logits, atol=TOLERANCE)
        np.testing.assert_allclose(back[name], logits, atol=1e-6)


def test_a_run_of_jax_is_evaluated_and_predicted_by_both(tmp_path):
    run, drawn = tmp_path / "run", tmp_path / "drawn"
    flags = ("--source=synthetic", "--synthetic_count=44", f"--data_dir={drawn}")
    model = ("--model=unet", "--encoder_weights=none", "--image_size=32", "--heads=mask,melanoma")
    _run("jax", SMALL_JOB, f"--run={run}", *flags, *model, "--epochs=2")

    for backend in BACKENDS:
        _run(backend, "-c", EVALUATE_PREDICT, run, tmp_path / backend, drawn / "images")

    one, other = (pd.read_csv(tmp_path / backend / "predictions.csv") for backend in BACKENDS)
    np.testing.assert_allclose(one["score"], other["score"], atol=TOLERANCE)
    np.testing.assert_allclose(one["dice"], other["dice"], atol=0.01)
    one, other = (
        pd.read_csv(tmp_path / backend / "predicted" / "scores.csv") for backend in BACKENDS
    )
    assert len(one) == 44
    np.testing.assert_allclose(one["score"], other["score"], atol=TOLERANCE)
