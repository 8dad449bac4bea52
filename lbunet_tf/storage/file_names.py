"""Ids as file names: an id is data, and never leaves the folder that its file belongs into."""

import collections
import hashlib
import re
import unicodedata
from collections.abc import Sequence

# Beside letters, digits and what is not ASCII; the rest means something to a file system, a
# shell, a web server or a spreadsheet, and is written as %XX.
_PLAIN = frozenset(" ._-+=,@()[]{}#!^~&;'$")
# ext4, APFS and NTFS take 255 bytes or more; a suffix, a mark and whole_files.PARTIAL need some.
MAX_BYTES = 200
_MARK = re.compile("~[0-9a-f]{12}$", re.IGNORECASE)
# Names that Windows keeps for devices, whatever follows a dot.
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}


def file_names(ids: Sequence[str]) -> list[str]:
    """Returns a file name without suffix for each id, different ones for different ids.

    An id that is a plain name stays as it is. A separator, a control character, a byte that is
    no UTF-8, a dot or space at an end, and a "%" become "%XX", as in URLs. One that is too long
    is cut; it, an empty one, a name that Windows keeps for devices, and those that would meet
    where upper and lower case or the forms of Unicode are one (`A` and `a`) get a mark by which
    they differ: "~" and the start of the SHA-256 of the id. Names depend on nothing but the ids.

    Raises:
        ValueError: An id stands twice.
    """
    twice = [one for one, count in collections.Counter(ids).items() if count > 1]
    if twice:
        raise ValueError(
            f"every image_id must be unique. Received {len(twice)} that occur twice, the first is "
            f"{printable(twice[0])!r}"
        )
    names = [_quoted(one) for one in ids]
    counts = collections.Counter(_folded(name) for name in names)
    return [
        _marked(name, one) if counts[_folded(name)] > 1 or _needs_mark(name) else name
        for one, name in zip(ids, names, strict=True)
    ]


def printable(text: str) -> str:
    r"""Returns text for one line of a log, a list or a table.

    Control characters, line ends and bytes of a file name that are no UTF-8 become escapes, as
    in `caf\xe9.jpg`.
    """
    return "".join(_escaped(character) for character in text)


def _escaped(character):
    if "\udc80" <= character <= "\udcff":
        # How Python holds a byte of a file name that is no UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode()
    return character


def _quoted(name):
    quoted = "".join(_percent(character) for character in name)
    if quoted[:1] in (" ", "."):
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if quoted[-1:] in (" ", "."):
        quoted = f"{quoted[:-1]}%{ord(quoted[-1]):02X}"
    return quoted


def _percent(character):
    is_plain = character.isalnum() or character in _PLAIN
    if is_plain or ord(character) > 127 and unicodedata.category(character)[0] not in "CZ":
        return character
    return "".join(f"%{byte:02X}" for byte in _bytes(character))


def _bytes(character):
    is_byte = "\udc80" <= character <= "\udcff"
    return character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")


def _folded(name):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _needs_mark(name):
    is_device = name.split(".")[0].lower() in _DEVICES
    # One that looks as if it had a mark gets its own, or it could be that of another id.
    looks_marked = _MARK.search(name) is not None
    return not name or is_device or looks_marked or len(name.encode()) > MAX_BYTES


def _marked(name, one):
    mark = "~" + hashlib.sha256(one.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return name.encode()[: MAX_BYTES - len(mark)].decode(errors="ignore") + mark
