"""Tests of `data.pixels.dicom`: colours by the standard, one frame, or refused by name."""

import io

import numpy as np
import pytest
from PIL import Image

from lbunet_tf.data.pixels import new_images

pydicom = pytest.importorskip("pydicom")

GREY = np.random.default_rng(0).integers(0, 256, (10, 14), dtype="uint8")
RGB = np.random.default_rng(1).integers(0, 256, (10, 14, 3), dtype="uint8")
JPEG_BASELINE, JPEG_2000 = pydicom.uid.JPEGBaseline8Bit, pydicom.uid.JPEG2000Lossless


def _dataset(pixels, interpretation, syntax=pydicom.uid.ExplicitVRLittleEndian, **elements):
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = syntax
    dataset = pydicom.dataset.Dataset()
    dataset.file_meta = meta
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = interpretation
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a dataset and returns its path."""

    def write(dataset):
        pydicom.dcmwrite(tmp_path / "x.dcm", dataset, enforce_file_format=True)
        return tmp_path / "x.dcm"

    return write


@pytest.fixture
def refusal(write):
    """Returns a function: dataset -> what is said of it."""

    def refusal(dataset):
        with pytest.raises(ValueError, match="cannot decode .*x.dcm: ") as error:
            new_images.read_image(write(dataset))
        return str(error.value)

    return refusal


def _encapsulated(*frames, interpretation="YBR_FULL_422", syntax=JPEG_BASELINE, **elements):
    data = pydicom.encaps.encapsulate(list(frames))
    return _dataset(RGB, interpretation, syntax, PixelData=data, **elements)


def _smooth():
    return Image.fromarray(RGB).resize((140, 100), Image.Resampling.BICUBIC)


def _encode(file_format, image=None):
    stream = io.BytesIO()
    (image or Image.fromarray(RGB)).save(stream, file_format)
    return stream.getvalue()


def test_rgb_is_read_as_it_is(write):
    np.testing.assert_array_equal(new_images.read_image(write(_dataset(RGB, "RGB"))), RGB)


def test_rgb_by_planes_is_read_by_pixels(write):
    dataset = _dataset(RGB, "RGB", PlanarConfiguration=1)
    dataset.PixelData = RGB.transpose(2, 0, 1).tobytes()

    np.testing.assert_array_equal(new_images.read_image(write(dataset)), RGB)


def test_grey_is_repeated(write):
    image = new_images.read_image(write(_dataset(GREY, "MONOCHROME2")))

    np.testing.assert_array_equal(image, np.repeat(GREY[..., None], 3, -1))


def test_grey_of_which_0_is_white_is_inverted(write):
    image = new_images.read_image(write(_dataset(GREY, "MONOCHROME1")))

    np.testing.assert_array_equal(image[..., 0], 255 - GREY)


def test_grey_goes_through_its_window(write):
    dataset = _dataset(GREY, "MONOCHROME2", WindowCenter=100, WindowWidth=51)

    image = new_images.read_image(write(dataset))[..., 0]

    # PS3.3 C.11.2.1.2.1: 75 and below are black, 125 and above white, between them linear.
    expected = np.clip(((GREY - 99.5) / 50 + 0.5) * 255, 0, 255).round()
    np.testing.assert_array_equal(image, expected)


def test_a_palette_is_looked_up(write):
    indices = (GREY % 4).astype("uint8")
    colours = np.array([[0, 0, 0], [255, 0, 0], [10, 20, 30], [200, 190, 180]], "uint16") * 257
    elements = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        elements[f"{name}PaletteColorLookupTableData"] = colours[:, channel].tobytes()
    dataset = _dataset(indices, "PALETTE COLOR", **elements)

    np.testing.assert_array_equal(new_images.read_image(write(dataset)), (colours // 257)[indices])


def test_luminance_and_chrominance_become_rgb(write):
    ybr = np.asarray(Image.fromarray(RGB).convert("YCbCr"))

    image = new_images.read_image(write(_dataset(ybr, "YBR_FULL"))).astype(int)

    # Rounded to YCbCr and back; saturated colours are cut off.
    assert np.abs(image - np.asarray(Image.fromarray(ybr, "YCbCr").convert("RGB"))).max() <= 2


def test_a_jpeg_within_is_read_as_pillow_reads_it(write):
    smooth = _smooth()
    contents = _encode("JPEG", smooth)
    dataset = _encapsulated(contents, Rows=100, Columns=140)

    image = new_images.read_image(write(dataset)).astype(int)

    expected = np.asarray(Image.open(io.BytesIO(contents)).convert("RGB"), int)
    assert np.abs(image - expected).max() <= 2


def test_a_jpeg_2000_within_is_read(write):
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "JPEG2000", irreversible=False, no_jp2=True, mct=0)
    dataset = _encapsulated(stream.getvalue(), interpretation="RGB", syntax=JPEG_2000)

    np.testing.assert_array_equal(new_images.read_image(write(dataset)), RGB)


def test_several_frames_are_refused_by_their_number(refusal):
    dataset = _dataset(GREY, "MONOCHROME2", NumberOfFrames=4, PixelData=4 * GREY.tobytes())

    assert "only a DICOM file of one frame can be read; this one has 4" in refusal(dataset)


def test_a_number_of_frames_that_is_not_there_is_refused(refusal):
    assert "this one has 4" in refusal(_dataset(GREY, "MONOCHROME2", NumberOfFrames=4))


@pytest.mark.parametrize("count", [0, 2, 4])
def test_pixels_of_another_number_of_frames_than_one_are_refused(refusal, count):
    dataset = _dataset(GREY, "MONOCHROME2", PixelData=count * GREY.tobytes())

    assert f"one frame of its size has 140 bytes of pixels, it has {count * 140}" in refusal(
        dataset
    )


def test_two_jpegs_in_one_frame_are_refused(refusal):
    contents = _encode("JPEG")

    assert "this one has 2" in refusal(_encapsulated(contents, contents))


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"PhotometricInterpretation": "HSV"}, "It is HSV"),
        ({"BitsStored": 7, "HighBit": 6}, "7 bits in 8"),
        ({"PixelRepresentation": 1}, "8 bits in 8, signed"),
        ({"RescaleSlope": 2, "RescaleIntercept": 0}, "measured values"),
        ({"Rows": 20_000, "Columns": 20_000}, "20000 x 20000 px, more than --max_megapixels=100"),
        ({"Rows": 0}, "no size stands in its header"),
    ],
)
def test_what_has_no_certain_colour_of_8_bits_is_refused(refusal, changes, said):
    assert said in refusal(_dataset(GREY, "MONOCHROME2", **changes))


def test_16_bits_are_refused(refusal):
    assert "16 bits in 16" in refusal(_dataset(GREY.astype("uint16"), "MONOCHROME2"))


def test_a_jpeg_within_that_claims_another_size_is_refused_before_it_is_decoded(refusal):
    contents = bytearray(_encode("JPEG"))
    frame = contents.index(b"\xff\xc0")
    contents[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"

    assert "65535 x 65535 px" in refusal(_encapsulated(bytes(contents)))


@pytest.mark.parametrize("name", ["JPEGLSLossless", "JPEGLSNearLossless"])
def test_jpeg_ls_within_is_refused_by_name(refusal, name):
    # Start, then the frame header that JPEG-LS has of its own.
    contents = b"\xff\xd8\xff\xf7\x00\x0b\x08\x00\x0a\x00\x0e\x01\x01\x11\x00\xff\xd9"
    dataset = _encapsulated(
        contents,
        interpretation="MONOCHROME2",
        syntax=getattr(pydicom.uid, name),
        SamplesPerPixel=1,
    )

    assert "JPEG-LS is not read" in refusal(dataset)


def test_a_file_without_pixels_is_refused(refusal):
    dataset = _dataset(GREY, "MONOCHROME2")
    del dataset.PixelData

    assert "it lacks PixelData" in refusal(dataset)


@pytest.mark.parametrize("contents", [b"", b"no DICOM", bytes(128) + b"DICM", b"\x89PNG" * 99])
def test_what_is_no_dicom_is_an_error_that_names_it(tmp_path, contents):
    (tmp_path / "x.dcm").write_bytes(contents)

    with pytest.raises(ValueError, match="cannot decode .*x.dcm: "):
        new_images.read_image(tmp_path / "x.dcm")


def test_a_dicom_cut_short_anywhere_is_an_error_that_names_it(tmp_path, write):
    whole = write(_dataset(RGB, "RGB")).read_bytes()
    for length in range(0, len(whole) - 1, 7):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cannot decode .*cut.dcm: "):
            new_images.read_image(tmp_path / "cut.dcm")


def test_a_deflated_dicom_is_refused_before_it_is_unpacked(refusal):
    dataset = _dataset(GREY, "MONOCHROME2", pydicom.uid.DeflatedExplicitVRLittleEndian)

    assert "deflated" in refusal(dataset)


def test_a_folder_with_the_name_of_a_dicom_is_named_as_one(tmp_path):
    (tmp_path / "x.dcm").mkdir()

    with pytest.raises(ValueError, match="x.dcm must be a regular file. It is a folder"):
        new_images.read_image(tmp_path / "x.dcm")
