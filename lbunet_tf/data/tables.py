"""Label tables and places in a download, with errors that name the file."""

import pathlib
from collections.abc import Iterable
from collections.abc import Sequence

import pandas as pd
from absl import logging


def read_csv(path: pathlib.Path, columns: Sequence[str]) -> pd.DataFrame:
    """Returns a table of text, or raises a ValueError that names the file or the columns."""
    if not path.is_file():
        raise ValueError(f"the labels must be there. Looked for {path}")
    table = read_text(path)
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(
            f"{path} must have the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}. Received: {', '.join(table.columns)}"
        )
    return table


def read_text(path: pathlib.Path, **keywords) -> pd.DataFrame:
    """Returns a CSV as text, or raises a ValueError that names it."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, **keywords)
    except ValueError as error:
        raise ValueError(f"{path} must be a CSV table. {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas has taken the first column for an index and shifted all the others.
        raise ValueError(f"{path} must have a name for each column; its rows have a field more")
    return table


def first_existing(folder: pathlib.Path, names: Sequence[str], what: str) -> pathlib.Path:
    """Returns the first of the names that the folder holds."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise ValueError(f"{folder} must hold {what}. Looked for {', '.join(names)}")


def masks_in(
    masks: pathlib.Path, names: Iterable[str], suffix: str = "_segmentation.png"
) -> list[str]:
    """Returns the path of each mask, "" where the download has no masks at all."""
    there = masks.is_dir()
    if not there:
        logging.warning("no lesion masks; looked for %s", masks)
    return [str(masks / f"{name}{suffix}") if there else "" for name in names]


def refuse_repeated(table: pd.DataFrame, column: str, path: pathlib.Path) -> None:
    """Raises a ValueError where a value stands twice in a column."""
    repeated = table[column][table[column].duplicated()]
    if len(repeated):
        raise ValueError(f"{path} must name each {column} once. Received twice: {repeated.iloc[0]}")
