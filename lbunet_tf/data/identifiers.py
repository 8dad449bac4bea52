"""Ids and words of tables: free of invisible marks around them, equal where they look equal."""

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
UNKNOWN_WORDS = ("", "nan", "none", "null", "na", "n/a", "unknown")
# What an id or a word says where it names nothing, as spreadsheets and de-identifiers write it.
NAMELESS_WORDS = (*UNKNOWN_WORDS, "#n/a", "<na>", "missing", "undefined", "anonymous")


SIGNS = r"[!-/:-@\[-`{-~]*"
CONTROL_CHARACTERS = r"[\x00-\x1f\x7f-\x9f]"


def as_text(column: pd.Series, source: str) -> pd.Series:
    """Returns a column of a source as text, "" where it is unknown.

    Raises:
        ValueError: A value is no Unicode, and pandas cannot keep it; its row and column are named.
    """
    try:
        return column.fillna("").astype(str)
    except UnicodeEncodeError as error:
        # pyarrow's, where it is installed. Half of a character, as in a file name of Latin-1.
        texts = ["" if pd.isna(value) else str(value) for value in column]
        number = [is_utf8(text) for text in texts].index(False)
        raise ValueError(
            f"source {source}, row {number + 1}: {column.name} must be Unicode. Rename the file, "
            f"or write the table in UTF-8. Received: {texts[number]!r}"
        ) from error


def stripped(column: pd.Series) -> pd.Series:
    """Returns a column of text without white space and invisible marks around its values."""
    return column.str.strip(INVISIBLE)


def normalised(column: pd.Series) -> pd.Series:
    """Returns a column of text in Unicode's form NFC: macOS writes an accent as a character."""
    # The question takes less time than the answer.
    return column if _is_ascii(column) else column.str.normalize("NFC")


def _is_ascii(column):
    # `Series.str.isascii` came with pandas 3. As one text it takes a tenth of asking each.
    return "".join(column.dropna().tolist()).isascii()


def are_nameless(column: pd.Series) -> pd.Series:
    """Returns (N,) bool: which values are no name: empty, a word for unknown, or only signs."""
    return column.str.lower().isin(NAMELESS_WORDS) | column.str.fullmatch(SIGNS)


def are_unwritable(column: pd.Series) -> pd.Series:
    """Returns (N,) bool: which values no CSV file gives back: control characters, no UTF-8."""
    unwritable = column.str.contains(CONTROL_CHARACTERS)
    return unwritable if _is_ascii(column) else unwritable | ~column.map(is_utf8)


def is_utf8(text: str) -> bool:
    """Returns whether a text can be written; a file's name may be bytes of another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
