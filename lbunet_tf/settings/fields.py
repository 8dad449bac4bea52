"""One flag as a field of a dataclass: its help, bounds, and the commands that take it."""

import dataclasses

TRAIN = ("train",)
DATA = ("train", "prepare")
SOURCE = ("train", "prepare", "evaluate", "pseudo_label")
RUN = ("train", "evaluate", "predict", "export", "compare", "tune", "pseudo_label")
COMPARE = ("compare",)
TUNE = ("tune",)
PSEUDO = ("pseudo_label",)
# The commands that take --run several times.
COMBINE = ("evaluate", "predict", "export")
# What a flag may need, lest it have no effect: the architecture, its output, its weights.
LBUNET, MELANOMA, PRETRAINED = "lbunet", "melanoma", "pretrained"
# The largest seed that NumPy and Keras take.
MAX_SEED = 2**32 - 1


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
):
    """Returns a field of a group. Its name is the flag's.

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
    }
    return dataclasses.field(default=default, metadata=metadata)
