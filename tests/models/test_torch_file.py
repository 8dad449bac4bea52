"""PyTorch files are read without PyTorch, and without believing them."""

import struct

import numpy as np
import pytest

from lbunet_tf.models import encoders
from lbunet_tf.models import torch_file

# A file opens with three pickles: magic number, protocol and system, which are not looked at.
HEADER = b"I1\n." * 3
FOUR = {"0": np.arange(4, dtype="<f4")}


def tensor(key="0", count=4, shape=(4,), stride=(1,), offset=0, storage=b"FloatStorage"):
    """The pickle opcodes of one tensor of a PyTorch state_dict."""

    def numbers(values):
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    identity = b"(S'storage'\nctorch\n%s\nS'%s'\nS'cpu'\nI%d\nNt" % (storage, key.encode(), count)
    view = b"I%d\n" % offset + numbers(shape) + numbers(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + identity + b"Q" + view + b"I00\nNtR"


def state(**tensors):
    """The pickle opcodes of a dictionary of tensors."""
    pairs = (b"S'%s'\n" % name.encode() + code + b"s" for name, code in tensors.items())
    return b"}" + b"".join(pairs)


def torch_bytes(dictionary, storages=FOUR, keys=None):
    """The bytes of a file: opcodes of the dictionary, storages key -> array."""
    keys = storages if keys is None else keys
    named = b"(" + b"".join(b"S'%s'\n" % key.encode() for key in keys) + b"l."
    data = b"".join(struct.pack("<q", len(array)) + array.tobytes() for array in storages.values())
    return HEADER + dictionary + b"." + named + data


def read(tmp_path, contents):
    path = tmp_path / "crafted.pth"
    path.write_bytes(contents)
    return torch_file.read_tensors(path)


def test_tensors_are_views_of_their_storage_by_offset_and_stride(tmp_path):
    contents = torch_bytes(
        state(plain=tensor("0", 8, (2, 3), (3, 1)), turned=tensor("0", 8, (3, 2), (1, 3), 2)),
        {"0": np.arange(8, dtype="<f4")},
    )

    tensors = read(tmp_path, contents)

    np.testing.assert_array_equal(tensors["plain"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(tensors["turned"], [[2, 5], [3, 6], [4, 7]])


def test_a_single_number_and_whole_numbers_are_read(tmp_path):
    contents = torch_bytes(
        state(seen=tensor("1", 1, (), (), storage=b"LongStorage"), w=tensor()),
        {"1": np.array([7]), **FOUR},
    )

    tensors = read(tmp_path, contents)

    assert (tensors["seen"].dtype, tensors["seen"].shape, int(tensors["seen"])) == ("int64", (), 7)
    np.testing.assert_array_equal(tensors["w"], [0, 1, 2, 3])


def test_attributes_of_the_dictionary_are_read_past(tmp_path):
    # PyTorch keeps the versions of layers there.
    metadata = b"}S'_metadata'\n}S''\n}S'version'\nI1\nsss"

    tensors = read(tmp_path, torch_bytes(state(w=tensor()) + metadata + b"b"))

    assert list(tensors) == ["w"]


def test_a_dictionary_of_pairs_as_python_2_wrote_it_is_read(tmp_path):
    pairs = b"ccollections\nOrderedDict\n(((S'w'\n" + tensor() + b"lltR"

    assert list(read(tmp_path, torch_bytes(pairs))) == ["w"]


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\nNtQ"
# t = (t, t) thirty times over: to hash or print it takes 2^30 steps.
BOMB = b"I1\n" + b"p0\ng0\n\x86" * 30
CRAFTED = {
    "state of a tensor": state(w=tensor() + b"}S'shape'\n(I9\ntsb"),
    "state of a storage": state(w=REBUILD + b"(" + STORAGE + b"}S'data'\nI0\nsbI0\n(I4\nt(I1\nttR"),
    "stride 0": state(w=tensor(shape=(10**9,), stride=(0,))),
    "overlapping rows": state(w=tensor(shape=(2, 3), stride=(1, 1))),
    "equal strides": state(w=tensor(shape=(2, 2), stride=(1, 1))),
    "longer than its storage": state(w=tensor(shape=(5,))),
    "larger than its storage": state(w=tensor(shape=(32, 3, 3, 3), stride=(27, 9, 3, 1))),
    "offset beyond its storage": state(w=tensor(offset=1)),
    "offset of 2^62": state(w=tensor(offset=2**62)),
    "negative offset": state(w=tensor(offset=-1)),
    "negative stride": state(w=tensor(stride=(-1,))),
    "negative shape": state(w=tensor(shape=(-4,))),
    "no elements": state(w=tensor(shape=(0,))),
    "sides whose product is 2^64": state(w=tensor(shape=(2**32, 2**32), stride=(2**32, 1))),
    "a stride of 2^62 over one element": state(w=tensor(shape=(1,), stride=(2**62,))),
    "a shape longer than the strides": state(w=tensor(shape=(2, 2))),
    "a hundred dimensions": state(w=tensor(shape=(1,) * 100, stride=(1,) * 100)),
    "a shape of text": state(w=REBUILD + b"(" + STORAGE + b"I0\n(S'4'\nt(I1\nttR"),
    "a shape of truth": state(w=REBUILD + b"(" + STORAGE + b"I0\n(I01\nt(I1\nttR"),
    "a shape that is a number": state(w=REBUILD + b"(" + STORAGE + b"I0\nI4\n(I1\nttR"),
    "too few arguments": state(w=REBUILD + b"(" + STORAGE + b"tR"),
    "a tensor of no storage": state(w=REBUILD + b"(NI0\n(I4\nt(I1\nttR"),
    "a storage of 2^62 numbers": state(w=tensor(count=2**62)),
    "a storage of -1 numbers": state(w=tensor(count=-1)),
    "a storage of two lengths": state(v=tensor(), w=tensor(count=3, shape=(3,))),
    "a storage of two types": state(v=tensor(), w=tensor(storage=b"LongStorage")),
    "a storage that is not there": state(w=tensor("1")),
    "a storage of no type": state(w=tensor(storage=b"ByteStorage")),
    "a storage whose key is a number": state(w=tensor().replace(b"S'0'", b"I0")),
    "a storage that is a view": state(w=tensor().replace(b"I4\nNtQ", b"I4\n(S'1'\nI0\nI4\nttQ")),
    "a storage named by text": state(w=b"P0\n"),
    "a name that is a number": b"}I1\n" + tensor() + b"s",
    "a name that is a bomb": b"}" + BOMB + tensor() + b"s",
    "a value that is a bomb": b"}S'w'\n" + BOMB + b"s",
    "an argument that is a bomb": state(w=REBUILD + b"(" + BOMB + b"tR"),
    "brackets 100,000 deep": b"(" * 100_000 + b"t" * 100_000,
    "a list 100,000 deep": b"]" * 100_000 + b"a" * 99_999,
    "a dictionary in itself": b"}p0\nS'w'\ng0\ns",
    "a place of memory of 2^31": b"}r\xff\xff\xff\x7f",
    "a value from an empty place": b"}S'w'\ng5\ns",
    "text that says it has 2^31 bytes": b"}X\xff\xff\xff\xff",
    "bytes that say they have 2^62": b"}\x8e" + struct.pack("<Q", 2**62),
    "a number of 10,000 digits": b"}S'w'\nI" + b"9" * 10_000 + b"\ns",
    "a number of 2^20 bytes": b"}S'w'\n\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20 + b"s",
    "text that is no UTF-8": b"}X\x01\x00\x00\x00\xff",
    "nothing on the stack": b"s",
    "a mark as a value": b"}S'w'\n(s",
    "an odd number of keys and values": b"}(S'w'\nu",
    "a call of a type": state(w=b"ctorch\nFloatStorage\n(tR"),
    "a call of text": state(w=b"S'x'\n(tR"),
    "a new object": state(w=b"ccollections\nOrderedDict\n(t\x81"),
    "an instance of the first protocol": state(w=b"(icollections\nOrderedDict\n"),
    "a number of the extension registry": state(w=b"\x82\x01"),
    "a set": b"\x8f",
    "a name put together": state(w=b"\x8c\x05posix\x8c\x06system\x93"),
    "a name of numbers": state(w=b"I1\nI2\n\x93"),
    "an unknown instruction": b"}\xff",
}


@pytest.mark.parametrize("dictionary", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_dictionary_is_refused_by_the_files_name(tmp_path, dictionary):
    with pytest.raises(
        ValueError, match=r"crafted.pth must be a complete PyTorch file .* Received"
    ):
        read(tmp_path, torch_bytes(dictionary))


@pytest.mark.parametrize(
    "contents",
    [
        torch_bytes(state(w=tensor()), FOUR, keys=()),
        torch_bytes(state(w=tensor()), FOUR, keys=("0", "0")),
        torch_bytes(state(w=tensor()), FOUR, keys=("1",)),
        torch_bytes(state(w=tensor()), {**FOUR, "1": FOUR["0"]}),
        torch_bytes(state(w=tensor()), {"0": np.arange(3, dtype="<f4")}),
        torch_bytes(state(w=tensor())).replace(struct.pack("<q", 4), struct.pack("<q", 2**61)),
        torch_bytes(state(w=tensor())).replace(struct.pack("<q", 4), struct.pack("<q", -1)),
        torch_bytes(state(w=tensor()))[:-1],
        HEADER + state(w=tensor()) + b".I1\n.",
        HEADER + state(w=tensor()) + b".((I0\nll.",
        HEADER + b"N" * (torch_file.MAX_STEPS + 1) + b".",
    ],
    ids=[
        "not a storage",
        "one storage twice",
        "another storage",
        "a storage too many",
        "fewer numbers than the tensor says",
        "2^61 numbers",
        "-1 numbers",
        "a byte too few",
        "keys that are a number",
        "keys that are lists",
        "too many steps",
    ],
)
def test_a_file_whose_storages_are_others_is_refused_by_name(tmp_path, contents):
    with pytest.raises(
        ValueError, match=r"crafted.pth must be a complete PyTorch file .* Received"
    ):
        read(tmp_path, contents)


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"PK\x03\x04" + bytes(100), "zip archive, as Keras .* and PyTorch since 1.6"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file, as Keras writes weights"),
        (struct.pack("<Q", 90) + b'{"w":{"dtype":"F32"', "a safetensors file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a git-lfs pointer.*git lfs pull",
        ),
        (b"\n<!DOCTYPE html><html><head>", "a web page"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (b"", "empty"),
    ],
)
def test_a_file_of_another_format_is_called_by_what_it_is(tmp_path, contents, words):
    with pytest.raises(ValueError, match=f"crafted.pth must be .* Received: it is .*{words}"):
        read(tmp_path, contents)


def test_a_crafted_tensor_names_itself(tmp_path):
    with pytest.raises(ValueError, match="tensor 'stem' uses a number more than once"):
        read(tmp_path, torch_bytes(state(stem=tensor(shape=(10**9,), stride=(0,)))))


def test_a_weight_that_is_not_finite_is_named_with_its_file(tmp_path):
    numbers = np.zeros(32 * 27, "<f4")
    numbers[5] = np.nan
    contents = torch_bytes(
        state(**{"_conv_stem.weight": tensor("0", 864, (32, 3, 3, 3), (27, 9, 3, 1))}),
        {"0": numbers},
    )
    path = tmp_path / "mine.pth"
    path.write_bytes(contents)

    with pytest.raises(
        ValueError, match=r"mine.pth .* _conv_stem.weight has 1 of 864 that are NaN"
    ):
        encoders.build_encoder("efficientnet_lite0", str(path), 32)
