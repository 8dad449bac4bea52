"""Ids and words of tables: free of invisible marks around them, equal where they look equal."""

import unicodedata
from collections.abc import Callable

import pandas as pd

# White space of Unicode, byte order marks, and the marks without width that copying from a
# browser or a file dialog leaves around a word.
INVISIBLE = "".join(
    map(
        chr,
        (
            *range(0x09, 0x0E),
            *range(0x1C, 0x21),
            *(0x85, 0xA0, 0x1680),
            *range(0x2000, 0x2010),
            *range(0x2028, 0x2030),
            0x205F,
            *range(0x2060, 0x206A),
            *(0x3000, 0xFEFF),
        ),
    )
)
SPACES_IN_ASCII = INVISIBLE[:10]
UNKNOWN_WORDS = ("", "nan", "none", "null", "na", "n/a", "unknown")
# What an id or a word says where it names nothing, as spreadsheets and de-identifiers write it.
NAMELESS_WORDS = (*UNKNOWN_WORDS, "#n/a", "<na>", "missing", "undefined", "anonymous")


def stripped(column: pd.Series) -> pd.Series:
    """Returns a column of text without white space and invisible marks around its values."""
    joined = "".join(column)
    if joined.isascii() and not any(space in joined for space in SPACES_IN_ASCII):
        return column
    return _map_values(column, lambda value: value.strip(INVISIBLE))


def normalised(column: pd.Series) -> pd.Series:
    """Returns a column of text in Unicode's form NFC: macOS writes an accent as a character."""
    if "".join(column).isascii():
        return column
    return _map_values(column, lambda value: unicodedata.normalize("NFC", value))


def are_nameless(column: pd.Series) -> pd.Series:
    """Returns (N,) bool: which values are no name: empty, a word for unknown, or only signs."""
    nameless = [value for value in pd.unique(column) if _is_nameless(value)]
    return column.isin(nameless)


def are_unwritable(column: pd.Series) -> pd.Series:
    """Returns (N,) bool: which values no CSV file gives back: control characters, no Unicode."""
    joined = "".join(column)
    # Printable is what is no control character, and no half of a surrogate pair either.
    if joined.isprintable():
        return pd.Series(False, column.index)
    return pd.Series([_is_unwritable(value) for value in column], column.index, dtype=bool)


def _map_values(column: pd.Series, function: Callable[[str], str]) -> pd.Series:
    values = {value: function(value) for value in pd.unique(column)}
    return pd.Series([values[value] for value in column], column.index, dtype=column.dtype)


def _is_nameless(value):
    return not any(map(str.isalnum, value)) or value.lower() in NAMELESS_WORDS


def _is_unwritable(value):
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in value)
