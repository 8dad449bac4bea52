import copy

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf.data import manifests
from lbunet_tf.evaluation import pixel_histograms
from lbunet_tf.settings import config
from tests.evaluation import pages

SIZE = 16


@pytest.fixture
def make_histogram():
    """A function: (logits, targets) -> (2, 65536) pixel histogram."""

    def make(logits, targets):
        histogram = np.zeros((2, pixel_histograms.NUM_BINS), "int64")
        pixel_histograms.add(histogram, np.asarray(logits, "float64"), np.asarray(targets))
        return histogram

    return make


@pytest.fixture
def random_table(make_predictions):
    """60 val and 60 test rows with labels and scores that know something of them."""
    rng = np.random.default_rng(11)
    label = rng.integers(0, 2, 120)
    score = 1 / (1 + np.exp(-rng.normal(label * 1.2 - 0.6, 1)))
    return make_predictions(
        split=["val"] * 60 + ["test"] * 60, label=label.astype(float), score=score
    )


@pytest.fixture
def whole_table(random_table):
    """The random table with masks and sexes."""
    rng = np.random.default_rng(43)
    counts = {f"mask_{name}": rng.integers(1, 50, len(random_table)) for name in ("tp", "fp", "fn")}
    counts["dice"] = rng.random(len(random_table))
    sex = np.where(np.arange(len(random_table)) % 2, "female", "male")
    return random_table.assign(**counts, sex=sex)


@pytest.fixture(scope="session")
def _measured():
    """Metrics by what was asked: to fit calibrations takes most of a test's time."""
    return {}


@pytest.fixture
def evaluate_whole(whole_table, make_histogram, _measured):
    """A function: an EvaluatedRun, after changes to the table, the metrics and its fields."""

    def evaluate(change=None, mask_source="lesion", is_own=True, added=None, **fields):
        table = change(whole_table) if change else whole_table
        asked = (mask_source, is_own)
        if change or asked not in _measured:
            histogram = make_histogram([-1.0, 2.0, 0.5], [0, 1, 1])
            metrics = pages.measure(table, histogram, mask_source, is_own)
            if not change:
                _measured[asked] = copy.deepcopy(metrics)
        else:
            metrics = copy.deepcopy(_measured[asked])
        metrics["test"] |= added or {}
        return pages.evaluation(table, metrics, **fields)

    return evaluate


@pytest.fixture(scope="session")
def drawn_manifest(tmp_path_factory):
    """Five val and five test rows of real files; each split lacks one label and one mask."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(12)
    rows = []
    for number in range(10):
        image, mask = folder / f"image_{number}.png", folder / f"mask_{number}.png"
        pixels = np.zeros((SIZE, SIZE), "uint8")
        pixels[2 : 6 + number, 3:11] = 255
        colours = rng.integers(0, 120, (SIZE, SIZE, 3)) + pixels[..., None] // 2
        Image.fromarray(colours.astype("uint8")).save(image)
        Image.fromarray(pixels).save(mask)
        kind = number % 5
        rows.append(
            {
                "image_id": f"image_{number}",
                "image": str(image),
                "mask": "" if kind == 4 else str(mask),
                "label": np.nan if kind == 3 else float(kind % 2),
                "split": "val" if number < 5 else "test",
                "clinic": "north",
            }
        )
    return manifests.complete(pd.DataFrame(rows), "manifest")


@pytest.fixture
def manifest(drawn_manifest):
    """`drawn_manifest`, to be changed."""
    return drawn_manifest.copy()


@pytest.fixture(scope="session")
def make_network():
    """A function of heads: a tiny model whose logits are an image's brightness."""

    def make(heads=("mask", "melanoma"), scale=0.02, bias=-6.0, num_classes=7):
        image = keras.Input((SIZE, SIZE, 3), name="image")
        constant = keras.initializers.Constant
        brightness = {"kernel_initializer": constant(scale), "bias_initializer": constant(bias)}
        outputs = {"mask": keras.layers.Conv2D(1, 1, name="mask", **brightness)(image)}
        pooled = keras.layers.GlobalAveragePooling2D()(image)
        if "melanoma" in heads:
            outputs["melanoma"] = keras.layers.Dense(1, name="melanoma", **brightness)(pooled)
        if "diagnosis" in heads:
            outputs["diagnosis"] = keras.layers.Dense(num_classes, name="diagnosis")(pooled)
        return keras.Model(image, outputs)

    return make


@pytest.fixture(scope="session")
def make_config():
    """A function of Config's fields, for the tiny network."""

    def make(**fields):
        fields = {"heads": ("mask", "melanoma"), "batch_size": 2, **fields}
        return config.make(**{"run": "runs/a", "image_size": SIZE, **fields})

    return make
