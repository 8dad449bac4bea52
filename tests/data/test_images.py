"""Tests of `lbunet_tf.data.images`: the check of files before training."""

import hashlib
import io
import logging

import numpy as np
import pytest
from PIL import Image

from lbunet_tf.data import images

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
    checked, skipped = images.check_files(table, "error")

    assert checked["image_id"].tolist() == ["a", "b", "c"]
    assert skipped.empty


def test_the_content_hash_is_the_sha1_of_the_image_file(table, tmp_path):
    checked, _ = images.check_files(table, "error")

    contents = (tmp_path / "b.png").read_bytes()
    assert checked["content_hash"][1] == hashlib.sha1(contents).hexdigest()


def test_two_copies_of_a_file_share_a_content_hash(table, tmp_path):
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())

    hashes = images.check_files(table, "error")[0]["content_hash"]

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
def test_an_image_that_cannot_be_decoded_is_an_error_with_file_row_and_flag(
    table, tmp_path, contents
):
    (tmp_path / "b.png").write_bytes(contents)

    with pytest.raises(ValueError) as error:
        images.check_files(table, "error")

    message = str(error.value)
    assert f"cannot decode {tmp_path / 'b.png'}" in message
    assert "image 'b'" in message and "row 2 of the manifest" in message
    assert "1 of 3 are bad" in message
    assert "--on_bad_image=skip" in message


def test_a_mask_that_cannot_be_decoded_is_an_error_that_names_the_mask(table, tmp_path):
    (tmp_path / "c_segmentation.png").write_bytes(b"not a mask")

    with pytest.raises(ValueError) as error:
        images.check_files(table, "error")

    assert f"cannot decode {tmp_path / 'c_segmentation.png'}" in str(error.value)
    assert "image 'c'" in str(error.value) and "row 3 of" in str(error.value)


def test_a_mask_of_another_size_is_an_error_with_both_sizes_row_and_flag(
    table, tmp_path, write_mask
):
    write_mask(tmp_path / "a_segmentation.png", size=(16, 20))

    with pytest.raises(ValueError) as error:
        images.check_files(table, "error")

    message = str(error.value)
    assert str(tmp_path / "a_segmentation.png") in message
    assert "20 x 16 px" in message and "16 x 20 px" in message
    assert "image 'a'" in message and "row 1 of the manifest" in message
    assert "--on_bad_image=skip" in message


def test_an_image_without_a_mask_passes(table):
    table.loc[1, "mask"] = ""

    assert len(images.check_files(table, "error")[0]) == 3


def test_skip_leaves_bad_images_out_and_lists_each_with_its_reason(table, tmp_path, write_mask):
    (tmp_path / "a.png").write_bytes(b"")
    write_mask(tmp_path / "c_segmentation.png", size=(8, 8))

    checked, skipped = images.check_files(table, "skip")

    assert checked["image_id"].tolist() == ["b"]
    assert skipped["image_id"].tolist() == ["a", "c"]
    assert "cannot decode" in skipped["reason"].iloc[0]
    assert "must have the size of its image" in skipped["reason"].iloc[1]


def test_skip_numbers_the_kept_rows_anew(table, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")

    assert images.check_files(table, "skip")[0].index.tolist() == [0, 1]


def test_skip_says_aloud_how_many_were_skipped(table, tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(b"")

    with caplog.at_level(logging.WARNING):
        images.check_files(table, "skip")

    assert "skipped 1 of 3 bad images" in caplog.text


def test_skip_refuses_a_manifest_of_bad_images_only(table, tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"")

    with pytest.raises(ValueError, match="at least one image must be readable"):
        images.check_files(table, "skip")


@pytest.mark.parametrize("file_format", ["WEBP", "GIF", "TIFF"])
def test_a_picture_of_another_format_named_jpg_is_refused_by_what_is_inside(
    table, tmp_path, file_format
):
    (tmp_path / "b.jpg").write_bytes(_encoded(file_format))
    table.loc[1, "image"] = str(tmp_path / "b.jpg")

    with pytest.raises(ValueError, match="b.jpg: it is no JPEG, PNG or BMP"):
        images.check_files(table, "error")


def test_a_mask_of_another_format_is_refused_by_what_is_inside(table, tmp_path):
    (tmp_path / "c_segmentation.png").write_bytes(_encoded("GIF"))

    with pytest.raises(ValueError, match="c_segmentation.png: it is no JPEG, PNG or BMP"):
        images.check_files(table, "error")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP"])
def test_a_picture_passes_whatever_its_suffix_says(table, tmp_path, file_format):
    (tmp_path / "b.png").write_bytes(_encoded(file_format))

    assert len(images.check_files(table, "error")[0]) == 3


def test_a_mask_is_compared_with_the_image_as_its_exif_orientation_shows_it(
    table, tmp_path, write_mask
):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "b.jpg", exif=turned)
    table.loc[1, "image"] = str(tmp_path / "b.jpg")
    write_mask(tmp_path / "b_segmentation.png", size=(16, 20))

    assert len(images.check_files(table, "error")[0]) == 3


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

    checked, _ = images.check_files(table, "skip")

    assert checked["image_id"].tolist() == ["a", "c"]
