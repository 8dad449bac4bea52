"""Files written whole or not at all, by one process at a time, on a disk that may be full."""

import contextlib
import csv
import errno
import fcntl
import functools
import glob
import hashlib
import json
import os
import pathlib
import shutil
import socket
import stat
import typing
import zlib
from collections.abc import Collection
from collections.abc import Iterator

from absl import logging

if typing.TYPE_CHECKING:
    import pandas as pd

# In the name of what is being written.
PARTIAL = "lbunet-partial"
# What a lock file begins with.
_LOCK_START = "process "


@contextlib.contextmanager
def whole_file(path: str | os.PathLike, keeps_suffix: bool = True) -> Iterator[pathlib.Path]:
    """Yields a path beside `path` to write to; puts it in place when the block succeeds.

    Args:
        path: What is written.
        keeps_suffix: As in `partial_path`.

    Raises:
        OSError: The disk is full. What was at `path` is kept.
        ValueError: A link stands where it is written.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path, keeps_suffix)
    if partial.is_symlink():
        raise ValueError(
            f"links inside an output folder are not followed for writing. {partial} is a link; "
            "delete it, or name another folder"
        )
    with dropped_where_it_fails(partial):
        yield partial
        put_in_place(partial, path)


def partial_path(path: pathlib.Path, keeps_suffix: bool = True) -> pathlib.Path:
    """Returns where a file is written until it is whole: beside it, by a name nobody else uses.

    Args:
        path: The file.
        keeps_suffix: Whether its suffixes stay, by which most writers choose their format. Without
            them nobody who looks for files of that kind finds what a kill has left.
    """
    if not keeps_suffix:
        return path.with_name(f".{path.name}.{PARTIAL}")
    name, dot, suffixes = path.name.partition(".")
    return path.with_name(f".{name}.{PARTIAL}{dot}{suffixes}")


@contextlib.contextmanager
def dropped_where_it_fails(partial: pathlib.Path, num_bytes: int = 0) -> Iterator[None]:
    """Deletes a file where the block that writes it fails, and names a full disk.

    Raises:
        OSError: The disk has no room for it, known before where `num_bytes` is.
    """
    check_room(partial, num_bytes)
    try:
        yield
    except BaseException as error:
        written = _size(partial)
        if partial.is_file():
            # Emptied first: HDF5 still holds a file that it could not write, writes to it once
            # more, and crashes where there is no room even then.
            os.truncate(partial, 0)
            partial.unlink()
        if is_full_disk(error):
            raise no_room(partial, num_bytes, written) from error
        raise


@contextlib.contextmanager
def named_full_disk(path: pathlib.Path, num_bytes: int) -> Iterator[None]:
    """Makes the error of a full disk one that names the file and the room that it needs."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            raise no_room(path, num_bytes) from error
        raise


def put_in_place(partial: pathlib.Path, path: pathlib.Path) -> None:
    """Renames what is whole, once the disk has it: after a loss of power, one of the two is there.

    A folder is put in place with all its files.
    """
    for file in [*partial.rglob("*"), partial]:
        _sync(file)
    os.replace(partial, path)
    _sync(path.parent)


def _sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(path):
    return path.stat().st_size if path.is_file() else 0


def is_full_disk(error: BaseException) -> bool:
    """Returns whether room is what was lacking; HDF5 says so in words only."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in numbers or any(
        f"errno = {number}," in str(error) for number in numbers
    )


def check_room(path: pathlib.Path, num_bytes: int) -> None:
    """Raises an OSError where the disk has less room than a file needs."""
    if shutil.disk_usage(path.parent).free < num_bytes:
        raise no_room(path, num_bytes)


def no_room(path: pathlib.Path, num_bytes: int = 0, written: int = 0) -> OSError:
    """Returns the error for a file that the disk has no room for.

    Args:
        path: The file.
        num_bytes: What it takes, where that is known.
        written: How much of it had been written.
    """
    free = shutil.disk_usage(path.parent).free / 1e6
    needed = f"more than {written / 1e6:.1f} MB" if written >= num_bytes else ""
    needed = needed or f"at least {num_bytes / 1e6:.1f} MB"
    error = OSError(
        f"there must be room for {path}: {needed}, and {free:.1f} MB are free in {path.parent}, "
        "or less where there is a quota. Make room, then give the same command again; files that "
        "were finished before are kept"
    )
    error.errno = errno.ENOSPC
    return error


def crc32(path: str | os.PathLike) -> int:
    """Returns the checksum of a file; of one that has not changed since, without reading it."""
    status = os.stat(path)
    return _crc32(os.path.abspath(path), status.st_mtime_ns, status.st_size, status.st_ino)


@functools.lru_cache(64)
def _crc32(path, *seen):
    del seen
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Writes indented JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: str | os.PathLike, keys: Collection[str] = ()) -> dict:
    """Returns what `write_json` wrote.

    Args:
        path: The file.
        keys: What it must have.

    Raises:
        ValueError: The file holds something else, or lacks a key; it is named.
    """
    path = pathlib.Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON, as this package writes it. {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be a JSON object. Received: {str(content)[:80]}")
    _refuse_missing(path, keys, content)
    return content


def write_table(path: str | os.PathLike, table: "pd.DataFrame") -> None:
    """Writes a CSV whole or not at all."""
    with whole_file(path) as partial:
        write_csv(partial, table)


def write_csv(path: str | os.PathLike, table: "pd.DataFrame") -> None:
    """Writes a CSV that gives back what the table holds, where it stands."""
    # Imported here: see `read_table`.
    import pandas as pd

    texts = (table[name] for name in table if not pd.api.types.is_numeric_dtype(table[name]))
    # pandas quotes a line feed, but a carriage return only with all other text.
    has_returns = any(text.astype(str).str.contains("\r", regex=False).any() for text in texts)
    quoting = csv.QUOTE_NONNUMERIC if has_returns else csv.QUOTE_MINIMAL
    table.to_csv(path, index=False, quoting=quoting)


def read_table(
    path: str | os.PathLike, columns: Collection[str] = (), **keywords
) -> "pd.DataFrame":
    """Returns what `write_table` wrote.

    Args:
        path: The file.
        columns: What it must have.
        **keywords: Those of `pandas.read_csv`.

    Raises:
        ValueError: The file holds something else, or lacks a column; it is named.
    """
    # Imported here: it takes a third of a second, and a wrong flag is to be said at once.
    import pandas as pd

    try:
        # pandas before 3 reads a third of doubles a little otherwise than they were written.
        table = pd.read_csv(path, **{"float_precision": "round_trip", **keywords})
    except ValueError as error:
        raise ValueError(f"{path} must be a CSV table. {error}") from error
    _refuse_missing(path, columns, table)
    return table


def _refuse_missing(path, names, found):
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{path} must be as this package wrote it. It lacks {', '.join(missing)}; put the file "
            f"back. Received: {', '.join(map(str, found))[:200] or 'nothing'}"
        )


@contextlib.contextmanager
def locked(path: str | os.PathLike, work: str, waits: bool = False) -> Iterator[None]:
    """Holds the right to do one kind of work on a file or folder, which ends with the process.

    Also with a killed one. The lock is the operating system's (flock): it holds between hosts
    only where their network file system passes locks on.

    Args:
        path: What is written.
        work: The verb: `train`, `evaluate`, ...
        waits: Whether to wait for another process instead of raising.

    Raises:
        ValueError: Another process holds it.
    """
    path = pathlib.Path(path).resolve()
    # Beside what is written, not in it: --overwrite deletes what is in it.
    lock = path.with_name(f".{path.name}.{work}.lock")
    with _opened_lock(lock) as file:
        holder = _other_holder(file, waits)
        if holder is not None:
            raise ValueError(
                f"only one process at a time may {work} {path}. Another one is doing so now "
                f"({holder}); wait for it, or name another folder"
            )
        file.seek(0)
        file.truncate()
        file.write(_this_process())
        file.flush()
        yield


def _other_holder(file, waits=False):
    """Returns what another holder of a lock has written, None where the lock is held now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        file.seek(0)
        return file.read()
    except OSError as error:
        logging.warning("a second process with %s would not be noticed: %s", file.name, error)
    return None


def _this_process():
    # Enough to tell hosts of one file system apart; the folder may go to others with its locks.
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
    return f"{_LOCK_START}{os.getpid()} on host {host}"


def refuse_where_locked(path: str | os.PathLike) -> None:
    """Raises a ValueError where another process works on a folder, or on something in it."""
    path = pathlib.Path(path).resolve()
    # Not those of a folder whose name goes on behind a dot.
    start = f".{path.name}."
    beside = [
        lock
        for lock in path.parent.glob(f"{glob.escape(start)}*.lock")
        if "." not in lock.name.removeprefix(start).removesuffix(".lock")
    ]
    with contextlib.ExitStack() as opened:
        for lock in sorted([*beside, *path.rglob(".*.lock")]):
            if lock.is_symlink() or not lock.is_file():
                continue
            holder = _other_holder(opened.enter_context(_opened_lock(lock)))
            if holder not in (None, _this_process()):
                raise ValueError(
                    f"nothing in {path} is deleted, since another process is using it ({holder}, "
                    f"{lock.name}); wait for it, or name another folder"
                )


def _opened_lock(path):
    """Returns the open file of a lock; one that is a link, or not ours, is left alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except PermissionError as error:
        raise ValueError(
            f"{path.parent} must be writable, since the lock that keeps two processes from "
            f"writing to one folder is created there. Name a folder inside a writable one. {error}"
        ) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise ValueError(
                f"{path} must be a lock file of ours, or not be there: links are not followed for "
                f"writing. Delete it, or name another folder. {error.strerror}"
            ) from error
        raise
    file = open(handle, "r+", encoding="utf-8", errors="replace")
    start = file.read(len(_LOCK_START))
    if not stat.S_ISREG(os.fstat(handle).st_mode) or start and start != _LOCK_START:
        file.close()
        raise ValueError(
            f"{path} must be a lock file of ours, or not be there. It holds something else, which "
            "is left as it is; move it away, or name another folder"
        )
    return file
