"""Which pictures are too large to decode, known before their pixels, in TensorFlow ops.

A PNG of 65 kB may claim half a billion pixels, and a JPEG of 250 kB send its pixels 400 times.
"""

import struct

import tensorflow as tf

from lbunet_tf.data.pixels import headers

MEGAPIXEL = 1_000_000
# For files whose sizes were checked before.
NO_LIMIT = 10**9
# Progressive JPEGs have about 10. Measured: libjpeg takes 4 to 5 ns for a pixel of a scan, so 10 s
# for as many scans as these of a picture of 100 megapixels, or of 20.
MAX_SCANS_OF_LARGEST, MAX_SCANS = 20, 100
TOO_LONG = "too many parts, or bytes between them, come before its pixels; save it again"
TOO_MANY_SEGMENTS = f"it has more than {headers.MAX_SEGMENTS} segments; save it again"


def problem(contents: tf.Tensor, max_megapixels: int) -> tf.Tensor:
    """Returns why a JPEG or PNG is not decoded, a scalar string, "" where nothing forbids it."""
    header = headers.read(contents)
    size = header["size"]
    # Neither side is above 2^32, but their product may be above 2^63.
    num_pixels = tf.reduce_prod(tf.minimum(size, 2**31 - 1))
    max_pixels = tf.constant(max_megapixels * MEGAPIXEL, tf.int64)
    max_scans = MAX_SCANS_OF_LARGEST * max_pixels // tf.maximum(num_pixels, 1)
    max_scans = tf.minimum(max_scans, MAX_SCANS)
    is_jpeg = tf.strings.substr(contents, 0, 3) == headers.JPEG
    may_have_more = is_jpeg & (headers.num_scans_at_most(contents) > max_scans)
    reasons = [
        (header["is_too_long"], lambda: tf.constant(TOO_LONG)),
        (num_pixels == 0, lambda: tf.constant("no size stands in its header")),
        (num_pixels > max_pixels, lambda: _too_large(size[0], size[1], max_megapixels)),
        (may_have_more, lambda: _scans_problem(contents, max_scans)),
    ]
    return tf.case(reasons, lambda: tf.constant(""))


def _scans_problem(contents, max_scans):
    num_scans = headers.num_scans(contents)
    words = ["it has", num_scans, "scans, more than", max_scans, "for its size; save it again"]
    problem = tf.where(num_scans > max_scans, _joined(words), "")
    return tf.where(num_scans < 0, TOO_MANY_SEGMENTS, problem)


def _too_large(height, width, max_megapixels):
    limit = f"px, more than --max_megapixels={max_megapixels}"
    return _joined(["it has", width, "x", height, limit])


def _joined(words):
    texts = [word if isinstance(word, str) else tf.strings.as_string(word) for word in words]
    return tf.strings.join(texts, " ")


def bmp_problem(contents: bytes, max_megapixels: int) -> str:
    """Returns what `problem` returns, of a BMP and outside a graph."""
    if len(contents) < 26:
        return "no size stands in its header"
    is_oldest = contents[14:18] == b"\x0c\x00\x00\x00"
    width, height = struct.unpack_from("<HH" if is_oldest else "<ii", contents, 18)
    # The height is negative where rows run from top to bottom.
    return size_problem(abs(height), max(width, 0), max_megapixels)


def size_problem(height: int, width: int, max_megapixels: int) -> str:
    """Returns what `problem` returns, of a size that is known."""
    if not height or not width:
        return "no size stands in its header"
    if height * width > max_megapixels * MEGAPIXEL:
        return _too_large(height, width, max_megapixels).numpy().decode()
    return ""
