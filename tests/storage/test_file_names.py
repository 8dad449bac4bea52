import os
import re
import unicodedata

import hypothesis
import pytest
from hypothesis import strategies

from lbunet_tf.storage import file_names

# Any text, surrogates too: that is how Python holds the bytes of a name that is no UTF-8.
TEXT = strategies.text(strategies.characters(), max_size=300)
AWKWARD = strategies.sampled_from(
    ["a", "A", "é", "e\u0301", "../x", "/", ".", "..", "", "con", "x."]
)


@pytest.mark.parametrize(
    "plain",
    ["ISIC_0000001", "P 12", "a.b", "x-1", "日本", "ñ", "550e8400-e29b-41d4-a716-446655440000"],
)
def test_a_plain_id_is_its_file_name(plain):
    assert file_names.file_names([plain]) == [plain]


@pytest.mark.parametrize(
    ("odd", "name"),
    [
        ("../../victim", "%2E.%2F..%2Fvictim"),
        ("/tmp/x", "%2Ftmp%2Fx"),
        ("a\\b", "a%5Cb"),
        ("a\0b", "a%00b"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("100%", "100%25"),
        ("caf\udce9", "caf%E9"),
        ("a\u2028b", "a%E2%80%A8b"),
        ("", "~e3b0c44298fc"),
    ],
)
def test_what_means_something_to_a_file_system_is_quoted(odd, name):
    assert file_names.file_names([odd]) == [name]


def test_names_that_meet_where_case_does_not_count_get_marks():
    assert file_names.file_names(["a", "A", "b"]) == ["a~ca978112ca1b", "A~559aead08264", "b"]


def test_an_id_that_looks_like_a_marked_one_does_not_meet_it():
    names = file_names.file_names(["a", "A", "a~ca978112ca1b"])
    assert len(set(names)) == 3


def test_a_name_does_not_depend_on_the_order_of_the_ids():
    ids = ["b/c", "B/c", "x" * 400, "con"]
    forward = dict(zip(ids, file_names.file_names(ids), strict=True))
    assert forward == dict(zip(ids[::-1], file_names.file_names(ids[::-1]), strict=True))


def test_an_id_that_stands_twice_is_named():
    with pytest.raises(ValueError, match="must be unique.*1 that occur twice.*'b'"):
        file_names.file_names(["a", "b", "b"])


@hypothesis.given(strategies.lists(TEXT | AWKWARD, unique=True, max_size=8))
@hypothesis.settings(max_examples=300, deadline=None)
def test_any_ids_give_different_files_inside_the_folder(ids):
    names = file_names.file_names(ids)
    folded = {unicodedata.normalize("NFC", name).casefold() for name in names}
    assert len(folded) == len(ids)
    for name in names:
        assert os.path.basename(name) == name and name not in ("", ".", "..")
        assert len(name.encode("utf-8")) <= file_names.MAX_BYTES
        assert not re.search(r'[\x00-\x1f/\\:*?"<>|]|^[. ]|[. ]$', name)


@hypothesis.given(strategies.lists(TEXT, unique=True, min_size=1, max_size=4))
@hypothesis.settings(max_examples=30, deadline=None)
def test_any_ids_can_be_written_and_found_again(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("names")
    names = file_names.file_names(ids)
    for number, name in enumerate(names):
        (folder / f"{name}.png").write_text(str(number))
    found = [int((folder / f"{name}.png").read_text()) for name in names]
    assert found == list(range(len(ids)))


def test_printable_text_stands_on_one_line_and_encodes():
    text = file_names.printable("a\nb\x1b[31m\udce9\u2028 é")
    assert text == "a\\nb\\x1b[31m\\xe9\\u2028 é"
    assert text.encode("utf-8") and "\n" not in text


@hypothesis.given(TEXT)
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_text_becomes_printable(text):
    assert len(file_names.printable(text).encode("utf-8").splitlines()) <= 1
