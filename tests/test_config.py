import re

import pytest

from lbunet_tf import config as config_lib


def test_defaults_are_the_papers_optimisation():
    config = config_lib.Config()
    assert (config.learning_rate, config.batch_size, config.epochs, config.patience) == (
        1e-4,
        8,
        30,
        3,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, '"--batch_size" must be at least 1. Received: 0'),
        ({"encoder": "resnt50"}, '"--encoder" must be one of resnet101'),
        ({"heads": ("melanoma",)}, '"--heads" must be "mask" or "mask,melanoma"'),
        ({"near_duplicates": 11}, '"--near_duplicates" must be at most 10 of 64 bits'),
        ({"near_duplicates": -2}, '"--near_duplicates" must be at least -1'),
        ({"split_percent": (70, 15, 5)}, '"--split_percent" must be three whole numbers'),
        ({"learning_rate": 0.0}, '"--learning_rate" must be positive'),
        ({"seeds": ()}, '"--seeds" must name at least one seed, each once. Received: nothing'),
        ({"seeds": (1, 1)}, '"--seeds" must name at least one seed, each once. Received: 1,1'),
        ({"prevalence": 1.0}, '"--prevalence" must lie between 0 and 1'),
        ({"source": ("isic2020",), "data_dir": ("a", "b")}, '"--data_dir" must name one folder'),
        ({"image_score": "melanoma"}, "add --heads=mask,melanoma"),
        ({"image_score": "max"}, "needs --mask_source=label"),
        (
            {"class_weights": ("mask",), "mask_loss": "lovasz"},
            '"--class_weights=mask" needs a --mask_loss that is a sum over pixels',
        ),
        ({"model": "unet"}, '"--model=unet" has no pretrained weights: add --encoder_weights=none'),
    ],
)
def test_a_wrong_value_raises_an_error_that_names_the_flag(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config_lib.Config().replace(**changes)
