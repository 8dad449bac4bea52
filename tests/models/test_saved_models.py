"""Crafted and damaged model files end in one error that names the file."""

import io
import json
import resource
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest

from lbunet_tf.models import encoders
from lbunet_tf.models import saved_models
from lbunet_tf.runs import ensemble
from lbunet_tf.storage import archives


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Name -> bytes of what a small saved model holds: one convolution to `mask`."""
    inputs = keras.Input((8, 8, 3), name="image")
    mask = keras.layers.Conv2D(1, 1, name="mask")(inputs)
    path = tmp_path_factory.mktemp("small") / "model.keras"
    keras.Model(inputs, {"mask": mask}, name="lbunet").save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def write(tmp_path):
    """A function: name -> bytes of an archive, to the path of the file."""

    def write(contents, compression=zipfile.ZIP_STORED):
        path = tmp_path / "crafted.keras"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
        return path

    return write


def hdf5(fill):
    """The bytes of an HDF5 file that a function fills."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def test_an_honest_model_loads(members, write):
    assert list(saved_models.load(write(members)).output) == ["mask"]


def test_an_honest_model_that_was_packed_again_loads(members, write):
    path = write(members, zipfile.ZIP_DEFLATED)

    assert list(saved_models.load(path).output) == ["mask"]


NOT_ARCHIVES = {
    "empty": (b"", "it is empty"),
    "text": (b"hello", "File is not a zip file"),
    "web page": (b"<!DOCTYPE html><html>", "it is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    "HDF5": (hdf5(lambda file: file.create_group("a")), "it is an HDF5 file"),
    "end of a zip alone": (b"PK\x05\x06" + bytes(18), "it holds no config.json"),
    "end that points beyond": (
        b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 2**31, 2**31, 0),
        "Bad offset",
    ),
}


@pytest.mark.parametrize(("contents", "words"), NOT_ARCHIVES.values(), ids=NOT_ARCHIVES)
def test_a_file_that_is_no_archive_is_named_and_called_what_it_is(tmp_path, contents, words):
    path = tmp_path / "crafted.keras"
    path.write_bytes(contents)

    with pytest.raises(
        ValueError, match=rf"crafted.keras must be a complete .* Received: .*{words}"
    ):
        saved_models.load(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="crafted.keras must be .* there is no such file"):
        saved_models.load(tmp_path / "crafted.keras")


def config_of(members, **changes):
    return json.dumps({**json.loads(members["config.json"]), **changes}).encode()


def layer(class_name, module="keras.layers", registered_name=None, **settings):
    """The config of a model of one layer behind an input."""
    shape = {"batch_shape": [None, 8], "dtype": "float32", "name": "image"}
    tensor = {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 8], "dtype": "float32", "keras_history": ["image", 0, 0]},
    }
    layers = [
        {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": shape,
            "registered_name": None,
            "name": "image",
            "inbound_nodes": [],
        },
        {
            "module": module,
            "class_name": class_name,
            "config": {"name": "mask", **settings},
            "registered_name": registered_name,
            "name": "mask",
            "inbound_nodes": [{"args": [tensor], "kwargs": {}}],
        },
    ]
    ends = {"input_layers": [["image", 0, 0]], "output_layers": {"mask": ["mask", 0, 0]}}
    config = {"name": "lbunet", "trainable": True, "layers": layers, **ends}
    return json.dumps(
        {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "config": config,
            "registered_name": "Functional",
        }
    ).encode()


LAMBDA = {
    "class_name": "__lambda__",
    "config": {"code": "4wEAAAAAAAAAAAAAAAEAAAADAAAA", "defaults": None, "closure": None},
}
CONFIGS = {
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "a number": b"7",
    "brackets 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "dictionaries 5,000 deep": b'{"config":' * 5_000 + b"1" + b"}" * 5_000,
    "an unknown class": layer("Unheard"),
    "a class of another package": layer("system", module="os"),
    "a class of ours that is none": layer("load", "lbunet_tf.models", "lbunet_tf>load"),
    "a package that is not there": layer("Layer", module="keras_hub.no.such"),
    "a function of Keras that is no layer": layer("get_file", module="keras.utils"),
    "code": layer("Lambda", function=LAMBDA, arguments={}),
    "a SavedModel elsewhere": layer("TFSMLayer", filepath="/nowhere", call_endpoint="serve"),
    "a PyTorch module": layer("TorchModuleWrapper", module={"class_name": "x", "config": {}}),
    "a vocabulary in another file": layer("StringLookup", vocabulary="/etc/passwd"),
    "units of text": layer("Dense", units="many"),
    "minus one unit": layer("Dense", units=-1),
    "10^12 units": layer("Dense", units=10**12),
    "10^18 units": layer("Dense", units=10**18),
    "10^30 units": layer("Dense", units=10**30),
    "a metric for a model": json.dumps(
        {"module": "keras.metrics", "class_name": "Mean", "config": {}, "registered_name": None}
    ).encode(),
    "a layer for a model": json.dumps(
        {
            "module": "keras.layers",
            "class_name": "ReLU",
            "config": {"name": "mask"},
            "registered_name": None,
        }
    ).encode(),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_crafted_config_is_refused_by_the_files_name_in_one_line(members, write, config):
    path = write({**members, "config.json": config})

    with pytest.raises(ValueError, match="crafted.keras must be ") as raised:
        saved_models.load(path)

    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


@pytest.mark.parametrize("units", [10**5, 10**8, 10**12])
def test_layers_of_more_weights_than_the_file_has_bytes_are_refused_before_they_are_built(
    members, write, monkeypatch, units
):
    path = write({**members, "config.json": layer("Dense", units=units)})
    # Only to show that building is never begun.
    monkeypatch.setattr(keras.models, "load_model", None)

    words = rf"crafted.keras must .* holds its weights. Received: layers with {9 * units} weights, "
    with pytest.raises(ValueError, match=rf"{words}but \d+ bytes of weights$"):
        saved_models.load(path)


def test_counting_weights_of_four_terabytes_takes_no_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert saved_models._count_weights(layer("Dense", units=10**12 // 9)) == 999_999_999_999
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50_000, "kilobytes"


def test_code_in_a_model_is_not_run(members, write):
    path = write({**members, "config.json": CONFIGS["code"]})

    with pytest.raises(ValueError, match="(?i)crafted.keras must be .* lambda"):
        saved_models.load(path)


def weights_of(members, change):
    """The weights file after a function has changed it."""
    stream = io.BytesIO(members["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        change(file["layers/conv2d/vars"])
    return stream.getvalue()


def _replaced(**keywords):
    def change(group):
        del group["0"]
        group.create_dataset("0", **keywords)

    return change


def _linked(link):
    def change(group):
        del group["0"]
        group["0"] = link

    return change


def _virtual(group):
    del group["0"]
    layout = h5py.VirtualLayout((1, 1, 3, 1), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (1, 1, 3, 1))
    group.create_virtual_dataset("0", layout)


WEIGHTS = {
    "an external link": (_linked(h5py.ExternalLink("/etc/passwd", "/x")), "a link to another file"),
    "a link to another name": (_linked(h5py.SoftLink("/layers")), "a link to another file"),
    "a virtual dataset": (_virtual, "is stored in other files"),
    "an external dataset": (
        _replaced(shape=(1, 1, 3, 1), dtype="f4", external=[("/etc/passwd", 0, 12)]),
        "is stored in other files",
    ),
    "terabytes": (_replaced(shape=(2**40,), dtype="f4", chunks=(1024,)), "claims 4398046511"),
    "ten times two gigabytes": (
        lambda group: [
            group.create_dataset(f"x{number}", (2**29,), "f4", chunks=(1024,))
            for number in range(10)
        ],
        "claims",
    ),
    "text": (_replaced(data=["a", "b"]), "not an array of numbers"),
    "another shape": (_replaced(data=np.zeros((1, 1, 4, 1), "f4")), "shape"),
    "a scalar": (_replaced(data=1.0), "shape"),
    "complex numbers": (_replaced(data=np.full((1, 1, 3, 1), 1j)), "not an array of numbers"),
    "nothing": (lambda group: group.clear(), ""),
    "NaN": (_replaced(data=np.full((1, 1, 3, 1), np.nan, "f4")), "mask/kernel has 3 of 3 that are"),
    "1e300": (_replaced(data=np.full((1, 1, 3, 1), 1e300)), "mask/kernel has 3 of 3 that are NaN"),
}


@pytest.mark.parametrize(("change", "words"), WEIGHTS.values(), ids=WEIGHTS)
def test_crafted_weights_are_refused_by_the_files_name(members, write, change, words):
    path = write({**members, "model.weights.h5": weights_of(members, change)})

    with pytest.raises(ValueError, match=f"crafted.keras must .*{words}") as raised:
        saved_models.load(path)

    assert "\n" not in str(raised.value)


def test_weights_in_float64_are_the_same_weights(members, write):
    kernel = np.array([0.5, -1.25, 3.0]).reshape((1, 1, 3, 1))
    path = write({**members, "model.weights.h5": weights_of(members, _replaced(data=kernel))})

    np.testing.assert_array_equal(saved_models.load(path).get_weights()[0], kernel)


def test_a_group_that_holds_itself_is_walked_once(members, write):
    def change(group):
        group["again"] = group

    path = write({**members, "model.weights.h5": weights_of(members, change)})

    assert archives.damage(path) == ""


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_model_that_lacks_a_part_is_named(members, write, name):
    path = write({key: value for key, value in members.items() if key != name})

    with pytest.raises(ValueError, match=f"crafted.keras must be .* it holds no {name}"):
        saved_models.load(path)


@pytest.mark.parametrize("contents", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + b"\xff" * 100])
def test_weights_that_are_no_hdf5_are_named(members, write, contents):
    with pytest.raises(ValueError, match="crafted.keras must be a complete Keras model"):
        saved_models.load(write({**members, "model.weights.h5": contents}))


def test_an_archive_that_claims_more_than_it_holds_is_refused_unread(members, write):
    path = write({**members, "metadata.json": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)

    with pytest.raises(ValueError, match=r"crafted.keras must be .* claims to hold 500\d{5}"):
        saved_models.load(path)


def test_an_archive_that_lies_about_100_gigabytes_is_refused(members, write):
    path = write(members)
    contents = path.read_bytes()
    size = struct.pack("<I", len(members["model.weights.h5"]))
    # The size in the directory at the end.
    start = contents.rindex(size)
    path.write_bytes(contents[:start] + struct.pack("<I", 0xFFFFFFF0) + contents[start + 4 :])

    with pytest.raises(ValueError, match="crafted.keras must be a complete Keras model"):
        saved_models.load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_holds_a_file_twice_is_refused(members, tmp_path):
    path = tmp_path / "crafted.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in [*members.items(), ("config.json", b"{}")]:
            archive.writestr(name, content)

    with pytest.raises(ValueError, match="crafted.keras must be .* it holds a file twice"):
        saved_models.load(path)


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "assets/x", "x" * 60_000])
def test_an_archive_with_a_file_of_another_name_is_refused(members, write, name):
    with pytest.raises(
        ValueError,
        match="crafted.keras must be .* it holds '.*, which models of lbunet_tf never hold",
    ):
        saved_models.load(write({**members, name: b"x"}))


@pytest.mark.parametrize("layer_name", ["functional", "conv2d"])
def test_a_model_whose_file_lacks_the_weights_of_a_layer_is_refused(
    untrained_run, tmp_path, layer_name
):
    with zipfile.ZipFile(untrained_run / "model.keras") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO(contents["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        del file[f"layers/{layer_name}"]
    path = tmp_path / "crafted.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**contents, "model.weights.h5": stream.getvalue()}.items():
            archive.writestr(name, content)

    with pytest.raises(ValueError, match="crafted.keras must be a Keras model"):
        saved_models.load(path)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_encoder_weights_of_a_crafted_model_are_refused_by_name(members, write, name):
    path = write({**members, "config.json": b"{"})

    with pytest.raises(ValueError, match="crafted.keras must be a Keras model"):
        encoders.build_encoder(name, str(path), 32)


def test_encoder_weights_of_a_model_of_ours_need_its_normalization(members, write):
    with pytest.raises(ValueError, match="crafted.keras has no encoder"):
        encoders.build_encoder("efficientnet_lite0", str(write(members)), 32)


def _terabytes(file):
    file.create_dataset("w", (2**40,), "f4", chunks=(1024,))


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"", "it is empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "complete HDF5 file"),
        (b"<html>", "it is a web page"),
        (b"PK\x03\x04", "zip archive"),
        (hdf5(_terabytes), "claims 4398046511"),
        (hdf5(lambda file: file.create_group("a")), "keras.applications' resnet50 without top"),
    ],
    ids=["empty", "cut", "web page", "zip", "terabytes", "no weights"],
)
def test_encoder_weights_of_a_crafted_hdf5_file_are_refused_by_name(tmp_path, contents, words):
    path = tmp_path / "crafted.h5"
    path.write_bytes(contents)

    with pytest.raises(ValueError, match=f"(?s)(?=.*crafted.h5).*{words}"):
        encoders.build_encoder("resnet50", str(path), 32)


def test_a_model_of_other_outputs_than_its_runs_flags_is_refused(untrained_run, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    flags = (untrained_run / "flags.cfg").read_text()
    (run / "flags.cfg").write_text(flags.replace("--image_size=32", "--image_size=64"))
    (run / "model.keras").write_bytes((untrained_run / "model.keras").read_bytes())

    with pytest.raises(ValueError, match=r"model.keras must be .* input \(None, 64, 64, 3\), in"):
        ensemble.load_best(run)


def test_a_model_without_a_mask_is_refused(untrained_run, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "flags.cfg").write_text((untrained_run / "flags.cfg").read_text())
    inputs = keras.Input((32, 32, 3))
    outputs = {"other": keras.layers.Conv2D(1, 1)(inputs)}
    keras.Model(inputs, outputs).save(run / "model.keras")

    with pytest.raises(ValueError, match=r"mask \(None, 32, 32, 1\), in the file missing"):
        ensemble.load_best(run)
