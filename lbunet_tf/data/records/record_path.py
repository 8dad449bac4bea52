"""Where the pixels of a row lie: in a file of its own, or in a shard of records."""

import re

import numpy as np
import pandas as pd

# A record stands in a manifest where else the path of a file does, as SHARD#NUMBER.
RECORD = r".+\.tfrecord-\d{5}-of-\d{5}#\d+"


def is_record(path: str) -> bool:
    """Returns whether a path of the manifest is SHARD#NUMBER."""
    # Asked of every row; the first question is the cheap one.
    return "#" in path and re.fullmatch(RECORD, path) is not None


def are_records(paths: pd.Series) -> np.ndarray:
    """Returns (N,) bool: which paths are SHARD#NUMBER."""
    return np.array([is_record(path) for path in paths], bool)


def file_of(path: str) -> str:
    """Returns the file that a path of the manifest lies in: itself, or a record's shard."""
    return path.rsplit("#", 1)[0] if is_record(path) else path
