"""Tests of the rules by which the file of a mask becomes 0 and 1, or is refused by name."""

import io

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
from PIL import Image
from PIL import ImageFilter

from lbunet_tf.data.pixels import preprocessing


def _encode(image, file_format="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def _read(contents):
    return preprocessing.decode_mask(contents).numpy()[..., 0]


def _refusal(tmp_path, contents):
    """Returns what is said of a mask's file that is refused."""
    (tmp_path / "m.png").write_bytes(contents)
    with pytest.raises(ValueError, match="cannot decode .*m.png: ") as error:
        preprocessing.decode_file(tmp_path / "m.png", preprocessing.decode_mask)
    return str(error.value)


def _grey(mask, high=255, low=0):
    return Image.fromarray(np.where(mask, high, low).astype("uint8"))


def _deep(mask, high):
    return Image.fromarray(mask.astype("uint16") * high)


def _palette(mask, dark, bright, lesion_index):
    picture = Image.fromarray(np.where(mask, lesion_index, 1 - lesion_index).astype("uint8"))
    picture = picture.convert("P")
    colours = [bright, dark] if lesion_index == 0 else [dark, bright]
    picture.putpalette([level for colour in colours for level in colour])
    return picture


def _with_alpha(mode, colours, opaque):
    picture = colours.convert(mode)
    picture.putalpha(_grey(opaque))
    return picture


ALL = {
    "PNG 0/1": lambda mask: _encode(_grey(mask, 1)),
    "PNG 0/255": lambda mask: _encode(_grey(mask)),
    "PNG of 1 bit": lambda mask: _encode(_grey(mask).convert("1")),
    "PNG of 16 bits 0/1": lambda mask: _encode(_deep(mask, 1)),
    "PNG of 16 bits 0/255": lambda mask: _encode(_deep(mask, 255)),
    "PNG of 16 bits 0/65535": lambda mask: _encode(_deep(mask, 65535)),
    "PNG RGB": lambda mask: _encode(_grey(mask).convert("RGB")),
    "palette": lambda mask: _encode(_palette(mask, (0, 0, 0), (255, 255, 255), 1)),
    "palette, lesion first": lambda mask: _encode(_palette(mask, (0, 0, 0), (255, 255, 255), 0)),
    "opaque LA": lambda mask: _encode(_with_alpha("LA", _grey(mask), np.ones_like(mask))),
    "opaque RGBA": lambda mask: _encode(_with_alpha("RGBA", _grey(mask), np.ones_like(mask))),
    "white on transparent black": lambda mask: _encode(_with_alpha("RGBA", _grey(mask), mask)),
    "white on transparent white": lambda mask: _encode(
        _with_alpha("LA", _grey(np.ones_like(mask)), mask)
    ),
    "BMP 0/1": lambda mask: _encode(_grey(mask, 1), "BMP"),
    "BMP 0/255": lambda mask: _encode(_grey(mask), "BMP"),
    "BMP of 1 bit": lambda mask: _encode(_grey(mask).convert("1"), "BMP"),
    "BMP RGB": lambda mask: _encode(_grey(mask).convert("RGB"), "BMP"),
    "BMP RGBA": lambda mask: _encode(_with_alpha("RGBA", _grey(mask), np.ones_like(mask)), "BMP"),
    "JPEG": lambda mask: _encode(_grey(mask), "JPEG", quality=97),
}
# All of it black, or of one colour, does not tell whether it is all lesion or none.
BUT_FULL = {
    "black on transparent, LA": lambda mask: _encode(
        _with_alpha("LA", _grey(np.zeros_like(mask)), mask)
    ),
    "black on transparent, RGBA": lambda mask: _encode(
        _with_alpha("RGBA", _grey(np.zeros_like(mask)), mask)
    ),
    "a red palette": lambda mask: _encode(_palette(mask, (0, 0, 0), (128, 0, 0), 1)),
}
MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20))


@pytest.mark.parametrize("encoding", ALL)
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(mask=MASKS)
def test_any_mask_reads_back_as_itself(encoding, mask):
    np.testing.assert_array_equal(_read(ALL[encoding](mask)), mask)


@pytest.mark.parametrize("encoding", ALL)
@pytest.mark.parametrize("value", [False, True])
def test_an_empty_and_a_full_mask_read_back_as_themselves(encoding, value):
    mask = np.full((9, 7), value)

    np.testing.assert_array_equal(_read(ALL[encoding](mask)), mask)


@pytest.mark.parametrize("encoding", BUT_FULL)
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(mask=MASKS)
def test_any_mask_but_a_full_one_reads_back_as_itself(encoding, mask):
    hypothesis.assume(not mask.all())

    np.testing.assert_array_equal(_read(BUT_FULL[encoding](mask)), mask)


@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
@hypothesis.given(
    mask=MASKS, low=strategies.integers(0, 255), high=strategies.integers(0, 255), deep=...
)
def test_any_two_levels_are_a_mask_where_the_darker_is_at_most_half_of_the_brighter(
    mask, low, high, deep: bool
):
    hypothesis.assume(2 * low <= high and high > 0 and mask.any() and not mask.all())
    levels = np.where(mask, high, low).astype("uint16" if deep else "uint8")

    np.testing.assert_array_equal(_read(_encode(Image.fromarray(levels))), mask)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("level, expected", [(0, 0), (255, 1)])
def test_a_black_jpeg_is_empty_and_a_white_one_full_at_every_quality(mode, level, expected):
    picture = Image.new("L", (17, 9), level).convert(mode)
    files = [_encode(picture, "JPEG", quality=quality) for quality in range(1, 101)]

    assert [_read(file).mean() for file in files] == [expected] * 100


def _disc(side=96, radius=30):
    y, x = np.mgrid[:side, :side] - side / 2
    return x**2 + y**2 <= radius**2


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 100])
def test_a_jpeg_of_a_lesion_keeps_its_outline_at_every_quality(quality):
    mask = _disc()

    found = _read(_encode(_grey(mask), "JPEG", quality=quality))

    assert (found & mask).sum() / (found | mask).sum() > 0.97


@pytest.mark.parametrize(
    "soften",
    [
        pytest.param(lambda image: image.resize((48, 48), Image.Resampling.BOX), id="halved"),
        pytest.param(lambda image: image.resize((40, 40), Image.Resampling.BICUBIC), id="bicubic"),
        pytest.param(lambda image: image.filter(ImageFilter.GaussianBlur(1)), id="blur 1"),
        pytest.param(lambda image: image.filter(ImageFilter.GaussianBlur(4)), id="blur 4"),
    ],
)
@pytest.mark.parametrize("file_format", ["PNG", "BMP", "JPEG"])
def test_a_mask_of_smooth_edges_is_cut_at_half_of_its_brightest(soften, file_format):
    picture = soften(_grey(_disc()))
    levels = np.asarray(picture).astype(int)

    found = _read(_encode(picture, file_format))

    sure = np.abs(2 * levels - levels.max()) > (20 if file_format == "JPEG" else 0)
    np.testing.assert_array_equal(found[sure], (2 * levels > levels.max())[sure])


def test_smooth_edges_of_16_bits_are_cut_at_half():
    levels = np.asarray(_grey(_disc()).filter(ImageFilter.GaussianBlur(2))).astype("uint16") * 257

    np.testing.assert_array_equal(_read(_encode(Image.fromarray(levels))), levels > 32767)


def test_black_on_transparent_with_smooth_edges_is_cut_at_half_of_its_opacity():
    alpha = _grey(_disc()).filter(ImageFilter.GaussianBlur(2))
    picture = Image.new("RGBA", alpha.size)
    picture.putalpha(alpha)

    np.testing.assert_array_equal(_read(_encode(picture)), np.asarray(alpha) > 127)


def test_a_transparent_level_of_a_grey_png_counts_as_transparency():
    # The background is 0, and stated to be transparent: colours and transparency agree.
    contents = _encode(_grey(_disc()), transparency=0)

    np.testing.assert_array_equal(_read(contents), _disc())


def test_a_transparent_colour_of_a_palette_counts_as_transparency():
    picture = _palette(_disc(), (0, 0, 0), (0, 0, 0), 1)

    np.testing.assert_array_equal(_read(_encode(picture, transparency=b"\x00\xff")), _disc())


def test_a_picture_of_which_nothing_is_visible_is_empty():
    picture = _with_alpha("RGBA", _grey(np.ones((8, 8))), np.zeros((8, 8)))

    assert _read(_encode(picture)).max() == 0


def _photo():
    y, x = np.mgrid[:96, :96]
    skin = 190 + 30 * np.sin(x / 9) + 20 * np.cos(y / 7)
    return np.where(_disc(), skin - 110, skin).astype("uint8")


def _classes(*levels):
    return Image.fromarray(np.repeat(np.array(levels, "uint8"), 20)[None].repeat(30, 0))


def _with_second_class(level, rows, columns):
    levels = np.where(_disc(), 255, 0).astype("uint8")
    levels[rows, columns] = level
    return Image.fromarray(levels)


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
@pytest.mark.parametrize("level", [20, 60, 100, 200, 250])
@pytest.mark.parametrize(
    "rows, columns",
    [
        pytest.param(slice(45, 53), slice(40, 50), id="in the lesion"),
        pytest.param(slice(2, 8), slice(3, 10), id="apart from it"),
        pytest.param(slice(44, 52), slice(72, 84), id="across its outline"),
    ],
)
def test_a_small_second_class_is_refused_by_name(tmp_path, file_format, level, rows, columns):
    contents = _encode(_with_second_class(level, rows, columns), file_format)

    assert f"three levels, as a map of two classes: 0 {level} and 255" in _refusal(
        tmp_path, contents
    )


def _odd_band():
    return np.tile((np.arange(64) > 20) & (np.arange(64) < 44), (64, 1))


def _triangle():
    return np.tril(np.ones((64, 64), bool))


@pytest.mark.parametrize("mask", [_odd_band(), _triangle()], ids=["a band", "a triangle"])
@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_a_halved_mask_whose_edge_has_a_single_level_is_a_mask(mask, file_format):
    picture = _grey(mask).resize((32, 32), Image.Resampling.BOX)
    levels = np.asarray(picture)
    assert len(np.unique(levels)) == 3

    np.testing.assert_array_equal(_read(_encode(picture, file_format)), levels > 127)


@pytest.mark.parametrize(
    "picture, said",
    [
        pytest.param(_classes(0, 1, 2), "more than two levels: 0 to 2", id="classes 0, 1, 2"),
        pytest.param(_classes(0, 128, 255), "more grey between dark and bright", id="a trimap"),
        pytest.param(_classes(0, 0, 0, 128, 255, 255), "more grey between", id="a thin trimap"),
        pytest.param(_classes(0, 38, 75, 113), "more than two levels", id="colours of classes"),
        pytest.param(_classes(150, 255), "all bright or all grey: 150 to 255", id="two brights"),
        pytest.param(_classes(77), "level 77 and is neither", id="one grey"),
        pytest.param(Image.fromarray(_photo()), "more grey between", id="a photo"),
    ],
)
def test_a_png_of_other_levels_than_a_masks_is_refused_by_name(tmp_path, picture, said):
    assert said in _refusal(tmp_path, _encode(picture))


@pytest.mark.parametrize(
    "picture, said",
    [
        pytest.param(_grey(_disc(), 1), "too dark for a JPEG: 0 to ", id="0 and 1"),
        pytest.param(_classes(0, 90), "too dark for a JPEG", id="dark"),
        pytest.param(_classes(100), "level 100 and is neither", id="one grey"),
        pytest.param(_classes(200, 255), "all bright", id="two brights"),
        pytest.param(_classes(0, 128, 255), "more grey between", id="a trimap"),
    ],
)
def test_a_jpeg_of_other_levels_than_a_masks_is_refused_by_name(tmp_path, picture, said):
    assert said in _refusal(tmp_path, _encode(picture, "JPEG", quality=95))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_that_contradicts_the_colours_is_refused_by_name(tmp_path, mode):
    # Black and visible in the lesion, white and hidden around it.
    contents = _encode(_with_alpha(mode, _grey(~_disc()), _disc()))

    assert "its transparency another" in _refusal(tmp_path, contents)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_mask_is_turned_by_its_own_orientation_as_its_image_is(file_format, value):
    mask = np.zeros((16, 32), bool)
    mask[:8, :24] = True
    tag = Image.Exif()
    tag[0x0112] = value
    contents = _encode(_grey(mask), file_format, exif=tag)

    image = preprocessing.decode_image(contents).numpy()[..., 0]

    np.testing.assert_array_equal(_read(contents), image > 127)
