"""Tests of `lbunet_tf.data.pixels.limits`: what is too large is refused by its header, by name."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from lbunet_tf.data.pixels import file_check
from lbunet_tf.data.pixels import headers
from lbunet_tf.data.pixels import limits
from lbunet_tf.data.pixels import preprocessing

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype="uint8")
COMMENT = b"\xff\xfe\x00\x02"


def _encode(file_format, image=None, **options):
    stream = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(stream, file_format, **options)
    return stream.getvalue()


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _scans(count, side=16, mode="L"):
    """Returns a progressive JPEG that sends its last scan `count` times more."""
    whole = _encode("JPEG", Image.new(mode, (side, side), 128), progressive=True)
    table = whole.rindex(b"\xff\xc4")
    return whole[:-2] + count * whole[table:-2] + whole[-2:]


def _after_the_start(filling):
    """Returns a JPEG with bytes between its first two segments."""
    whole = _encode("JPEG")
    return whole[:20] + filling + whole[20:]


def _problem(contents, max_megapixels=1):
    return limits.problem(contents, max_megapixels).numpy().decode()


def _claiming(file_format, height, width):
    contents = bytearray(_encode(file_format))
    if file_format == "JPEG":
        place = contents.index(b"\xff\xc0") + 5
        contents[place : place + 4] = struct.pack(">HH", height, width)
    elif file_format == "PNG":
        contents[16:24] = struct.pack(">II", width, height)
        contents[29:33] = struct.pack(">I", zlib.crc32(contents[12:29]))
    else:
        contents[18:26] = struct.pack("<ii", width, -height)
    return bytes(contents)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP"])
def test_a_picture_that_claims_too_many_pixels_is_refused_by_name_and_at_once(
    tmp_path, file_format
):
    (tmp_path / "bomb.png").write_bytes(_claiming(file_format, 23170, 23171))

    with pytest.raises(ValueError) as error:
        preprocessing.decode_file(tmp_path / "bomb.png", preprocessing.decode_image)

    said = "bomb.png: it has 23171 x 23170 px, more than --max_megapixels=100"
    assert said in str(error.value)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP"])
def test_a_picture_of_exactly_the_limit_is_decoded_and_one_more_row_is_not(tmp_path, file_format):
    for height, is_good in ((1000, True), (1001, False)):
        picture = Image.new("RGB", (1000, height), (90, 60, 50))
        (tmp_path / "a").write_bytes(_encode(file_format, picture))
        try:
            image = preprocessing.decode_file(tmp_path / "a", preprocessing.decode_image, 1)[1]
        except ValueError as error:
            assert not is_good and "more than --max_megapixels=1" in str(error)
        else:
            assert is_good and image.shape == (1000, 1000, 3)


def test_a_bmp_above_the_limit_of_pillow_is_a_matter_of_our_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    (tmp_path / "a.bmp").write_bytes(_encode("BMP"))

    image = preprocessing.decode_file(tmp_path / "a.bmp", preprocessing.decode_image)[1]

    np.testing.assert_array_equal(image, PIXELS)


def test_a_bmp_of_the_oldest_header_is_measured():
    header = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 30_000, 20_000, 1, 24)

    assert "it has 30000 x 20000 px" in limits.bmp_problem(header, 100)


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(_encode("JPEG")[:3], id="three bytes of a JPEG"),
        pytest.param(_encode("JPEG")[:100], id="a JPEG before its size"),
        pytest.param(_encode("PNG")[:22], id="a PNG before its size"),
        pytest.param(_claiming("PNG", 0, 5), id="a PNG of no rows"),
    ],
)
def test_a_picture_without_a_size_is_refused(contents):
    assert _problem(contents) == "no size stands in its header"


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(b"\xff\xd8" + COMMENT * 5000, id="a JPEG of comments"),
        pytest.param(b"\xff\xd8\xff" + b"\x00" * 100_000, id="a JPEG of zeros"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + _chunk(b"tEXt", b"") * 20_000, id="a PNG of texts"),
        pytest.param(_after_the_start(b"\xff" * 3000), id="filling before the size"),
        pytest.param(_after_the_start(COMMENT * 3000), id="comments before the size"),
        pytest.param(
            _encode("PNG")[:33] + _chunk(b"tEXt", b"") * 20_000 + _encode("PNG")[33:],
            id="a PNG of texts and a picture",
        ),
    ],
)
def test_a_picture_of_too_many_parts_before_its_pixels_is_refused_in_bounded_time(contents):
    _problem(_encode("PNG"))
    start = time.process_time()

    assert "too many parts, or bytes between them, come before its pixels" in _problem(contents)
    assert time.process_time() - start < 20


@pytest.mark.parametrize("filling", [b"\xff" * 1500, COMMENT * 1500])
def test_a_jpeg_with_some_parts_more_is_decoded(filling):
    contents = _after_the_start(filling)

    assert _problem(contents) == "" and headers.num_scans(contents) == 1
    np.testing.assert_array_equal(
        preprocessing.decode_image(contents), preprocessing.decode_image(_encode("JPEG"))
    )


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_scans_are_counted_as_pillow_writes_them(mode, progressive):
    contents = _encode("JPEG", Image.fromarray(PIXELS).convert(mode), progressive=progressive)

    # libjpeg's script for progressive files: 6 scans of grey, 10 of colours.
    expected = {"L": 6, "RGB": 10}[mode] if progressive else 1
    assert headers.num_scans(contents) == headers.num_scans_at_most(contents) == expected


@pytest.mark.parametrize("count, is_good", [(94, True), (95, False), (400, False)])
def test_a_jpeg_may_have_a_hundred_scans(count, is_good):
    problem = _problem(_scans(count))

    assert problem == "" if is_good else f"it has {count + 6} scans, more than 100" in problem


def test_scans_behind_more_segments_than_are_counted_are_refused_by_name():
    whole = _scans(300)
    # Behind the first scan: what reads the size and the orientation stops there.
    table = whole.index(b"\xff\xc4", whole.index(b"\xff\xda"))
    contents = whole[:table] + COMMENT * 2100 + whole[table:]

    assert headers.num_scans(contents) == -1
    assert _problem(contents) == "it has more than 2000 segments; save it again"


@pytest.mark.parametrize("count, is_good", [(14, True), (15, False)])
def test_a_jpeg_of_the_largest_size_may_have_twenty_scans(count, is_good):
    problem = _problem(_scans(count, side=1000))

    assert problem == "" if is_good else "it has 21 scans, more than 20" in problem


def test_what_follows_the_end_of_a_jpeg_is_no_scan():
    # As the film that a phone writes behind a motion photo.
    contents = _encode("JPEG") + b"\xff\xda" * 500

    assert headers.num_scans_at_most(contents) == 501
    assert headers.num_scans(contents) == 1
    assert _problem(contents) == ""


def test_an_end_within_a_comment_hides_no_scans():
    whole = _scans(400)
    table = whole.rindex(b"\xff\xc4")
    contents = whole[:table] + b"\xff\xfe\x00\x04\xff\xd9" + whole[table:]

    assert headers.num_scans(contents) == 406


def test_an_interlaced_png_is_decoded():
    rows = np.zeros((8, 1 + 8), "uint8")
    # Adam7 of 8 x 8 grey: passes of 1, 1, 2, 4, 8, 16 and 32 pixels.
    passes = [(1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8)]
    data = b"".join((b"\x00" + b"\x07" * width) * height for height, width in passes)
    header = struct.pack(">IIBBBBB", 8, len(rows), 8, 0, 0, 0, 1)
    contents = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    contents += _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")

    assert _problem(contents) == ""
    np.testing.assert_array_equal(preprocessing.decode_image(contents), np.full((8, 8, 3), 7))


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_a_text_or_profile_that_unpacks_to_a_quarter_gigabyte_costs_no_such_memory(kind):
    packed = zlib.compressobj(9)
    data = b"".join(packed.compress(bytes(2**20)) for _ in range(256)) + packed.flush()
    whole = _encode("PNG")
    contents = whole[:33] + _chunk(kind, b"name\x00\x00" + data) + whole[33:]
    start = time.process_time()

    np.testing.assert_array_equal(preprocessing.decode_image(contents), PIXELS)
    # libpng gives up at 8 MB.
    assert time.process_time() - start < 5


def test_a_picture_above_the_limit_is_a_bad_image_of_its_row(tmp_path, make_table):
    for name, height in (("a", 1000), ("b", 1001)):
        Image.new("RGB", (1000, height)).save(tmp_path / f"{name}.png")
    table = make_table(2, image=[str(tmp_path / f"{name}.png") for name in "ab"])

    checked, skipped = file_check.check_files(table, "skip", max_megapixels=1)

    assert checked["image_id"].tolist() == ["i0000"]
    assert "1000 x 1001 px, more than --max_megapixels=1" in skipped["reason"].iloc[0]
