"""Weights that are no numbers are refused by the names of their file and layer."""

import keras
import numpy as np
import pytest

from lbunet_tf.models import finite


def test_finite_weights_of_any_size_pass():
    finite.check_weight(np.array([3e38, -3e38, 0, 1e-45], "float32"), "w", "f.keras")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_named_and_counted(value):
    array = np.array([[0, value], [1, value]], "float32")

    with pytest.raises(ValueError, match="f.keras must .* w has 2 of 4 that are NaN or infinite"):
        finite.check_weight(array, "w", "f.keras")


def test_a_model_names_the_layer_whose_weight_is_not_finite():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="head")])
    model.layers[0].set_weights([np.zeros((2, 1)), np.array([np.inf])])

    with pytest.raises(ValueError, match="f.keras must .* .*head/bias has 1 of 1"):
        finite.check_model(model, "f.keras")
