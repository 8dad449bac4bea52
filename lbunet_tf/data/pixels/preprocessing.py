"""From the bytes of a file to an image or a mask of the network's size."""

import contextlib
import functools
import io
import os
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from PIL import BmpImagePlugin

from lbunet_tf.data.pixels import colour_constancy
from lbunet_tf.data.pixels import exif
from lbunet_tf.data.pixels import hair_removal
from lbunet_tf.data.pixels import headers
from lbunet_tf.data.pixels import limits
from lbunet_tf.data.pixels import mask_rules
from lbunet_tf.data.pixels import tracing
from lbunet_tf.settings import image_groups
from lbunet_tf.storage import file_names
from lbunet_tf.storage import input_files

BMP = b"BM"
# A name does not say what is inside.
SIGNATURES = (headers.JPEG, headers.PNG, BMP)
# A camera of 8 to 14 bits stays below, where its levels were not scaled to 16.
MIN_BRIGHTEST_OF_16_BITS = 2**14
# What libjpeg shrinks by while it decodes.
JPEG_RATIOS = (1, 2, 4, 8)


def decode_file(
    path: str | os.PathLike, decode: Callable[[tf.Tensor], tf.Tensor], max_megapixels: int = 100
) -> tuple[bytes, np.ndarray]:
    """Returns (bytes, pixels) of a file, by a function of this module, outside tf.data.

    Where `decode` gives several tensors, so many arrays stand in the place of the pixels.

    Raises:
        ValueError: It cannot be read or decoded, or has more pixels than `max_megapixels` by its
            header; the message names it.
    """
    with named_errors(path):
        contents = input_files.read_bytes(path)
        _check_contents(contents, max_megapixels)
        return contents, tf.nest.map_structure(np.asarray, decode(contents))


@contextlib.contextmanager
def named_errors(path: str | os.PathLike) -> Iterator[None]:
    """Makes whatever is raised about one file a ValueError that names it."""
    try:
        yield
    # Any: what decoders raise about damage is no closed list (struct.error, SyntaxError and
    # MemoryError among them), and one file must not end the work on all others.
    except Exception as error:
        name = file_names.printable(os.fspath(path))
        raise ValueError(f"cannot decode {name}: {_plain(error)}") from error


def _check_contents(contents, max_megapixels):
    if not contents:
        raise ValueError("it is empty")
    if not contents.startswith(SIGNATURES):
        raise ValueError("it is not a JPEG, PNG or BMP file")
    if contents.startswith(BMP):
        problem = limits.bmp_problem(contents, max_megapixels)
    else:
        problem = limits.problem(contents, max_megapixels).numpy().decode()
    if problem:
        raise ValueError(problem)


def _plain(error):
    """Returns the first line of an error, without TensorFlow's names of nodes and ops."""
    lines = (getattr(error, "message", "") or str(error) or type(error).__name__).split("\n")
    if lines[0].startswith("Graph execution error"):
        # The graph's own lines come first; what went wrong stands before the name of the node.
        lines = [line for line in lines if line and not line.startswith((" ", "\t"))][2:] or lines
    line = lines[0].split("}} ")[-1].split(" [Op:")[0]
    return line.removeprefix("assertion failed: [").removesuffix("]")


def decode_image(contents: tf.Tensor) -> tf.Tensor:
    """Returns (H, W, 3) uint8 RGB of a JPEG, PNG or BMP.

    Grayscale is repeated, alpha dropped, a palette looked up, the EXIF orientation
    applied (as OpenCV does, which albumentations' users read images with). JPEG uses
    the accurate integer DCT, as OpenCV and Pillow do; TensorFlow's default differs by a
    few levels. Of 16 bits, the upper 8 count.

    Raises:
        tf.errors.InvalidArgumentError: It is damaged, or its 16 bits hold 14 or fewer.
    """
    return _upright(_decode(contents, 3), contents, headers.read(contents))


def decode_jpeg_or_png(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (what `decode_image` returns, what is wrong with its 16 bits or "").

    Without BMP: it needs nothing but TensorFlow's ops.
    """
    header = headers.read(contents)
    image = _turned(_decode_by_tensorflow(contents, 3), exif.orientation(contents, header))
    return image, _problem_of_16_bits(contents, header)


def decode_reduced(contents: tf.Tensor, size_px: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns ((h, w, 3) uint8 RGB, (2,) int32: height and width of the whole image).

    As `decode_image`; but a JPEG is decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size
    at which each side has at least 2 x size_px, by the smaller inverse DCT that libjpeg has for
    it: an average over 2 x 2 to 8 x 8 pixels. A file that is cut short fails at any of them.
    """
    is_jpeg = tf.strings.substr(contents, 0, 3) == headers.JPEG

    def decode_jpeg():
        stored = tf.image.extract_jpeg_shape(contents)[:2]
        fits = [tf.reduce_min(stored) >= 2 * size_px * ratio for ratio in JPEG_RATIOS[1:]]
        decoders = [functools.partial(_decode_by_tensorflow, contents, 3, r) for r in JPEG_RATIOS]
        return tf.switch_case(tf.reduce_sum(tf.cast(fits, tf.int32)), decoders), stored

    def decode_other():
        image = _decode(contents, 3)
        return image, tf.shape(image)[:2]

    image, stored = tf.cond(is_jpeg, decode_jpeg, decode_other)
    header = headers.read(contents)
    is_turned = exif.orientation(contents, header) >= 5
    return _upright(image, contents, header), tf.where(is_turned, stored[::-1], stored)


def _upright(image, contents, header):
    with tf.control_dependencies([_refuse(_problem_of_16_bits(contents, header))]):
        image = tf.identity(image)
    return _turned(image, exif.orientation(contents, header))


@tracing.traced_once
def _refuse(problem):
    # Compiled, for outside a graph Assert says something else.
    with tf.control_dependencies([tf.debugging.Assert(problem == "", [problem])]):
        return tf.identity(problem)


def _problem_of_16_bits(contents, header):
    """Returns why the upper 8 of 16 bits are not the picture, "" where they are.

    12 bits that were saved as 16 without being scaled would be black.
    """
    brightest = tf.cond(
        header["is_16_bit"],
        lambda: tf.cast(tf.reduce_max(tf.io.decode_png(contents, 3, tf.uint16)), tf.int32),
        lambda: tf.constant(65535),
    )
    problem = tf.strings.join(
        [
            "it has 16 bits, but its brightest level is ",
            tf.strings.as_string(brightest),
            " of 65535; save it with 8 bits",
        ]
    )
    return tf.where(brightest < MIN_BRIGHTEST_OF_16_BITS, problem, "")


def _turned(image, orientation):
    image = tf.ensure_shape(image, (None, None, 3))
    return tf.ensure_shape(exif.orient(image, orientation), (None, None, 3))


@tracing.traced_once
def decode_mask(contents: tf.Tensor) -> tf.Tensor:
    """Returns (H, W, 1) uint8, 0 or 1, upright by the mask's own EXIF orientation.

    1 is where the file is brighter than half of its brightest level, so that 0/255, 0/1 and other
    pairs mean the same. By encoding:

    - PNG and BMP of 1, 2, 4 or 8 bits, and PNG of 16, in which 0/1, 0/255 and 0/65535 occur: two
      levels, the darker at most half of the brighter; or one, 0 for an empty mask, and 1, 255 or
      65535 for a full one.
    - A palette counts by its colours, not by its indices; colours count by their brightness.
    - Greys in between are the edge of a smooth mask. The brightest is then at least half of white;
      the middle half of the levels holds at most half as many pixels as the bright quarter, and
      none of them more than a fourth. More is a picture, or a map of several classes; so is a
      single grey, in PNG and BMP, of which most pixels do not touch both dark and bright ones.
    - JPEG: as a smooth mask; a picture of one level is empty up to 16 and full from 239, which is
      as far as black and white move at any quality.
    - Transparency: where it is the same everywhere, the colours count. Where the colours are the
      same everywhere, it is the mask, opaque for 1; a file in which nothing is visible is empty.
      Where both vary they must agree, except in what is half transparent.

    Raises:
        tf.errors.InvalidArgumentError: Anything else; it says what.
    """
    is_jpeg = tf.strings.substr(contents, 0, 3) == headers.JPEG
    header = headers.read(contents)
    levels, alpha, has_alpha = _decode_levels(contents, header)
    mask, problem = tf.cond(
        has_alpha,
        lambda: mask_rules.binarise_with_alpha(levels, alpha),
        lambda: mask_rules.binarise(levels, is_jpeg),
    )
    with tf.control_dependencies([tf.debugging.Assert(problem == "", [problem])]):
        mask = tf.ensure_shape(mask, (None, None, 1))
    mask = exif.orient(mask, exif.orientation(contents, header))
    return tf.ensure_shape(mask, (None, None, 1))


def _decode_levels(contents, header):
    """Returns (levels, alpha, whether there is alpha); both (H, W, 1) uint16, as stored."""
    is_bmp = tf.strings.substr(contents, 0, 2) == BMP
    has_alpha = header["has_alpha"] | is_bmp

    def decode(channels):
        decoders = [
            (is_bmp, lambda: _uint16(_decode_by_pillow(contents, channels))),
            (header["is_16_bit"], lambda: tf.io.decode_png(contents, channels, tf.uint16)),
        ]
        image = tf.case(decoders, lambda: _uint16(_decode_by_tensorflow(contents, channels)))
        return tf.ensure_shape(image, (None, None, channels))

    alpha = tf.cond(has_alpha, lambda: decode(4)[..., 3:], lambda: tf.zeros((0, 0, 1), tf.uint16))
    return decode(1), alpha, has_alpha


def _uint16(image):
    return tf.cast(image, tf.uint16)


def _decode(contents, channels):
    return tf.cond(
        tf.strings.substr(contents, 0, 2) == BMP,
        lambda: _decode_by_pillow(contents, channels),
        lambda: _decode_by_tensorflow(contents, channels),
    )


def _decode_by_tensorflow(contents, channels, ratio=1):
    # This op reads PNG as well; it has the flag for the accurate DCT.
    return tf.io.decode_jpeg(contents, channels, ratio, dct_method="INTEGER_ACCURATE")


def _decode_by_pillow(contents, channels):
    """Decodes a BMP: TensorFlow's op knows neither palettes nor channel changes.

    By Pillow's reader of BMPs alone: `Image.open` has a limit of its own on the size.
    """
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]

    def decode(contents):
        image = BmpImagePlugin.BmpImageFile(io.BytesIO(contents)).convert(mode)
        return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)

    image = tf.numpy_function(decode, (contents,), tf.uint8)
    return tf.ensure_shape(image, (None, None, channels))


def decode_to_resize(contents: tf.Tensor, preprocessing: image_groups.Preprocessing) -> tf.Tensor:
    """Returns (h, w, 3) uint8 RGB for `prepare_image`: with --antialias no larger than needed.

    Without, every pixel counts: the bilinear resize takes single ones.
    """
    if preprocessing.antialias:
        return decode_reduced(contents, preprocessing.image_size)[0]
    return decode_image(contents)


def prepare_image(image: tf.Tensor, preprocessing: image_groups.Preprocessing) -> tf.Tensor:
    """Returns (S, S, 3) uint8: what the network sees of a decoded (H, W, 3) uint8 image.

    Training, evaluation, prediction and the exported model all call this.
    """
    image = resize_image(image, preprocessing.image_size, preprocessing.antialias)
    if preprocessing.remove_hair:
        image = hair_removal.remove_hair(image)
    if preprocessing.shades_of_gray:
        image = colour_constancy.shades_of_gray(image)
    return image


def resize_image(image: tf.Tensor, size_px: int, antialias: bool = False) -> tf.Tensor:
    """Returns (size_px, size_px, 3) uint8, bilinear.

    Without antialias this is albumentations' `Resize` (OpenCV INTER_LINEAR), within one
    level of 255 by OpenCV's fixed-point arithmetic. The aspect ratio is not kept, as in
    the paper.
    """
    image = tf.image.resize(image, (size_px, size_px), antialias=antialias)
    return tf.cast(tf.round(image), tf.uint8)


def resize_mask(mask: tf.Tensor, size_px: int) -> tf.Tensor:
    """Returns (size_px, size_px, 1) uint8, 0 or 1, nearest neighbour."""
    return tf.image.resize(mask, (size_px, size_px), method="nearest")
