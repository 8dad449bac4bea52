"""Settings as keywords of Python functions: the flags' own checks, in a caller's words."""

import contextlib
import operator
import os
import re
from collections.abc import Iterator
from collections.abc import Mapping

from lbunet_tf.settings import config


def replace(settings: config.Config, **changes) -> config.Config:
    """Returns a checked copy with some flags changed, by their names without dashes.

    Raises:
        ValueError: A value is of another type than its flag, or none that it may have.
    """
    with as_arguments():
        return settings.replace(**_typed(settings, changes))


@contextlib.contextmanager
def as_arguments() -> Iterator[None]:
    """Makes a ValueError within the block name arguments where it names flags.

    The rooms speak of flags, as nearly all who read them do; Python has no dashes.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(re.sub(r"(?<![\w-])--(?=[a-z])", "", str(error))) from error


def _typed(settings, changes: Mapping) -> dict:
    values = settings.values()
    return {name: _as(type(values[name]), name, value) for name, value in changes.items()}


def _as(kind, name, value):
    """Returns the value as the type that its flag has; tuples are of text."""
    if kind is str and isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if kind is tuple and isinstance(value, (tuple, list)):
        return tuple(_as(str, name, item) for item in value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and hasattr(value, "__index__") and not isinstance(value, bool):
        return operator.index(value)
    words = {str: "text", tuple: "a tuple of names", bool: "True or False", int: "a whole number"}
    raise ValueError(f'"{name}" must be {words[kind]}. Received: {name}={value!r}')
