"""The exported model, loaded where only TensorFlow is imported, gives what `predict` gives."""

import csv
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from lbunet_tf import export
from lbunet_tf import predict
from lbunet_tf.data.pixels import new_images
from lbunet_tf.data.pixels import preprocessing
from lbunet_tf.runs import ensemble
from lbunet_tf.settings import flagfiles

pytestmark = pytest.mark.slow

SERVE = """
import json, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
serve = model.signatures["serving_default"]
contents = [open(path, "rb").read() for path in sys.argv[2:]]
answer = {"outputs": sorted(serve.structured_outputs)}
mixed = serve(image_bytes=tf.constant([contents[0], b"no image"]))
answer["error"] = [error.decode() for error in mixed["error"].numpy()]
answer["of_mixed"] = mixed["probability"].numpy().tolist()
batch = serve(image_bytes=tf.constant(contents))
answer["probability"] = batch["probability"].numpy().tolist()
answer["lesion_share"] = batch["lesion_share"].numpy().tolist()
masks = [tf.io.decode_png(png) for png in batch["mask_png_bytes"]]
answer["sizes"] = [mask.shape[:2].as_list() for mask in masks]
answer["white"] = [int(tf.math.count_nonzero(mask)) for mask in masks]
answer["identity"] = model.signatures["identity"]()["identity"].numpy().decode()
answer["modules"] = [name for name in sys.modules if name.split(".")[0] in ("keras", "lbunet_tf")]
print("ANSWER" + json.dumps(answer))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """JPEG and PNG files of several sizes, one of them with an EXIF rotation."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(((40, 60), (33, 31), (100, 64), (48, 48))):
        coarse = rng.integers(0, 255, (5, 5, 3)).astype("uint8")
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 2 else 1
        path = folder / f"image{number}.{'png' if number == 1 else 'jpg'}"
        image.save(path, exif=exif.tobytes())
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module", params=["one run", "no hair, no cast", "two runs, 8 symmetries"])
def settings(request, untrained_run, other_untrained_run, tmp_path_factory):
    """What is exported."""
    one = flagfiles.read(str(untrained_run))
    if request.param == "one run":
        return one
    if request.param == "no hair, no cast":
        output = tmp_path_factory.mktemp("exports") / "clean"
        return one.replace(remove_hair=True, shades_of_gray=True, output=str(output))
    output = tmp_path_factory.mktemp("exports") / "mean"
    return one.replace(other_runs=(str(other_untrained_run),), tta="dihedral", output=str(output))


@pytest.fixture(scope="module")
def answers(settings, images, tmp_path_factory):
    """What a fresh process says that imports only TensorFlow, and what `predict` wrote."""
    folder = export.export(settings)
    result = subprocess.run(
        [sys.executable, "-c", SERVE, str(folder), *images],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    assert result.returncode == 0, result.stderr[-2000:]
    output = tmp_path_factory.mktemp("predicted") / "out"
    predict.predict(settings.replace(output=str(output)), images)
    with open(output / "scores.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return json.loads(result.stdout.split("ANSWER")[1]), rows


def test_the_exported_model_needs_neither_keras_nor_this_package(answers):
    served, _ = answers
    assert [name for name in served["modules"] if name.startswith("lbunet_tf")] == []


def test_the_exported_model_gives_the_scores_of_predict(answers):
    served, rows = answers
    np.testing.assert_allclose(
        served["probability"], [float(row["score"]) for row in rows], atol=1e-4
    )


def test_the_network_sees_what_the_flags_say(settings, answers, images):
    if settings.paths.other_runs:
        pytest.skip("the mean of runs has tests of its own")
    small = [
        preprocessing.prepare_image(new_images.read_image(path), settings.preprocessing)
        for path in images
    ]
    model = ensemble.load_best(pathlib.Path(settings.paths.run))
    logits = model.predict(np.stack(small).astype("float32"), verbose=0)["melanoma"][:, 0]
    np.testing.assert_allclose(answers[0]["probability"], 1 / (1 + np.exp(-logits)), atol=1e-4)


def test_the_exported_model_gives_the_areas_of_predict(answers):
    served, rows = answers
    shares = [float(row["lesion_share"]) for row in rows]
    np.testing.assert_allclose(served["lesion_share"], shares, atol=1e-4)
    assert served["white"] == [int(row["lesion_pixels"]) for row in rows]


def test_exported_masks_have_the_size_of_the_upright_image(answers):
    served, rows = answers
    assert served["sizes"] == [[int(row["height"]), int(row["width"])] for row in rows]
    assert served["sizes"][2] == [64, 100]


def test_bytes_that_are_no_image_are_named_and_cost_the_others_nothing(answers):
    served, _ = answers
    good, bad = served["error"]
    assert good == "" and "image_bytes must be a JPEG or PNG" in bad
    np.testing.assert_allclose(served["of_mixed"], [served["probability"][0], np.nan], atol=1e-6)


def test_the_exported_model_knows_its_run(answers, untrained_run):
    identity = json.loads(answers[0]["identity"])
    assert identity["package"].startswith("lbunet_tf ")
    assert "--image_size=32" in identity["flags"] and len(identity["manifest_sha256"]) == 64
    assert identity["max_megapixels"] == 100


def test_the_exported_model_names_all_its_runs_and_symmetries(answers, settings):
    identity = json.loads(answers[0]["identity"])
    names = [identity["run"], *(other["run"] for other in identity["other_runs"])]
    assert names == [pathlib.Path(run).name for run in settings.paths.runs]
    assert identity["tta"] == settings.score.tta


def test_output_names_that_hold_bytes_end_in_bytes(answers):
    assert answers[0]["outputs"] == ["error", "lesion_share", "mask_png_bytes", "probability"]


def test_several_runs_are_exported_to_a_version_in_the_output(settings, answers):
    if settings.paths.other_runs:
        assert [path.name for path in pathlib.Path(settings.paths.output).iterdir()] == ["1"]


def test_a_second_export_gets_the_next_version(untrained_run):
    settings = flagfiles.read(str(untrained_run))
    first, second = (int(pathlib.Path(export.export(settings)).name) for _ in range(2))
    assert second == first + 1
