"""The tensors of a PyTorch file, read without PyTorch and without believing the file.

A pickle is a program, and Python's own machine for it can be made to run commands, to change
objects behind their backs and to take all memory. Here the few instructions that a dictionary
of tensors needs work on numbers, text, tuples, lists and dictionaries; every other is refused.
"""

import io
import os
import pathlib
import pickletools
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lbunet_tf.storage import archives

# What a file may ask of us: the weights of efficientnet_lite0 are 19 MB and 12,000 steps.
MAX_BYTES = 2**30
MAX_STEPS = 1_000_000
DTYPES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
DICTIONARY, TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns name -> array of a PyTorch state_dict file in the format before version 1.6.

    The arrays are views of the file's bytes, which cannot be written to.

    Raises:
        ValueError: The file is of another format, cut short, or holds other than tensors.
    """
    path = pathlib.Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes, more than {MAX_BYTES}")
        return _read(path.read_bytes())
    except (
        ValueError,
        LookupError,
        TypeError,
        OverflowError,
        MemoryError,
        struct.error,
    ) as error:
        raise ValueError(
            f"{path} must be a complete PyTorch file of tensors in the format before 1.6, as "
            "torch.save(tensors, path, _use_new_zipfile_serialization=False) writes it. Received: "
            f"{archives.describe_error(path, error, 'pickle')}"
        ) from error


def _read(contents):
    """Returns the arrays of five pickles and what follows.

    The pickles: magic number, protocol, system, the dictionary, storage keys. Then, for each
    storage, an int64 length and the raw numbers.
    """
    stream = io.BytesIO(contents)
    for _ in range(3):
        _Machine().run(stream)
    machine = _Machine()
    tensors = machine.run(stream)
    if not isinstance(tensors, dict) or not all(
        isinstance(tensor, _Tensor) for tensor in tensors.values()
    ):
        raise ValueError("its fourth part is not a dictionary of tensors")
    keys = _Machine().run(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its fifth part is not a list of storages")
    if sorted(keys) != sorted(machine.storages):
        raise ValueError("it does not hold each storage of its tensors once")
    storages = _numbers(contents, stream.tell(), [machine.storages[key] for key in keys])
    numbers = dict(zip(keys, storages, strict=True))
    return {name: _array(name, tensor, numbers) for name, tensor in tensors.items()}


def _numbers(contents, start, storages) -> Iterator[np.ndarray]:
    """Yields the numbers of each storage."""
    for storage in storages:
        (length,) = struct.unpack_from("<q", contents, start)
        start += 8
        if length != storage.length:
            raise ValueError(f"a storage of {storage.length} numbers says that it has {length}")
        yield np.frombuffer(contents, storage.dtype, length, start)
        start += length * storage.dtype.itemsize


def _array(name, tensor, storages):
    """Returns the view of a storage that a tensor is, once it is known to lie within it.

    No two of its elements share a number: each step is over all that lies within the next
    smaller ones, so that a tensor is never larger than what the file holds for it.
    """
    numbers = storages[tensor.storage.key]
    size, last = 1, tensor.offset
    for step, side in sorted(zip(tensor.stride, tensor.shape, strict=True)):
        if side > 1 and step < size:
            raise ValueError(f"tensor {name[:80]!r} uses a number more than once")
        size = max(size, step * side)
        last += (side - 1) * step
    if 0 in tensor.shape or max([last + 1, *tensor.stride]) > len(numbers):
        raise ValueError(f"tensor {name[:80]!r} reaches beyond its storage")
    steps = [step * numbers.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, steps, writeable=False
    )


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Global(NamedTuple):
    name: str


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK, "EMPTY_TUPLE": ()}
_MUTABLE = {"EMPTY_DICT": dict, "EMPTY_LIST": list}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME"}


class _Machine:
    """Carries out one pickle; what is put on its stack is data and nothing else."""

    def __init__(self):
        self.stack, self.memo, self.storages = [], {}, {}

    def run(self, stream):
        """Returns what the pickle leaves behind."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if opcode.name == "STOP":
                return self._pop()
            if number == MAX_STEPS:
                raise ValueError(f"it has a pickle of more than {MAX_STEPS} steps")
            self._step(opcode.name, argument)
        raise ValueError("it ends within a pickle")

    def _step(self, name, argument):
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _MUTABLE:
            self.stack.append(_MUTABLE[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise ValueError("a pickle reads a memo that it never wrote")
            self.stack.append(self.memo[argument])
        elif name in _TUPLES:
            self.stack.append(tuple(reversed([self._pop() for _ in range(_TUPLES[name])])))
        elif name in self.COMPOUND:
            self.COMPOUND[name](self, argument)
        elif name not in _IGNORED:
            raise ValueError(f"it has the instruction {name}, which no dictionary of tensors needs")

    def _pop(self):
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("a pickle reads from an empty stack")
        return self.stack.pop()

    def _pop_to_mark(self):
        items = []
        while self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        self.stack.pop()
        return items[::-1]

    def _fill(self, pairs):
        """Puts (key, value) pairs into the dictionary on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict) or not all(isinstance(key, str) for key, _ in pairs):
            raise ValueError("it has a dictionary whose keys are not text")
        target.update(pairs)

    def _extend(self, items):
        if not isinstance(self.stack[-1], list):
            raise ValueError("it appends to something that is not a list")
        self.stack[-1].extend(items)

    def _make_dictionary(self, items):
        self.stack.append({})
        self._fill(_pairs(items))

    def _look_up(self, name):
        if name not in (DICTIONARY, TENSOR, *DTYPES):
            raise ValueError(
                f"it names {name.replace(' ', '.')[:80]}, which is not a tensor of float32 or int64"
            )
        self.stack.append(_Global(name))

    def _look_up_from_stack(self, _):
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("it looks up something that is not a name")
        self._look_up(f"{module} {name}")

    def _call(self, _):
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise ValueError("it calls something that is not a function")
        if function.name == TENSOR:
            self.stack.append(_tensor(*arguments))
        elif function.name == DICTIONARY:
            # Python 2 wrote the items as the argument.
            self.stack.append({})
            self._fill([(key, value) for key, value in (arguments or ((),))[0]])
        else:
            raise ValueError(f"it calls {function.name}")

    def _drop_state(self, _):
        """A state_dict carries versions of layers as attributes; they are not needed."""
        self._pop()
        if not isinstance(self.stack[-1], dict):
            raise ValueError("it sets attributes of something that is not a dictionary")

    def _name_storage(self, _):
        kind, dtype, key, _, length, view = self._pop()
        if kind != "storage" or not isinstance(dtype, _Global) or dtype.name not in DTYPES:
            raise ValueError("it names a storage of no type")
        if not isinstance(key, str) or not _are_sizes(length) or view is not None:
            raise ValueError("it names a storage whose key is no text or whose length is no count")
        storage = _Storage(key, DTYPES[dtype.name], length)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"it names storage {key[:80]!r} twice, differently")
        self.stack.append(storage)

    COMPOUND = {
        "TUPLE": lambda self, _: self.stack.append(tuple(self._pop_to_mark())),
        "LIST": lambda self, _: self.stack.append(self._pop_to_mark()),
        "DICT": lambda self, _: self._make_dictionary(self._pop_to_mark()),
        "APPEND": lambda self, _: self._extend([self._pop()]),
        "APPENDS": lambda self, _: self._extend(self._pop_to_mark()),
        "SETITEM": lambda self, _: self._fill(_pairs([self._pop(), self._pop()][::-1])),
        "SETITEMS": lambda self, _: self._fill(_pairs(self._pop_to_mark())),
        "GLOBAL": _look_up,
        "STACK_GLOBAL": _look_up_from_stack,
        "REDUCE": _call,
        "BUILD": _drop_state,
        "BINPERSID": _name_storage,
    }


def _pairs(items):
    return list(zip(items[::2], items[1::2], strict=True))


def _are_sizes(*values):
    # Not bool, which is an int elsewhere.
    return all(type(value) is int and 0 <= value < 2**40 for value in values)


def _tensor(storage, offset, shape, stride, *_):
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple):
        raise ValueError("it makes a tensor from something that is not a storage")
    if not isinstance(stride, tuple) or not _are_sizes(offset, *shape, *stride):
        raise ValueError("it makes a tensor whose offset, shape or stride is not a count")
    return _Tensor(storage, offset, shape, stride)
