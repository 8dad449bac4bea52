"""Exports for other runtimes, read where that alone is imported, say what the network says."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from lbunet_tf import export
from lbunet_tf.data.sources import synthetic
from lbunet_tf.runs import ensemble
from lbunet_tf.serving import portable_models
from lbunet_tf.settings import flagfiles

pytestmark = pytest.mark.slow

READ = {
    "openvino": """
import sys, numpy as np, openvino
core = openvino.Core()
model = core.compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
results = model(np.load(sys.argv[2]))
np.savez(sys.argv[3], **{output.any_name: value for output, value in results.items()})
""",
    "onnx": """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
(image,) = session.get_inputs()
names = [output.name for output in session.get_outputs()]
results = session.run(names, {image.name: np.load(sys.argv[2])})
np.savez(sys.argv[3], **dict(zip(names, results)))
""",
    "litert": """
import sys, numpy as np
from ai_edge_litert import interpreter
network = interpreter.Interpreter(sys.argv[1])
run = network.get_signature_runner()
found = [run(image=image[None]) for image in np.load(sys.argv[2])]
np.savez(sys.argv[3], **{name: np.concatenate([one[name] for one in found]) for name in found[0]})
""",
}
ENDS = '\nprint("tensorflow" in sys.modules or "keras" in sys.modules)'
SMALL = {"openvino": "float32", "onnx": "float16", "litert": "float16"}


@pytest.fixture(scope="module")
def export_to(untrained_run):
    """A function of flags: exports the untrained run."""
    settings = flagfiles.read(str(untrained_run))
    return lambda **flags: export.export(settings.replace(**flags))


@pytest.fixture(scope="module", params=READ)
def exported(request, export_to):
    """(format, folder) of the export of each format at its default precision."""
    return request.param, export_to(format=request.param)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype("float32")


def test_probabilities_are_those_of_the_network_for_any_number_of_images(
    exported, images, untrained_run, tmp_path
):
    name, folder = exported
    np.save(tmp_path / "images.npy", images)
    files = [folder / portable_models.FORMATS[name].file]
    files += [tmp_path / "images.npy", tmp_path / "results.npz"]
    process = subprocess.run(
        [sys.executable, "-c", READ[name] + ENDS, *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.split() == ["False"]

    results = np.load(tmp_path / "results.npz")
    logits = ensemble.load_best(pathlib.Path(untrained_run)).predict(images, verbose=0)
    expected = {
        "probability": 1 / (1 + np.exp(-logits["melanoma"][:, 0])),
        "mask_probability": 1 / (1 + np.exp(-logits["mask"])),
    }
    assert set(results) == set(expected)
    for output, value in expected.items():
        limit = 1e-4 if SMALL[name] == "float32" else 0.01
        np.testing.assert_allclose(results[output], value, atol=limit)


def test_it_says_which_run_it_is_of(exported, untrained_run):
    name, folder = exported
    identity = json.loads((folder / portable_models.IDENTITY).read_text())
    assert identity["run"] == pathlib.Path(untrained_run).name
    assert identity["mask_rule"] == {"threshold": 0.48, "cleanup": "one_region"}
    assert identity["export_precision"] == SMALL[name]
    assert folder.parent.name == f"export_{name}"


def test_an_onnx_file_holds_its_identity_and_asks_for_an_image_only(export_to):
    import onnx

    folder = export_to(format="onnx")
    written = onnx.load(folder / "model.onnx")

    assert [given.name for given in written.graph.input] == ["image"]
    identity = {entry.key: entry.value for entry in written.metadata_props}["identity"]
    assert json.loads(identity) == json.loads((folder / "identity.json").read_text())


def test_a_mean_over_symmetries_asks_for_an_image_only_and_says_the_same(export_to):
    import onnx

    # It is compared with Keras before it gets its name.
    folder = export_to(format="onnx", tta="flips", export_precision="float32")

    written = onnx.load(folder / "model.onnx")
    assert [given.name for given in written.graph.input] == ["image"]


@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_float16_halves_the_file(export_to, name):
    sizes = [
        (export_to(format=name, export_precision=precision) / portable_models.FORMATS[name].file)
        .stat()
        .st_size
        for precision in ("float16", "float32")
    ]

    assert sizes[0] < 0.6 * sizes[1]


def test_int8_is_calibrated_on_images_that_are_named(export_to, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "NUM_CALIBRATION", 10)
    synthetic.draw_folder(str(tmp_path / "drawn"), 12, 32, seed=3)

    folder = export_to(
        format="litert",
        export_precision="int8",
        calibration_images=(str(tmp_path / "drawn/images"),),
    )

    half = export_to(format="litert") / "model.tflite"
    assert (folder / "model.tflite").stat().st_size < 0.7 * half.stat().st_size


def test_int8_without_calibration_images_is_refused(export_to, tmp_path):
    synthetic.draw_folder(str(tmp_path / "drawn"), 12, 32, seed=3)
    few = {"calibration_images": (str(tmp_path / "drawn/images"),)}

    with pytest.raises(
        ValueError, match='"--calibration_images" must .* at least 100 .* Received: 12'
    ):
        export_to(format="litert", export_precision="int8", **few)


def test_calibration_images_of_another_precision_are_refused(export_to, tmp_path):
    with pytest.raises(ValueError, match='"--calibration_images" needs .*int8.*onnx of float16'):
        export_to(format="onnx", calibration_images=(str(tmp_path),))


def test_an_image_of_two_ids_calibrates_once(export_to, tmp_path, write_image):
    write_image(tmp_path / "a.png")
    lines = [f"lesion{number},a.png" for number in range(100)]
    (tmp_path / "list.csv").write_text("\n".join(["image_id,image", *lines]))
    once = {"calibration_images": (str(tmp_path / "list.csv"),)}

    with pytest.raises(ValueError, match="at least 100 .* Received: 1$"):
        export_to(format="litert", export_precision="int8", **once)


@pytest.mark.parametrize(
    "name, precision",
    [
        ("savedmodel", "float16"),
        ("openvino", "float16"),
        ("onnx", "int8"),
    ],
)
def test_a_precision_that_a_format_lacks_is_refused(export_to, name, precision):
    with pytest.raises(ValueError, match=f'"--export_precision" of --format={name} must be float'):
        export_to(format=name, export_precision=precision)


def test_a_file_that_says_something_else_gets_no_name(export_to, untrained_run, monkeypatch):
    chosen = portable_models.FORMATS["litert"]
    wrong = portable_models.dataclasses.replace(
        chosen,
        open=lambda path, shape: (
            lambda images: {
                "probability": np.ones(1),
                "mask_probability": 0,
            }
        ),
    )
    monkeypatch.setitem(portable_models.FORMATS, "litert", wrong)
    before = set((pathlib.Path(untrained_run) / "export_litert").glob("*"))

    with pytest.raises(ValueError, match="must say what the network says, within 0.01"):
        export_to(format="litert")
    assert set((pathlib.Path(untrained_run) / "export_litert").glob("*")) == before


def test_nearest_up_sampling_is_one_operation(export_to):
    operations = (export_to(format="openvino") / "model.xml").read_text()
    assert 'type="Interpolate"' in operations
    assert 'type="Tile"' not in operations


@pytest.mark.parametrize("name", portable_models.FORMATS)
def test_what_is_to_be_done_before_the_network_is_named(export_to, monkeypatch, caplog, name):
    # It is said first; the model itself is not needed here.
    for module in portable_models.FORMATS[name].modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"pip install 'lbunet_tf\[{name}\]'"):
        export_to(format=name, antialias=True, remove_hair=True)
    assert "--antialias, --remove_hair is not in the exported network" in caplog.text
