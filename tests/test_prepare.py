"""Tests of `lbunet_tf.prepare`, inside the process."""

import numpy as np
import pytest
from PIL import Image

from lbunet_tf import config as config_lib
from lbunet_tf import prepare


@pytest.fixture
def config(drawn_folder):
    return config_lib.Config(
        source=("synthetic",), data_dir=(str(drawn_folder),), synthetic_count=40, image_size=64
    )


def test_a_preview_is_a_sheet_with_a_column_for_the_image_and_for_each_version(config, tmp_path):
    paths = [tmp_path / "sheets" / f"{name}.png" for name in ("none", "flips")]

    for path in paths:
        prepare.main(config.replace(augment=path.stem, preview=str(path)))

    plain, versions = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    assert plain.shape[0] / versions.shape[0] == pytest.approx(1, abs=0.1)
    assert versions.shape[1] / plain.shape[1] == pytest.approx(8, rel=0.15)
    # The outline of a lesion.
    assert (plain == (0, 255, 0)).all(axis=-1).sum() > 100


def test_without_the_flag_no_preview_is_drawn(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    prepare.main(config)

    assert list(tmp_path.iterdir()) == []
