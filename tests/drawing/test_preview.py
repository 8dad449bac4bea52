"""Tests of `lbunet_tf.drawing.preview`."""

import numpy as np
import pytest
from PIL import Image

from lbunet_tf.drawing import preview
from lbunet_tf.settings import config

CHOICES = config.FIELDS["augment"].metadata["choices"]


@pytest.fixture
def rows(tmp_path, make_table):
    """Three images of 32 px, a bright lesion left of the middle; the last has no mask."""
    for number in range(3):
        pixels = np.full((32, 32, 3), 60 + 10 * number, "uint8")
        pixels[8:24, 4:16] = 220
        Image.fromarray(pixels).save(tmp_path / f"image{number}.png")
        Image.fromarray(np.uint8(pixels[..., 0] == 220)).save(tmp_path / f"mask{number}.png")
    return make_table(
        3,
        image=[str(tmp_path / f"image{number}.png") for number in range(3)],
        mask=[str(tmp_path / "mask0.png"), str(tmp_path / "mask1.png"), ""],
    )


@pytest.mark.parametrize("augment", CHOICES)
def test_the_first_version_is_the_image_as_it_is_and_others_follow(rows, make_config, augment):
    settings = make_config(augment=augment, image_size=32)

    versions = preview.make_versions(
        settings.preprocessing, settings.augmentation.augment, settings.source.seed, rows, 2
    )

    assert len(versions) == 3
    for images, masks in versions:
        assert images.shape == (3, 32, 32, 3) and images.dtype == np.uint8
        assert masks.shape == (3, 32, 32)
    images, masks = versions[0]
    assert images[:, 0, 0, 0].tolist() == [60, 70, 80]
    np.testing.assert_array_equal(masks[0], images[0, ..., 0] == 220)
    assert not masks[2].any()


def test_label_masks_do_not_hide_the_outline_of_the_lesion(rows, make_config):
    settings = make_config(mask_source="label", image_size=32)

    [(_, masks)] = preview.make_versions(
        settings.preprocessing, settings.augmentation.augment, settings.source.seed, rows, 0
    )

    assert 0 < masks[0].mean() < 1
