"""The EXIF orientation of a JPEG or PNG, in TensorFlow ops: serving does what training does."""

import tensorflow as tf

from lbunet_tf.data.pixels import headers
from lbunet_tf.data.pixels import tracing

ORIENTATION_TAG = 0x0112
# The type of its value where a writer took four bytes instead of two.
LONG = 4
# A JPEG's EXIF segment is at most 64 KiB long.
SEARCHED_BYTES = 70_000


def orient(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Returns the image (H, W, C) as a viewer shows it.

    Args:
        image: Decoded pixels as they are stored.
        orientation: Of its file, 1 to 8.
    """
    upright = [
        lambda: image,
        lambda: tf.reverse(image, [1]),
        lambda: tf.reverse(image, [0, 1]),
        lambda: tf.reverse(image, [0]),
        lambda: tf.transpose(image, (1, 0, 2)),
        lambda: tf.reverse(tf.transpose(image, (1, 0, 2)), [1]),
        lambda: tf.reverse(tf.transpose(image, (1, 0, 2)), [0, 1]),
        lambda: tf.reverse(tf.transpose(image, (1, 0, 2)), [0]),
    ]
    return tf.switch_case(orientation - 1, upright)


def orientation(contents: tf.Tensor, header: dict[str, tf.Tensor] | None = None) -> tf.Tensor:
    """Returns the EXIF orientation, 1 to 8; 1 where there is none or it cannot be read.

    As OpenCV, and unlike Pillow, it is not looked for in XMP.

    Args:
        contents: The bytes of a file, a scalar string.
        header: What `headers.read` says of them; None to read it here.
    """
    start, length = tf.unstack((header or headers.read(contents))["exif"])
    # A file may be cut off before its directory.
    start = tf.minimum(start, tf.cast(tf.strings.length(contents), tf.int64))
    tiff = tf.strings.substr(contents, start, tf.minimum(length, SEARCHED_BYTES))
    return tf.cond(start > 0, lambda: _read(tiff), lambda: tf.constant(1))


@tracing.traced_once
def _read(tiff):
    """Returns the orientation of a TIFF directory, given as bytes."""
    length = tf.strings.length(tiff)
    data = tf.cast(tf.io.decode_raw(tiff + b"\x00" * 16, tf.uint8), tf.int32)

    def number(position, size):
        position = tf.clip_by_value(position, 0, length)
        digits = tf.gather(data, position[..., None] + tf.range(size))
        is_little = data[0] == ord("I")
        digits = tf.cond(is_little, lambda: tf.reverse(digits, [-1]), lambda: digits)
        return tf.reduce_sum(digits * 256 ** tf.range(size - 1, -1, -1), axis=-1)

    # A directory that lies megabytes away is damage; clipping keeps the arithmetic in range.
    directory = tf.clip_by_value(number(tf.constant(4), 4), 0, SEARCHED_BYTES)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), 512))
    is_long = number(entries + 2, 2) == LONG
    values = tf.where(is_long, number(entries + 8, 4), number(entries + 8, 2))
    values = tf.boolean_mask(values, number(entries, 2) == ORIENTATION_TAG)
    value = tf.concat([values, [1]], axis=0)[0]
    is_tiff = (data[0] == data[1]) & ((data[0] == ord("I")) | (data[0] == ord("M")))
    return tf.where(is_tiff & (value >= 1) & (value <= 8), value, 1)
