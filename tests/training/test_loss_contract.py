"""What holds for every loss: finite, in float32, of one image, and of what is known alone."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from lbunet_tf.training import losses
from tests import gradients

ROOT = pathlib.Path(__file__).parents[2]
ALL_LOSSES = [("mask", kind) for kind in losses.MASK_LOSSES]
ALL_LOSSES += [("melanoma", kind) for kind in losses.MELANOMA_LOSSES]
every_loss = pytest.mark.parametrize("head, kind", ALL_LOSSES)
every_mask_loss = pytest.mark.parametrize("kind", losses.MASK_LOSSES)


def _random_masks(count=3):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (count, 5, 5, 1)).astype("float32")
    return target, rng.normal(0, 2, (count, 5, 5, 1)).astype("float32")


def _make(head, kind, **keywords):
    """Returns one loss of ours, also where the default is Keras'."""
    keywords.setdefault("class_weights", {head: (1.0, 1.0)})
    return losses.make_losses((head,), **{f"{head}_loss": kind}, **keywords)[head]


def _batch_for(head, count=3):
    """(targets, logits, weights) of a head; everything is known."""
    target, logit = _random_masks(count)
    if head == "melanoma":
        return target[:, 0, 0], logit[:, 0, 0], np.ones(count, "float32")
    return target, logit, np.ones(target.shape[:3], "float32")


def _loss_and_gradient(loss, target, logit, weight=None):
    return gradients.of_array(lambda logits: loss(target, logits, sample_weight=weight), logit)


@every_loss
@pytest.mark.parametrize("target", ["empty", "full", "both"])
@pytest.mark.parametrize("logit", ["low", "zero", "high", "right", "wrong"])
def test_large_logits_have_a_finite_loss_and_gradient(head, kind, target, logit):
    shape = (2, 4, 4, 1) if head == "mask" else (2, 1)
    targets = np.full(shape, target == "full", "float32")
    if target == "both":
        targets[0] = 1
    right = 160 * targets - 80
    logits = {"low": -80 + 0 * right, "zero": 0 * right, "high": 80 + 0 * right}
    logits |= {"right": right, "wrong": -right}

    loss, gradient = _loss_and_gradient(_make(head, kind), targets, logits[logit])

    assert np.isfinite(loss) and np.all(np.isfinite(gradient))


@every_loss
@pytest.mark.parametrize("target", [0, 1])
def test_a_sure_and_right_prediction_of_one_class_costs_nothing(head, kind, target):
    shape = (1, 16, 16, 1) if head == "mask" else (1, 1)

    loss = _make(head, kind)(np.full(shape, target), np.full(shape, 160.0 * target - 80))

    # Focal Tversky is flat below 1e-7^0.75 = 6e-6.
    assert float(loss) == pytest.approx(0, abs=1e-5)


@every_loss
def test_an_unknown_image_adds_no_gradient_and_leaves_the_others_as_they_are(head, kind):
    target, logit, weight = _batch_for(head)
    known = [0, 2]
    weight[1] = 0

    loss, gradient = _loss_and_gradient(_make(head, kind), target, logit, weight)

    alone, gradient_alone = _loss_and_gradient(_make(head, kind), target[known], logit[known])
    assert loss == pytest.approx(alone, rel=1e-6)
    np.testing.assert_allclose(gradient[known], gradient_alone, rtol=1e-5, atol=1e-9)
    assert not np.any(gradient[1])


@every_loss
def test_a_batch_of_which_nothing_is_known_costs_nothing(head, kind):
    target, logit, weight = _batch_for(head)

    loss, gradient = _loss_and_gradient(_make(head, kind), target, logit, 0 * weight)

    assert loss == 0 and not np.any(gradient)


@every_mask_loss
def test_unknown_pixels_add_no_gradient_and_change_nothing(kind):
    target, logit, weight = _batch_for("mask")
    weight[:, :3, 1:] = 0
    unknown = weight[..., None] == 0

    loss, gradient = _loss_and_gradient(_make("mask", kind), target, logit, weight)

    other = np.where(unknown, 1 - target, target), np.where(unknown, 7 - 3 * logit, logit)
    assert _loss_and_gradient(_make("mask", kind), *other, weight)[0] == loss
    assert not np.any(gradient[unknown])
    assert np.any(gradient[~unknown])


@every_mask_loss
def test_the_loss_of_a_batch_is_the_mean_of_its_images_and_not_pooled(kind):
    target, logit, _ = _batch_for("mask")
    target[0] = 0
    target[1, :4] = 1
    loss = _make("mask", kind)

    single = [float(loss(target[[image]], logit[[image]])) for image in range(3)]

    assert float(loss(target, logit)) == pytest.approx(np.mean(single), rel=1e-6)


@every_mask_loss
def test_an_image_counts_by_the_part_of_it_that_is_known(kind):
    target, logit, weight = _batch_for("mask", count=2)
    weight[0, 1:] = 0
    loss = _make("mask", kind)

    single = [float(loss(target[[image]], logit[[image]], weight[[image]])) for image in range(2)]

    expected = (single[0] / 5 + single[1]) / (1 / 5 + 1)
    assert float(loss(target, logit, weight)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", losses.OVERLAP_LOSSES)
def test_overlap_losses_ignore_class_weights(kind):
    weighted = _make("mask", kind, class_weights={"mask": (1.0, 9.0)})

    assert float(weighted(*_random_masks())) == float(_make("mask", kind)(*_random_masks()))


@every_mask_loss
def test_logits_of_half_precision_are_reduced_in_float32(kind):
    # The costs add up to 276,480; float16 ends at 65,504.
    target, logit = np.zeros((1, 96, 96, 1), "float32"), np.full((1, 96, 96, 1), 30, "float16")

    loss = _make("mask", kind)(target, keras.ops.convert_to_tensor(logit))

    assert loss.dtype == "float32"
    assert float(loss) == float(_make("mask", kind)(target, logit.astype("float32")))


@every_mask_loss
def test_a_loss_is_read_back_from_its_config(kind):
    loss = _make("mask", kind, class_weights={"mask": (0.5, 2.0)})

    restored = keras.losses.deserialize(keras.losses.serialize(loss))

    assert restored.get_config() == loss.get_config()
    assert float(restored(*_random_masks())) == float(loss(*_random_masks()))


@pytest.mark.slow
@every_mask_loss
def test_a_loss_falls_when_a_model_trains(make_model, batch, kind):
    images, targets, weights = batch
    model = make_model()
    model.compile(keras.optimizers.Adam(1e-2), loss={"mask": _make("mask", kind)})

    history = model.fit(
        images, targets, sample_weight=weights, batch_size=6, epochs=10, verbose=0
    ).history["loss"]

    assert history[-1] < 0.9 * history[0]


@pytest.mark.slow
def test_losses_run_on_jax():
    pytest.importorskip("jax")
    script = """
import numpy as np
from lbunet_tf.training import losses
target, logit = np.eye(6)[None, ..., None], np.linspace(-3, 3, 36).reshape(1, 6, 6, 1)
for kind in losses.MASK_LOSSES:
    print(float(losses.ImageLoss(kind)(target, logit, np.ones((1, 6, 6)))))
"""
    target, logit = np.eye(6)[None, ..., None], np.linspace(-3, 3, 36).reshape(1, 6, 6, 1)

    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    expected = [float(losses.ImageLoss(kind)(target, logit)) for kind in losses.MASK_LOSSES]
    np.testing.assert_allclose([float(line) for line in result.stdout.split()], expected, rtol=1e-5)
