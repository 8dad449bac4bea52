import keras
import numpy as np
import pytest

from lbunet_tf import models
from lbunet_tf.models import attention_blocks
from lbunet_tf.models import bottleneck
from lbunet_tf.models import decoder
from lbunet_tf.models import encoders
from lbunet_tf.models import heads
from lbunet_tf.models import hub_encoders
from lbunet_tf.models import keras_encoders
from lbunet_tf.settings import config
from lbunet_tf.training import losses

BOTH_HEADS = ("mask", "melanoma")
# What the flags of lbunet choose from.
CHOICES = {
    "upsampling": decoder.UPSAMPLINGS,
    "attention": attention_blocks.ATTENTIONS,
    "bottleneck": bottleneck.BOTTLENECKS,
    "melanoma_pool": heads.MELANOMA_POOLS,
    "deep_supervision": (False, True),
}
# Each choice that is not the default, and several at once.
VARIANTS = {
    f"{flag}={choice}": {flag: choice}
    for flag, choices in CHOICES.items()
    for choice in choices
    if choice != config.FIELDS[flag].default
}
VARIANTS["several"] = {
    "upsampling": "transposed",
    "attention": "gate",
    "bottleneck": "self_attention",
    "melanoma_pool": "mask",
    "deep_supervision": True,
}
# Every kind of encoder of lbunet, every model that has none (its encoder is not looked at), and
# every variant of the decoder.
ARCHITECTURES = {
    f"lbunet-{encoder}": {"model": "lbunet", "encoder": encoder}
    for encoder in encoders.ENCODERS
    # Of keras.applications' the kinds: with and without batch norm, with operations that are no
    # layers, with stochastic depth. tests/models/test_keras_encoders.py tests all. keras-hub's
    # have tests of their own.
    if encoder not in {*keras_encoders.NETWORKS, *hub_encoders.PRESETS}
    or encoder in ("resnet101", "vgg16", "mobilenetv3_small", "efficientnetb0")
}
ARCHITECTURES |= {
    f"{name}-resnet101": {"model": name, "encoder": "resnet101"}
    for name in models.MODELS
    # The classifier has no mask: tests/models/test_classifier.py.
    if name not in ("lbunet", "classifier")
}
ARCHITECTURES |= {
    f"lbunet-{name}": {"encoder": "tiny", **flags} for name, flags in VARIANTS.items()
}


@pytest.fixture
def make_model():
    """A function of Config's fields: a small model with random weights."""

    def make(**fields):
        fields = {"encoder": "efficientnet_lite0", "encoder_weights": "none", **fields}
        return models.build_model(config.make(**{"image_size": 32, **fields}))

    return make


@pytest.fixture(params=VARIANTS)
def variant(request):
    """The flags of each variant of lbunet's decoder and heads."""
    return VARIANTS[request.param]


@pytest.fixture(params=CHOICES)
def choices(request):
    """A flag of lbunet, and what the models know by its values."""
    return request.param, CHOICES[request.param]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request):
    """The Config of each architecture: both heads, 64 px, random weights."""
    return config.make(
        encoder_weights="none", heads=BOTH_HEADS, image_size=64, **ARCHITECTURES[request.param]
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
    """A compiled mask model with a small encoder, and a function that starts it again."""
    model = models.build_model(
        config.make(encoder="efficientnet_lite0", encoder_weights="none", image_size=64)
    )
    model.compile(keras.optimizers.Adam(1e-3), loss=losses.make_losses(("mask",)))
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    start = [variable.numpy() for variable in variables]

    def reset():
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)

    return model, reset
