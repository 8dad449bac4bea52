"""Tests of `data.pixels.preprocessing`: decoding, resizing, parity with albumentations."""

import functools
import io
import struct
import zlib

import albumentations
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lbunet_tf import models
from lbunet_tf.data.pixels import colour_constancy
from lbunet_tf.data.pixels import hair_removal
from lbunet_tf.data.pixels import preprocessing
from lbunet_tf.data.sources import synthetic
from lbunet_tf.settings import config

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = np.random.default_rng(0).integers(0, 256, (18, 30, 3), dtype="uint8")
LESION = np.random.default_rng(1).integers(0, 2, (18, 30), dtype="uint8")


def _encode(image, file_format):
    stream = io.BytesIO()
    image.save(stream, file_format)
    return stream.getvalue()


def _random(height, width):
    return np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype="uint8")


def _smooth(height, width):
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(x + 0.7 * y), np.cos(1.3 * x), np.sin(0.5 * x - y)]
    return np.uint8(np.round(127.5 + 120 * np.stack(waves, axis=-1)))


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_an_rgb_image_decodes_to_its_pixels(file_format):
    contents = _encode(Image.fromarray(PIXELS), file_format)

    np.testing.assert_array_equal(preprocessing.decode_image(contents), PIXELS)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_decodes_as_pillow_does_within_one_level(mode):
    contents = _encode(Image.fromarray(PIXELS).convert(mode), "JPEG")

    decoded = preprocessing.decode_image(contents).numpy().astype(int)

    # Measured with TensorFlow 2.21 and Pillow 13: 0 levels in all three modes.
    expected = np.asarray(Image.open(io.BytesIO(contents)).convert("RGB"), int)
    assert np.abs(decoded - expected).max() <= 1


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
@pytest.mark.parametrize("mode", ["L", "1"])
def test_a_grayscale_image_is_repeated_in_three_channels(mode, file_format):
    gray = Image.fromarray(PIXELS).convert(mode)

    decoded = preprocessing.decode_image(_encode(gray, file_format))

    np.testing.assert_array_equal(decoded, np.asarray(gray.convert("RGB")))


@pytest.mark.parametrize("mode, file_format", [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "BMP")])
def test_alpha_is_dropped_and_does_not_darken_the_image(mode, file_format):
    picture = Image.fromarray(PIXELS).convert(mode)
    picture.putalpha(Image.fromarray(LESION * np.uint8(100)))

    decoded = preprocessing.decode_image(_encode(picture, file_format))

    expected = Image.fromarray(PIXELS).convert(mode).convert("RGB")
    np.testing.assert_array_equal(decoded, np.asarray(expected))


@pytest.mark.parametrize("num_colours", [2, 4, 16, 200])
@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_a_palette_is_looked_up(file_format, num_colours):
    picture = Image.fromarray(PIXELS).quantize(num_colours)

    decoded = preprocessing.decode_image(_encode(picture, file_format))

    np.testing.assert_array_equal(decoded, np.asarray(picture.convert("RGB")))


def _deep_png(levels):
    """Returns a PNG of 16 bits and RGB; Pillow writes only grey ones."""
    height, width = levels.shape[:2]
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _deep_grey_png(levels):
    return _encode(Image.fromarray(levels[..., 0]), "PNG")


@pytest.mark.parametrize("encode", [_deep_png, _deep_grey_png])
@pytest.mark.parametrize("brightest", [0, 1, 255, 1023, 4095, 16383])
def test_an_image_of_16_bits_that_holds_fewer_is_refused_by_name(tmp_path, encode, brightest):
    levels = np.full((6, 8, 3), brightest // 2, "uint16")
    levels[2, 3] = brightest
    (tmp_path / "deep.png").write_bytes(encode(levels))

    for decode in (
        preprocessing.decode_image,
        functools.partial(preprocessing.decode_reduced, size_px=1),
    ):
        with pytest.raises(ValueError) as error:
            preprocessing.decode_file(tmp_path / "deep.png", decode)
        said = f"deep.png: it has 16 bits, but its brightest level is {brightest} of 65535; save"
        assert said in str(error.value)
    assert said[10:] in preprocessing.decode_jpeg_or_png(encode(levels))[1].numpy().decode()


@pytest.mark.parametrize("encode", [_deep_png, _deep_grey_png])
@pytest.mark.parametrize("brightest", [16384, 65535])
def test_an_image_of_16_bits_is_its_upper_8(encode, brightest):
    levels = np.random.default_rng(0).integers(0, brightest, (6, 8, 3), dtype="uint16")
    levels[2, 3] = brightest
    expected = levels >> 8 if encode is _deep_png else levels[..., :1].repeat(3, axis=-1) >> 8

    image, problem = preprocessing.decode_jpeg_or_png(encode(levels))

    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(preprocessing.decode_image(encode(levels)), expected)
    assert problem == b""


def test_a_shallow_image_of_16_bits_is_refused_inside_tf_data():
    contents = _deep_png(np.full((6, 8, 3), 4095, "uint16"))
    dataset = tf.data.Dataset.from_tensors(contents).map(preprocessing.decode_image)

    with pytest.raises(tf.errors.InvalidArgumentError, match="brightest level is 4095 of 65535"):
        list(dataset)


def test_images_of_every_format_decode_inside_tf_data():
    formats = ("JPEG", "PNG", "BMP")
    files = [_encode(Image.new("RGB", (8, 6), (200, 40, 90)), name) for name in formats]

    decoded = list(tf.data.Dataset.from_tensor_slices(files).map(preprocessing.decode_image))

    # JPEG's colour transform may move a flat colour by a level or two.
    for image in decoded:
        np.testing.assert_allclose(image, np.full((6, 8, 3), (200, 40, 90)), atol=2)


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(Image.fromarray(LESION), id="0 and 1"),
        pytest.param(Image.fromarray(LESION * np.uint8(255)), id="0 and 255"),
        pytest.param(Image.fromarray(LESION * np.uint8(255)).convert("1"), id="one bit"),
        pytest.param(Image.fromarray(LESION * np.uint8(255)).convert("RGB"), id="RGB"),
        pytest.param(Image.fromarray(LESION * np.uint8(255)).quantize(2), id="palette"),
    ],
)
def test_a_mask_decodes_to_0_and_1(picture, file_format):
    mask = preprocessing.decode_mask(_encode(picture, file_format))

    assert mask.dtype == tf.uint8
    np.testing.assert_array_equal(mask[..., 0], LESION)


def test_a_jpeg_mask_loses_its_noise():
    pixels = np.zeros((32, 32), "uint8")
    pixels[5:21, 9:30] = 255

    mask = preprocessing.decode_mask(_encode(Image.fromarray(pixels), "JPEG"))

    np.testing.assert_array_equal(mask[..., 0], pixels // 255)


def test_an_empty_mask_stays_empty():
    mask = preprocessing.decode_mask(_encode(Image.new("L", (9, 7)), "PNG"))

    np.testing.assert_array_equal(mask, np.zeros((7, 9, 1)))


@pytest.mark.parametrize("value", [1, 255])
def test_a_full_mask_stays_full(value):
    mask = preprocessing.decode_mask(_encode(Image.new("L", (9, 7), value), "PNG"))

    np.testing.assert_array_equal(mask, np.ones((7, 9, 1)))


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size_px", [16, 31, 124])
def test_a_resized_image_is_a_uint8_square_of_the_asked_size(size_px, antialias):
    image = preprocessing.resize_image(PIXELS, size_px, antialias)

    assert image.shape == (size_px, size_px, 3) and image.dtype == tf.uint8


def test_an_image_of_the_asked_size_is_not_changed():
    image = _random(32, 32)

    np.testing.assert_array_equal(preprocessing.resize_image(image, 32), image)


def test_antialias_averages_what_plain_shrinking_leaves_out():
    stripes = np.zeros((64, 64, 3), "uint8")
    stripes[:, ::4] = 255

    plain = preprocessing.resize_image(stripes, 16).numpy()
    smooth = preprocessing.resize_image(stripes, 16, antialias=True).numpy()

    # Every fourth column is white: 255 / 4 on the average, which plain bilinear misses.
    assert abs(smooth.mean() - 255 / 4) < 3
    assert abs(plain.mean() - 255 / 4) > 30


@pytest.mark.parametrize("size_px", [9, 31, 124])
def test_a_resized_mask_holds_0_and_1_only(size_px):
    mask = preprocessing.resize_mask(LESION[..., None], size_px)

    assert mask.shape == (size_px, size_px, 1) and mask.dtype == tf.uint8
    assert set(np.unique(mask)) == {0, 1}


@pytest.mark.parametrize("size_px", [16, 31, 128])
def test_a_resized_mask_lies_where_the_resized_image_shows_the_lesion(size_px):
    lesion = np.zeros((64, 64, 1), "uint8")
    lesion[20:44, 12:40] = 1

    mask = preprocessing.resize_mask(lesion, size_px).numpy()[..., 0]
    image = preprocessing.resize_image(np.repeat(lesion * np.uint8(255), 3, -1), size_px).numpy()

    # The two may part only where the border falls between two pixels.
    certain = (image[..., 0] < 64) | (image[..., 0] > 191)
    np.testing.assert_array_equal(mask[certain], (image[..., 0] > 127)[certain])


@pytest.mark.parametrize("make", [_smooth, _random])
@pytest.mark.parametrize(
    "height, width, size_px",
    [(256, 256, 128), (256, 256, 124), (150, 200, 128), (97, 61, 124), (40, 50, 128)],
)
def test_resizing_is_albumentations_resize_within_one_level(make, height, width, size_px):
    image = make(height, width)

    ours = preprocessing.resize_image(image, size_px).numpy().astype(int)
    theirs = albumentations.Resize(size_px, size_px)(image=image)["image"].astype(int)

    # Measured with albumentations 2.0.8 and OpenCV 5.0: at most 1 level of 255, in 6 to 22 %
    # of the values, for every case here. OpenCV interpolates in fixed point, TensorFlow in
    # float32. So no exact parity is asserted.
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("make", [_smooth, _random])
def test_resizing_is_on_the_average_neither_brighter_nor_darker_than_albumentations(make):
    image = make(256, 192)

    ours = preprocessing.resize_image(image, 124).numpy().astype(int)
    theirs = albumentations.Resize(124, 124)(image=image)["image"].astype(int)

    # Measured: ours is 0.12 (smooth) and 0.13 (random) levels brighter, because OpenCV's
    # fixed-point steps cut off. Cutting off instead of rounding would make ours 0.38 darker.
    assert abs((ours - theirs).mean()) < 0.2


@pytest.fixture(scope="module")
def normalise():
    """The model's own first layer, as a function of images in 0..255."""
    model = models.build_model(config.make(model="unet", image_size=16))
    layer = model.get_layer("normalization")
    assert isinstance(layer, keras.layers.Normalization)
    return lambda images: layer(images.astype("float32")).numpy()


def test_the_models_normalisation_is_albumentations_normalize(normalise):
    image = _random(128, 128)

    ours = normalise(image[None])[0]
    theirs = albumentations.Normalize(MEAN, STD, max_pixel_value=255.0)(image=image)["image"]

    # Values lie in -2.2..2.7; float32 leaves a difference; measured: 2.4e-7.
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("make", [_smooth, _random])
def test_the_whole_input_is_albumentations_resize_and_normalize(make, normalise):
    image = make(256, 192)
    paper = albumentations.Compose(
        [albumentations.Resize(128, 128), albumentations.Normalize(MEAN, STD)]
    )

    ours = normalise(preprocessing.resize_image(image, 128).numpy()[None])[0]
    theirs = paper(image=image)["image"]

    # One level of 255 from the resize is at most 1 / (255 * 0.224) = 0.0175 once normalised;
    # measured: 0.0175.
    one_level = 1 / (255 * min(STD))
    assert np.abs(ours - theirs).max() <= one_level + 1e-5


def _prepare(image, **fields):
    return preprocessing.prepare_image(
        image, config.make(image_size=64, **fields).preprocessing
    ).numpy()


def test_without_flags_an_image_is_resized_and_no_more():
    image = _smooth(150, 200)

    np.testing.assert_array_equal(_prepare(image), preprocessing.resize_image(image, 64))


def test_shades_of_gray_is_taken_after_the_resize():
    resized = preprocessing.resize_image(_smooth(150, 200), 64)

    expected = colour_constancy.shades_of_gray(resized)
    np.testing.assert_array_equal(_prepare(_smooth(150, 200), shades_of_gray=True), expected)


def test_hair_is_removed_at_the_networks_size_before_the_light_is_whitened():
    hairy = np.full((128, 128, 3), (200, 160, 140), "uint8")
    hairy[60:62] = 30
    resized = preprocessing.resize_image(hairy, 64)

    bald = hair_removal.remove_hair(resized)

    assert np.min(bald) > 130
    np.testing.assert_array_equal(_prepare(hairy, remove_hair=True), bald)
    both = _prepare(hairy, remove_hair=True, shades_of_gray=True)
    np.testing.assert_array_equal(both, colour_constancy.shades_of_gray(bald))


@pytest.mark.slow
def test_all_of_it_is_a_graph_of_tensorflows_own_ops_for_images_of_any_size():
    settings = config.make(image_size=64, shades_of_gray=True, remove_hair=True)
    anything = tf.TensorSpec((None, None, 3), tf.uint8)

    prepare = tf.function(lambda image: preprocessing.prepare_image(image, settings.preprocessing))
    graph = prepare.get_concrete_function(anything)

    assert not [op.type for op in graph.graph.get_operations() if "PyFunc" in op.type]
    image = _smooth(150, 200)
    eager = _prepare(image, shades_of_gray=True, remove_hair=True)
    # A fused multiplication may round the other way.
    assert np.abs(graph(tf.constant(image)).numpy().astype(int) - eager).max() <= 1


def _drawn_jpeg(height, width, quality=90, **keywords):
    """Returns the bytes of a drawn lesion as a JPEG of this size."""
    rng = np.random.default_rng(3)
    image, _ = synthetic.draw(synthetic.draw_traits(True, rng), 2, max(height, width), rng)
    stream = io.BytesIO()
    Image.fromarray(image[:height, :width]).save(stream, "JPEG", quality=quality, **keywords)
    return stream.getvalue()


@pytest.mark.parametrize(
    "height, width, ratio",
    [(127, 300, 1), (128, 300, 2), (255, 600, 2), (256, 256, 4), (515, 512, 8)],
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_of_twice_the_target(height, width, ratio):
    image, size = preprocessing.decode_reduced(_drawn_jpeg(height, width), 32)

    assert image.shape == (-(-height // ratio), -(-width // ratio), 3)
    assert size.numpy().tolist() == [height, width]


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_what_is_no_jpeg_is_decoded_whole(file_format):
    contents = _encode(Image.fromarray(PIXELS), file_format)

    image, size = preprocessing.decode_reduced(contents, 1)

    np.testing.assert_array_equal(image, PIXELS)
    assert size.numpy().tolist() == [18, 30]


def test_a_reduced_jpeg_is_upright_and_so_is_its_size():
    turned = Image.Exif()
    turned[0x0112] = 6

    image, size = preprocessing.decode_reduced(_drawn_jpeg(128, 320, exif=turned), 16)

    assert image.shape == (80, 32, 3) and size.numpy().tolist() == [320, 128]


@pytest.mark.parametrize("size_px", [64, 128])
def test_a_reduced_decode_shows_the_network_what_the_full_one_does_within_a_level(size_px):
    contents = _drawn_jpeg(1024, 1024)
    settings = config.make(image_size=size_px, antialias=True)

    reduced, full = (
        preprocessing.prepare_image(image, settings.preprocessing).numpy().astype(int)
        for image in (
            preprocessing.decode_to_resize(contents, settings.preprocessing),
            preprocessing.decode_image(contents),
        )
    )

    # Measured over sizes of 1,024 to 4,000 px: at most 0.62 of 255 levels in the mean, 11 in one.
    difference = np.abs(reduced - full)
    assert 0 < difference.mean() < 0.65 and difference.max() <= 11


def test_without_antialias_every_pixel_is_decoded():
    contents = _drawn_jpeg(512, 512)

    image = preprocessing.decode_to_resize(contents, config.make(image_size=32).preprocessing)

    np.testing.assert_array_equal(image, preprocessing.decode_image(contents))
