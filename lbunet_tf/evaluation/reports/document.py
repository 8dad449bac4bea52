"""What a page is made of: sections of text, cards, tables and figures. Templates draw them.

Every string is plain text; the templates escape it.
"""

import base64
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Sentences; `is_note`: what must not be overlooked."""

    text: str
    is_note: bool = False
    kind = "paragraph"


@dataclasses.dataclass(frozen=True)
class Card:
    """One number: its name, its value, and its interval ("" without one)."""

    name: str
    value: str
    interval: str = ""


@dataclasses.dataclass(frozen=True)
class Cards:
    """The numbers to see first."""

    cards: Sequence[Card]
    kind = "cards"


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell of a row names it.

    Attributes:
        caption: What the table shows.
        header: One name per column; "" above the names of the rows.
        rows: Each as long as the header.
        is_stacked: On a phone each row becomes a list, for many columns.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_stacked: bool = False
    kind = "table"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture with the text that stands for it, and its caption.

    Attributes:
        data: The PNG in base64.
        alternative: What is seen, with its key numbers, for whoever does not see it.
        caption: How to read it.
        is_wide: On a phone it is scrolled in its box: shrunk to the page it could not be read.
    """

    data: str
    alternative: str
    caption: str
    is_wide: bool = False
    kind = "figure"


@dataclasses.dataclass(frozen=True)
class Facts:
    """Sentences by name."""

    sentences: Mapping[str, str]
    kind = "facts"


@dataclasses.dataclass(frozen=True)
class Items:
    """A list of sentences."""

    sentences: Sequence[str]
    kind = "items"


@dataclasses.dataclass(frozen=True)
class Code:
    """Lines for a terminal or a file; `name` says what they are."""

    name: str
    lines: Sequence[str]
    kind = "code"


Block = Paragraph | Cards | Table | Figure | Facts | Items | Code


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page with a heading; `anchor` is its address within the page."""

    anchor: str
    title: str
    blocks: Sequence[Block]


def embed(path: pathlib.Path, alternative: str, caption: str, is_wide: bool = False) -> Figure:
    """Returns the figure of a PNG file, which the page then holds itself."""
    data = base64.b64encode(path.read_bytes()).decode()
    return Figure(data, alternative, caption, is_wide)
