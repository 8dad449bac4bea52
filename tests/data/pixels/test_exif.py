"""Tests of `lbunet_tf.data.pixels.exif` against Pillow's reading of the same files."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL import ImageOps
from PIL import PngImagePlugin

from lbunet_tf.data.pixels import exif
from lbunet_tf.data.pixels import headers
from lbunet_tf.data.pixels import preprocessing

ORDERS = {"little": "<", "big": ">"}
MARKS = {"little": b"II", "big": b"MM"}
# Smooth, so that JPEG keeps it; no two of its eight turns look alike.
ROWS, COLUMNS = np.mgrid[:16, :24].astype("uint8")
PIXELS = np.stack([ROWS * 12, COLUMNS * 9, ROWS * 5 + COLUMNS * 3], axis=-1)


def _tiff(order, value, filler=0):
    """Returns a TIFF block of two entries, the second the orientation."""
    letters = ORDERS[order]
    header = MARKS[order] + struct.pack(f"{letters}HI", 42, 8 + filler)
    width = struct.pack(f"{letters}HHII", 0x0100, 4, 1, 24)
    orientation = struct.pack(f"{letters}HHIHH", exif.ORIENTATION_TAG, 3, 1, value, 0)
    entries = struct.pack(f"{letters}H", 2) + width + orientation
    return header + bytes(filler) + entries + bytes(4)


def _jpeg(tiff=None):
    stream = io.BytesIO()
    block = {} if tiff is None else {"exif": headers.EXIF + tiff}
    Image.fromarray(PIXELS).save(stream, "JPEG", quality=95, **block)
    return stream.getvalue()


def _segment(tiff):
    """Returns what stands before the pixels of a JPEG whose EXIF may be damaged."""
    return b"\xff\xd8\xff\xe1\x00\x40" + headers.EXIF + tiff


def _stored_and_shown(contents):
    """Returns the pixels as the file holds them and as Pillow turns them."""
    stored = Image.open(io.BytesIO(contents))
    return np.asarray(stored), np.asarray(ImageOps.exif_transpose(stored))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("value", range(10))
def test_orient_turns_an_image_exactly_as_pillow_does(order, value):
    contents = _jpeg(_tiff(order, value))
    stored, shown = _stored_and_shown(contents)

    np.testing.assert_array_equal(
        exif.orient(tf.constant(stored), exif.orientation(contents)), shown
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("value", range(10))
def test_orient_inside_a_tf_function_turns_an_image_exactly_as_pillow_does(order, value):
    contents = _jpeg(_tiff(order, value))
    stored, shown = _stored_and_shown(contents)

    np.testing.assert_array_equal(_orient_in_graph(stored, contents), shown)


@tf.function(
    input_signature=[tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.string)]
)
def _orient_in_graph(image, contents):
    return exif.orient(image, exif.orientation(contents))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_the_number_in_the_file(order, value):
    assert exif.orientation(_jpeg(_tiff(order, value))) == value


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("value", [0, 9, 256, 65535])
def test_an_orientation_outside_1_to_8_is_1(order, value):
    assert exif.orientation(_jpeg(_tiff(order, value))) == 1


@pytest.mark.parametrize("order", ORDERS)
def test_a_directory_at_the_end_of_a_long_segment_is_read(order):
    contents = _jpeg(_tiff(order, 6, filler=60_000))

    assert exif.orientation(contents) == 6


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xd8\xff", id="three bytes of a JPEG"),
        pytest.param(_jpeg(), id="a JPEG without EXIF"),
        pytest.param(_segment(b""), id="the marker alone"),
        pytest.param(_segment(b"\xff" * 60), id="ones"),
        pytest.param(_segment(b"\x00" * 60), id="zeros"),
        pytest.param(_segment(b"II*\x00" + b"\xff" * 60), id="a directory gigabytes away"),
        pytest.param(_segment(b"MM\x00*" + b"\xff" * 60), id="a directory gigabytes away, big"),
        pytest.param(_segment(b"II*\x00\x08\x00\x00\x00\xff\xff"), id="65535 entries, none there"),
        pytest.param(_segment(bytes(range(256)) * 4), id="every byte in turn"),
    ],
)
def test_an_orientation_that_is_not_there_or_cannot_be_read_is_1(contents):
    assert exif.orientation(contents) == 1
    assert tf.function(exif.orientation)(tf.constant(contents)) == 1


@pytest.mark.parametrize("order", ORDERS)
def test_an_exif_block_cut_off_before_the_value_is_1(order):
    # 8 bytes of header, 2 of count, 12 of the first entry, 8 of the second before its value.
    cuts = range(30)

    found = [int(exif.orientation(_segment(_tiff(order, 6)[:cut]))) for cut in cuts]

    assert found == [1] * len(cuts)


@pytest.mark.parametrize("order", ORDERS)
def test_a_block_without_a_byte_order_is_not_read(order):
    damaged = b"XX" + _tiff(order, 6)[2:]

    assert exif.orientation(_segment(damaged)) == 1


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("value", range(1, 9))
def test_decode_image_gives_the_image_as_pillow_shows_it(order, value):
    contents = _jpeg(_tiff(order, value))
    shown = _stored_and_shown(contents)[1].astype(int)

    decoded = preprocessing.decode_image(contents).numpy().astype(int)

    # One level of 255: the two may round the DCT apart.
    assert decoded.shape == shown.shape and np.abs(decoded - shown).max() <= 1


def test_decode_image_inside_tf_data_turns_each_image_by_its_own_orientation():
    files = [_jpeg(_tiff("little", value)) for value in (1, 6, 3)]

    decoded = list(tf.data.Dataset.from_tensor_slices(files).map(preprocessing.decode_image))

    assert [image.shape.as_list() for image in decoded] == [[16, 24, 3], [24, 16, 3], [16, 24, 3]]


def _png(value=None, **texts):
    """Returns a PNG, with a chunk eXIf and text chunks where they are given."""
    stream, info = io.BytesIO(), PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    block = {} if value is None else {"exif": headers.EXIF + _tiff("big", value)}
    Image.fromarray(PIXELS).save(stream, "PNG", pnginfo=info, **block)
    return stream.getvalue()


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_segment(code, data):
    """Returns a JPEG with one more segment before the others."""
    segment = b"\xff" + bytes([code]) + struct.pack(">H", len(data) + 2) + data
    return b"\xff\xd8" + segment + _jpeg()[2:]


@pytest.mark.parametrize("value", range(1, 9))
def test_a_png_is_turned_by_its_exif_chunk_as_pillow_does(value):
    contents = _png(value)

    np.testing.assert_array_equal(
        preprocessing.decode_image(contents), _stored_and_shown(contents)[1]
    )


def test_an_exif_chunk_after_the_pixels_counts():
    whole = _png()
    contents = whole[:-12] + _chunk(b"eXIf", _tiff("little", 6)) + whole[-12:]

    assert exif.orientation(contents) == 6
    np.testing.assert_array_equal(
        preprocessing.decode_image(contents), _stored_and_shown(contents)[1]
    )


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(_with_segment(0xFE, headers.EXIF + _tiff("big", 6)), id="a comment"),
        pytest.param(_with_segment(0xE4, headers.EXIF + _tiff("big", 6)), id="another APP"),
        pytest.param(_with_segment(0xE1, b"http:" + headers.EXIF + _tiff("big", 6)), id="an XMP"),
        pytest.param(_jpeg() + headers.EXIF + _tiff("big", 6), id="after the end"),
        pytest.param(_png(Comment="eXIf" + _tiff("big", 6).decode("latin-1")), id="a PNG text"),
        pytest.param(_png() + _chunk(b"eXIf", _tiff("big", 6)), id="after the end of a PNG"),
    ],
)
def test_the_letters_of_exif_elsewhere_turn_no_image(contents):
    stored, shown = _stored_and_shown(contents)
    np.testing.assert_array_equal(stored, shown)

    assert exif.orientation(contents) == 1


def test_exif_after_a_comment_that_looks_like_it_is_the_one_that_counts():
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 6 + 38) + headers.EXIF + _tiff("big", 6)
    contents = b"\xff\xd8" + comment + _jpeg(_tiff("little", 3))[2:]

    assert exif.orientation(contents) == 3
    assert Image.open(io.BytesIO(contents)).getexif()[0x0112] == 3


def test_exif_far_behind_other_segments_counts():
    padding = b"\xff\xe2\xff\xff" + bytes(65_533)
    contents = b"\xff\xd8" + 4 * padding + b"\xff\xff\xff" + _jpeg(_tiff("big", 8))[2:]

    assert exif.orientation(contents) == 8


@pytest.mark.parametrize("order", ORDERS)
def test_an_orientation_in_four_bytes_is_read(order):
    letters = ORDERS[order]
    entry = struct.pack(f"{letters}HHHII", 1, exif.ORIENTATION_TAG, 4, 1, 6)
    tiff = MARKS[order] + struct.pack(f"{letters}HI", 42, 8) + entry + bytes(4)
    contents = _jpeg(tiff)

    assert exif.orientation(contents) == Image.open(io.BytesIO(contents)).getexif()[0x0112] == 6


def test_a_directory_is_not_read_beyond_its_segment():
    tiff = _tiff("big", 6)
    short = b"\xff\xe1" + struct.pack(">H", 2 + 6 + 20) + headers.EXIF + tiff

    assert exif.orientation(b"\xff\xd8" + short + _jpeg()[2:]) == 1


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_file_cut_off_anywhere_in_front_of_its_pixels_is_turned_or_not_but_never_an_error(
    file_format,
):
    contents = _jpeg(_tiff("big", 6)) if file_format == "JPEG" else _png(6)

    found = {int(exif.orientation(contents[:cut])) for cut in range(110)}

    assert found == {1, 6}


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_a_png_and_a_bmp_without_exif_are_not_turned(file_format):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, file_format)

    np.testing.assert_array_equal(preprocessing.decode_image(stream.getvalue()), PIXELS)
