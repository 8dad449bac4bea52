"""Small files and tables for the tests of `lbunet_tf.data`."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf import config as config_lib
from lbunet_tf.data import manifest as manifest_lib

# albumentations asks the network for its newest version when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


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
        return config_lib.check(config_lib.Config(**{"image_size": 16, **fields}))

    return make


@pytest.fixture
def make_table():
    """Returns a function that makes a complete manifest of `count` rows without files."""

    def make(count, **columns):
        names = [f"i{number:04d}" for number in range(count)]
        table = pd.DataFrame({"image_id": names, "image": [f"/d/{name}.png" for name in names]})
        return manifest_lib.complete(table.assign(**columns), "folder")

    return make
