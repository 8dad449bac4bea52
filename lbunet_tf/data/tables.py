"""Tables of text: CSV files as people and spreadsheets save them, with errors that name them."""

import csv
import pathlib
import re
from collections.abc import Sequence

import pandas as pd

from lbunet_tf.data import identifiers

SEPARATORS = (",", ";", "\t")
NUM_BYTES = 1 << 20


def read_csv(path: pathlib.Path, columns: Sequence[str]) -> pd.DataFrame:
    """Returns a table of stripped text, or raises a ValueError that names file or columns."""
    if not path.is_file():
        raise ValueError(f"the labels must be there. Looked for {path}")
    table = read_text(path)
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(
            f"{path} must have the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}. Received: {', '.join(table.columns)}"
        )
    return stripped(table)


def stripped(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table of text whose values have no white space around them."""
    return table.fillna("").apply(identifiers.stripped)


def read_text(path: pathlib.Path, has_header: bool = True) -> pd.DataFrame:
    """Returns a CSV file as text; columns are numbered where it has no header.

    Commas, semicolons or tabs separate its cells. Empty cells that a row has too many are
    dropped, cells that it lacks are missing.

    Raises:
        ValueError: It is empty, not in UTF-8 or holds NUL bytes; a row has a cell too many; or
            a column's name stands twice. The message names the file, and the line.
    """
    _refuse_null_bytes(path)
    try:
        names, separator = _first_row(path)
        try:
            table = pd.read_csv(
                path,
                sep=separator,
                header=0 if has_header else None,
                dtype=str,
                keep_default_na=False,
            )
            # Where rows are longer than the header, pandas takes the first column for an index.
            is_ragged = not isinstance(table.index, pd.RangeIndex)
        except pd.errors.ParserError:
            is_ragged = True
        if is_ragged:
            table = _read_ragged(path, separator, has_header)
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(path)) from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} must be a CSV table. {error}") from error
    if has_header:
        table.columns = _column_names(path, table.columns, names)
    return table


def _refuse_null_bytes(path):
    """Raises where pandas would cut a cell short without a word, or takes UTF-16 for UTF-8."""
    lines = 1
    with open(path, "rb") as file:
        while block := file.read(NUM_BYTES):
            if b"\0" in block:
                lines += block[: block.index(b"\0")].count(b"\n")
                raise ValueError(
                    f"{path} must be a CSV file in UTF-8. It holds a NUL byte in line {lines}, as "
                    'UTF-16 and damaged files do; save it as "CSV UTF-8" in a spreadsheet'
                )
            lines += block.count(b"\n")


def _first_row(path):
    """Returns (the cells of the first row, what separates them)."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        line = next((line for line in file if line.strip()), "")
        # In quotes, a sign separates nothing; of equals, the first.
        separator = max(SEPARATORS, key=re.sub('"[^"]*"', "", line).count)
        file.seek(0)
        rows = csv.reader(file, delimiter=separator)
        cells = next((row for row in rows if any(cell.strip() for cell in row)), [])
    return [name.strip(identifiers.INVISIBLE) for name in cells], separator


def _read_ragged(path, separator, has_header):
    """Returns the table of a file whose rows are of several lengths."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        try:
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise ValueError(f"Line {reader.line_num}: {error}") from error
    width = len(rows[0][1])
    for line, row in rows:
        if any(row[width:]):
            raise ValueError(
                f"Each row must have as many cells as the first, {width}; put a cell that holds a "
                f"comma in quotes. Received: {len(row)} cells in line {line}"
            )
    cells = [(row + [None] * width)[:width] for _, row in rows]
    if not has_header:
        return pd.DataFrame(cells, dtype=str)
    names = [name or f"Unnamed: {number}" for number, name in enumerate(cells[0])]
    return pd.DataFrame(cells[1:], columns=names, dtype=str)


def _not_utf8(path):
    contents = path.read_bytes()
    try:
        contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents[: error.start].count(b"\n") + 1
        return (
            f"{path} must be a CSV file in UTF-8. Line {line} holds {contents[error.start :][:1]}, "
            'as Latin-1 and Windows files do; save it as "CSV UTF-8" in a spreadsheet'
        )
    return f"{path} must be a CSV file in UTF-8"


def _column_names(path, columns, names):
    """Returns the names as the file has them: pandas numbers those that stand twice."""
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise ValueError(f"{path} must name each column once. Received twice: {repeated[0]}")
    return [name or column for column, name in zip(columns, names, strict=True)]


def refuse_repeated(table: pd.DataFrame, column: str, path: pathlib.Path) -> None:
    """Raises a ValueError where a value stands twice in a column."""
    repeated = table[column][table[column].duplicated()]
    if len(repeated):
        raise ValueError(f"{path} must name each {column} once. Received twice: {repeated.iloc[0]}")
