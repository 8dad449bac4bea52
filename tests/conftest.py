"""Fixtures that several folders of tests share."""

import contextlib
import gc
import os
import pathlib
import resource

# Two processes test at once, on two cores. Before TensorFlow is imported.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from absl import logging
from PIL import Image

from lbunet_tf import evaluate
from lbunet_tf import models
from lbunet_tf import train
from lbunet_tf.data import manifests
from lbunet_tf.models import encoders
from lbunet_tf.runs import mask_threshold
from lbunet_tf.serving import outlines
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.training import callbacks
from tests import tiny_encoder

NO_REWRITING = {"disable_meta_optimizer": True}


@pytest.fixture(autouse=True)
def _log_level():
    """Every test starts at the level of the commands, whatever another test left."""
    logging.set_verbosity(logging.INFO)


@pytest.fixture(scope="module", autouse=True)
def _no_models_of_other_files():
    """Frees what a file of tests has built: Keras keeps it, and a process would grow by 5 GB."""
    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def _tiny_encoder():
    """Not at import: tests of every encoder are those of the package's own."""
    encoders.ENCODERS[tiny_encoder.NAME] = tiny_encoder.build


@pytest.fixture(scope="session", autouse=True)
def _no_graph_rewriting():
    """Starts a third sooner; `graph_rewriting` is for tests of what TensorFlow makes of a graph."""
    tf.config.optimizer.set_experimental_options(NO_REWRITING)


@pytest.fixture
def graph_rewriting():
    """Graphs are rewritten as they are for users."""
    tf.config.optimizer.set_experimental_options(dict.fromkeys(NO_REWRITING, False))
    yield
    tf.config.optimizer.set_experimental_options(NO_REWRITING)


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory):
    """A folder for 40 drawn images of 64 px, drawn by the first test that asks for them."""
    return tmp_path_factory.mktemp("drawn") / "images"


@pytest.fixture
def small_config(tmp_path, drawn_folder):
    """A run of two epochs of a tiny encoder on drawn images."""
    return config.make(
        run=str(tmp_path / "run"),
        source=("synthetic",),
        data_dir=(str(drawn_folder),),
        synthetic_count=40,
        image_size=64,
        encoder="tiny",
        heads=("mask", "melanoma"),
        epochs=2,
        learning_rate=1e-3,
    )


class _Kill(keras.callbacks.Callback):
    """Raises in the middle of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and batch == 1:
            raise KeyboardInterrupt


@pytest.fixture
def train_until_killed(monkeypatch):
    """A function of a Config: trains until it is killed in the second epoch."""

    def run(settings):
        make = callbacks.make_callbacks
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(callbacks, "make_callbacks", lambda *a, **k: [_Kill(), *make(*a, **k)])
            train.train(settings)

    return run


@pytest.fixture
def write_image():
    """Returns a function that writes an RGB image; the suffix names the format."""

    def write(path, size=(20, 16), colour=(150, 110, 90)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return write


@pytest.fixture
def write_mask():
    """Returns a function that writes a 0/255 mask, its left half lesion."""

    def write(path, size=(20, 16)):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((size[1], size[0]), "uint8")
        pixels[:, : size[0] // 2] = 255
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def make_config():
    """Returns a function that makes a checked Config of small images."""

    def make(**fields):
        return config.check(config.make(**{"image_size": 16, **fields}))

    return make


@pytest.fixture
def make_table():
    """Returns a function that makes a complete manifest of `count` rows without files."""

    def make(count, **columns):
        names = [f"i{number:04d}" for number in range(count)]
        table = pd.DataFrame({"image_id": names, "image": [f"/d/{name}.png" for name in names]})
        return manifests.complete(table.assign(**columns), "folder")

    return make


@pytest.fixture
def make_predictions():
    """A function: equally long lists by column -> a predictions table, all test by default."""

    def make(**columns):
        table = pd.DataFrame({"split": "test", **columns})
        defaults = {"label": np.nan, "score": np.nan}
        defaults |= {f"mask_{name}": np.nan for name in ("tp", "fp", "fn", "tn")}
        for name, value in defaults.items():
            if name not in table:
                table[name] = value
        if "image_id" not in table:
            table["image_id"] = [f"image_{number}" for number in range(len(table))]
        return table

    return make


@contextlib.contextmanager
def _room(num_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def room():
    """A context manager of a number of bytes: within it, no file may become larger."""
    return _room


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """A run of two heads on 48 drawn images, trained and evaluated; with its metrics."""
    folder = tmp_path_factory.mktemp("evaluated")
    settings = config.make(
        run=str(folder / "run"),
        source=("synthetic",),
        data_dir=(str(folder / "drawn"),),
        synthetic_count=48,
        image_size=64,
        encoder="tiny",
        heads=("mask", "melanoma"),
        epochs=2,
        learning_rate=1e-3,
        augment="flips",
    )
    train.train(settings)
    return settings, pathlib.Path(settings.paths.run), evaluate.evaluate(settings)


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory):
    """A run directory with an untrained model of two heads at 32 px."""
    return _write_untrained(tmp_path_factory.mktemp("runs") / "untrained", seed=0)


@pytest.fixture(scope="session")
def other_untrained_run(tmp_path_factory):
    """A run directory like `untrained_run`, with other weights in its decoder and heads."""
    return _write_untrained(tmp_path_factory.mktemp("runs") / "other_untrained", seed=1)


@pytest.fixture(scope="session")
def write_untrained_run(tmp_path_factory):
    """A function of Config's fields: a run directory like `untrained_run` with other outputs."""

    def write(**fields):
        return _write_untrained(tmp_path_factory.mktemp("runs") / "untrained", seed=0, **fields)

    return write


def _write_untrained(path, seed, **fields):
    flags = {"encoder": "tiny", "heads": ("mask", "melanoma"), "image_size": 32, "batch_size": 4}
    settings = config.make(**{**flags, **fields}, run=str(path), seed=seed)
    path.mkdir()
    models.build_model(settings).save(path / "model.keras")
    (path / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(settings)))
    (path / "manifest.csv").write_text("image_id,image\n")
    (path / "training.json").write_text("{}")
    if settings.outputs.has_outlines:
        mask_threshold.write(path, outlines.MaskRule(0.48, "one_region"), 1)
    return path


def pytest_collection_finish():
    """Spares what is imported by now from being looked through after each file of tests."""
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Marks what builds a ResNet as slow, which scripts/check.sh leaves out; orders the files."""
    for item in items:
        if "models" in item.path.parts and ("resnet" in item.name or "encoders" in item.path.name):
            item.add_marker(pytest.mark.slow)
    # Files of slow tests first: at the end the quick ones keep both processes busy.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
