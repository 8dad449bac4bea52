import math
import re
import typing

import pytest

from lbunet_tf.settings import config


def test_defaults_are_the_papers_optimisation():
    settings = config.make()
    assert (
        settings.optimizer.learning_rate,
        settings.device.batch_size,
        settings.budget.epochs,
        settings.budget.patience,
    ) == (
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
        ({"heads": ()}, '"--heads" must name one or more of mask, melanoma, diagnosis'),
        ({"heads": ("mask", "site")}, '"--heads" must name one or more of mask, melanoma'),
        ({"heads": ("mask", "mask")}, "each once. Received: --heads=mask,mask"),
        ({"classes": "clinical"}, '"--classes" is about the diagnosis head: add diagnosis to'),
        ({"heads": ("diagnosis",), "classes": "ph2"}, '"--classes" must be one of ham10000'),
        ({"heads": ("melanoma",), "mask_loss": "dice"}, '"--mask_loss" needs a mask head'),
        ({"heads": ("melanoma",), "mask_source": "label"}, '"--mask_source" needs a mask head'),
        ({"heads": ("melanoma",), "attention": "gate"}, '"--attention" needs a mask head'),
        ({"heads": ("melanoma",), "contours": True}, '"--contours" needs a mask head'),
        ({"heads": ("melanoma",), "write": ("masks",)}, "needs a mask head: give --write=scores"),
        ({"heads": ("melanoma",), "monitor": "dice"}, '"--monitor=dice" needs a mask head'),
        (
            {"heads": ("diagnosis",), "classes": "nv_vs_rest", "monitor": "auc"},
            '"--monitor=auc" needs a melanoma score',
        ),
        ({"monitor": "balanced_accuracy"}, '"--monitor=balanced_accuracy" needs a diagnosis head'),
        (
            {"heads": ("diagnosis",), "classes": "clinical", "image_score": "diagnosis"},
            '"--image_score=diagnosis" needs a diagnosis head whose classes include mel',
        ),
        ({"encoder_weights": "hed"}, "add --encoder=vgg16, or take --encoder_weights=imagenet"),
        ({"encoder_weights": "hed", "encoder": "resnet50"}, "Received: --encoder=resnet50"),
        ({"near_duplicates": 11}, '"--near_duplicates" must be at most 10 of 64 bits'),
        ({"near_duplicates": -2}, '"--near_duplicates" must be at least -1'),
        ({"split_percent": (70, 15, 5)}, '"--split_percent" must be three or four whole numbers'),
        ({"learning_rate": 0.0}, '"--learning_rate" must be positive'),
        ({"seeds": ()}, '"--seeds" must name at least one seed, each once. Received: nothing'),
        ({"seeds": (1, 1)}, '"--seeds" must name at least one seed, each once. Received: 1,1'),
        ({"prevalence": 1.0}, '"--prevalence" must lie between 0 and 1'),
        ({"source": ("isic2020",), "data_dir": ("a", "b")}, '"--data_dir" must name one folder'),
        ({"image_score": "melanoma"}, "add melanoma to --heads"),
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
        config.make().replace(**changes)


NUMBERS = [
    field
    for field in config.FIELDS.values()
    if {int, float} & {field.type, *typing.get_args(field.type)}
]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e39, 2**63, -(2**63)])
@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
def test_a_number_beyond_what_training_can_count_is_refused_by_name(field, number):
    # As many as there were, so that the number alone is wrong.
    value = (number, *field.default[1:]) if isinstance(field.default, tuple) else number

    with pytest.raises(ValueError, match=re.escape(f'"--{field.name}" must be ')) as raised:
        config.make().replace(**{field.name: value})

    assert str(raised.value).endswith(f"Received: {number}")


BOUNDED = [field for field in NUMBERS if field.metadata["maximum"] is not None]


@pytest.mark.parametrize("field", BOUNDED, ids=lambda field: field.name)
def test_the_largest_value_of_a_flag_is_taken_and_the_next_refused(field):
    largest = field.metadata["maximum"]
    partners = {"teacher": ("t",)} if field.name == "teacher_weight" else {}

    def replace(number):
        value = (number,) if isinstance(field.default, tuple) else number
        return config.make().replace(**partners, **{field.name: value})

    replace(largest)
    message = f'"--{field.name}" must be at most {largest}. Received: {largest + 1}'
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(largest + 1)


def test_a_seed_from_the_clock_is_refused_with_its_bound():
    message = '"--seed" must be at most 4294967295. Received: 1764379357123'
    with pytest.raises(ValueError, match=re.escape(message)):
        config.make().replace(seed=1764379357123)


def test_negative_zero_is_zero():
    with pytest.raises(ValueError, match='"--learning_rate" must be positive'):
        config.make().replace(learning_rate=-0.0)
    assert config.make().replace(clip_norm=-0.0) == config.make()
