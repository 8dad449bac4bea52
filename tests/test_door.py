"""`import lbunet_tf`: cheap, with two functions that say what they take."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import lbunet_tf
from lbunet_tf import models
from lbunet_tf.settings import config

ROOT = pathlib.Path(__file__).parents[1]
IMPORTS = """
import sys, lbunet_tf
names = dir(lbunet_tf)
print(sorted({"tensorflow", "keras"} & set(sys.modules)), {"load", "build_lbunet"} <= set(names))
"""
SMALL = {"encoder": "efficientnet_lite0", "encoder_weights": "none", "image_size": 32}


def test_importing_the_package_imports_neither_tensorflow_nor_keras():
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["[]", "True"]


@pytest.mark.parametrize("function", [lbunet_tf.load, lbunet_tf.build_lbunet])
def test_the_functions_say_what_they_take(function):
    assert {"Args:", "Raises:"} <= set(function.__doc__.split())
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    assert all(f"{name}: " in function.__doc__ for name in names)
    assert set(names) < set(function.__annotations__)


def test_the_model_is_that_of_the_flags():
    keywords = {**SMALL, "attention": "scse", "deep_supervision": True, "seed": 3}

    model = lbunet_tf.build_lbunet(heads=["mask", "melanoma"], **keywords)

    expected = models.build_model(config.make(heads=("mask", "melanoma"), **keywords))
    assert set(model.output) == {"mask", "melanoma", "mask_s2", "mask_s4", "mask_s8"}
    for weight, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.parametrize(
    "keywords, words",
    [
        ({"encoder": "vgg"}, '"encoder" must be one of resnet101, .* Received: vgg'),
        ({"image_size": 8}, '"image_size" must be at least 16. Received: 8'),
        ({"image_size": 64.0}, '"image_size" must be a whole number. .*=64.0'),
        ({"heads": ("site",)}, '"heads" must name one or more of .* Received: heads=site'),
        ({"heads": "mask"}, '"heads" must be a tuple of names'),
        ({"deep_supervision": "yes"}, '"deep_supervision" must be True or False'),
        ({"encoder_weights": None}, '"encoder_weights" must be text'),
        ({"encoder_weights": "/nowhere.h5"}, '"encoder_weights" must be .*no such file'),
        ({"heads": ("mask",), "melanoma_pool": "mask"}, '"melanoma_pool" is about the melanoma'),
        ({"seed": -1}, '"seed" must be at least 0'),
    ],
)
def test_a_wrong_keyword_is_named(keywords, words):
    with pytest.raises(ValueError, match=words):
        lbunet_tf.build_lbunet(**{**SMALL, **keywords})
