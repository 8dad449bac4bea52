"""The OpenVINO export, read where only OpenVINO is imported, gives what the network gives."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from lbunet_tf import export
from lbunet_tf.runs import ensemble
from lbunet_tf.serving import openvino_model
from lbunet_tf.serving import outlines
from lbunet_tf.settings import flagfiles

pytestmark = pytest.mark.slow

READ = """
import sys, numpy as np, openvino
core = openvino.Core()
model = core.compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
results = model(np.load(sys.argv[2]))
np.savez(sys.argv[3], **{output.any_name: value for output, value in results.items()})
print("tensorflow" in sys.modules or "keras" in sys.modules)
"""


@pytest.fixture(scope="module")
def exported(untrained_run):
    settings = flagfiles.read(str(untrained_run)).replace(format="openvino")
    return export.export(settings)


def test_probabilities_are_those_of_the_network_for_any_number_of_images(
    exported, untrained_run, tmp_path
):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    files = [exported / openvino_model.NAME, tmp_path / "images.npy", tmp_path / "results.npz"]
    process = subprocess.run(
        [sys.executable, "-c", READ, *map(str, files)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.split() == ["False"]

    results = np.load(tmp_path / "results.npz")
    rule = outlines.MaskRule(0.48, "one_region")
    logits = ensemble.load_best(pathlib.Path(untrained_run)).predict(images, verbose=0)
    expected = {
        "probability": 1 / (1 + np.exp(-logits["melanoma"][:, 0])),
        "mask_probability": 1 / (1 + np.exp(-logits["mask"])),
        "mask": np.stack([rule.clean(one) >= rule.logit for one in logits["mask"]]),
    }
    assert set(results) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(results[name], value, atol=1e-4)


def test_it_says_which_run_it_is_of(exported, untrained_run):
    identity = json.loads((exported / openvino_model.IDENTITY).read_text())
    assert identity["run"] == pathlib.Path(untrained_run).name
    assert exported.parent.name == "export_openvino"


def test_nearest_up_sampling_is_one_operation(exported):
    operations = (exported / openvino_model.NAME).read_text()
    assert 'type="Interpolate"' in operations
    assert 'type="Tile"' not in operations


def test_what_is_to_be_done_before_the_network_is_named(untrained_run, monkeypatch, caplog):
    # It is said first; the model itself is not needed here.
    monkeypatch.setitem(sys.modules, "openvino", None)
    settings = flagfiles.read(str(untrained_run)).replace(format="openvino")
    with pytest.raises(ValueError, match="openvino"):
        export.export(settings.replace(antialias=True, remove_hair=True))
    assert "--antialias, --remove_hair is not in the OpenVINO model" in caplog.text


def test_without_openvino_the_error_names_the_line_that_installs_it(untrained_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    settings = flagfiles.read(str(untrained_run)).replace(format="openvino")
    with pytest.raises(ValueError, match=r"pip install 'lbunet_tf\[openvino\]'"):
        export.export(settings)
