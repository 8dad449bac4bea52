"""The EXIF orientation of a JPEG, in TensorFlow ops, so that serving can do what training does."""

import tensorflow as tf

ORIENTATION_TAG = 0x0112
# An EXIF segment stands at the beginning of the file and is at most 64 KiB long.
SEARCHED_BYTES = 70_000
MARKER = b"Exif\x00\x00"


def orient(image: tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
    """Returns the image (H, W, C) as a viewer shows it, by the orientation of its file.

    Args:
        image: Decoded pixels as they are stored.
        contents: The bytes of the file, a scalar string.
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
    return tf.switch_case(orientation(contents) - 1, upright)


def orientation(contents: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    data = tf.io.decode_raw(tf.strings.substr(contents, 0, SEARCHED_BYTES, "BYTE"), tf.uint8)
    data = tf.concat([data, tf.zeros(len(MARKER), tf.uint8)], axis=0)
    count = tf.size(data) - len(MARKER) + 1
    found = tf.reduce_all(
        [data[place : place + count] == byte for place, byte in enumerate(MARKER)], axis=0
    )
    start = tf.argmax(found, output_type=tf.int32)
    return tf.cond(found[start], lambda: _read(data, start + len(MARKER)), lambda: tf.constant(1))


def _read(data, tiff):
    """Returns the orientation of the TIFF directory that begins at byte `tiff`."""
    length = tf.size(data)
    data = tf.cast(tf.pad(data, [[0, 16]]), tf.int32)

    def number(place, size):
        place = tf.clip_by_value(place, 0, length)
        digits = tf.gather(data, place[..., None] + tf.range(size))
        is_little = data[tiff] == ord("I")
        digits = tf.cond(is_little, lambda: tf.reverse(digits, [-1]), lambda: digits)
        return tf.reduce_sum(digits * 256 ** tf.range(size - 1, -1, -1), axis=-1)

    # A directory that lies megabytes away is damage; clipping keeps the arithmetic in range.
    directory = tiff + tf.clip_by_value(number(tiff + 4, 4), 0, SEARCHED_BYTES)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), 512))
    is_orientation = number(entries, 2) == ORIENTATION_TAG
    values = tf.boolean_mask(number(entries + 8, 2), is_orientation)
    value = tf.concat([values, [1]], axis=0)[0]
    is_tiff = (data[tiff] == data[tiff + 1]) & ((data[tiff] == ord("I")) | (data[tiff] == ord("M")))
    return tf.where(is_tiff & (value >= 1) & (value <= 8), value, 1)
