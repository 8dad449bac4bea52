"""Masks and other pictures on the disk, whole or not at all."""

import io
import os

import numpy as np
from PIL import Image

from lbunet_tf.storage import whole_files


def write_mask(path: str | os.PathLike, mask: np.ndarray) -> int:
    """Writes (H, W) bool as a black and white PNG of one bit a pixel; returns its bytes.

    Raises:
        OSError: The disk is full. What was at `path` is kept.
    """
    return _write(path, mask.astype(bool), format="PNG")


# Of a side, in pixels: libjpeg writes no more.
MAX_JPEG_SIDE = 65_500


def write_jpeg(path: str | os.PathLike, image: np.ndarray) -> int:
    """Writes (H, W, 3) uint8 as a JPEG of quality 90; returns its bytes.

    Raises:
        OSError: The disk is full. What was at `path` is kept.
    """
    return _write(path, image, format="JPEG", quality=90)


def _write(path, pixels, **options):
    # Not to the file: of a full disk Pillow says "encoder error -2", and no more.
    contents = io.BytesIO()
    Image.fromarray(pixels).save(contents, **options)
    with whole_files.whole_file(path, keeps_suffix=False) as partial:
        return partial.write_bytes(contents.getvalue())
