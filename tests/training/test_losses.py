import keras
import numpy as np
import pytest

from lbunet_tf.training import losses
from tests import gradients


@pytest.fixture
def mask_loss():
    return losses.make_losses(("mask",))["mask"]


def _cross_entropy(target, logit):
    """The paper's eq. 1 in float64, from probabilities."""
    probability = 1 / (1 + np.exp(-logit.astype("float64")))
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability))


def _random_masks(count=3):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (count, 5, 5, 1)).astype("float32")
    return target, rng.normal(0, 2, (count, 5, 5, 1)).astype("float32")


def test_a_loss_without_class_weights_is_one_of_overlap():
    assert losses.OVERLAP_LOSSES == ("dice", "tversky", "focal_tversky", "lovasz")


@pytest.mark.parametrize("head", ["mask", "melanoma"])
def test_an_unknown_loss_raises_an_error_that_names_the_flag(head):
    with pytest.raises(ValueError, match=f'"--{head}_loss" must be one of bce,.* Received: hinge'):
        losses.make_losses(("mask", "melanoma"), **{f"{head}_loss": "hinge"})


@pytest.mark.parametrize("heads", [("mask",), ("mask", "melanoma")])
def test_each_head_has_a_loss_under_its_name(heads):
    assert list(losses.make_losses(heads)) == list(heads)


def test_mask_loss_is_the_mean_cross_entropy_over_pixels(mask_loss):
    target, logit = _random_masks()

    loss = float(mask_loss(target, logit))

    assert loss == pytest.approx(_cross_entropy(target, logit).mean(), rel=1e-5)


def test_melanoma_loss_is_the_mean_cross_entropy_over_images():
    target = np.array([[1.0], [0.0], [1.0]], "float32")
    logit = np.array([[2.0], [-1.0], [-0.5]], "float32")

    loss = float(losses.make_losses(("mask", "melanoma"))["melanoma"](target, logit))

    assert loss == pytest.approx(_cross_entropy(target, logit).mean(), rel=1e-5)


@pytest.mark.parametrize(
    "target, logit, expected", [(1, 80, 0), (0, -80, 0), (1, -80, 80), (0, 80, 80)]
)
def test_large_logits_cost_their_size_or_nothing(mask_loss, target, logit, expected):
    shape = (1, 2, 2, 1)

    loss = float(mask_loss(np.full(shape, target, "float32"), np.full(shape, logit, "float32")))

    assert loss == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("target, logit, sign", [(1, -80, -1), (0, 80, 1)])
def test_wrong_large_logits_keep_their_gradient(mask_loss, target, logit, sign):
    targets, logits = (np.full((1, 1, 1, 1), value, "float32") for value in (target, logit))

    _, gradient = gradients.of_array(lambda logits: mask_loss(targets, logits), logits)

    assert gradient.item() == pytest.approx(sign, abs=1e-6)


def test_images_of_weight_zero_do_not_dilute_the_loss(mask_loss):
    target, logit = _random_masks(3)
    weights = np.ones((3, 5, 5), "float32")
    weights[1] = 0

    loss = float(mask_loss(target, logit, sample_weight=weights))

    assert loss == pytest.approx(float(mask_loss(target[[0, 2]], logit[[0, 2]])), rel=1e-6)


def test_images_of_weight_zero_get_no_gradient(mask_loss):
    target, logit = _random_masks(3)
    weights = np.ones((3, 5, 5), "float32")
    weights[1] = 0

    _, gradient = gradients.of_array(
        lambda logits: mask_loss(target, logits, sample_weight=weights), logit
    )

    assert [bool(np.any(part)) for part in gradient] == [True, False, True]


def test_a_batch_without_any_target_costs_nothing(mask_loss):
    target, logit = _random_masks(2)

    loss = float(mask_loss(target, logit, sample_weight=np.zeros((2, 5, 5), "float32")))

    assert loss == 0.0


def test_a_batch_without_any_target_leaves_the_weights_alone(make_model, batch):
    images, targets, weights = batch
    model = make_model()
    before = [weight.numpy() for weight in model.trainable_weights]

    model.train_on_batch(images, targets, sample_weight={"mask": 0 * weights["mask"]})

    after = [weight.numpy() for weight in model.trainable_weights]
    for ours, expected in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_model_with_two_heads_minimises_the_sum_of_their_losses():
    image = keras.Input((2, 2, 3))
    mask = keras.layers.Conv2D(1, 1, name="mask", kernel_initializer="ones")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    melanoma = keras.layers.Dense(1, name="melanoma", kernel_initializer="zeros")(pooled)
    model = keras.Model(image, {"mask": mask, "melanoma": melanoma})
    model.compile("sgd", loss=losses.make_losses(("mask", "melanoma")))
    images = np.random.default_rng(0).normal(size=(2, 2, 2, 3)).astype("float32")
    targets = {"mask": np.ones((2, 2, 2, 1)), "melanoma": np.ones((2, 1))}
    weights = {"mask": np.ones((2, 2, 2)), "melanoma": np.array([1.0, 0.0])}

    loss = model.test_on_batch(images, targets, sample_weight=weights, return_dict=True)["loss"]

    logits = images.sum(-1, keepdims=True)
    expected = _cross_entropy(1.0, logits).mean() + np.log(2)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", losses.MASK_LOSSES)
def test_every_output_of_deep_supervision_has_the_loss_of_masks(kind):
    made = losses.make_losses(("mask", "melanoma", "mask_s8"), kind, melanoma_loss="focal")

    target, logit = _random_masks()
    assert float(made["mask_s8"](target, logit)) == float(made["mask"](target, logit))
    assert made["melanoma"].kind == "focal"
