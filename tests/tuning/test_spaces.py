import re

import pytest

from lbunet_tf.settings import config
from lbunet_tf.tuning import spaces

BASE = config.make(heads=("mask", "melanoma"))


def test_a_space_names_flags_of_train():
    trained = {field.name for field in config.fields_of("train")}

    assert set(spaces.SPACES["all"]) <= trained


@pytest.mark.parametrize("name", spaces.SPACES)
def test_the_search_begins_with_the_flags_as_given(name):
    base = BASE.replace(learning_rate=0.05, batch_size=6, encoder_learning_rate=0.01)
    space = spaces.narrow(name, base, ())
    point = {
        flag: spaces.start(flag, dimension, base.values()) for flag, dimension in space.items()
    }

    assert base.replace(**spaces.changes(space, base.values(), point)) == base


def test_a_fixed_flag_is_not_searched():
    space = spaces.narrow("optimization", BASE, fixed=("learning_rate", "run"))

    assert "learning_rate" not in space and "batch_size" in space


def test_a_value_of_the_flags_as_given_joins_the_space():
    space = spaces.narrow("optimization", BASE.replace(batch_size=6, learning_rate=0.1), ())

    assert space["batch_size"].values == (6, 4, 8, 16, 32)
    assert space["learning_rate"] == spaces.Range(1e-5, 0.1)


def test_what_the_model_lacks_is_not_searched():
    unet = BASE.replace(model="unet", encoder_weights="none")

    assert "attention" not in spaces.narrow("all", unet, ())


def test_flags_of_a_melanoma_head_that_is_off_are_not_searched():
    space = spaces.narrow("loss", config.make(), ())

    assert list(space) == ["mask_loss", "class_weights"]
    assert space["class_weights"].values == ((), ("mask",))


def test_the_weight_of_a_third_head_stays():
    heads = ("mask", "melanoma", "diagnosis")
    base = BASE.replace(heads=heads, head_weights=(1.0, 1.0, 0.5))

    values = spaces.narrow("loss", base, ())["head_weights"].values

    assert len(values) == 3 and {value[2:] for value in values} == {(0.5,)}


def test_the_weight_of_a_single_loss_is_not_searched():
    one = BASE.replace(heads=("melanoma",))

    assert "head_weights" in spaces.narrow("loss", BASE.replace(heads=("mask", "melanoma")), ())
    assert "head_weights" not in spaces.narrow("loss", one, ())


def test_a_warmup_longer_than_the_training_is_not_tried():
    assert spaces.narrow("optimization", BASE.replace(epochs=3), ())["warmup_epochs"].values == (
        0,
        1,
    )


def test_a_value_that_another_searched_flag_makes_possible_stays(monkeypatch):
    space = {
        "mask_loss": spaces.Choice(("dice", "bce")),
        "class_weights": spaces.Choice(((), ("mask",))),
    }
    monkeypatch.setitem(spaces.SPACES, "all", space)
    # With the base's own loss the pixels' classes cannot be weighed.
    base = BASE.replace(mask_loss="dice")

    narrowed = spaces.narrow("all", base, ())

    assert narrowed["class_weights"].values == ((), ("mask",))
    assert not spaces.is_possible(narrowed, base, {"mask_loss": "dice", "class_weights": ("mask",)})
    assert spaces.is_possible(narrowed, base, {"mask_loss": "bce", "class_weights": ("mask",)})


def test_a_ratio_becomes_a_rate():
    space = spaces.narrow("optimization", BASE, ())
    point = {"learning_rate": 0.00123456789, "encoder_learning_rate": 0.1}

    changes = spaces.changes(space, BASE.values(), point)

    assert changes == {"learning_rate": 0.00123457, "encoder_learning_rate": 0.000123457}


def test_a_ratio_to_a_fixed_rate_is_of_that_rate():
    space = spaces.narrow("optimization", BASE, fixed=("learning_rate",))

    changes = spaces.changes(space, BASE.values(), {"encoder_learning_rate": 0.03})

    assert changes == {"encoder_learning_rate": 3e-6}


def test_nothing_left_to_search_names_what_is_fixed():
    message = '"--space=augmentation" must have a flag with two possible values'
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        spaces.narrow("augmentation", BASE, fixed=("augment", "run"))
    assert str(error.value).endswith("fixed on the command line: --augment")
