import keras
import numpy as np
import pytest

from lbunet_tf import config as config_lib
from lbunet_tf import models
from lbunet_tf.models import encoders
from lbunet_tf.training import losses

BOTH_HEADS = ("mask", "melanoma")
# Every encoder of lbunet, and every model that has none (its encoder is not looked at).
ARCHITECTURES = [("lbunet", encoder) for encoder in encoders.ENCODERS]
ARCHITECTURES += [(name, "resnet101") for name in models.MODELS if name != "lbunet"]


@pytest.fixture
def make_model():
    """A function of Config's fields: a small model with random weights."""

    def make(**fields):
        fields = {"encoder": "efficientnet_lite0", "encoder_weights": "none", **fields}
        return models.build_model(config_lib.Config(**{"image_size": 32, **fields}))

    return make


@pytest.fixture(scope="module", params=ARCHITECTURES, ids="-".join)
def architecture(request):
    """The Config of each architecture: both heads, 64 px, random weights."""
    name, encoder = request.param
    return config_lib.Config(
        model=name, encoder=encoder, encoder_weights="none", heads=BOTH_HEADS, image_size=64
    )


@pytest.fixture(scope="module")
def any_model(architecture):
    """The model of each architecture; tests leave its weights as they are."""
    return models.build_model(architecture)


@pytest.fixture(scope="module")
def images():
    """(4, 64, 64, 3) float32 in 0..255."""
    return np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3)).astype("float32")


@pytest.fixture
def num_trainable():
    def count(model):
        return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)

    return count


@pytest.fixture(scope="module")
def compiled():
    """A compiled mask model with a small encoder, and a function that starts it anew."""
    model = models.build_model(
        config_lib.Config(encoder="efficientnet_lite0", encoder_weights="none", image_size=64)
    )
    model.compile(keras.optimizers.Adam(1e-3), loss=losses.make_losses(("mask",)))
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    start = [variable.numpy() for variable in variables]

    def reset():
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)

    return model, reset
