"""From the bytes of a file to an image or a mask of the network's size."""

import functools
import io
import os
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from lbunet_tf import config as config_lib
from lbunet_tf.data import colour_constancy
from lbunet_tf.data import exif
from lbunet_tf.data import hair_removal

# JPEG, PNG, BMP. A name does not say what is inside.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"BM")
# What libjpeg shrinks by while it decodes.
JPEG_RATIOS = (1, 2, 4, 8)


def decode_file(
    path: str | os.PathLike, decode: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[bytes, np.ndarray]:
    """Returns (bytes, pixels) of a file, by a function of this module, outside tf.data.

    Where `decode` gives several tensors, so many arrays stand in the place of the pixels.

    Raises:
        ValueError: It cannot be read or decoded; the message names it.
    """
    try:
        contents = pathlib.Path(path).read_bytes()
        if not contents:
            raise ValueError("it is empty")
        if not contents.startswith(SIGNATURES):
            raise ValueError("it is no JPEG, PNG or BMP")
        return contents, tf.nest.map_structure(np.asarray, decode(contents))
    except (ValueError, OSError, tf.errors.OpError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot decode {path}: {_plain(error)}") from error


def _plain(error):
    """Returns the first line of an error, without TensorFlow's names of nodes and ops."""
    line = (getattr(error, "message", "") or str(error)).split("\n")[0]
    return line.split("}} ")[-1].split(" [Op:")[0]


def decode_image(contents: tf.Tensor) -> tf.Tensor:
    """Returns (H, W, 3) uint8 RGB of a JPEG, PNG or BMP.

    Grayscale is repeated, alpha dropped, a palette looked up, the EXIF orientation
    applied (as OpenCV does, which albumentations' users read images with). JPEG uses
    the accurate integer DCT, as OpenCV and Pillow do; TensorFlow's default differs by a
    few levels.
    """
    return _upright(_decode(contents, 3), contents)


def decode_jpeg_or_png(contents: tf.Tensor) -> tf.Tensor:
    """Returns what `decode_image` returns, without BMP: it needs nothing but TensorFlow's ops."""
    return _upright(_decode_by_tensorflow(contents, 3), contents)


def decode_reduced(contents: tf.Tensor, size_px: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns ((h, w, 3) uint8 RGB, (2,) int32: height and width of the whole image).

    As `decode_image`; but a JPEG is decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size
    at which each side has at least 2 x size_px, by the smaller inverse DCT that libjpeg has for
    it: an average over 2 x 2 to 8 x 8 pixels. A file that is cut short fails at any of them.
    """
    is_jpeg = tf.strings.substr(contents, 0, 3) == SIGNATURES[0]

    def decode_jpeg():
        stored = tf.image.extract_jpeg_shape(contents)[:2]
        fits = [tf.reduce_min(stored) >= 2 * size_px * ratio for ratio in JPEG_RATIOS[1:]]
        decoders = [functools.partial(_decode_by_tensorflow, contents, 3, r) for r in JPEG_RATIOS]
        return tf.switch_case(tf.reduce_sum(tf.cast(fits, tf.int32)), decoders), stored

    def decode_other():
        image = _decode(contents, 3)
        return image, tf.shape(image)[:2]

    image, stored = tf.cond(is_jpeg, decode_jpeg, decode_other)
    is_turned = is_jpeg & (exif.orientation(contents) >= 5)
    return _upright(image, contents), tf.where(is_turned, stored[::-1], stored)


def _upright(image, contents):
    image = tf.ensure_shape(image, (None, None, 3))
    return tf.ensure_shape(exif.orient(image, contents), (None, None, 3))


def decode_mask(contents: tf.Tensor) -> tf.Tensor:
    """Returns (H, W, 1) uint8, 1 where the file is brighter than half of its maximum.

    So 0/255 and 0/1 files mean the same, and JPEG noise does not count.
    """
    mask = tf.cast(tf.ensure_shape(_decode(contents, 1), (None, None, 1)), tf.int32)
    return tf.cast(mask * 2 > tf.reduce_max(mask), tf.uint8)


def _decode(contents, channels):
    return tf.cond(
        tf.strings.substr(contents, 0, 2) == b"BM",
        lambda: tf.numpy_function(_decode_bmp, (contents, channels), tf.uint8),
        lambda: _decode_by_tensorflow(contents, channels),
    )


def _decode_by_tensorflow(contents, channels, ratio=1):
    # This op reads PNG as well; it has the flag for the accurate DCT.
    return tf.io.decode_jpeg(contents, channels, ratio, dct_method="INTEGER_ACCURATE")


def _decode_bmp(contents, channels):
    """Decodes with Pillow: TensorFlow's BMP op knows neither palettes nor channel changes."""
    mode = "L" if channels == 1 else "RGB"
    image = np.asarray(Image.open(io.BytesIO(contents)).convert(mode), np.uint8)
    return image.reshape(*image.shape[:2], channels)


def decode_to_resize(contents: tf.Tensor, config: config_lib.Config) -> tf.Tensor:
    """Returns (h, w, 3) uint8 RGB for `prepare_image`: with --antialias no larger than needed.

    Without, every pixel counts: the bilinear resize takes single ones.
    """
    if config.antialias:
        return decode_reduced(contents, config.image_size)[0]
    return decode_image(contents)


def prepare_image(image: tf.Tensor, config: config_lib.Config) -> tf.Tensor:
    """Returns (S, S, 3) uint8: what the network sees of a decoded (H, W, 3) uint8 image.

    Training, evaluation, prediction and the exported model all call this.
    """
    image = resize_image(image, config.image_size, config.antialias)
    if config.remove_hair:
        image = hair_removal.remove_hair(image)
    if config.shades_of_gray:
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
