"""Files that a person names as input: regular ones of bounded size, read without hanging."""

import os
import stat

from lbunet_tf.storage import file_names

# A picture of 100 megapixels takes 0.6 GB where nothing is compressed: 3 channels of 16 bits.
MAX_BYTES = 2**30
# What a name may stand for instead; of a link, what it leads to.
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def read_bytes(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> bytes:
    """Returns the contents of a regular file, or of one that a link leads to.

    Raises:
        ValueError: It is something else (a pipe may never say anything, /dev/zero never ends), or
            larger than `max_bytes`; the message names it.
        OSError: It cannot be opened or read.
    """
    # Opening a pipe lets go who waits to write to it, and a socket cannot be opened.
    _checked_size(path, os.stat(path), max_bytes)
    # Once more below, of what was opened; without O_NONBLOCK, a pipe would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        size = _checked_size(path, os.fstat(descriptor), max_bytes)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            contents = file.read(size + 1)
    finally:
        os.close(descriptor)
    if len(contents) > size:
        raise ValueError(f"{path} must not change while it is read. It grew beyond {size} bytes")
    return contents


def check_name(path: str | os.PathLike) -> None:
    """Raises a ValueError where a file's name is no UTF-8, which tables and TensorFlow need."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            "a file's name must be UTF-8; rename it, or the folder that it is in. "
            f"Received: {file_names.printable(os.fspath(path))}"
        ) from error


def _checked_size(path, status, max_bytes):
    if not stat.S_ISREG(status.st_mode):
        kinds = [kind for is_kind, kind in KINDS if is_kind(status.st_mode)]
        raise ValueError(f"{path} must be a regular file. It is {(*kinds, 'something else')[0]}")
    if status.st_size > max_bytes:
        raise ValueError(
            f"{path} must have at most {max_bytes} bytes. It has {status.st_size}; save the "
            "picture as JPEG or PNG"
        )
    return status.st_size
