"""What a JPEG or PNG says about itself outside its pixels, in TensorFlow ops.

Serving needs ops; outside a graph the same functions run as compiled ones.
"""

import tensorflow as tf

from lbunet_tf.data.pixels import tracing

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG"
EXIF = b"Exif\x00\x00"
# Real files have a few dozen before their pixels; this bounds the time of crafted ones.
MAX_SEGMENTS = 2000
MAX_CHUNKS = 10_000
# JPEG's markers: those without a length, the frame headers with the size, and where pixels begin.
ALONE = (0x01, *range(0xD0, 0xD9))
FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
APP1, SCAN, END = 0xE1, 0xDA, 0xD9
# What follows 0xFF within a scan: a byte of the pixels, a restart, filling.
NO_MARKERS = (0x00, *range(0xD0, 0xD8), 0xFF)
# PNG's colour types with an alpha channel: grey and RGB.
ALPHA_TYPES = (4, 6)


@tracing.traced_once
def read(contents: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns what stands outside the pixels of a JPEG or PNG, as int64 and bool.

    `size` (2,), height and width as stored, 0 where no header gives them; `exif` (2,), where the
    TIFF directory of its EXIF data begins and how long it is, 0 without; `has_alpha` and
    `is_16_bit` of a PNG; `is_too_long`, where pixels had not begun after as many steps as are
    made, and the others are not certain. Of anything else, zeros.

    EXIF data is a JPEG's first APP1 segment of that name, or a PNG's chunk eXIf; the same letters
    in a comment are none.
    """
    is_jpeg = tf.strings.substr(contents, 0, 3) == JPEG
    is_png = tf.strings.substr(contents, 0, 4) == PNG
    return tf.case(
        [(is_jpeg, lambda: _read_jpeg(contents)), (is_png, lambda: _read_png(contents))],
        lambda: _found(tf.zeros(2, tf.int64), tf.zeros(2, tf.int64)),
    )


def _found(size, exif, has_alpha=False, is_16_bit=False, is_too_long=False):
    return {
        "size": size,
        "exif": exif,
        "has_alpha": tf.convert_to_tensor(has_alpha),
        "is_16_bit": tf.convert_to_tensor(is_16_bit),
        "is_too_long": tf.convert_to_tensor(is_too_long),
    }


def _length(contents):
    return tf.cast(tf.strings.length(contents), tf.int64)


def _bytes_at(contents, position, count):
    """Returns (count,) int64, zeros beyond the end."""
    # substr refuses a start beyond the end.
    part = tf.strings.substr(contents, tf.minimum(position, _length(contents)), count)
    return tf.cast(tf.io.decode_raw(part + b"\x00" * count, tf.uint8)[:count], tf.int64)


def _number(digits, count):
    """Returns the big-endian number of `count` bytes."""
    return tf.reduce_sum(digits * [256**power for power in range(count - 1, -1, -1)])


def _is_any(code, codes):
    return tf.reduce_any(code == tf.constant(codes, tf.int64))


def _step(code, length):
    """Returns from a marker of JPEG to the end of its segment."""
    return 2 + tf.where(_is_any(code, ALONE), tf.zeros_like(length), tf.maximum(length, 2))


def _read_jpeg(contents):
    """Goes from segment to segment as libjpeg does, which passes over bytes between two."""
    end = _length(contents)

    def step(position, size, exif):
        head = _bytes_at(contents, position, 10)
        code, length = head[1], _number(head[2:4], 2)
        is_marker = (head[0] == 0xFF) & (code != 0xFF) & (code != 0)
        is_frame = is_marker & _is_any(code, FRAMES)
        stated = tf.stack([_number(head[5:7], 2), _number(head[7:9], 2)])
        size = tf.where(is_frame & (size[0] == 0), stated, size)
        is_exif = is_marker & (code == APP1) & tf.reduce_all(head[4:] == list(EXIF))
        block = tf.stack([position + 10, tf.maximum(length - 8, 0)])
        exif = tf.where(is_exif & (exif[0] == 0), block, exif)
        is_last = is_marker & _is_any(code, (SCAN, END))
        position += tf.where(is_marker, _step(code, length), tf.ones_like(position))
        return tf.where(is_last, end, position), size, exif

    start = (tf.constant(2, tf.int64), tf.zeros(2, tf.int64), tf.zeros(2, tf.int64))
    position, size, exif = tf.while_loop(
        lambda position, *_: position < end, step, start, maximum_iterations=MAX_SEGMENTS
    )
    return _found(size, exif, is_too_long=position < end)


def _read_png(contents):
    end = _length(contents)
    # Only then is a walk over all of the pixels' chunks worth its time: it may stand after them.
    may_be_late = tf.size(tf.strings.split(contents, b"eXIf")) > 1

    def step(position, exif, is_transparent):
        length = _number(_bytes_at(contents, position, 4), 4)
        kind = tf.strings.substr(contents, tf.minimum(position + 4, end), 4)
        block = tf.stack([position + 8, length])
        exif = tf.where((kind == b"eXIf") & (exif[0] == 0), block, exif)
        is_last = (kind == b"IEND") | (kind == b"IDAT") & (~may_be_late | (exif[0] > 0))
        position = tf.where(is_last, end, position + 12 + length)
        return position, exif, is_transparent | (kind == b"tRNS")

    start = (tf.constant(8, tf.int64), tf.zeros(2, tf.int64), tf.constant(False))
    position, exif, is_transparent = tf.while_loop(
        lambda position, *_: position < end, step, start, maximum_iterations=MAX_CHUNKS
    )
    header = _bytes_at(contents, tf.constant(12, tf.int64), 14)
    # Without the header in its place, zeros: no size.
    header *= tf.cast(tf.reduce_all(header[:4] == list(b"IHDR")), tf.int64)
    size = tf.stack([_number(header[8:12], 4), _number(header[4:8], 4)])
    has_alpha = is_transparent | _is_any(header[13], ALPHA_TYPES)
    return _found(size, exif, has_alpha, header[12] == 16, is_too_long=position < end)


@tracing.traced_once
def num_scans_at_most(contents: tf.Tensor) -> tf.Tensor:
    """Returns int64, no fewer than a JPEG's scans; bytes that look like one count as well.

    One in 65,536 of those after the picture's end does, as in the film of a motion photo.
    """
    return tf.size(tf.strings.split(contents, bytes([0xFF, SCAN])), tf.int64) - 1


@tracing.traced_once
def num_scans(contents: tf.Tensor) -> tf.Tensor:
    """Returns int64, the scans of a JPEG up to its end; -1 for more than `MAX_SEGMENTS` segments.

    It takes 20 bytes of memory for each byte of the file.
    """
    data = tf.concat([tf.io.decode_raw(contents, tf.uint8), [0xFF, END, 0, 0]], axis=0)
    end = tf.size(data, tf.int64) - 4
    is_other = tf.reduce_any([data[1:] == code for code in NO_MARKERS], axis=0)
    markers = tf.where((data[:-1] == 0xFF) & ~is_other)[:, 0]

    def step(position, count):
        position = markers[tf.searchsorted(markers, position[None])[0]]
        head = tf.cast(data[position : position + 4], tf.int64)
        code = head[1]
        position = tf.minimum(position + _step(code, _number(head[2:], 2)), end)
        count += tf.cast(code == SCAN, tf.int64)
        return tf.where(code == END, end, position), count

    start = (tf.constant(0, tf.int64), tf.constant(0, tf.int64))
    position, count = tf.while_loop(
        lambda position, _: position < end, step, start, maximum_iterations=MAX_SEGMENTS
    )
    # Any number of scans may follow.
    return tf.where(position < end, tf.constant(-1, tf.int64), count)
