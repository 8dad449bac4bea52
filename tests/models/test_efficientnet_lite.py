"""EfficientNet-Lite0's weights: read without PyTorch, and without trusting the file."""

import keras
import numpy as np
import pytest

from lbunet_tf.models import efficientnet_lite
from lbunet_tf.models import encoders

# A PyTorch file in the format before 1.6 opens with three pickles, which are not looked at.
HEADER = b"I1\n." * 3
# Made once with PyTorch 2.13 and efficientnet_lite_pytorch 0.1.0: extract_features of the
# shipped weights in eval mode, on the image of `reference_image`.
REFERENCE_MEAN, REFERENCE_STD = 0.10164685, 0.4681376
REFERENCE_CHANNELS = {
    113: 4.927077293395996,
    974: 3.4919447898864746,
    747: 3.0111818313598633,
    403: 2.840665578842163,
    468: 2.660969164703369,
    71: 2.40994930267334,
    897: 2.3845794200897217,
    1126: 2.215453624725342,
}


@pytest.fixture(scope="module")
def shipped():
    """The bytes of the shipped weights file."""
    return efficientnet_lite.shipped_weights_path().read_bytes()


@pytest.fixture(scope="module")
def reference_features():
    """(3, 3, 1280): our features of the reference image."""
    row, column, channel = np.meshgrid(np.arange(96), np.arange(96), np.arange(3), indexing="ij")
    image = ((row * 2 + column + channel * 29) % 256).astype("float32")
    encoder = encoders.build_encoder("efficientnet_lite0", "imagenet", 96)
    normalized = (image - np.array(encoder.mean)) / np.array(encoder.std)
    return np.asarray(encoder.model(normalized[None].astype("float32"), training=False)[-1][0])


def _load(path, contents):
    path.write_bytes(contents)
    return encoders.build_encoder("efficientnet_lite0", str(path), 32)


def test_top_features_have_the_mean_and_deviation_of_pytorchs(reference_features):
    assert reference_features.shape == (3, 3, 1280)
    assert reference_features.mean() == pytest.approx(REFERENCE_MEAN, abs=1e-5)
    assert reference_features.std() == pytest.approx(REFERENCE_STD, abs=1e-5)


def test_top_features_have_the_channel_means_of_pytorchs(reference_features):
    means = reference_features.mean(axis=(0, 1))

    ours = [means[channel] for channel in REFERENCE_CHANNELS]

    np.testing.assert_allclose(ours, list(REFERENCE_CHANNELS.values()), atol=1e-4)


def test_a_shipped_file_with_one_flipped_bit_is_refused(shipped, tmp_path):
    damaged = bytearray(shipped)
    damaged[len(damaged) // 2] ^= 1

    with pytest.raises(ValueError, match=f"SHA-256 {efficientnet_lite.SHA256}"):
        _load(tmp_path / efficientnet_lite.FILE_NAME, bytes(damaged))


def test_the_shipped_file_under_another_name_gives_the_same_weights(shipped, tmp_path):
    renamed = _load(tmp_path / "mine.pth", shipped)

    by_name = encoders.build_encoder("efficientnet_lite0", "imagenet", 32)
    for ours, expected in zip(
        renamed.model.get_weights(), by_name.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def test_random_depthwise_outputs_are_not_drowned_by_the_epsilon_of_their_norm():
    # A depthwise kernel sees one channel: started as if it saw all, its outputs would vary
    # less than epsilon, 1e-3, and the norm would divide by the epsilon.
    keras.utils.set_random_seed(3)
    encoder = efficientnet_lite.build_efficientnet_lite0(128)
    outputs = {
        layer.name: layer.output
        for layer in encoder.layers
        if isinstance(layer, keras.layers.DepthwiseConv2D)
    }
    images = np.random.default_rng(3).normal(0, 1, (4, 128, 128, 3)).astype("float32")

    features = keras.Model(encoder.input, outputs)(images, training=True)

    variances = {name: float(np.asarray(x).var((0, 1, 2)).mean()) for name, x in features.items()}
    assert len(variances) == 16
    assert {name: value for name, value in variances.items() if value <= 0.05} == {}


@pytest.mark.parametrize("left", [0, 1, 10, 5000, 1_000_000, 1_000_001, -1, -4, -4096])
def test_a_truncated_file_is_refused_by_name(shipped, tmp_path, left):
    with pytest.raises(ValueError, match="cut.pth must be a complete PyTorch file"):
        _load(tmp_path / "cut.pth", shipped[:left])


@pytest.mark.parametrize(
    "contents",
    [b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n", b"I1\n.I1\n.I1\n.I5\n.(l.", b"garbage"],
    ids=["zip as PyTorch 1.6 writes it", "hdf5", "no dictionary", "garbage"],
)
def test_a_file_of_another_format_is_refused_by_name(tmp_path, contents):
    with pytest.raises(ValueError, match="other.pth must be a complete PyTorch file"):
        _load(tmp_path / "other.pth", contents)


@pytest.mark.parametrize("opening", [b"", HEADER], ids=["in front", "as the dictionary"])
@pytest.mark.parametrize("module, name", [("os", "system"), ("posix", "system"), ("os", "popen")])
def test_a_pickle_that_names_a_command_is_refused_and_runs_nothing(tmp_path, opening, module, name):
    marker = tmp_path / "it_ran"
    command = f"c{module}\n{name}\n(S'touch {marker}'\ntR.".encode()

    with pytest.raises(ValueError, match=f"it names {module}.{name}"):
        _load(tmp_path / "evil.pth", opening + command)

    assert not marker.exists()


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "__import__"])
def test_a_pickle_that_names_a_builtin_is_refused(tmp_path, name):
    contents = f"cbuiltins\n{name}\n(S'1'\ntR.".encode()

    with pytest.raises(ValueError, match=f"it names builtins.{name}"):
        _load(tmp_path / "evil.pth", contents)


def test_a_file_that_lacks_a_weight_is_refused_by_the_weights_name(shipped, tmp_path):
    renamed = shipped.replace(b"_blocks.3._bn1.weight", b"_blocks.3._bn1.height")

    with pytest.raises(ValueError, match=r"mine.pth .* lacks _blocks.3._bn1.weight"):
        _load(tmp_path / "mine.pth", renamed)


def test_a_weight_of_another_shape_is_refused_by_name_and_shapes(shipped, tmp_path):
    swapped = shipped.replace(b"_conv_stem.weight", b"_conv_halt.weight")
    swapped = swapped.replace(b"_conv_head.weight", b"_conv_stem.weight")

    with pytest.raises(ValueError, match=r"_conv_stem.weight must have the shape .*\(1, 1, 320"):
        _load(tmp_path / "mine.pth", swapped)
