"""The score and the mask of an image are one piece of code, whatever holds the logits."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.serving import portable_models
from lbunet_tf.serving import postprocessing
from lbunet_tf.settings import config

KERAS = portable_models.KERAS


@pytest.mark.parametrize(
    "logit, probability", [(-800, 0), (-80, np.exp(-80)), (0, 0.5), (80, 1), (800, 1)]
)
def test_sigmoid_of_large_logits_is_right_and_warns_of_nothing(logit, probability):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = postprocessing.sigmoid(np.array([float(logit)]))

    np.testing.assert_allclose(result, [probability], rtol=1e-12)


def logits_of(heads):
    pixels = np.array([0.9, 0.1, 0.2, 0.4]).reshape(1, 2, 2, 1)
    logits = {"mask": np.log(pixels / (1 - pixels)), "melanoma": np.log([[3.0]])}
    return {head: logits[head] for head in heads}


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"heads": ("mask", "melanoma")}, 0.75),
        ({"heads": ("mask", "melanoma"), "mask_source": "label"}, 0.75),
        ({"mask_source": "label"}, 0.4),
        ({"mask_source": "label", "image_score": "mean"}, 0.4),
        ({"mask_source": "label", "image_score": "max"}, 0.9),
        ({"heads": ("mask", "melanoma"), "image_score": "mean", "mask_source": "label"}, 0.4),
        ({"mask_source": "lesion"}, np.nan),
    ],
    ids=["head", "head before label masks", "auto mean", "mean", "max", "mean by name", "nothing"],
)
def test_the_image_score_follows_its_rule(fields, expected):
    settings = config.make(**{"heads": ("mask",), **fields})

    score = postprocessing.image_scores(
        logits_of(settings.outputs.heads), settings.outputs.score_rule
    )

    np.testing.assert_allclose(score, [expected], rtol=1e-12)


@pytest.mark.parametrize("rule", ["melanoma", "mean", "max"])
@pytest.mark.parametrize(
    "functions", [postprocessing.TENSORFLOW, KERAS], ids=["tensorflow", "keras"]
)
def test_other_libraries_give_the_score_of_numpy(functions, rule):
    logits = logits_of(("mask", "melanoma"))
    tensors = {name: tf.constant(value) for name, value in logits.items()}

    score = postprocessing.image_scores(tensors, rule, functions=functions)

    np.testing.assert_allclose(score, postprocessing.image_scores(logits, rule), rtol=1e-6)


def test_logits_are_finite_by_image():
    logits = {"mask": np.zeros((4, 2, 2, 1)), "melanoma": np.zeros((4, 1))}
    logits["mask"][1, 0, 1, 0] = np.nan
    logits["melanoma"][2] = -np.inf

    assert postprocessing.are_finite(logits).tolist() == [True, False, False, True]


def test_a_mask_at_the_images_size_is_where_its_resized_logits_are_not_negative():
    logits = np.random.default_rng(0).normal(size=(8, 8, 1))
    logits[2, 2] = logits[2, 3] = 0

    mask = postprocessing.mask_at_size(logits, (21, 13))

    assert (mask.shape, mask.dtype) == ((21, 13, 1), tf.bool)
    np.testing.assert_array_equal(mask, tf.image.resize(logits, (21, 13)).numpy() >= 0)


@pytest.mark.parametrize("threshold", [0.1, -0.1, 1 / 3, 0.25, 7.3e-9, np.inf, -np.inf])
def test_a_threshold_of_64_bits_decides_logits_of_32_as_if_they_had_64(threshold):
    nearest = np.float32(threshold)
    around = [np.nextafter(nearest, np.float32(-9)), nearest, np.nextafter(nearest, np.float32(9))]
    logits = np.array(around, "float32").reshape(1, 3, 1)

    mask = postprocessing.mask_at_size(logits, (1, 3), np.float64(threshold))

    np.testing.assert_array_equal(mask, logits.astype("float64") >= np.float64(threshold))


def test_a_graph_of_an_exported_model_makes_the_same_mask():
    logits = np.random.default_rng(1).normal(size=(8, 8, 1)).astype("float32")

    mask = tf.function(postprocessing.mask_at_size)(logits, tf.constant([30, 40]))

    np.testing.assert_array_equal(mask, postprocessing.mask_at_size(logits, (30, 40)))


CLASSES = ("nv", "mel", "bcc")


@pytest.mark.parametrize("size", [1, 80])
@pytest.mark.parametrize("functions", [postprocessing.NUMPY, postprocessing.TENSORFLOW, KERAS])
def test_the_score_of_classes_is_the_probability_of_mel(functions, size):
    logits = np.array([[0.5, -1.0, 0.25], [-1.0, 1.0, -1.0]]) * size
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    expected = softmax[:, 1] / softmax.sum(1)
    outputs = {"diagnosis": logits if functions is postprocessing.NUMPY else tf.constant(logits)}

    score = postprocessing.image_scores(outputs, "diagnosis", CLASSES, functions)
    score_logit = postprocessing.score_logits(outputs, score, "diagnosis", CLASSES, functions)

    np.testing.assert_allclose(score, expected, rtol=1e-6)
    # Of one class against the others together, also where the probability rounds to 1.
    against = np.logaddexp(logits[:, 0], logits[:, 2])
    np.testing.assert_allclose(score_logit, logits[:, 1] - against, rtol=1e-6)


def test_class_probabilities_add_up_to_1_for_large_logits():
    found = postprocessing.class_probabilities(np.array([[80.0, -80, 0], [1, 1, 1], [-80, -80, 0]]))

    np.testing.assert_allclose(found[1], 1 / 3)
    np.testing.assert_allclose(found.sum(1), 1)
    assert found[0, 0] == pytest.approx(1) and found[2, 2] == pytest.approx(1)
