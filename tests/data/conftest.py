"""Small files and tables for the tests of `lbunet_tf.data`."""

import os

import pytest

from lbunet_tf.data import sources

# albumentations asks the network for its newest version when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
HAM10000 = (
    "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    "HAM_0000001,ISIC_0024306,nv,histo,80.0,male,scalp\n"
    "HAM_0000001,ISIC_0024307,nv,histo,80.0,male,scalp\n"
    "HAM_0000002,ISIC_0024308,mel,histo,,unknown,unknown\n"
)


@pytest.fixture
def read(make_config):
    """Returns a function: source, folder -> manifest."""

    def read(source, folder, **fields):
        settings = make_config(source=(source,), data_dir=(str(folder),), **fields)
        return sources.make_manifest(settings.source, settings.preprocessing)[0]

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
