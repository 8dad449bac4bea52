"""The lines of flagfiles, in the place of each --flagfile of a command line.

absl reads them too, but in the encoding of the locale, where flags.cfg is UTF-8, and does not name
the file of a wrong line.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence


@dataclasses.dataclass
class Files:
    """The flagfiles that were read: line -> "FILE, line N", and path -> the package's own.

    `is_early`: they are read once more by the command, and a pipe gives its lines only once.
    """

    origins: dict[str, str] = dataclasses.field(default_factory=dict)
    replaced: dict[pathlib.Path, pathlib.Path] = dataclasses.field(default_factory=dict)
    is_early: bool = False


class PipeError(Exception):
    """A flagfile is a pipe, and not to be read yet."""


def expand(
    arguments: Sequence[str], files: Files, read_before: Sequence[pathlib.Path] = ()
) -> list[str]:
    """Returns a command line with the lines of each flagfile in its place.

    Args:
        arguments: The words of a command line, or the lines of a flagfile.
        files: Gains what each flagfile holds.
        read_before: The flagfiles on the way here.

    Raises:
        ValueError: A flagfile is not there, no UTF-8, leads back to itself, or has a line that is
            no flag.
        PipeError: One is a pipe, and it is early.
    """
    expanded = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*expanded, word, *words]
        if not (directive := re.fullmatch("--?flagfile(?:=(.*))?", word, re.DOTALL)):
            expanded.append(word)
            continue
        name = next(words, "") if directive[1] is None else directive[1]
        expanded += lines_of(os.path.expanduser(name.strip()), files, read_before)
    return expanded


def lines_of(name: str, files: Files, read_before: Sequence[pathlib.Path] = ()) -> list[str]:
    """Returns the flags of one flagfile, and of those that it names; as `expand`."""
    if not name:
        raise ValueError('"--flagfile" must name a file of flags. Received: nothing')
    named = pathlib.Path(name)
    path = find(named)
    if path != named:
        files.replaced[named] = path
    if path.resolve() in read_before:
        chain = " -> ".join(map(str, (*read_before, path)))
        raise ValueError(f'"--flagfile" must not lead back to itself. Received: {chain}')
    if files.is_early and path.exists() and not path.is_file():
        raise PipeError
    try:
        # A byte order mark, as Windows' editor writes it, is no part of the first flag.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f'"--flagfile" must name a file of flags. {error}') from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8. Save it as such. {error}") from error
    lines = []
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if not line or line.startswith(("#", "//")):
            continue
        if not re.match("--?[^-]", line):
            raise ValueError(
                f"{path}, line {number}: a flagfile must hold one flag on each line, as in "
                f"--epochs=30, and comments after #. Received: {line!r}"
            )
        files.origins[line] = f"{path}, line {number}"
        lines.append(line)
    return expand(lines, files, (*read_before, path.resolve()))


def find(path: pathlib.Path) -> pathlib.Path:
    """Returns a flagfile, or where flags/X.cfg or flags/zoo/X.cfg ... is not here, the package's.

    An installed package has `flags` inside, a checkout next to it.
    """
    if path.exists() or path.parts[:1] != ("flags",) or ".." in path.parts:
        return path
    package = pathlib.Path(__file__).parents[1]
    for folder in (package, package.parent):
        if (folder / path).is_file():
            return folder / path
    return path
