"""scripts/release_weights.py: whose images a released network may have learnt from, and float16."""

import importlib.util
import pathlib
import zipfile

import numpy as np
import pandas as pd
import pytest

from lbunet_tf import models
from lbunet_tf.models import saved_models
from lbunet_tf.settings import config

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts/release_weights.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("release_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def manifest():
    """Two images that were learnt from, and one of test."""
    return pd.DataFrame(
        {
            "split": ["train", "val", "test"],
            "source": ["isic2017", "isic2017", "isic2017"],
            "official_part": ["train", "train", "val"],
        }
    )


def test_the_training_part_of_isic_2017_is_let_pass(script, manifest):
    script.refuse_other_sources(config.make(run="runs/a", encoder_weights="imagenet"), manifest)


@pytest.mark.parametrize(
    "row, column, value", [(0, "source", "ham10000"), (1, "source", "isic2020")]
)
def test_another_source_is_refused_by_name(script, manifest, row, column, value):
    manifest.loc[row, column] = value

    with pytest.raises(ValueError, match=f"alone. runs/a has learnt from {value}"):
        script.refuse_other_sources(config.make(run="runs/a"), manifest)


def test_another_part_of_isic_2017_is_refused(script, manifest):
    manifest.loc[1, "official_part"] = "val"

    with pytest.raises(ValueError, match="has learnt from the part 'val' of isic2017"):
        script.refuse_other_sources(config.make(run="runs/a"), manifest)


@pytest.mark.parametrize(
    "flags", [{"teacher": ("runs/other",)}, {"encoder_weights": "runs/other/model.keras"}]
)
def test_a_run_that_learnt_from_another_run_is_refused(script, manifest, flags):
    with pytest.raises(ValueError, match="has learnt from runs/other"):
        script.refuse_other_sources(config.make(run="runs/a", **flags), manifest)


def test_a_test_image_may_be_of_anywhere(script, manifest):
    manifest.loc[2, ["source", "official_part"]] = ["ham10000", ""]

    script.refuse_other_sources(config.make(run="runs/a"), manifest)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model.keras"
    models.build_model(config.make(encoder="tiny", image_size=32)).save(path)
    return path


def test_weights_are_those_of_the_run_rounded_to_float16(script, whole, tmp_path):
    script.write_half(whole, tmp_path / "half.keras")

    half, model = saved_models.load(tmp_path / "half.keras"), saved_models.load(whole)
    for ours, theirs in zip(half.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs.astype("float16").astype("float32"))
    assert half.dtype_policy.name == "float32"


def test_the_same_run_gives_the_same_bytes(script, whole, tmp_path):
    for name in ("a.keras", "b.keras"):
        script.write_half(whole, tmp_path / name)

    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_a_weight_beyond_float16_is_refused(script, tmp_path):
    model = models.build_model(config.make(encoder="tiny", image_size=32))
    model.layers[-2].set_weights([weight + 1e6 for weight in model.layers[-2].get_weights()])
    model.save(tmp_path / "model.keras")
    assert zipfile.is_zipfile(tmp_path / "model.keras")

    with pytest.raises(ValueError, match="must fit into float16"):
        script.write_half(tmp_path / "model.keras", tmp_path / "half.keras")
