import keras
import numpy as np
import pytest

from lbunet_tf.training import losses
from lbunet_tf.training import trainer

HEADS = ("mask", "melanoma")


def _model(bias=0.0):
    """A model of two heads whose logits are the image's mean of channels plus `bias`."""
    image = keras.Input((4, 4, 3), name="image")
    mask = keras.layers.Conv2D(
        1,
        1,
        kernel_initializer=keras.initializers.Constant(1 / 3),
        bias_initializer=keras.initializers.Constant(bias),
        name="mask",
    )(image)
    melanoma = keras.layers.GlobalAveragePooling2D(name="melanoma")(mask)
    return keras.Model(image, {"mask": mask, "melanoma": melanoma})


@pytest.fixture
def examples():
    """Two images of logit 0: the first's targets are known, the second's are not."""
    known = np.array([1.0, 0.0], "float32")
    return (
        np.zeros((2, 4, 4, 3), "float32"),
        {"mask": np.ones((2, 4, 4, 1), "float32"), "melanoma": np.ones((2, 1), "float32")},
        {"mask": np.ones((2, 4, 4), "float32") * known[:, None, None], "melanoma": known},
    )


def test_a_known_target_is_mixed_and_an_unknown_one_is_the_teachers(examples):
    _, targets, weights = trainer.make_teacher([_model()], weight=0.25)(examples, 0)

    for head in HEADS:
        first, second = (np.unique(part) for part in np.asarray(targets[head]))
        assert first == pytest.approx([0.75 * 1 + 0.25 * 0.5])
        assert second == pytest.approx([0.5])
        assert np.all(np.asarray(weights[head]) == 1)


def test_several_teachers_give_their_mean_probability(examples):
    mix = trainer.make_teacher([_model(0.0), _model(np.log(3))], weight=1.0)

    _, targets, _ = mix(examples, 0)

    assert np.unique(targets["mask"]) == pytest.approx([(0.5 + 0.75) / 2])


def test_deep_supervision_learns_from_the_teachers_mask(examples):
    images, targets, weights = examples
    targets["mask_s4"], weights["mask_s4"] = targets["mask"], weights["mask"]

    _, mixed, _ = trainer.make_teacher([_model()], weight=0.5)((images, targets, weights), 0)

    np.testing.assert_array_equal(mixed["mask_s4"], mixed["mask"])


def test_without_transforms_the_model_itself_is_fitted():
    model = _model()

    assert trainer.make_trainer(model, []) is model


def test_training_sees_changed_batches_and_validation_does_not(examples):
    model = _model()
    turned = trainer.make_trainer(
        model, [lambda batch, step: (batch[0], {k: 1 - v for k, v in batch[1].items()}, batch[2])]
    )
    turned.compile(keras.optimizers.SGD(0.0), loss=losses.make_losses(HEADS))
    images, targets, weights = examples
    images = images + 2.0

    trained = turned.train_on_batch(images, targets, sample_weight=weights, return_dict=True)
    tested = turned.test_on_batch(images, targets, sample_weight=weights, return_dict=True)

    # Logit 2: the right class costs log(1 + exp(-2)) a head, the wrong one 2 more.
    assert float(tested["loss"]) == pytest.approx(2 * np.log1p(np.exp(-2)), rel=1e-5)
    assert float(trained["loss"]) == pytest.approx(float(tested["loss"]) + 4, rel=1e-5)


def test_a_trainer_trains_the_weights_of_its_model(examples):
    model = _model()
    fitted = trainer.make_trainer(model, [trainer.make_teacher([_model(3.0)], weight=1.0)])
    fitted.compile(keras.optimizers.SGD(0.1), loss=losses.make_losses(HEADS))
    images, targets, weights = examples
    before = model.get_layer("mask").bias.numpy().copy()

    fitted.train_on_batch(images, targets, sample_weight=weights)

    assert model.get_layer("mask").bias.numpy() > before


def test_a_teacher_is_not_trained_nor_counted(examples):
    teacher = _model(3.0)
    fitted = trainer.make_trainer(_model(), [trainer.make_teacher([teacher], weight=1.0)])
    fitted.compile(keras.optimizers.SGD(0.1), loss=losses.make_losses(HEADS))
    before = [weight.numpy() for weight in teacher.weights]

    images, targets, weights = examples
    fitted.train_on_batch(images, targets, sample_weight=weights)

    for weight, value in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    assert len(fitted.weights) == len(teacher.weights)


def test_a_transform_is_told_the_number_of_the_step(examples):
    images, targets, weights = examples

    def shifted(batch, step):
        return batch[0] + keras.ops.cast(step, "float32"), *batch[1:]

    fitted = trainer.make_trainer(_model(), [shifted])
    fitted.compile(keras.optimizers.SGD(0.0), loss=losses.make_losses(HEADS))

    costs = [
        float(
            fitted.train_on_batch(images, targets, sample_weight=weights, return_dict=True)["loss"]
        )
        for _ in range(2)
    ]

    # Two heads, of logit 0 in the first step and of logit 1 in the second.
    expected = 2 * np.log(2), 2 * np.log1p(np.exp(-1))
    assert costs == pytest.approx(expected, rel=1e-5)


def _class_model(logits):
    image = keras.Input((4, 4, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    bias = keras.initializers.Constant(np.array(logits))
    dense = keras.layers.Dense(3, kernel_initializer="zeros", bias_initializer=bias)
    return keras.Model(image, {"diagnosis": dense(pooled)})


def test_classes_are_taught_by_the_mean_softmax_of_the_teachers():
    teachers = [_class_model(np.log([8, 1, 1])), _class_model(np.log([1, 3, 1]))]
    known = np.array([1.0, 0.0], "float32")
    targets = {"diagnosis": np.array([[0, 0, 1], [0, 0, 0]], "float32")}
    batch = (np.zeros((2, 4, 4, 3), "float32"), targets, {"diagnosis": known})

    _, mixed, weights = trainer.make_teacher(teachers, weight=0.5)(batch, 0)

    mean = np.mean([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2]], axis=0)
    np.testing.assert_allclose(mixed["diagnosis"], [mean / 2 + [0, 0, 0.5], mean], rtol=1e-6)
    assert np.asarray(weights["diagnosis"]).tolist() == [1, 1]
