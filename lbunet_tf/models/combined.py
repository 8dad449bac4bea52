"""The mean of several models and of the symmetries of an image, as one model."""

import math
from collections.abc import Callable
from collections.abc import Sequence

import keras

from lbunet_tf.settings import output_group

# (whether rows and columns are exchanged, the axes that are then flipped: 1 up-down,
# 2 left-right). With both, these are the eight symmetries of a square.
FLIPS = ((False, ()), (False, (2,)), (False, (1,)), (False, (1, 2)))
SYMMETRIES: dict[str, tuple[tuple[bool, tuple[int, ...]], ...]] = {
    "none": FLIPS[:1],
    "flips": FLIPS,
    "dihedral": FLIPS + tuple((True, axes) for _, axes in FLIPS),
}


def build_mean(members: Sequence[keras.Model], tta: str) -> keras.Model:
    """Returns a model of the mean probability, as logits, of all members and symmetries.

    Of classes it is the mean of softmax probabilities, else of sigmoids.

    Input and outputs are those of a member, so that a reader need not know how many there
    are; a single member with `tta="none"` is returned as it is. A mask is turned back before
    the mean is taken. The symmetries are one larger batch and not copies of the
    member: a graph of 8 ResNet-101 takes minutes to trace.

    Args:
        members: Functional models of one input size, (B, S, S, 3) RGB in 0..255, that have
            the same outputs: `mask` (B, S, S, 1) and others (B, N), logits.
        tta: A key of `SYMMETRIES`.
    """
    symmetries = SYMMETRIES[tta]
    if len(members) == len(symmetries) == 1:
        return members[0]
    image = keras.Input(members[0].input_shape[1:], name="image")
    turned = keras.ops.concatenate([turn(image, symmetry) for symmetry in symmetries])
    parts = {}
    for number, member in enumerate(members):
        for name, logits in _renamed(member, f"run_{number}")(turned).items():
            parts.setdefault(name, []).extend(_turned_back(logits, symmetries))
    outputs = {
        name: keras.layers.Activation("linear", dtype="float32", name=name)(
            MEANS[output_group.kind_of(name)](keras.ops.stack(several))
        )
        for name, several in parts.items()
    }
    return keras.Model(image, outputs, name="mean")


def _renamed(member, name):
    """Returns the member under a name of its own: two runs of one architecture share theirs."""
    image = keras.Input(member.input_shape[1:], name="image")
    return keras.Model(image, member(image), name=name)


def turn(pictures: keras.KerasTensor, symmetry: tuple) -> keras.KerasTensor:
    """Returns (B, S, S, C) pictures under a symmetry of `SYMMETRIES`."""
    is_transposed, axes = symmetry
    if is_transposed:
        pictures = keras.ops.swapaxes(pictures, 1, 2)
    return _flip(pictures, axes)


def turn_back(pictures: keras.KerasTensor, symmetry: tuple) -> keras.KerasTensor:
    """Returns (B, S, S, C) pictures as they were before `turn`."""
    is_transposed, axes = symmetry
    pictures = _flip(pictures, axes)
    return keras.ops.swapaxes(pictures, 1, 2) if is_transposed else pictures


def _flip(pictures, axes):
    for axis in axes:
        pictures = keras.ops.flip(pictures, axis)
    return pictures


def _turned_back(logits, symmetries):
    """Returns the logits of each symmetry; what is no picture has nothing to turn back."""
    several = keras.ops.split(logits, len(symmetries))
    if len(logits.shape) != 4:
        return several
    return [turn_back(part, of) for part, of in zip(several, symmetries, strict=True)]


def mean_logits(logits: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the logits of the mean probability over the first axis.

    log(sum p) - log(sum (1 - p)), both as logsumexp of log-sigmoids: a probability that
    rounds to 0 or 1 keeps its logit, so +-80 is safe.
    """
    logits = keras.ops.cast(logits, "float32")
    positive = keras.ops.logsumexp(keras.ops.log_sigmoid(logits), axis=0)
    negative = keras.ops.logsumexp(keras.ops.log_sigmoid(-logits), axis=0)
    return positive - negative


def mean_class_logits(logits: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the logarithm of the mean softmax probability over the first axis.

    Logits too, up to a constant: their softmax is that mean. A mean of sigmoids, class by class,
    would give a class that no member believes in the most of what all have left over.
    """
    logits = keras.ops.cast(logits, "float32")
    count = logits.shape[0]
    return keras.ops.logsumexp(keras.ops.log_softmax(logits, axis=-1), axis=0) - math.log(count)


MEANS: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    output_group.MASK: mean_logits,
    output_group.BINARY: mean_logits,
    output_group.CLASSES: mean_class_logits,
}
