"""The command `lbunet`: `lbunet train ...` is `python -m lbunet_tf.train ...`."""

import ast
import difflib
import pathlib
import runpy
import sys

import lbunet_tf
from lbunet_tf.settings import process


def main() -> None:
    """Runs the command that the first word names; without one, lists them."""
    process.open_streams()
    words = sys.argv[1:]
    if not words or words[0] in ("--help", "-h", "-help", "help"):
        sys.stdout.write(_list_commands())
        return
    if words[0] == "--version":
        sys.stdout.write(f"lbunet_tf {lbunet_tf.__version__}\n")
        return
    if words[0] not in process.COMMANDS:
        sys.stderr.write(f"\nERROR: {_describe_wrong(words[0])}\n")
        sys.exit(1)
    process.start_command(words[0], words[1:])
    del sys.argv[1]
    # As -m does: the module is __main__, whose docstring is the help, and sys.argv[0] its file.
    runpy.run_module(f"lbunet_tf.{words[0]}", run_name="__main__", alter_sys=True)


def _list_commands():
    width = max(map(len, process.COMMANDS))
    lines = [f"  {name:{width}}  {_purpose(name)}" for name in process.COMMANDS]
    return "\n".join(
        [
            "LB-UNet for dermoscopic images: finds the lesion and scores melanoma.",
            "",
            "    lbunet COMMAND --flag=value ...        flags of a command: lbunet COMMAND --help",
            "",
            "Commands:",
            *lines,
            "",
        ]
    )


def _purpose(command):
    """Returns the first line of a command's module, read: importing it would import TensorFlow."""
    source = pathlib.Path(lbunet_tf.__file__).with_name(f"{command}.py")
    doc = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    return doc.split("\n")[0]


def _describe_wrong(word):
    near = difflib.get_close_matches(word, process.COMMANDS, 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return (
        f"the first word after lbunet must be a command: {', '.join(process.COMMANDS)}. {hint}"
        f"Received: {word}. What they do: lbunet --help"
    )
