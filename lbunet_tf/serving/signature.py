"""The signatures of an exported model: image bytes in, probability, mask and area out.

Everything here becomes TensorFlow ops; it runs where only TensorFlow is installed.
"""

import json
from collections.abc import Callable

import keras
import tensorflow as tf

NAME = "serving_default"
INPUT = "image_bytes"
MESSAGE = "image_bytes must be a JPEG or PNG; the request's image of this number is none:"


def make_serving_function(
    model: keras.Model,
    decode: Callable[[tf.Tensor], tf.Tensor],
    resize: Callable[[tf.Tensor], tf.Tensor],
    score_rule: str,
    has_outlines: bool,
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns (B,) bytes -> dict of outputs, for images of any sizes in one batch.

    `probability` (B,) of melanoma, where an output of the model scores it; and, where the
    mask head learnt outlines, `mask_png_bytes` (B,), 0 or 255 at the size of the image
    as a viewer shows it, and `lesion_share` (B,) of the image.

    Args:
        model: Input (B, S, S, 3) float32 RGB in 0..255, outputs logits by name.
        decode: Bytes -> (H, W, 3) uint8, upright.
        resize: (H, W, 3) uint8 -> (S, S, 3) uint8.
        score_rule: "melanoma", "mean", "max" or "none" (`Config.score_rule`).
        has_outlines: Whether `mask` is an outline rather than the label on every pixel.
    """

    def read(numbered):
        number, contents = numbered
        start = tf.strings.substr(contents, 0, 4, "BYTE")
        is_jpeg = tf.strings.substr(start, 0, 3, "BYTE") == b"\xff\xd8\xff"
        tf.debugging.Assert(is_jpeg | (start == b"\x89PNG"), [MESSAGE, number])
        image = decode(contents)
        return resize(image), tf.shape(image)[:2]

    def serve(image_bytes):
        count = tf.size(image_bytes)
        small, sizes = tf.map_fn(
            read,
            (tf.range(count), image_bytes),
            fn_output_signature=(
                tf.TensorSpec(model.input_shape[1:], tf.uint8),
                tf.TensorSpec((2,), tf.int32),
            ),
        )
        logits = model(tf.cast(small, tf.float32), training=False)
        outputs = {}
        if score_rule != "none":
            outputs["probability"] = image_probability(logits, score_rule)
        if has_outlines:
            outputs["mask_png_bytes"], outputs["lesion_share"] = tf.map_fn(
                _outline,
                (logits["mask"], sizes),
                fn_output_signature=(
                    tf.TensorSpec((), tf.string),
                    tf.TensorSpec((), tf.float32),
                ),
            )
        return outputs

    return serve


def image_probability(logits: dict[str, tf.Tensor], score_rule: str) -> tf.Tensor:
    """Returns (B,) float32 by the rule."""
    if score_rule == "melanoma":
        return tf.sigmoid(logits["melanoma"])[:, 0]
    reduce = {"mean": tf.reduce_mean, "max": tf.reduce_max}[score_rule]
    return reduce(tf.sigmoid(logits["mask"]), axis=(1, 2, 3))


def _outline(logits_and_size):
    """Returns (PNG bytes at the image's size, share of the image) of one mask."""
    logits, size = logits_and_size
    mask = tf.image.resize(logits, size) >= 0
    png = tf.io.encode_png(tf.cast(mask, tf.uint8) * 255)
    return png, tf.reduce_mean(tf.cast(mask, tf.float32))


def make_identity_function(identity: dict) -> Callable[[], dict[str, tf.Tensor]]:
    """Returns a function of no input that says which run the model is of, as JSON."""
    text = json.dumps(identity)

    def describe():
        return {"identity": tf.constant(text)}

    return describe
