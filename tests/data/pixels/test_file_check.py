"""Tests of `lbunet_tf.data.pixels.file_check`: the check of files before training."""

import hashlib
import io
import logging
import os

import numpy as np
import pytest
from PIL import Image

from lbunet_tf.data.pixels import file_check

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype="uint8")


def _encoded(file_format):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, file_format)
    return stream.getvalue()


@pytest.fixture
def table(tmp_path, write_image, write_mask, make_table):
    """Three readable images with masks."""
    paths = [
        write_image(tmp_path / f"{name}.png", colour=(90, 60, n)) for n, name in enumerate("abc")
    ]
    masks = [write_mask(tmp_path / f"{name}_segmentation.png") for name in "abc"]
    return make_table(
        3, image_id=list("abc"), image=list(map(str, paths)), mask=list(map(str, masks))
    )


def test_readable_images_all_pass_and_nothing_is_skipped(table):
    checked, skipped = file_check.check_files(table, "error")

    assert checked["image_id"].tolist() == ["a", "b", "c"]
    assert skipped.empty


def test_the_content_hash_is_the_sha1_of_the_image_file(table, tmp_path):
    checked, _ = file_check.check_files(table, "error")

    contents = (tmp_path / "b.png").read_bytes()
    assert checked["content_hash"][1] == hashlib.sha1(contents).hexdigest()


def test_two_copies_of_a_file_share_a_content_hash(table, tmp_path):
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())

    hashes = file_check.check_files(table, "error")[0]["content_hash"]

    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(_encoded("JPEG")[:300], id="truncated JPEG"),
        pytest.param(_encoded("JPEG")[:-2], id="JPEG without its end"),
        pytest.param(_encoded("PNG")[:300], id="truncated PNG"),
        pytest.param(_encoded("PNG")[:-40], id="PNG without its end"),
        pytest.param(_encoded("BMP")[:300], id="truncated BMP"),
        pytest.param(b"BM", id="two bytes of a BMP"),
        pytest.param(_encoded("TIFF"), id="TIFF"),
        pytest.param(_encoded("WEBP"), id="WebP"),
        pytest.param(_encoded("GIF"), id="GIF"),
        pytest.param(b"<html>404</html>", id="a web page"),
        pytest.param(b"", id="an empty file"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_an_error_with_file_image_and_flag(
    table, tmp_path, contents
):
    (tmp_path / "b.png").write_bytes(contents)

    with pytest.raises(ValueError) as error:
        file_check.check_files(table, "error")

    message = str(error.value)
    assert f"cannot decode {tmp_path / 'b.png'}" in message
    assert "image 'b'" in message
    assert "1 of 3 are bad" in message
    assert "--on_bad_image=skip" in message


def test_a_mask_that_cannot_be_decoded_is_an_error_that_names_the_mask(table, tmp_path):
    (tmp_path / "c_segmentation.png").write_bytes(b"not a mask")

    with pytest.raises(ValueError) as error:
        file_check.check_files(table, "error")

    assert f"cannot decode {tmp_path / 'c_segmentation.png'}" in str(error.value)
    assert "image 'c'" in str(error.value)


def test_a_mask_of_another_size_is_an_error_with_both_sizes_image_and_flag(
    table, tmp_path, write_mask
):
    write_mask(tmp_path / "a_segmentation.png", size=(16, 20))

    with pytest.raises(ValueError) as error:
        file_check.check_files(table, "error")

    message = str(error.value)
    assert str(tmp_path / "a_segmentation.png") in message
    assert "20 x 16 px" in message and "16 x 20 px" in message
    assert "image 'a'" in message
    assert "--on_bad_image=skip" in message


def test_an_image_without_a_mask_passes(table):
    table.loc[1, "mask"] = ""

    assert len(file_check.check_files(table, "error")[0]) == 3


def test_skip_leaves_bad_images_out_and_lists_each_with_its_reason(table, tmp_path, write_mask):
    (tmp_path / "a.png").write_bytes(b"")
    write_mask(tmp_path / "c_segmentation.png", size=(8, 8))

    checked, skipped = file_check.check_files(table, "skip")

    assert checked["image_id"].tolist() == ["b"]
    assert skipped["image_id"].tolist() == ["a", "c"]
    assert "cannot decode" in skipped["reason"].iloc[0]
    assert "must have the size of its image" in skipped["reason"].iloc[1]


def test_skip_numbers_the_kept_rows_anew(table, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")

    assert file_check.check_files(table, "skip")[0].index.tolist() == [0, 1]


def test_skip_says_aloud_how_many_were_skipped(table, tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(b"")

    with caplog.at_level(logging.WARNING):
        file_check.check_files(table, "skip")

    assert "skipped 1 of 3 bad images" in caplog.text


def test_skip_refuses_a_manifest_of_bad_images_only(table, tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"")

    with pytest.raises(ValueError, match="at least one image must be readable"):
        file_check.check_files(table, "skip")


@pytest.mark.parametrize("file_format", ["WEBP", "GIF", "TIFF"])
def test_a_picture_of_another_format_named_jpg_is_refused_by_what_is_inside(
    table, tmp_path, file_format
):
    (tmp_path / "b.jpg").write_bytes(_encoded(file_format))
    table.loc[1, "image"] = str(tmp_path / "b.jpg")

    with pytest.raises(ValueError, match="b.jpg: it is not a JPEG, PNG or BMP file"):
        file_check.check_files(table, "error")


def test_a_mask_of_another_format_is_refused_by_what_is_inside(table, tmp_path):
    (tmp_path / "c_segmentation.png").write_bytes(_encoded("GIF"))

    with pytest.raises(ValueError, match="c_segmentation.png: it is not a JPEG, PNG or BMP file"):
        file_check.check_files(table, "error")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP"])
def test_a_picture_passes_whatever_its_suffix_says(table, tmp_path, file_format):
    (tmp_path / "b.png").write_bytes(_encoded(file_format))

    assert len(file_check.check_files(table, "error")[0]) == 3


def test_a_mask_is_compared_with_the_image_as_its_exif_orientation_shows_it(
    table, tmp_path, write_mask
):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "b.jpg", exif=turned)
    table.loc[1, "image"] = str(tmp_path / "b.jpg")
    write_mask(tmp_path / "b_segmentation.png", size=(16, 20))

    assert len(file_check.check_files(table, "error")[0]) == 3


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_large_jpeg_that_is_cut_short_is_bad_although_it_is_decoded_at_an_eighth(
    table, tmp_path, share, progressive
):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype="uint8")
    Image.fromarray(pixels).save(stream, "JPEG", progressive=progressive)
    contents = stream.getvalue()
    (tmp_path / "b.png").write_bytes(contents[: int(share * len(contents))])

    checked, _ = file_check.check_files(table, "skip")

    assert checked["image_id"].tolist() == ["a", "c"]


def _set_orientation(path, value):
    tag = Image.Exif()
    tag[0x0112] = value
    Image.open(path).copy().save(path, exif=tag)


@pytest.mark.slow
@pytest.mark.parametrize("of_image", range(1, 9))
@pytest.mark.parametrize("of_mask", range(1, 9))
def test_a_mask_fits_only_where_it_is_certain_how_it_is_turned(
    table, tmp_path, write_image, write_mask, of_image, of_mask
):
    # Upright, both have 20 x 16 px.
    for write, name, value in (
        (write_image, "b.png", of_image),
        (write_mask, "b_segmentation.png", of_mask),
    ):
        path = write(tmp_path / name, size=(20, 16) if value < 5 else (16, 20))
        _set_orientation(path, value)

    skipped = file_check.check_files(table, "skip")[1]

    one_exchanges_sides = min(of_image, of_mask) == 1 and max(of_image, of_mask) >= 5
    if of_image == of_mask or one_exchanges_sides:
        assert skipped.empty
    else:
        (reason,) = skipped["reason"]
        assert "b_segmentation.png must have the orientation of its image" in reason
        assert f"EXIF orientation {of_image} of the image, {of_mask} of the mask" in reason


@pytest.mark.parametrize("of_image, of_mask", [(6, 1), (1, 8), (3, 1), (1, 3), (6, 8)])
def test_of_a_square_image_no_size_tells_how_its_mask_is_turned(
    table, tmp_path, write_image, write_mask, of_image, of_mask
):
    _set_orientation(write_image(tmp_path / "b.png", size=(20, 20)), of_image)
    _set_orientation(write_mask(tmp_path / "b_segmentation.png", size=(20, 20)), of_mask)

    (reason,) = file_check.check_files(table, "skip")[1]["reason"]

    assert "must have the orientation of its image" in reason


def test_a_mask_of_the_size_of_the_stored_image_is_refused_with_the_orientation(
    table, tmp_path, write_mask
):
    _set_orientation(tmp_path / "b.png", 6)

    (reason,) = file_check.check_files(table, "skip")[1]["reason"]

    assert "must have the size of its image, 16 x 20 px. It has 20 x 16 px" in reason
    assert "EXIF orientation 6 of the image, 1 of the mask" in reason


def test_the_share_of_a_mask_of_16_bits_is_what_it_shows(table, tmp_path):
    for name, level in zip("abc", (1, 255, 65535), strict=True):
        levels = np.zeros((16, 20), "uint16")
        levels[:4] = level
        Image.fromarray(levels).save(tmp_path / f"{name}_segmentation.png")

    assert file_check.check_files(table, "error")[0]["mask_share"].tolist() == [0.25] * 3


def test_empty_and_full_masks_are_counted_and_listed(table, tmp_path, caplog):
    Image.new("L", (20, 16), 0).save(tmp_path / "a_segmentation.png")
    Image.new("L", (20, 16), 255).save(tmp_path / "c_segmentation.png")

    with caplog.at_level(logging.WARNING):
        file_check.check_files(table, "error")

    assert "1 of 3 masks are empty: a (column mask_share" in caplog.text
    assert "1 of 3 masks are full: they cover all of their images: c (column" in caplog.text


def test_masks_that_show_an_outline_are_not_listed(table, caplog):
    with caplog.at_level(logging.WARNING):
        file_check.check_files(table, "error")

    assert "masks are" not in caplog.text


@pytest.mark.parametrize("column, name", [("image", b"caf\xe9.png"), ("mask", b"m\xff.png")])
def test_a_name_that_is_no_utf_8_is_skipped_with_its_reason_in_letters_that_print(
    table, tmp_path, column, name
):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    with open(path, "wb") as file:
        file.write((tmp_path / "b.png").read_bytes())
    table[column] = table[column].astype(object)
    table.loc[1, column] = path

    checked, skipped = file_check.check_files(table, "skip")

    assert checked["image_id"].tolist() == ["a", "c"]
    assert "must be UTF-8; rename it" in skipped["reason"].iloc[0]
    skipped.to_csv(tmp_path / "skipped.csv", encoding="utf-8")


@pytest.mark.parametrize("column", ["image", "mask"])
def test_a_pipe_is_skipped_with_its_reason(table, tmp_path, column):
    os.mkfifo(tmp_path / "pipe.png")
    table.loc[1, column] = str(tmp_path / "pipe.png")

    (reason,) = file_check.check_files(table, "skip")[1]["reason"]

    assert "pipe.png must be a regular file. It is a named pipe" in reason
