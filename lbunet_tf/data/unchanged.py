"""Whether the files of a run are still those that it was made of.

A run's manifest holds the size and the ends of each image and the SHA-1 of each mask, which are
compared whenever the run is used, and the SHA-1 of each image, which is compared on request
(--verify_images=whole).
"""

import concurrent.futures
import functools
import hashlib
import os

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data.records import record_path

# Of each end of an image.
END_BYTES = 2**16
NUM_SHOWN = 10


class ChangedFilesError(ValueError):
    """The files of a run are no longer those that it was made of."""


def with_ends(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the manifest with size and ends of each image, "" for a record."""
    return manifest.assign(image_ends=_map(_ends, _files(manifest["image"])))


def check(
    manifest: pd.DataFrame, of: str | os.PathLike, whole: bool, needs_all: bool = True
) -> pd.DataFrame:
    """Returns the manifest where its files are those that it was written of.

    Args:
        manifest: Rows of a run, whose files are there.
        of: The run, for the error.
        whole: Whether to read images, too, from the first to the last byte.
        needs_all: False leaves out files that are gone.

    Raises:
        ChangedFilesError: They are not; the message says how many, and names ten.
        ValueError: A file cannot be read.
    """
    # A changed outline often leaves size and ends of a mask as they are, as in a BMP.
    ways = [("image", "image_ends", _ends), ("mask", "mask_hash", _sha1)]
    if whole:
        ways.append(("image", "content_hash", _sha1))
    is_changed, unknown = np.zeros(len(manifest), bool), set()
    for column, name, digest in ways:
        paths = _files(manifest[column])
        then = manifest.get(name, pd.Series("", manifest.index)).fillna("").to_numpy(str)
        if ((paths != "") & (then == "")).any():
            unknown.add(column)
        there = [needs_all or os.path.isfile(path) for path in paths]
        paths = np.where((then != "") & there, paths, "")
        is_changed |= (paths != "") & (_map(digest, paths) != then)
    _log_unknown(of, unknown, whole)
    if is_changed.any():
        names = ", ".join(map(repr, manifest["image_id"][is_changed].head(NUM_SHOWN)))
        names += " and others" if is_changed.sum() > NUM_SHOWN else ""
        raise ChangedFilesError(
            f"the images and masks of {of} must be those that it was trained with. "
            f"{is_changed.sum()} of {len(manifest)} have changed: {names}. Put the files back, or "
            "train another run on the new ones"
        )
    return manifest


def _log_unknown(of, columns, whole):
    """Logs which files of a run of an older version cannot be told from others."""
    if "mask" in columns:
        logging.info("%s is of an older version: whether its masks have changed is not known", of)
    if "image" in columns and not whole:
        logging.info(
            "%s is of an older version: only --verify_images=whole can tell whether its images "
            "have changed",
            of,
        )


def _files(paths):
    """Returns the paths of files, "" for records, which have checksums of their own."""
    paths = paths.fillna("")
    return np.where(record_path.are_records(paths), "", paths).astype(object)


def _map(digest, paths):
    with concurrent.futures.ThreadPoolExecutor() as threads:
        return np.array(list(threads.map(functools.partial(_digest_of, digest), paths)), object)


def _digest_of(digest, path):
    """Returns what `digest` returns of a file, "" of none; an error names the file."""
    try:
        return digest(path) if path else ""
    except OSError as error:
        raise ChangedFilesError(
            f"{path} must be a file that can be read, as it was when the run was trained. {error}"
        ) from error


def _ends(path):
    """Returns the size of a file, and the SHA-1 of its first and last bytes."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        contents = file.read(END_BYTES)
        file.seek(max(size - END_BYTES, len(contents)))
        contents += file.read(END_BYTES)
    return f"{size}-{hashlib.sha1(contents, usedforsecurity=False).hexdigest()}"


def _sha1(path):
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False))
    return digest.hexdigest()
