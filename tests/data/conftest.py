"""Small files and tables for the tests of `lbunet_tf.data`."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf.data import manifests
from lbunet_tf.data import sources
from lbunet_tf.settings import config as config_lib

# albumentations asks the network for its newest version when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
HAM10000 = (
    "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    "HAM_0000001,ISIC_0024306,nv,histo,80.0,male,scalp\n"
    "HAM_0000001,ISIC_0024307,nv,histo,80.0,male,scalp\n"
    "HAM_0000002,ISIC_0024308,mel,histo,,unknown,unknown\n"
)


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
        return config_lib.check(config_lib.make(**{"image_size": 16, **fields}))

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
def read(make_config):
    """Returns a function: source, folder -> manifest."""

    def read(source, folder, **fields):
        config = make_config(source=(source,), data_dir=(str(folder),), **fields)
        return sources.make_manifest(config.source, config.preprocessing)[0]

    return read


@pytest.fixture
def ham10000(tmp_path, write_image, write_mask):
    """Returns a function that lays out a HAM10000 download."""

    def lay_out(metadata="HAM10000_metadata.csv", masks=True):
        root = tmp_path / "ham10000"
        write_image(root / "HAM10000_images_part_1" / "ISIC_0024306.jpg")
        write_image(root / "HAM10000_images_part_1" / "ISIC_0024307.jpg")
        write_image(root / "HAM10000_images_part_2" / "ISIC_0024308.jpg")
        if masks:
            for name in ("ISIC_0024306", "ISIC_0024307", "ISIC_0024308"):
                folder = root / "HAM10000_segmentations_lesion_tschandl"
                write_mask(folder / f"{name}_segmentation.png")
        (root / metadata).write_text(HAM10000)
        return root

    return lay_out
