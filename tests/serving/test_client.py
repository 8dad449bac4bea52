"""scripts/client.py against an exported model behind real sockets."""

import base64
import csv
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lbunet_tf.serving import prediction_sets
from lbunet_tf.serving import signature
from lbunet_tf.serving import warmup

pytestmark = pytest.mark.slow

CLIENT = pathlib.Path(__file__).parents[2] / "scripts/client.py"


def run_client(folder, *arguments, python_flags=()):
    """Runs the script in another folder as a user would."""
    return subprocess.run(
        [sys.executable, *python_flags, CLIENT, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def call(client, capsys, *arguments):
    """Returns (exit status, rows, lines of stderr) of the client in this process."""
    status = client.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return status, rows_of(printed.out), printed.err.splitlines()


def test_the_rest_request_fits_the_signature(client, serve):
    (name, spec), *others = serve.structured_input_signature[1].items()
    request = json.loads(client.request_body([b"one", b"two"]))
    contents = [base64.b64decode(value["b64"]) for value in request["inputs"][name]]
    tensor = tf.constant(contents)
    assert request["signature_name"] == signature.NAME
    assert (list(request["inputs"]), others) == ([name], [])
    assert contents == [b"one", b"two"]
    assert tensor.dtype == spec.dtype and spec.shape.is_compatible_with(tensor.shape)


def test_the_client_reads_the_outputs_that_signatures_have(client, serve, serve_score):
    # Those of a run with an operating point, prediction sets, --calibrated and a diagnosis head.
    more = {client.FLAGGED, client.SET, "calibrated_probability", *client.OF_CLASSES}
    assert set(client.OUTPUTS) - more == set(serve.structured_outputs)
    assert more < set(client.OUTPUTS)
    assert client.SETS == prediction_sets.SETS
    assert set(serve_score.structured_outputs) == {"probability", client.ERROR}


def test_client_and_warm_up_name_the_same_model(client):
    assert client.MODEL == warmup.MODEL_NAME


def test_the_client_gives_what_the_signature_gives(server_flag, serve, images, tmp_path):
    result = run_client(tmp_path, server_flag, "--masks=new/masks", "--batch=3", *images)
    assert result.returncode == 0, result.stderr
    rows = rows_of(result.stdout)
    direct = serve(image_bytes=tf.constant([path.read_bytes() for path in images]))
    assert [row["image"] for row in rows] == [str(path) for path in images]
    for name in ("probability", "lesion_share"):
        numbers = [float(row[name]) for row in rows]
        np.testing.assert_allclose(numbers, direct[name], atol=1e-4)
    for path, png in zip(images, direct["mask_png_bytes"].numpy(), strict=True):
        mask = np.asarray(Image.open(tmp_path / "new/masks" / f"{path.stem}.png"))
        np.testing.assert_array_equal(mask, tf.io.decode_png(png)[..., 0])
        assert mask.shape == Image.open(path).size[::-1]


def test_a_model_of_a_score_gives_a_csv_of_probabilities(
    client, serve_score, rest_url_of_score, images, capsys
):
    status, rows, errors = call(client, capsys, f"--url={rest_url_of_score}", *images)
    direct = serve_score(image_bytes=tf.constant([path.read_bytes() for path in images]))
    numbers = [float(row["probability"]) for row in rows]
    assert (status, errors, list(rows[0])) == (0, [], ["image", "probability"])
    np.testing.assert_allclose(numbers, direct["probability"], atol=1e-4)


def test_files_without_a_result_are_named_at_the_end_and_the_others_are_not_lost(
    server_flag, client, images, capsys, tmp_path
):
    text, missing, truncated = (tmp_path / f"{name}.jpg" for name in ("text", "missing", "short"))
    text.write_text("no image")
    truncated.write_bytes(images[0].read_bytes()[:300])
    files = [text, images[0], truncated, missing, images[1]]
    status, rows, errors = call(client, capsys, server_flag, *files)
    assert (status, len(errors)) == (1, 3)
    assert [row["image"] for row in rows] == [str(images[0]), str(images[1])]
    assert errors[0] == f"{text}: no JPEG or PNG; it was not sent"
    assert errors[1].startswith(f"{truncated}: ") and "JPEG" in errors[1]
    assert errors[2] == f"{missing}: No such file or directory"


@pytest.mark.parametrize("flag", ["--url=http://127.0.0.1:1", "--grpc=127.0.0.1:1"])
def test_a_server_that_is_not_there_names_every_image(client, images, capsys, flag):
    status, rows, errors = call(client, capsys, flag, "--retries=0", *images)
    assert (status, rows, len(errors)) == (1, [], len(images))
    for image, error in zip(images, errors, strict=True):
        assert error.startswith(f"{image}: ") and "127.0.0.1:1" in error and "onnect" in error


def test_a_model_that_the_server_lacks_is_asked_for_once_and_every_image_is_named(
    server_flag, client, images, capsys
):
    client.MODEL = "another"
    status, rows, errors = call(client, capsys, server_flag, "--batch=1", *images)
    assert (status, rows, len(errors)) == (1, [], len(images))
    for image, error in zip(images, errors, strict=True):
        answer = r".+ (answered 404|gives NOT_FOUND): Servable not found.*"
        assert re.fullmatch(re.escape(f"{image}: ") + answer, error)


def test_an_answer_that_is_not_tf_servings_is_quoted(client, start_rest, images, capsys):
    url = start_rest(lambda body: "welcome")
    status, rows, errors = call(client, capsys, f"--url={url}", images[0])
    said = f'{url}/v1/models/lbunet:predict is no TF Serving; it answered: "welcome"'
    assert (status, rows, errors) == (1, [], [f"{images[0]}: {said}"])


def test_a_url_without_its_scheme_is_refused(client, images, capsys):
    status, _, errors = call(client, capsys, "--url=localhost:8501", *images)
    assert status == 1
    assert errors == ["--url must start with http:// or https://. Received: localhost:8501"]


def test_masks_of_a_model_without_any_are_an_error(
    client, rest_url_of_score, images, capsys, tmp_path
):
    arguments = (f"--url={rest_url_of_score}", f"--masks={tmp_path}", images[0])
    status, _, errors = call(client, capsys, *arguments)
    assert status == 1
    said = "--masks needs a model of outlines; this one has learnt no masks"
    assert errors == [f"{images[0]}: {said}"]


def test_two_images_of_one_name_cannot_write_masks(client, images, rest_url, capsys, tmp_path):
    shutil.copy(images[0], tmp_path)
    arguments = (f"--url={rest_url}", f"--masks={tmp_path}/masks", *images, tmp_path / "image0.jpg")
    status, rows, errors = call(client, capsys, *arguments)
    assert (status, rows, len(errors)) == (1, [], 1)
    assert "image0.png twice" in errors[0] and not (tmp_path / "masks").exists()


def test_rest_needs_no_package(images, rest_url, tmp_path):
    result = run_client(tmp_path, f"--url={rest_url}", images[0], python_flags=("-I", "-S"))
    assert (result.returncode, result.stderr) == (0, "")


def test_grpc_without_its_package_says_what_to_install(images, tmp_path):
    result = run_client(tmp_path, "--grpc=127.0.0.1:1", images[0], python_flags=("-I", "-S"))
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "pip install tensorflow-serving-api" in result.stderr
