"""One flag as a field of a dataclass: its help, bounds, and the commands that take it."""

import dataclasses
import importlib
from collections.abc import Sequence

TRAIN = ("train",)
DATA = ("train", "prepare")
SOURCE = ("train", "prepare", "evaluate", "pseudo_label")
RUN = ("train", "evaluate", "predict", "export", "compare", "tune", "pseudo_label")
COMPARE = ("compare",)
TUNE = ("tune",)
PSEUDO = ("pseudo_label",)
# The commands that take the network of the package where no --run is given.
RELEASED = ("predict",)
# The commands that take --run several times.
COMBINE = ("evaluate", "predict", "export")
# What a flag may need, lest it have no effect: the architecture, its weights, a head.
LBUNET, ENCODER, PRETRAINED = "lbunet", "encoder", "pretrained"
MASK, MELANOMA, DIAGNOSIS, IMAGE_HEAD = "mask", "melanoma", "diagnosis", "image_head"
# The largest seed that NumPy and Keras take.
MAX_SEED = 2**32 - 1


class Keys(Sequence):
    """The keys of dicts of other rooms, each "module:NAME", read when they are asked for.

    A name then stands once, in the dict that says what it builds, and `settings`, on which all
    rooms stand, imports none of them.
    """

    def __init__(self, *dicts: str):
        self._dicts = dicts

    def _keys(self):
        return tuple(key for name in self._dicts for key in read(name))

    def __getitem__(self, index):
        return self._keys()[index]

    def __len__(self):
        return len(self._keys())


def read(name: str):
    """Returns what a module holds, by "module:NAME" within the package."""
    module, _, name = name.partition(":")
    return getattr(importlib.import_module(f"lbunet_tf.{module}"), name)


def flag(
    default,
    help,
    entries=TRAIN,
    choices=None,
    many=False,
    minimum=None,
    maximum=None,
    is_path=False,
    needs=(),
    refusal="",
):
    """Returns a field of a group. Its name is the flag's.

    `choices` of a flag of `many` are only listed: whoever reads them checks them. `refusal` is the
    "module:NAME" of a function that says why a value is none of them, or "".

    A leading `~` of a path is the home folder, also where the shell leaves it as it is (after =).
    """
    metadata = {
        "help": help,
        "entries": entries,
        "choices": choices,
        "many": many,
        "minimum": minimum,
        "maximum": maximum,
        "is_path": is_path,
        "needs": needs,
        "refusal": refusal,
    }
    return dataclasses.field(default=default, metadata=metadata)
