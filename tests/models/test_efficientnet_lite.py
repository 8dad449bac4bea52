"""EfficientNet-Lite's weights: read without PyTorch, and without trusting the file."""

import keras
import numpy as np
import pytest

from lbunet_tf.models import efficientnet_lite
from lbunet_tf.models import encoders

# A PyTorch file in the format before 1.6 opens with three pickles, which are not looked at.
HEADER = b"I1\n." * 3
# Made once with PyTorch 2.13 and efficientnet_lite_pytorch 0.1.0 (image_size=None: padding for the
# image as it is): extract_features of the shipped weights in eval mode, on the image of
# `_features`: mean, standard deviation and the means of the eight strongest channels.
REFERENCE = {
    "efficientnet_lite0": (
        0.10164685,
        0.4681376,
        {
            113: 4.927077293395996,
            974: 3.4919447898864746,
            747: 3.0111818313598633,
            403: 2.840665578842163,
            468: 2.660969164703369,
            71: 2.40994930267334,
            897: 2.3845794200897217,
            1126: 2.215453624725342,
        },
    ),
    "efficientnet_lite1": (
        0.14174993,
        0.5750681,
        {
            1176: 5.225234508514404,
            1196: 4.305128574371338,
            605: 3.975132465362549,
            124: 3.740905284881592,
            604: 3.7046079635620117,
            903: 3.447279214859009,
            1073: 3.362363338470459,
            777: 3.316554307937622,
        },
    ),
    "efficientnet_lite2": (
        0.32254165,
        0.9464393,
        {
            140: 5.743311405181885,
            115: 5.5884809494018555,
            852: 5.527472972869873,
            1028: 5.452392101287842,
            197: 5.363203048706055,
            29: 5.293573379516602,
            933: 5.110769271850586,
            439: 5.023904323577881,
        },
    ),
}
NUM_PARAMETERS = {
    "efficientnet_lite0": 3_413_024,
    "efficientnet_lite1": 4_189_344,
    "efficientnet_lite2": 4_869_168,
}
LITE0 = efficientnet_lite.VARIANTS["efficientnet_lite0"]


@pytest.fixture(scope="module")
def shipped():
    """The bytes of the shipped weights file."""
    return efficientnet_lite.shipped_weights_path(LITE0.name).read_bytes()


def _load(path, contents):
    path.write_bytes(contents)
    return encoders.build_encoder("efficientnet_lite0", str(path), 32)


def _features(encoder):
    """Returns (3, 3, 1280): the deepest features of a fixed pattern."""
    row, column, channel = np.meshgrid(np.arange(96), np.arange(96), np.arange(3), indexing="ij")
    image = ((row * 2 + column + channel * 29) % 256).astype("float32")
    normalized = (image - np.array(encoder.mean)) / np.array(encoder.std)
    return np.asarray(encoder.model(normalized[None].astype("float32"), training=False)[-1][0])


@pytest.mark.parametrize("name", REFERENCE)
def test_top_features_are_pytorchs(name):
    mean, std, channels = REFERENCE[name]

    encoder = encoders.build_encoder(name, "imagenet", 96)

    features = _features(encoder)
    assert encoder.model.count_params() == NUM_PARAMETERS[name]
    assert features.shape == (3, 3, 1280)
    assert features.mean() == pytest.approx(mean, abs=1e-5)
    assert features.std() == pytest.approx(std, abs=1e-5)
    means = features.mean(axis=(0, 1))
    ours = [means[channel] for channel in channels]
    np.testing.assert_allclose(ours, list(channels.values()), atol=1e-4)


@pytest.mark.parametrize(
    "of, given",
    [
        ("efficientnet_lite1", "efficientnet_lite0"),
        ("efficientnet_lite2", "efficientnet_lite1"),
        # All its weights are there, in the shapes that are needed, and more.
        ("efficientnet_lite0", "efficientnet_lite1"),
    ],
)
def test_the_file_of_another_size_is_refused(of, given):
    path = efficientnet_lite.shipped_weights_path(given)

    with pytest.raises(ValueError, match=f"{path.name} must hold {of}"):
        encoders.build_encoder(of, str(path), 32)


def test_a_shipped_file_with_one_flipped_bit_is_refused(shipped, tmp_path):
    damaged = bytearray(shipped)
    damaged[len(damaged) // 2] ^= 1

    with pytest.raises(ValueError, match=f"SHA-256 {LITE0.sha256}"):
        _load(tmp_path / LITE0.file_name, bytes(damaged))


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
    encoder = efficientnet_lite.build(LITE0.name, 128)
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
