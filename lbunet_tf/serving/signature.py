"""The signatures of an exported model: image bytes in, probability, mask and area out.

Everything here becomes TensorFlow ops; it runs where only TensorFlow is installed.
"""

import json
from collections.abc import Callable
from collections.abc import Sequence

import keras
import tensorflow as tf

from lbunet_tf.serving import chosen
from lbunet_tf.serving import outlines
from lbunet_tf.serving import outlines_in_graph
from lbunet_tf.serving import postprocessing

NAME = "serving_default"
INPUT = "image_bytes"
NO_IMAGE = "image_bytes must be a JPEG or PNG; these bytes are neither"
DAMAGED = "image_bytes must be a complete JPEG or PNG: this one is cut short or damaged"


def make_serving_function(
    model: keras.Model,
    problem: Callable[[tf.Tensor], tf.Tensor],
    decode: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    resize: Callable[[tf.Tensor], tf.Tensor],
    score_rule: str,
    mask_rule: outlines.MaskRule | None,
    choices: chosen.Chosen = chosen.NOTHING,
    class_names: Sequence[str] = (),
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns (B,) bytes -> dict of outputs, for images of any sizes in one batch, or of none.

    `error` (B,), empty where all is well; `probability` (B,) of melanoma, where an output of the
    model scores it; `flagged` (B,), 1 where that reaches the operating point, else 0, and
    `prediction_set` (B,), a word, where the run has them; `calibrated_probability` (B,) with a
    calibration; with a diagnosis head `class_probabilities` (B, K) and `class_names` (B, K); and,
    where the mask head learnt outlines, `mask_png_bytes` (B,), 0 or 255 at the size of the image as
    a viewer shows it, and `lesion_share` (B,) of the image.

    An image with an error has NaN for numbers, which no threshold takes for a result, and no
    bytes for its mask; the others of its request have their answers. TF Serving writes NaN in
    JSON as the word NaN.

    Args:
        model: Input (B, S, S, 3) float32 RGB in 0..255, outputs logits by name.
        problem: Bytes -> what forbids to decode a JPEG or PNG, "" where nothing does.
        decode: Bytes -> ((H, W, 3) uint8, upright; what is wrong with it, "" where nothing is).
        resize: (H, W, 3) uint8 -> (S, S, 3) uint8.
        score_rule: As in `postprocessing.image_scores`.
        mask_rule: How the logits of `mask` become an outline; None where it is the label on every
            pixel.
        choices: What was chosen for the model.
        class_names: Of `diagnosis`, in its order.
    """

    def read(contents):
        image, error = _decoded_or_error(contents, problem, decode)
        return resize(image), tf.shape(image)[:2], error

    def serve(image_bytes):
        small, sizes, errors = tf.map_fn(
            read,
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec(model.input_shape[1:], tf.uint8),
                tf.TensorSpec((2,), tf.int32),
                tf.TensorSpec((), tf.string),
            ),
        )
        logits = _logits(model, small)
        errors = _or_not_finite(errors, logits)
        is_good = errors == ""
        outputs = {"error": errors}
        if score_rule != "none":
            outputs |= _score_outputs(logits, score_rule, class_names, choices, is_good)
        if class_names:
            probabilities = tf.nn.softmax(logits["diagnosis"])
            outputs["class_probabilities"] = _or_nan(is_good[:, None], probabilities)
            # For each image: TF Serving asks all outputs for one first dimension.
            names = tf.constant([list(class_names)])
            outputs["class_names"] = tf.repeat(names, tf.shape(errors)[0], axis=0)
        if mask_rule:
            masks, shares = tf.map_fn(
                lambda found: _outline(*found, mask_rule.logit),
                (outlines_in_graph.clean(mask_rule, logits["mask"]), sizes),
                fn_output_signature=(
                    tf.TensorSpec((), tf.string),
                    tf.TensorSpec((), tf.float32),
                ),
            )
            outputs["mask_png_bytes"] = tf.where(is_good, masks, "")
            outputs["lesion_share"] = _or_nan(is_good, shares)
        return outputs

    return serve


def _score_outputs(logits, score_rule, class_names, choices, is_good):
    """Returns what is said of the score of each image, by output."""
    how = (score_rule, class_names, postprocessing.TENSORFLOW)
    scores = postprocessing.image_scores(logits, *how)
    outputs = {"probability": _or_nan(is_good, scores)}
    # As predict: of 32 bits, many a certain score would be 1.
    wide_logits = {name: tf.cast(value, tf.float64) for name, value in logits.items()}
    wide = postprocessing.image_scores(wide_logits, *how)
    if choices.calibration:
        score_logits = postprocessing.score_logits(wide_logits, wide, *how)
        found = choices.calibration.apply_in_graph(tf.cast(score_logits, tf.float32))
        outputs["calibrated_probability"] = _or_nan(is_good, found)
    if choices.threshold is not None:
        outputs["flagged"] = _or_nan(is_good, tf.cast(wide >= choices.threshold, tf.float32))
    if choices.sets:
        outputs["prediction_set"] = tf.where(is_good, choices.sets.names_in_graph(wide), "")
    return outputs


def _logits(model, images):
    """Returns the logits of (B, S, S, 3) uint8 by output, for B = 0 too.

    Of no image, oneDNN's convolution has the wrong shape where TensorFlow has not fused it.
    """
    num_images = tf.shape(images)[0]
    missing = tf.maximum(1 - num_images, 0)
    images = tf.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    logits = model(tf.cast(images, tf.float32), training=False)
    return {name: value[:num_images] for name, value in logits.items()}


def _or_not_finite(errors, logits):
    """Returns the errors (B,), with one for each image whose logits are not all numbers."""
    for values in logits.values():
        is_finite = tf.reduce_all(tf.math.is_finite(values), range(1, values.shape.rank))
        errors = tf.where((errors == "") & ~is_finite, postprocessing.NOT_FINITE, errors)
    return errors


def _or_nan(is_good, numbers):
    return tf.where(is_good, numbers, float("nan"))


def _decoded_or_error(contents, problem, decode):
    """Returns ((H, W, 3) uint8, what is wrong or ""); one black pixel where nothing is decoded."""
    start = tf.strings.substr(contents, 0, 4)
    is_known = (tf.strings.substr(start, 0, 3) == b"\xff\xd8\xff") | (start == b"\x89PNG")
    error = tf.cond(is_known, lambda: problem(contents), lambda: tf.constant(NO_IMAGE))
    nothing = tf.zeros((1, 1, 3), tf.uint8)
    return tf.cond(
        error == "",
        lambda: _decoded_or(nothing, contents, decode),
        lambda: (nothing, error),
    )


def _decoded_or(default, contents, decode):
    """Returns what `decode` does, or (default, DAMAGED) where the decoder fails.

    A dataset of one element is what TensorFlow has to catch the error of an op in a graph.
    """
    images = tf.data.Dataset.from_tensors(contents).map(decode)
    otherwise = tf.data.Dataset.from_tensors((default, DAMAGED))
    images = images.ignore_errors().concatenate(otherwise).take(1)
    options = tf.data.Options()
    options.autotune.enabled = False
    image, error = images.with_options(options).get_single_element()
    return tf.ensure_shape(image, (None, None, 3)), error


def _outline(logits, size, threshold):
    """Returns (PNG bytes at the image's size, share of the image) of one mask."""
    mask = postprocessing.mask_at_size(logits, size, threshold)
    png = tf.io.encode_png(tf.cast(mask, tf.uint8) * 255)
    return png, tf.reduce_mean(tf.cast(mask, tf.float32))


def make_identity_function(identity: dict) -> Callable[[], dict[str, tf.Tensor]]:
    """Returns a function of no input that says which run the model is of, as JSON."""
    text = json.dumps(identity)

    def describe():
        return {"identity": tf.constant(text)}

    return describe
