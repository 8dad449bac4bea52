"""Images that could not be dealt with: each costs itself only, and all are named at the end."""

import os
import pathlib
import sys
from collections.abc import Callable
from collections.abc import Sequence

from lbunet_tf.storage import file_names
from lbunet_tf.storage import whole_files

FILE = "failures.txt"


def tried(image: str, function: Callable, *arguments) -> object:
    """Returns function(*arguments), or in one line of text why there is no result.

    Whatever a decoder raises about the bytes of a stranger is about this image. A disk without
    room concerns them all.

    Args:
        image: The path that the line names.
        function: Returns no text.
        *arguments: Of the function.

    Raises:
        OSError: The disk is full.
    """
    try:
        return function(*arguments)
    except Exception as error:
        if whole_files.is_full_disk(error):
            raise
        words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        return file_names.printable(words if image in words else f"{image}: {words}")


def write(folder: str | os.PathLike, failures: Sequence[str]) -> None:
    """Writes one line for each image, to `failures.txt`; an empty file where there is none."""
    whole_files.write_text(pathlib.Path(folder) / FILE, "".join(f"{line}\n" for line in failures))


def read(folder: str | os.PathLike) -> list[str]:
    """Returns the lines that `write` wrote."""
    return (pathlib.Path(folder) / FILE).read_text(encoding="utf-8").splitlines()


def raise_for(failures: Sequence[str], where: str, mend: str) -> None:
    """Names all failures on the standard error, and raises a ValueError where there are any.

    Args:
        failures: One line each.
        where: The file that lists them.
        mend: What to do, a sentence without its full stop.
    """
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    if failures:
        # What a decoder says may end in a full stop of its own.
        first = failures[0].removesuffix(".")
        first += f"; and {len(failures) - 1} more" if failures[1:] else ""
        raise ValueError(
            f"every image must be usable, and {len(failures)} could not be used: {first}. They are "
            f"named above and in {where}; no other result is lost. {mend}"
        )
