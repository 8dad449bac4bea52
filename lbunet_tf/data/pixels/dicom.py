"""The picture of a DICOM file, by the standard's own colours or refused: one frame of 8 bits."""

import io
import os
import struct

import numpy as np

from lbunet_tf.data.pixels import headers
from lbunet_tf.data.pixels import limits
from lbunet_tf.data.pixels import preprocessing
from lbunet_tf.storage import input_files

INVERTED = "MONOCHROME1"
GREY = (INVERTED, "MONOCHROME2")
PALETTE = "PALETTE COLOR"
# pydicom makes RGB of these.
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
# A file of a few kilobytes may unpack to any size.
DEFLATED = b"1.2.840.10008.1.2.1.99"
JPEG_2000 = b"\xff\x4f\xff\x51"


def read_image(path: str | os.PathLike, max_megapixels: int = 100) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB, and nothing else of the file: it names the patient.

    Grey levels go through their window or look-up table (VOI) and are inverted where the file
    says so (MONOCHROME1), palettes are looked up, luminance and chrominance become RGB; all by
    pydicom.

    Raises:
        ValueError: It cannot be read, is too large, has several frames, or pixels that have no
            certain colour; the message names it.
    """
    with preprocessing.named_errors(path):
        contents = input_files.read_bytes(path)
        try:
            import pydicom
        except ImportError as error:
            raise ValueError("DICOM needs pydicom, pip install 'lbunet_tf[dicom]'") from error
        dataset = _parse(pydicom, contents)
        _check_size(dataset, max_megapixels)
        _check_frames(pydicom, dataset, max_megapixels)
        return _as_rgb(pydicom, dataset)


def _parse(pydicom, contents):
    # pydicom unpacks all of it before it can be asked; the number stands in such a file as it is.
    if DEFLATED in contents:
        raise ValueError("a deflated DICOM file cannot be read; save it uncompressed, or as JPEG")
    return pydicom.dcmread(io.BytesIO(contents))


def _check_size(dataset, max_megapixels):
    names = ("PixelData", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation")
    missing = [name for name in names if name not in dataset]
    if missing:
        raise ValueError(f"it is not a DICOM image: it lacks {', '.join(missing)}")
    _refuse(limits.size_problem(int(dataset.Rows), int(dataset.Columns), max_megapixels))


def _check_frames(pydicom, dataset, max_megapixels):
    """Raises a ValueError where there is not one frame, whatever the file says there is."""
    num_frames = int(dataset.get("NumberOfFrames") or 1)
    if num_frames != 1:
        raise ValueError(f"only a DICOM file of one frame can be read; this one has {num_frames}")
    syntax = dataset.file_meta.TransferSyntaxUID
    # Its first bytes are JPEG's, and the header with its size is another.
    if syntax in (pydicom.uid.JPEGLSLossless, pydicom.uid.JPEGLSNearLossless):
        raise ValueError("JPEG-LS is not read; save it as JPEG or PNG from a viewer")
    if syntax.is_encapsulated:
        _check_encapsulated(pydicom, dataset.PixelData, max_megapixels)
        return
    expected, found = (
        pydicom.pixels.utils.get_expected_length(dataset),
        len(dataset.PixelData or b""),
    )
    # Padded to an even number of bytes.
    if found not in (expected, expected + expected % 2):
        raise ValueError(f"one frame of its size has {expected} bytes of pixels, it has {found}")


def _check_encapsulated(pydicom, pixel_data, max_megapixels):
    """Also checks the size that a JPEG or JPEG 2000 within claims itself."""
    num_offsets = len(pydicom.encaps.parse_basic_offsets(pixel_data))
    # The first item is the table of offsets.
    fragments = list(pydicom.encaps.generate_fragments(pixel_data))[1:]
    begun = [fragment for fragment in fragments if fragment.startswith((headers.JPEG, JPEG_2000))]
    # Run lengths begin by no mark, and have one fragment per frame.
    num_frames = max(num_offsets, len(begun) or len(fragments))
    if num_frames != 1:
        raise ValueError(f"only DICOM files of one frame can be read; this one has {num_frames}")
    if fragments[0].startswith(headers.JPEG):
        _refuse(limits.problem(b"".join(fragments), max_megapixels).numpy().decode())
    if fragments[0].startswith(JPEG_2000):
        right, bottom, left, top = struct.unpack_from(">4I", fragments[0], 8)
        _refuse(limits.size_problem(bottom - top, right - left, max_megapixels))


def _refuse(problem):
    if problem:
        raise ValueError(problem)


def _as_rgb(pydicom, dataset):
    """Returns (H, W, 3) uint8; refuses what has no certain colour of 8 bits."""
    interpretation = dataset.PhotometricInterpretation
    if interpretation not in (*GREY, PALETTE, *COLOURS):
        raise ValueError(f"its colour model must be one that can be read. It is {interpretation}")
    bits = (dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation)
    if interpretation != PALETTE and bits != (8, 8, 0):
        raise ValueError(
            "only unsigned pixels of 8 bits can be read; save it as JPEG or PNG. It has "
            f"{bits[1]} bits in {bits[0]}, {'signed' if bits[2] else 'unsigned'}"
        )
    pixels = pydicom.pixels.pixel_array(dataset)
    if interpretation == PALETTE:
        pixels = _looked_up(pydicom, dataset, pixels)
    elif interpretation in GREY:
        pixels = _as_displayed(pydicom, dataset, pixels)[..., None].repeat(3, axis=-1)
    shape = (dataset.Rows, dataset.Columns, 3)
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise ValueError(f"its pixels must be {shape} of uint8. They are {pixels.shape}")
    return pixels


def _looked_up(pydicom, dataset, indices):
    colours = pydicom.pixels.apply_color_lut(indices, dataset)[..., :3]
    # Entries of 16 bits are colours of 8 in their upper half.
    return (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours


def _as_displayed(pydicom, dataset, grey):
    """Returns grey levels as a viewer shows them, 0 black."""
    slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    tables = dataset.get("VOILUTSequence") or []
    is_wide = any(table.LUTDescriptor[2] != 8 for table in tables)
    if dataset.get("ModalityLUTSequence") or (slope, intercept) != (1, 0) or is_wide:
        raise ValueError(
            "its grey levels are measured values, or a table gives more than 8 bits; save it as "
            "JPEG or PNG from a viewer"
        )
    grey = np.round(pydicom.pixels.apply_voi_lut(grey, dataset)).astype(np.uint8)
    return 255 - grey if dataset.PhotometricInterpretation == INVERTED else grey
