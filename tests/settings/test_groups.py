"""Flags are flat outside and in groups inside; rooms take the group that they need."""

import ast
import dataclasses
import pathlib

import pytest

from lbunet_tf.settings import config

PACKAGE = pathlib.Path(config.__file__).parents[1]
# Functions of the rooms that need flags of many subjects.
MOST_WITH_ALL_FLAGS = 20


def test_no_flag_stands_in_two_groups():
    names = [name for flags in config.FLAGS.values() for name in flags]
    assert len(names) == len(set(names)) == len(config.FIELDS)


def test_flags_are_given_by_their_names_and_found_in_their_groups():
    settings = config.make(image_size=32, encoder="resnet50").replace(seed=7)

    assert (settings.preprocessing.image_size, settings.model.encoder) == (32, "resnet50")
    assert settings.source.seed == 7
    assert settings.values()["image_size"] == 32
    assert config.make(**settings.values()) == settings


def test_an_unknown_flag_is_refused_by_its_name():
    with pytest.raises(TypeError, match="Received: image_siz$"):
        config.make(image_siz=32)


def test_a_flag_is_not_read_past_its_group():
    with pytest.raises(AttributeError):
        _ = config.Config().image_size


def test_the_flags_in_which_two_groups_differ_are_named():
    ours = config.Config().preprocessing
    theirs = dataclasses.replace(ours, image_size=64, remove_hair=True)

    assert config.differing(ours, ours) == []
    assert config.differing(ours, theirs) == ["image_size", "remove_hair"]


def _takes_all_flags(function):
    """Returns whether a parameter is the whole Config, by its name or by its annotation."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return any(
        argument.arg in ("settings", "base")
        or (argument.annotation and "config.Config" in ast.unparse(argument.annotation))
        for argument in every
    )


def test_few_functions_of_the_rooms_take_all_flags():
    found = [
        f"{path.relative_to(PACKAGE)}:{node.name}"
        for path in sorted(PACKAGE.glob("*/**/*.py"))
        if path.relative_to(PACKAGE).parts[0] != "settings"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and _takes_all_flags(node)
    ]

    assert len(found) <= MOST_WITH_ALL_FLAGS, "\n".join(found)


@pytest.mark.parametrize(
    "field",
    [field for field in config.FIELDS.values() if field.metadata["choices"] is not None],
    ids=lambda field: field.name,
)
def test_a_flag_of_choices_has_several_names_its_default_among_them(field):
    choices = tuple(field.metadata["choices"])

    assert len(set(choices)) == len(choices) > 1 and all(isinstance(c, str) for c in choices)
    assert field.metadata["many"] or field.default in choices
