"""Text that a spreadsheet would run: in tables that people open, it is quoted."""

import pandas as pd

# What makes Excel, LibreOffice and Google Sheets take a cell for a formula (OWASP, CSV injection).
_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def quoted(text: str) -> str:
    """Returns the text of a cell, with an apostrophe before what begins like a formula.

    A number stays as it is. Different texts stay different: a formula that has an apostrophe gets
    another one.
    """
    is_formula = text.lstrip("'").startswith(_STARTS)
    return f"'{text}" if is_formula and not _is_number(text) else text


def quoted_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with every text in it quoted."""
    return table.map(lambda cell: quoted(cell) if isinstance(cell, str) else cell)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
