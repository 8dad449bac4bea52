"""The calls of a served model in docs/serving.md, run as written except for the port."""

import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lbunet_tf.serving import warmup

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


def documented_commands(word):
    """Returns the bash commands of the page that contain the word, continued lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/serving.md").read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if word in line]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_documented_curl_call_gets_the_outputs_of_the_signature(serve, rest_url, tmp_path):
    (command,) = documented_commands("curl")
    # Larger than what the system takes as one argument.
    large = np.random.default_rng(0).integers(0, 255, (600, 800, 3)).astype("uint8")
    Image.fromarray(large).save(tmp_path / "image.jpg", quality=95)
    result = subprocess.run(
        ["bash", "-c", command.replace("http://localhost:8501", rest_url)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (tmp_path / "image.jpg").stat().st_size > 200_000
    assert result.returncode == 0, result.stderr
    outputs = json.loads(result.stdout)["outputs"]
    direct = serve(image_bytes=tf.constant([(tmp_path / "image.jpg").read_bytes()]))
    assert set(outputs) == set(direct)
    np.testing.assert_allclose(outputs["probability"], direct["probability"], atol=1e-4)


def test_the_page_names_the_scripts_the_model_and_the_port():
    (docker,) = documented_commands("serve_docker.sh")
    (curl,) = documented_commands("curl")
    (client,) = documented_commands("client.py")
    assert (ROOT / docker.split()[0]).is_file() and (ROOT / client.split()[1]).is_file()
    assert f"http://localhost:8501/v1/models/{warmup.MODEL_NAME}:predict" in curl
