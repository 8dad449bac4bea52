"""Search spaces: which flags a search varies, over which values."""

import dataclasses
from collections.abc import Collection
from collections.abc import Mapping

from lbunet_tf.settings import config
from lbunet_tf.settings import fields


@dataclasses.dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, drawn evenly on a logarithmic scale."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of `values`, each as likely; with `ratio_to`, multiples of that flag's value."""

    values: tuple
    ratio_to: str = ""


Space = dict[str, Range | Choice]


def _every(flag):
    return Choice(tuple(config.FIELDS[flag].metadata["choices"]))


OPTIMIZATION: Space = {
    "learning_rate": Range(1e-5, 1e-2),
    "weight_decay": Choice((0.0, 1e-4, 1e-3, 1e-2, 1e-1)),
    "schedule": _every("schedule"),
    "warmup_epochs": Choice((0, 1, 3)),
    # 0 is the flag's "as --learning_rate". A ratio: what is low for one rate is high for another.
    "encoder_learning_rate": Choice((0.0, 0.3, 0.1, 0.03), ratio_to="learning_rate"),
    "average_weights": Choice((0.0, 0.99, 0.999)),
    "batch_size": Choice((4, 8, 16, 32)),
}
LOSS: Space = {
    "mask_loss": _every("mask_loss"),
    "melanoma_loss": _every("melanoma_loss"),
    "label_smoothing": Choice((0.0, 0.05, 0.1)),
    "head_weights": Choice(((1.0, 1.0), (1.0, 0.3), (1.0, 3.0))),
    "class_weights": Choice(
        ((), ("melanoma",), ("mask",), ("mask", "melanoma"), ("diagnosis",), ("mask", "diagnosis"))
    ),
}
AUGMENTATION: Space = {"augment": _every("augment")}
DECODER: Space = {
    "upsampling": _every("upsampling"),
    "attention": _every("attention"),
    "bottleneck": _every("bottleneck"),
    "deep_supervision": Choice((False, True)),
    "melanoma_pool": _every("melanoma_pool"),
}
# By the choices of --space.
SPACES: dict[str, Space] = {
    "optimization": OPTIMIZATION,
    "loss": LOSS,
    "augmentation": AUGMENTATION,
    "decoder": DECODER,
    "all": {**OPTIMIZATION, **LOSS, **AUGMENTATION, **DECODER},
}
# Without a melanoma head these are taken, and change nothing.
MELANOMA_FLAGS = ("head_weights", *config.needing(fields.MELANOMA))


def narrow(name: str, base: config.Config, fixed: Collection[str]) -> Space:
    """Returns what is left to search: the base's own value first, then all that may be tried.

    A flag in `fixed` is not searched, nor one that has no effect in the base or only one
    possible value.

    Raises:
        ValueError: Nothing is left.
    """
    space = {
        flag: _with_own(
            _for_heads(flag, dimension, base.loss.head_weights),
            start(flag, dimension, base.values()),
        )
        for flag, dimension in SPACES[name].items()
        if flag not in fixed
        and ("melanoma" in base.outputs.heads or flag not in MELANOMA_FLAGS)
        # The scale of one loss, which only clipping sees.
        and (len(base.outputs.heads) > 1 or base.optimizer.clip_norm or flag != "head_weights")
    }
    space = {flag: _possible(flag, space, base) for flag in space}
    space = {
        flag: dimension
        for flag, dimension in space.items()
        if isinstance(dimension, Range) or len(dimension.values) > 1
    }
    if not space:
        given = ", ".join(f"--{flag}" for flag in SPACES[name] if flag in fixed) or "none"
        raise ValueError(
            f'"--space={name}" must have a flag with two possible values. No flag is left of '
            f"{', '.join(SPACES[name])}. Received: --model={base.model.model}, "
            f"--heads={','.join(base.outputs.heads)}, fixed on the command line: {given}"
        )
    return space


def start(flag: str, dimension: Range | Choice, values: Mapping[str, object]):
    """Returns the point of a dimension at which the flags stand; `values` by flag."""
    value = values[flag]
    if isinstance(dimension, Choice) and dimension.ratio_to:
        return _rounded(value / values[dimension.ratio_to])
    return value


def _for_heads(flag, dimension, weights):
    """Returns the dimension; weights of heads that it does not try stay as they are."""
    if flag != "head_weights":
        return dimension
    return Choice(tuple((*pair, *weights[len(pair) :]) for pair in dimension.values))


def _with_own(dimension, own):
    """Returns the dimension with the base's value in it: the search begins there."""
    if isinstance(dimension, Range):
        return Range(min(dimension.low, own), max(dimension.high, own))
    return dataclasses.replace(dimension, values=tuple(dict.fromkeys((own, *dimension.values))))


def _possible(flag, space, base):
    """Returns the dimension without values that no check of the flags lets through.

    A value counts as possible if one change of one other flag makes it so: class weights of
    the mask need another loss than Dice, which may be searched too.
    """
    if isinstance(space[flag], Range):
        return space[flag]
    others = [
        {other: value}
        for other, dimension in space.items()
        if other != flag and isinstance(dimension, Choice)
        for value in dimension.values
    ]
    return dataclasses.replace(
        space[flag],
        values=tuple(
            value
            for value in space[flag].values
            if any(is_possible(space, base, {**other, flag: value}) for other in ({}, *others))
        ),
    )


def is_possible(space: Space, base: config.Config, point: dict) -> bool:
    """Returns whether the flags' own checks let a point of the space through."""
    try:
        base.replace(**changes(space, base.values(), point))
    except ValueError:
        return False
    return True


def changes(space: Space, values: Mapping[str, object], point: dict) -> dict:
    """Returns the values of flags, by name, at a point of the space.

    Numbers are rounded to six digits, so that a flagfile holds what a person can read.
    """
    result = {
        flag: _rounded(value) if isinstance(value, float) else value
        for flag, value in point.items()
    }
    for flag in result:
        dimension = space[flag]
        if isinstance(dimension, Choice) and dimension.ratio_to:
            of = result.get(dimension.ratio_to, values[dimension.ratio_to])
            result[flag] = _rounded(result[flag] * of)
    return result


def _rounded(value):
    return float(f"{value:.6g}")


def text(value) -> str:
    """Returns a value as it stands in a flagfile."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def describe(dimension: Range | Choice) -> str:
    """Returns the values of a dimension in words."""
    if isinstance(dimension, Range):
        return f"{dimension.low:g} to {dimension.high:g}, logarithmic"
    values = " | ".join(text(value) or "none" for value in dimension.values)
    return f"{values} x --{dimension.ratio_to}" if dimension.ratio_to else values
