import math

import keras
import numpy as np
import pandas as pd
import pytest

from lbunet_tf import train
from lbunet_tf.models import vision_transformer
from lbunet_tf.settings import config
from lbunet_tf.training import fused
from lbunet_tf.training import optimizers


def _variables():
    kernel = keras.Variable(np.full((2, 2), 1.0, "float32"), name="kernel")
    encoder_kernel = keras.Variable(np.full((2, 3), 1.0, "float32"), name="encoder_kernel")
    bias = keras.Variable(np.full(2, 1.0, "float32"), name="bias")
    return kernel, encoder_kernel, bias


def _make(variables=None, steps_per_epoch=4, **flags):
    variables = variables or _variables()
    settings = config.make(**flags)
    optimizer = optimizers.make_optimizer(
        settings.optimizer, settings.budget.epochs, steps_per_epoch, variables[1:2]
    )
    optimizer.build(variables)
    return optimizer, variables


def _apply(optimizer, variables, value=1.0, steps=1):
    for _ in range(steps):
        optimizer.apply([np.full(v.shape, value, "float32") for v in variables], variables)
    return [variable.numpy().mean() for variable in variables]


def _rates(steps, **flags):
    settings = config.make(**flags)
    optimizer = optimizers.make_optimizer(
        settings.optimizer, settings.budget.epochs, steps_per_epoch=4
    )
    rate = optimizer._learning_rate
    return np.array([float(rate(step)) for step in steps])


def test_the_default_is_the_papers_adam():
    optimizer, _ = _make()

    settings = optimizer.get_config()
    assert type(optimizer) is fused.FusedAdam
    assert settings["learning_rate"] == pytest.approx(1e-4)
    assert (settings["beta_1"], settings["beta_2"], settings["epsilon"]) == (0.9, 0.999, 1e-8)
    assert settings["use_ema"] is False and settings["global_clipnorm"] is None


def test_warm_up_rises_in_equal_steps_to_the_rate_and_stays_there():
    rates = _rates(range(12), learning_rate=1.0, warmup_epochs=2, epochs=5)

    np.testing.assert_allclose(rates, [*np.arange(1, 9) / 8, 1, 1, 1, 1], rtol=1e-6)


def test_the_cosine_falls_from_the_rate_to_a_hundredth_of_it():
    rates = _rates((0, 20, 40, 50), learning_rate=1.0, schedule="cosine", epochs=10)

    np.testing.assert_allclose(rates, [1, (1 + 0.01) / 2, 0.01, 0.01], rtol=1e-5)


def test_the_cosine_begins_after_the_warm_up():
    rates = _rates((3, 4, 22), learning_rate=1.0, schedule="cosine", warmup_epochs=1, epochs=10)

    middle = 0.01 + 0.99 * (1 + math.cos(math.pi / 2)) / 2
    np.testing.assert_allclose(rates, [1, 1, middle], rtol=1e-5)


def test_a_schedule_is_restored_from_its_settings():
    rate = optimizers.WarmedUpRate(0.5, 3, 10, True)

    again = optimizers.WarmedUpRate.from_config(rate.get_config())

    assert [float(again(step)) for step in range(12)] == [float(rate(step)) for step in range(12)]


def test_decay_shrinks_kernels_by_rate_times_decay_and_leaves_biases():
    optimizer, variables = _make(learning_rate=0.1, weight_decay=0.5)

    kernel, encoder_kernel, bias = _apply(optimizer, variables, value=0.0)

    assert kernel == encoder_kernel == pytest.approx(1 - 0.1 * 0.5)
    assert bias == 1


def test_the_encoder_has_a_rate_of_its_own_for_step_and_decay():
    optimizer, variables = _make(learning_rate=0.1, encoder_learning_rate=0.01, weight_decay=0.5)

    kernel, encoder_kernel, _ = _apply(optimizer, variables)

    # Adam's first step is the rate itself, against the gradient's sign.
    assert kernel == pytest.approx(1 - 0.1 * 0.5 - 0.1, abs=1e-6)
    assert encoder_kernel == pytest.approx(1 - 0.01 * 0.5 - 0.01, abs=1e-6)


def test_decay_is_that_of_keras_adamw():
    ours, our_variables = _make(learning_rate=0.01, weight_decay=0.1)
    theirs = keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-8)
    their_variables = _variables()
    theirs.build(their_variables)
    theirs.exclude_from_weight_decay(var_names=["bias"])

    expected = _apply(theirs, their_variables, value=0.3, steps=5)

    assert _apply(ours, our_variables, value=0.3, steps=5) == pytest.approx(expected, rel=1e-6)


def test_a_frozen_encoder_neither_moves_nor_decays_and_then_does():
    optimizer, variables = _make(learning_rate=0.1, frozen_epochs=1, weight_decay=0.5)

    _, frozen, _ = _apply(optimizer, variables, steps=4)
    _, trained, _ = _apply(optimizer, variables)

    assert frozen == 1 and trained < 1


def test_clipping_scales_the_gradients_of_all_variables_together():
    optimizer, variables = _make(clip_norm=1.0)

    clipped = optimizer._clip_gradients([np.full(v.shape, 3.0, "float32") for v in variables])

    norm = math.sqrt(sum(float(np.sum(np.square(gradient))) for gradient in clipped))
    assert norm == pytest.approx(1, rel=1e-5)


def test_accumulated_gradients_make_one_step_of_their_mean():
    optimizer, variables = _make(gradient_accumulation=2)
    single, expected = _make()

    for value in (1.0, 3.0):
        _apply(optimizer, variables, value)

    assert [v.numpy().mean() for v in variables] == pytest.approx(
        _apply(single, expected, value=2.0), rel=1e-6
    )


def test_the_moving_average_follows_its_momentum():
    optimizer, variables = _make(learning_rate=0.1, average_weights=0.75)

    first = _apply(optimizer, variables)[0]
    second = _apply(optimizer, variables)[0]

    average = optimizer._model_variables_moving_average[0].numpy().mean()
    assert average == pytest.approx(0.75 * first + 0.25 * second, rel=1e-5)


def test_frozen_epochs_count_batches_also_where_gradients_are_accumulated():
    optimizer, variables = _make(learning_rate=0.1, frozen_epochs=1, gradient_accumulation=2)

    _, frozen, _ = _apply(optimizer, variables, steps=4)
    _, trained, _ = _apply(optimizer, variables, steps=2)

    assert frozen == 1 and trained < 1


def test_decay_is_of_kernels_alone_in_a_transformer():
    model = keras.Sequential(
        [
            keras.Input((4, 8)),
            vision_transformer.ClassToken(),
            vision_transformer.PositionEmbedding(),
            keras.layers.LayerNormalization(),
        ]
    )
    attention = keras.layers.MultiHeadAttention(2, 4)
    attention.build((1, 4, 8), (1, 4, 8))
    variables = [*model.trainable_variables, *attention.trainable_variables]
    optimizer = optimizers.DecoupledAdam(0.1, [], 1.0, 0)

    optimizer.build(variables)

    decayed = [
        variable.path.rpartition("/")[2]
        for variable, is_kernel in zip(variables, optimizer.of_kernel, strict=True)
        if is_kernel
    ]
    assert decayed == ["kernel"] * 4 and len(variables) == 4 + 4 + 2 + 2


def test_more_batches_for_a_step_than_a_training_has_are_refused():
    settings = config.make(gradient_accumulation=5, batch_size=8, epochs=2)
    rows = pd.DataFrame({"split": ["train"] * 17 + ["val"]})
    train._check_accumulation(settings, rows)

    with pytest.raises(ValueError, match="must be at most 4, the batches of all epochs"):
        train._check_accumulation(settings, rows[1:])
