"""A CSV that grows line by line, and that a kill at any moment leaves readable."""

import contextlib
import csv
import io
import os
import pathlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from lbunet_tf.storage import whole_files


def read(path: str | os.PathLike, columns: Sequence[str]) -> list[list[str]]:
    """Returns the cells of each whole line, without the header.

    A line that was cut, or has more or fewer cells than there are columns, is left out; so are
    all where the file is not there. Cells hold no line ends.
    """
    return [cells for cells in read_any(path) if len(cells) == len(columns)]


def read_any(path: str | os.PathLike) -> list[list[str]]:
    """Returns what `read` does, of lines of any number of cells."""
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    text = path.read_bytes().decode("utf-8", "replace")
    whole = text[: text.rfind("\n") + 1]
    return list(csv.reader(io.StringIO(whole, newline="")))[1:]


def write(path: str | os.PathLike, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Writes header and lines whole or not at all."""
    with (
        whole_files.whole_file(path) as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(lines)


@contextlib.contextmanager
def appending(path: str | os.PathLike) -> Iterator[Callable[[Iterable[Sequence[str]]], None]]:
    """Yields a function that adds lines to a table that `write` began; they survive a kill.

    It raises an OSError where the disk is full, and has then written no part of the lines but what
    `read` leaves out.
    """
    with open(path, "ab", buffering=0) as file:

        def append(lines):
            text = io.StringIO(newline="")
            csv.writer(text).writerows(lines)
            contents = text.getvalue().encode("utf-8")
            with whole_files.named_full_disk(pathlib.Path(path), len(contents)):
                written = file.write(contents)
                if written < len(contents):
                    file.write(contents[written:])

        yield append
