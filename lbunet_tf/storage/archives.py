"""Model archives (.keras, a zip) and their HDF5 weights, checked before they are believed."""

import io
import os
import pathlib
import zipfile
from typing import BinaryIO

import h5py

from lbunet_tf.storage import file_kinds

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
# Trained weights hardly shrink, and Keras stores them as they are: a file that claims more times
# its own size would fill memory or disk with nothing.
MAX_EXPANSION = 20


def damage(path: str | os.PathLike) -> str:
    """Returns what is wrong with a model archive, "" for one that is whole and of honest size.

    All of it is read: the checksums that every zip archive holds are compared.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return "there is no such file"
    try:
        with zipfile.ZipFile(path) as archive:
            return _wrong_members(archive, path.stat().st_size) or _wrong_contents(archive)
    except Exception as error:
        # zipfile and h5py raise whatever comes to pass where the bytes are not what they expect.
        return describe_error(path, error, "zip archive")


def read_config(path: str | os.PathLike) -> tuple[bytes, int]:
    """Returns (the JSON of an undamaged archive's model, the size of its weights in bytes)."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(CONFIG), archive.getinfo(WEIGHTS).file_size


def _wrong_members(archive, num_bytes):
    names = archive.namelist()
    lacking = [name for name in (CONFIG, WEIGHTS) if name not in names]
    if lacking:
        return f"it holds no {' and no '.join(lacking)}"
    if len(set(names)) < len(names):
        return "it holds a file twice"
    # No layer of ours writes anything else; Keras would unpack it.
    others = [name for name in names if name not in (CONFIG, WEIGHTS, METADATA)]
    if others:
        return f"it holds {others[0][:80]!r}, which models of lbunet_tf never hold"
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > MAX_EXPANSION * num_bytes:
        return f"it has {num_bytes} bytes and claims to hold {claimed}"
    return ""


def _wrong_contents(archive):
    damaged = archive.testzip()
    if damaged:
        return f"the checksum of {damaged!r} is another"
    weights = io.BytesIO(archive.read(WEIGHTS))
    check_hdf5(weights, len(weights.getbuffer()))
    return ""


def check_hdf5(file: str | os.PathLike | BinaryIO, num_bytes: int) -> None:
    """Raises a ValueError where weights are not numbers that lie in the file itself.

    HDF5 may name other files to read from, and claim numbers that it does not hold.

    Args:
        file: A path or an open file.
        num_bytes: Its size.
    """
    claimed, seen = 0, set()
    with h5py.File(file, "r") as opened:
        groups = [opened]
        while groups:
            group = groups.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name!r} in it is a link to another file")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    continue
                seen.add(address)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                else:
                    claimed += _claimed_bytes(item)
                if claimed > MAX_EXPANSION * num_bytes:
                    raise ValueError(f"it has {num_bytes} bytes and claims {claimed} of weights")


def _claimed_bytes(item):
    # V: bfloat16, which HDF5 does not know.
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biufV" or item.dtype.hasobject:
        raise ValueError(f"{item.name!r} in it is not an array of numbers")
    if item.external or item.is_virtual:
        raise ValueError(f"{item.name!r} in it is stored in other files")
    return item.nbytes


def describe_error(path: str | os.PathLike, error: BaseException, expected: str) -> str:
    """Returns what is wrong with a file, by what it is where it is not what was expected.

    Args:
        path: The file.
        error: What reading it raised.
        expected: A word of file_kinds.KINDS.
    """
    return file_kinds.describe_other(path, expected) or in_words(error)


def in_words(error: BaseException) -> str:
    """Returns an error of a library in one line of bounded length, never empty."""
    words = " ".join(str(error).split())
    if len(words) > 300:
        words = f"{words[:300]} ..."
    return words or type(error).__name__
