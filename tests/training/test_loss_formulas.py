"""Every loss against its formula, in NumPy, float64, one image and often one pixel at a time."""

import keras
import numpy as np
import pytest

from lbunet_tf.training import losses
from tests import gradients

SIZE = 6
WEIGHTED = ("bce", "bce_dice", "focal", "boundary_bce")


def _sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def _cost(target, logit):
    probability = _sigmoid(logit)
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability))


def _class_weight(target, class_weights):
    return class_weights[0] * (1 - target) + class_weights[1] * target


def _bce(target, logit, weight, class_weights=(1, 1)):
    return np.average(_class_weight(target, class_weights) * _cost(target, logit), weights=weight)


def _dice(target, logit, weight):
    probability = _sigmoid(logit)
    both = (weight * probability * target).sum()
    return 1 - (2 * both + 1) / ((weight * probability).sum() + (weight * target).sum() + 1)


def _bce_dice(target, logit, weight, class_weights=(1, 1)):
    return _bce(target, logit, weight, class_weights) + _dice(target, logit, weight)


def _focal(target, logit, weight, class_weights=(1, 1)):
    probability = _sigmoid(logit)
    terms = -target * (1 - probability) ** 2 * np.log(probability)
    terms -= (1 - target) * probability**2 * np.log(1 - probability)
    return np.average(_class_weight(target, class_weights) * terms, weights=weight)


def _tversky(target, logit, weight):
    probability = _sigmoid(logit)
    both = (weight * probability * target).sum()
    false_positives = (weight * probability * (1 - target)).sum()
    false_negatives = (weight * (1 - probability) * target).sum()
    return 1 - (both + 1) / (both + 0.3 * false_positives + 0.7 * false_negatives + 1)


def _focal_tversky(target, logit, weight):
    return _tversky(target, logit, weight) ** 0.75


def _lovasz(target, logit, weight):
    """Each set's Jaccard loss, |wrong| / |lesion or wrong|, summed as pixels join by error."""
    lesion = target > 0.5
    error = np.maximum(0, 1 - np.where(lesion, logit, -logit)) * (weight > 0)
    wrong, before, total = np.zeros(target.shape, bool), 0.0, 0.0
    for pixel in np.argsort(-error, axis=None):
        if error.flat[pixel] > 0:
            wrong.flat[pixel] = True
            jaccard = weight[wrong].sum() / weight[lesion | wrong].sum()
            total += error.flat[pixel] * (jaccard - before)
            before = jaccard
    return total


def _boundary_bce(target, logit, weight, class_weights=(1, 1)):
    nearness = np.empty(target.shape)
    for row in range(SIZE):
        for column in range(SIZE):
            around = np.s_[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            known = weight[around].sum()
            mean = (weight[around] * target[around]).sum() / known if known else 0
            nearness[row, column] = 1 + 5 * abs(mean - target[row, column])
    return _bce(target, logit, weight * nearness, class_weights)


FORMULAS = {
    "bce": _bce,
    "dice": _dice,
    "bce_dice": _bce_dice,
    "focal": _focal,
    "tversky": _tversky,
    "focal_tversky": _focal_tversky,
    "lovasz": _lovasz,
    "boundary_bce": _boundary_bce,
}


def _draw(soft, count=3):
    """(targets, logits, weights) of images whose upper left corner is not known."""
    rng = np.random.default_rng(4)
    shape = (count, SIZE, SIZE)
    target = rng.random(shape) if soft else rng.integers(0, 2, shape).astype("float64")
    weight = rng.choice([0.5, 1.0], shape)
    weight[:, :3, :3] = 0
    return target, rng.normal(0, 2, shape), weight


def _ours(kind, target, logit, weight, **keywords):
    """Returns the loss of each image and the gradient of their sum."""
    logit, target, weight = (
        array[..., None].astype("float32") for array in (logit, target, weight)
    )
    loss, gradient = gradients.of_array(
        lambda logits: losses.MASK_LOSSES[kind](target, logits, weight, **keywords), logit
    )
    return loss, gradient[..., 0]


def _slopes(formula, target, logit, weight, step=1e-6):
    """Returns the gradient of one image by central differences."""
    slopes = np.empty(logit.shape)
    for pixel in np.ndindex(logit.shape):
        move = np.zeros(logit.shape)
        move[pixel] = step
        rise = formula(target, logit + move, weight) - formula(target, logit - move, weight)
        slopes[pixel] = rise / (2 * step)
    return slopes


def test_every_mask_loss_has_a_formula():
    assert set(FORMULAS) == set(losses.MASK_LOSSES)


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", losses.MASK_LOSSES)
def test_a_mask_loss_is_its_formula(kind, soft):
    target, logit, weight = _draw(soft)

    loss, _ = _ours(kind, target, logit, weight)

    expected = [FORMULAS[kind](*image) for image in zip(target, logit, weight, strict=True)]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", losses.MASK_LOSSES)
def test_the_gradient_of_a_mask_loss_is_the_slope_of_its_formula(kind, soft):
    target, logit, weight = _draw(soft)

    _, gradient = _ours(kind, target, logit, weight)

    expected = [
        _slopes(FORMULAS[kind], *image) for image in zip(target, logit, weight, strict=True)
    ]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", WEIGHTED)
def test_class_weights_multiply_the_terms_of_the_cross_entropy(kind, soft):
    target, logit, weight = _draw(soft)

    loss, _ = _ours(kind, target, logit, weight, class_weights=(0.5, 4.0))

    expected = [
        FORMULAS[kind](*image, class_weights=(0.5, 4.0))
        for image in zip(target, logit, weight, strict=True)
    ]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", losses.MELANOMA_LOSSES)
def test_melanoma_loss_smooths_the_label_and_then_weighs_the_class(kind):
    label, logit = np.array([[1.0], [0.0], [0.25]]), np.array([[2.0], [-1.0], [0.5]])
    head = losses.make_losses(
        ("mask", "melanoma"),
        melanoma_loss=kind,
        label_smoothing=0.2,
        class_weights={"melanoma": (0.5, 3.0)},
    )["melanoma"]

    loss = float(head(label, logit, sample_weight=np.array([1.0, 1.0, 0.0])))

    # 1 becomes 0.9 and weighs 2.75; 0 becomes 0.1 and weighs 0.75; the third is not known.
    costs = [FORMULAS[kind](np.array([0.9]), np.array([2.0]), [1])]
    costs.append(FORMULAS[kind](np.array([0.1]), np.array([-1.0]), [1]))
    assert loss == pytest.approx((2.75 * costs[0] + 0.75 * costs[1]) / 2, rel=1e-5)


@pytest.mark.parametrize("kind", losses.MELANOMA_LOSSES)
def test_label_smoothing_is_the_melanoma_heads_alone(kind):
    plain = losses.make_losses(("mask",), mask_loss=kind)["mask"]
    smoothed = losses.make_losses(("mask",), mask_loss=kind, label_smoothing=0.2)["mask"]
    target, logit, _ = _draw(soft=False)

    assert float(plain(target, logit)) == float(smoothed(target, logit))


def test_melanoma_loss_with_smoothing_alone_is_the_cross_entropy_of_the_smoothed_label():
    head = losses.make_losses(("mask", "melanoma"), label_smoothing=0.2)["melanoma"]

    loss = float(head(np.array([[1.0], [0.0]]), np.array([[2.0], [-1.0]])))

    assert loss == pytest.approx((_cost(0.9, 2.0) + _cost(0.1, -1.0)) / 2, rel=1e-5)


def test_lovasz_hinge_at_errors_of_zero_and_one_is_the_jaccard_loss():
    target = np.random.default_rng(0).integers(0, 2, (1, SIZE, SIZE)).astype("float64")
    wrong = np.random.default_rng(1).random((1, SIZE, SIZE)) < 0.3
    # A pixel with the right sign and margin 1 has error 0; one with logit 0 has error 1.
    logit = np.where(wrong, 0, 2 * target - 1)

    loss, _ = _ours("lovasz", target, logit, np.ones_like(target))

    predicted = np.where(wrong, 1 - target, target)
    iou = np.minimum(target, predicted).sum() / np.maximum(target, predicted).sum()
    assert loss[0] == pytest.approx(1 - iou, abs=1e-6)


def test_pixels_within_15_of_352_of_a_straight_outline_weigh_up_to_three_and_a_half():
    target = np.zeros((1, 352, 40))
    target[:, :176] = 1

    _, gradient = _ours("boundary_bce", target, np.zeros_like(target), np.ones_like(target))

    # The slope of a pixel of logit 0 is half its share of the weights.
    weights = np.abs(gradient[0, :, 20]) / np.abs(gradient[0, 0, 20])
    np.testing.assert_allclose(weights[[175, 176]], 1 + 5 * 15 / 31, rtol=1e-4)
    np.testing.assert_allclose(weights[[161, 190]], 1 + 5 * 1 / 31, rtol=1e-4)
    np.testing.assert_allclose(weights[[0, 160, 191, 351]], 1, rtol=1e-4)


def test_boundary_cross_entropy_without_an_outline_is_the_cross_entropy():
    _, logit, weight = _draw(soft=False)
    target = np.zeros_like(logit)

    loss, _ = _ours("boundary_bce", target, logit, weight)

    np.testing.assert_allclose(loss, _ours("bce", target, logit, weight)[0], rtol=1e-6)


def test_the_default_is_keras_binary_cross_entropy_to_the_last_digit():
    target, logit, weight = _draw(soft=True)
    target, logit = target[..., None], logit[..., None]
    expected = keras.losses.BinaryCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )

    ours = losses.make_losses(("mask",))["mask"]

    assert float(ours(target, logit, weight)) == float(expected(target, logit, weight))


def test_cross_entropy_of_our_own_agrees_with_keras():
    target, logit, weight = _draw(soft=True)
    target, logit = target[..., None], logit[..., None]
    default = losses.make_losses(("mask",))["mask"]

    ours = losses.make_losses(("mask",), class_weights={"mask": (1.0, 1.0)})["mask"]

    expected = float(default(target, logit, weight))
    assert float(ours(target, logit, weight)) == pytest.approx(expected, rel=1e-6)
