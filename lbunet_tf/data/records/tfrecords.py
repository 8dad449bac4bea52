"""TFRecord files with random access: TensorFlow's own readers only read on.

The format (TensorFlow, core/lib/io/record_writer.h): for each record its length (uint64, little
endian), the checksum of the length, the record, its checksum; checksums are masked CRC-32C.
"""

import functools
import os
import struct
from collections.abc import Iterable

import google_crc32c
import numpy as np

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def write(path: str | os.PathLike, records: Iterable[bytes]) -> None:
    """Writes a file of records, which `tf.data.TFRecordDataset` reads.

    Unlike TensorFlow's writer, it raises an OSError where the disk is full.
    """
    with open(path, "wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _FOOTER.pack(_masked_crc(length)))
            file.write(record)
            file.write(_FOOTER.pack(_masked_crc(record)))


class Reader:
    """One file, open; several threads may read from it at once.

    Args:
        path: A TFRecord file without compression.

    Raises:
        ValueError: It is cut short, or a length in it is damaged.
    """

    def __init__(self, path: str | os.PathLike):
        status = os.stat(path)
        self._starts = _find_records(str(path), status.st_mtime_ns, status.st_size)
        self._file = open(path, "rb", buffering=0)

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._starts) - 1

    def read(self, number: int) -> bytes:
        """Returns a record, counted from 0.

        Raises:
            IndexError: There are not so many.
            ValueError: The record's checksum is another.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"it holds {len(self)} records, none of them is number {number}")
        start, end = (int(offset) for offset in self._starts[number : number + 2])
        start, end = start + _HEADER.size, end - _FOOTER.size
        # Two reads, not one: what is cut out of one would be copied.
        record = _read(self._file, start, end - start)
        if _masked_crc(record) != _FOOTER.unpack(_read(self._file, end, _FOOTER.size))[0]:
            raise ValueError(f"the checksum of record {number} does not match")
        return record


# Once for each state of a file: readers come and go, and every length is a place on the disk.
@functools.lru_cache(None)
def _find_records(path, mtime_ns, size):
    """Returns where records start, and where the last one ends; reads their lengths only."""
    del mtime_ns
    starts = [0]
    with open(path, "rb", buffering=0) as file:
        while starts[-1] < size:
            header = _read(file, starts[-1], _HEADER.size)
            length, crc = _HEADER.unpack(header)
            if _masked_crc(header[:8]) != crc:
                raise ValueError(f"the checksum of the length at byte {starts[-1]} does not match")
            starts.append(starts[-1] + _HEADER.size + length + _FOOTER.size)
    if starts[-1] > size:
        raise ValueError(f"it has {size} bytes instead of {starts[-1]}")
    return np.array(starts, np.int64)


def _read(file, start, num_bytes):
    contents = os.pread(file.fileno(), num_bytes, start)
    if len(contents) < num_bytes:
        raise ValueError(f"it ends within the {num_bytes} bytes from byte {start} on")
    return contents


def _masked_crc(contents):
    crc = google_crc32c.value(contents)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
