import keras
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from lbunet_tf.training import metrics


def _masks(*images):
    """(B, 2, 2, 1) float32 of lists of four pixels."""
    return np.array(images, "float32").reshape(-1, 2, 2, 1)


def _weights(*values):
    return np.ones((len(values), 2, 2), "float32") * np.array(values, "float32")[:, None, None]


def test_mask_dice_is_the_mean_over_images_of_hand_made_fractions():
    true = _masks([1, 1, 0, 0], [1, 1, 1, 0])
    logits = _masks([3, -3, 3, -3], [3, 3, -3, -3])
    dice = metrics.MaskDice()

    dice.update_state(true, logits)

    # 2*1/(2+2) and 2*2/(2+3).
    assert float(dice.result()) == pytest.approx((1 / 2 + 4 / 5) / 2)


def test_mask_dice_is_not_pooled_over_batches():
    dice = metrics.MaskDice()

    dice.update_state(_masks([1, 1, 1, 1]), _masks([9, 9, 9, 9]))
    dice.update_state(_masks([1, 0, 0, 0], [0, 1, 0, 0]), _masks([-9] * 4, [-9] * 4))

    assert float(dice.result()) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "true, logits, expected",
    [
        ([0, 0, 0, 0], [-80, -80, -80, -80], 1.0),
        ([0, 0, 0, 0], [80, -80, -80, -80], 0.0),
        ([1, 1, 1, 1], [-80, -80, -80, -80], 0.0),
        ([1, 1, 1, 1], [80, 80, 80, 80], 1.0),
    ],
    ids=["empty on empty", "full on empty", "empty on full", "full on full"],
)
def test_mask_dice_of_empty_and_full_masks(true, logits, expected):
    dice = metrics.MaskDice()

    dice.update_state(_masks(true), _masks(logits))

    assert float(dice.result()) == expected


def test_mask_dice_ignores_images_of_weight_zero():
    dice = metrics.MaskDice()

    dice.update_state(
        _masks([1, 1, 0, 0], [1, 1, 1, 1]), _masks([3, -3, -3, -3], [-3] * 4), _weights(1, 0)
    )

    assert float(dice.result()) == pytest.approx(2 / 3)


def test_image_auc_agrees_with_scikit_learn_on_the_mean_pixel_probability():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    logits = rng.normal(labels[:, None, None, None] * 0.8, 2, (60, 6, 6, 1)).astype("float32")
    true = np.ones((60, 6, 6, 1), "float32") * labels[:, None, None, None]
    auc = metrics.ImageAUC()

    for start in range(0, 60, 16):
        auc.update_state(true[start : start + 16], logits[start : start + 16])

    score = (1 / (1 + np.exp(-logits.astype("float64")))).mean((1, 2, 3))
    # 200 thresholds, not all of them: a training-time estimate.
    expected = sklearn_metrics.roc_auc_score(labels, score)
    assert float(auc.result()) == pytest.approx(expected, abs=0.01)


def test_image_auc_ranks_by_the_mean_and_not_by_the_maximum():
    auc = metrics.ImageAUC()

    # One bright pixel on the benign image, an even grey on the melanoma.
    auc.update_state(_masks([0] * 4, [1] * 4), _masks([9, -9, -9, -9], [0.5] * 4))

    assert float(auc.result()) == pytest.approx(1.0)


def test_image_auc_ignores_images_of_weight_zero():
    auc = metrics.ImageAUC()

    auc.update_state(
        _masks([0] * 4, [1] * 4, [0] * 4), _masks([-1] * 4, [1] * 4, [3] * 4), _weights(1, 1, 0)
    )

    assert float(auc.result()) == pytest.approx(1.0)


def test_pixel_auc_agrees_with_scikit_learn_on_the_pixels_of_known_masks():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 2, (24, 6, 6, 1)).astype("float32")
    logits = rng.normal(true * 1.5 - 1, 1.5).astype("float32")
    known = rng.integers(0, 2, 24).astype("float32")
    # Pixels of unknown masks would turn the order round.
    logits[known == 0] *= -1
    weights = np.ones((24, 6, 6), "float32") * known[:, None, None]
    auc = metrics.PixelAUC()

    for start in range(0, 24, 10):
        part = slice(start, start + 10)
        auc.update_state(true[part], logits[part], weights[part])

    expected = sklearn_metrics.roc_auc_score(true[known == 1].ravel(), logits[known == 1].ravel())
    # 200 thresholds, not all of them: a training-time estimate.
    assert float(auc.result()) == pytest.approx(expected, abs=0.01)


def test_pixel_auc_without_weights_counts_every_pixel():
    auc = metrics.PixelAUC()

    auc.update_state(_masks([0, 0, 1, 1], [0, 1, 0, 1]), _masks([-2, -1, 1, 2], [3, 4, -3, 5]))

    # Of 4 * 4 pairs, the 0 at logit 3 stands above the 1 at 1 and at 2.
    assert float(auc.result()) == pytest.approx(14 / 16, abs=0.01)


def test_a_metric_starts_anew_after_a_reset():
    dice = metrics.MaskDice()
    dice.update_state(_masks([1] * 4), _masks([-9] * 4))

    dice.reset_state()
    dice.update_state(_masks([1] * 4), _masks([9] * 4))

    assert float(dice.result()) == 1.0


@pytest.mark.parametrize("name", ["MaskDice", "ImageAUC", "PixelAUC"])
def test_our_metrics_can_be_saved_by_their_config(name):
    metric = getattr(metrics, name)(name="watched")

    again = keras.metrics.deserialize(keras.metrics.serialize(metric))

    assert (type(again), again.name) == (type(metric), "watched")


@pytest.mark.parametrize(
    "heads, mask_source, expected",
    [
        (("mask",), "label", {"mask": ["accuracy", "auc"]}),
        (("mask",), "lesion", {"mask": ["accuracy", "auc", "dice"]}),
        (
            ("mask", "melanoma"),
            "lesion",
            {"mask": ["accuracy", "auc", "dice"], "melanoma": ["accuracy", "auc"]},
        ),
    ],
)
def test_each_head_is_watched_by_what_its_target_means(heads, mask_source, expected):
    made = metrics.make_metrics(heads, mask_source)

    assert {head: [metric.name for metric in group] for head, group in made.items()} == expected


def test_accuracy_counts_known_pixels_at_logit_zero():
    accuracy = metrics.make_metrics(("mask",), "lesion")["mask"][0]

    # Logits of 0.3 are above probability 0.5: a threshold of 0.5 on logits would miss them.
    accuracy.update_state(
        _masks([1, 1, 0, 0], [1, 1, 1, 1]),
        _masks([0.3, -0.3, -0.3, -0.3], [-9] * 4),
        sample_weight=_weights(1, 0),
    )

    assert float(accuracy.result()) == pytest.approx(3 / 4)


def test_melanoma_auc_takes_logits_and_ignores_weight_zero():
    auc = metrics.make_metrics(("mask", "melanoma"), "lesion")["melanoma"][1]

    auc.update_state(
        np.array([[0.0], [1.0], [0.0]]),
        np.array([[-5.0], [-4.0], [80.0]]),
        sample_weight=np.array([1.0, 1.0, 0.0]),
    )

    assert float(auc.result()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("scale", [2, 4])
def test_an_auc_of_rare_melanomas_does_not_depend_on_how_sure_the_network_is(scale):
    generator = np.random.default_rng(0)
    labels = (generator.random(5000) < 0.018).astype("float32")
    # As of a calibrated network: most probabilities are below the first of 200 even thresholds.
    logits = scale * (generator.normal(-4, 1, 5000) + 1.5 * labels).astype("float32")
    auc = metrics.make_metrics(("mask", "melanoma"), "lesion")["melanoma"][1]

    for part in np.split(np.arange(5000), 50):
        auc.update_state(labels[part, None], logits[part, None])

    exact = sklearn_metrics.roc_auc_score(labels, logits)
    assert float(auc.result()) == pytest.approx(exact, abs=0.003)


def test_the_image_auc_follows_the_rule_of_the_score():
    # By their means the second is ahead, by their largest pixel the first.
    logits, labels = _masks([9, -9, -9, -9], [1, 1, 1, 1]), _masks([1] * 4, [0] * 4)
    found = {}
    for rule in ("mean", "max"):
        auc = metrics.make_metrics(("mask",), "label", score_rule=rule)["mask"][1]
        auc.update_state(labels, logits)
        found[rule] = float(auc.result())

    assert found["mean"] == pytest.approx(0.0, abs=1e-3)
    assert found["max"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("label", [0, 1])
def test_an_auc_of_one_class_is_not_a_number(label):
    auc = metrics.MelanomaAUC()

    auc.update_state(np.full((3, 1), float(label)), np.array([[-1.0], [0.5], [2.0]]))

    assert np.isnan(float(auc.result()))


TRUE = [0, 0, 0, 1, 1, 2, 2, 2]
LOGITS = np.random.default_rng(7).normal(size=(8, 4)).astype("float32")


def test_balanced_accuracy_is_scikit_learns_over_batches():
    found = metrics.BalancedAccuracy(4)

    for part in (slice(0, 5), slice(5, 8)):
        found.update_state(np.eye(4, dtype="float32")[TRUE[part]], LOGITS[part])

    expected = sklearn_metrics.balanced_accuracy_score(TRUE, LOGITS.argmax(1))
    assert float(found.result()) == pytest.approx(expected)


def test_balanced_accuracy_counts_what_is_known():
    found = metrics.BalancedAccuracy(2)
    assert np.isnan(float(found.result()))

    found.update_state(
        np.array([[1, 0], [0, 1], [0, 0]], "float32"),
        np.array([[2, 1], [2, 1], [1, 2]], "float32"),
        np.array([1, 1, 0], "float32"),
    )

    assert float(found.result()) == 0.5


def test_the_auc_of_a_class_is_that_of_its_probability():
    found = metrics.ClassAUC(2, thresholds=np.linspace(0, 1, 4000)[1:-1].tolist())
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)

    found.update_state(np.eye(4, dtype="float32")[TRUE], LOGITS)

    is_class = np.equal(TRUE, 2)
    expected = sklearn_metrics.roc_auc_score(is_class, probabilities[:, 2])
    assert float(found.result()) == pytest.approx(expected, abs=1e-6)


def test_the_metrics_of_classes_are_watched_by_name():
    found = metrics.make_metrics(("diagnosis",), "lesion", ("nv", "mel"))["diagnosis"]
    without_melanoma = metrics.make_metrics(("diagnosis",), "lesion", ("nv", "rest"))["diagnosis"]

    assert [metric.name for metric in found] == ["accuracy", "balanced_accuracy", "auc"]
    assert [metric.name for metric in without_melanoma] == ["accuracy", "balanced_accuracy"]
