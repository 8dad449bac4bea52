"""What a file is by its first bytes, for errors that say so."""

import os
import pathlib
import re

NUM_BYTES = 512
# First bytes by regular expression -> what the file is, and what to do about it.
KINDS = {
    rb"$": "it is empty",
    rb"version https://git-lfs": "it is a git-lfs pointer, not the file: run `git lfs pull`",
    rb"\s*(<!doctype|<html|<\?xml)": "it is a web page, not the file: download the file itself",
    rb"PK\x03\x04": "it is a zip archive, as Keras (.keras) and PyTorch since 1.6 write them",
    rb"\x89HDF\r\n\x1a\n": "it is an HDF5 file, as Keras writes weights",
    rb"\x80[\x02-\x05]": "it is a pickle, as PyTorch before 1.6 writes them",
    rb"(?s).{7}\x00\{\s*\"": "it is a safetensors file",
    rb"\x1f\x8b": "it is compressed by gzip: unpack it first",
}


def describe(path: str | os.PathLike) -> str:
    """Returns what a file is in words, "" where its first bytes do not say it."""
    with open(pathlib.Path(path), "rb") as file:
        start = file.read(NUM_BYTES)
    return next((words for rule, words in KINDS.items() if re.match(rule, start, re.I)), "")


def describe_other(path: str | os.PathLike, expected: str) -> str:
    """Returns what a file is in words where it is not what was expected, "" else.

    Args:
        path: The file.
        expected: A word of KINDS.
    """
    kind = describe(path)
    return "" if expected in kind else kind
