"""What every `python -m lbunet_tf.X` shares: help, flags, and errors in one line."""

import contextlib
import gc
import os
import re
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import app
from absl import logging

from lbunet_tf.settings import config
from lbunet_tf.settings import fields
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import process


def run(main: Callable[..., None], entry: str, takes_paths: bool = False) -> None:
    """Runs an entry: help, flags, `main(settings)`, and one clear line for a user's error.

    With `takes_paths`, what stands after the flags is passed on: `main(settings, paths)`.
    """
    if {"--help", "-h", "-help"} & set(sys.argv[1:]):
        _write_help(entry)
        return
    flagfiles.define_flags(entry)
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold("info")

    def call(arguments):
        if len(arguments) > 1 and not takes_paths:
            raise app.UsageError(f"Only flags are taken. Received: {' '.join(arguments[1:])}")
        signal.signal(signal.SIGTERM, _interrupt)
        process.reuse_freed()
        if keras.backend.backend() != "tensorflow":
            # TensorFlow only reads images then; it would take the GPUs' memory.
            tf.config.set_visible_devices([], "GPU")
        process.set_keras()
        keras.config.set_dtype_policy("float32")
        paths = (arguments[1:],) if takes_paths else ()
        status = _status_of(lambda: main(flagfiles.from_flags(entry), *paths))
        # What the error held is let go while Python still runs: the end of a tf.data iterator
        # waits for its calls into Python, which no longer return once the interpreter ends.
        gc.collect()
        sys.exit(status)

    app.run(call, flags_parser=_parse)


def _write_help(entry):
    try:
        sys.stdout.write(help_text(entry, sys.modules["__main__"].__doc__) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Its reader has enough before the end, as in --help | head.
        _drop_output()


def _status_of(work):
    """Returns the exit status of `work()`, once its error is said."""
    try:
        work()
    except KeyboardInterrupt as stop:
        number = stop.args[0] if stop.args else signal.SIGINT
        words = [f"stopped by {signal.Signals(number).name}", *getattr(stop, "__notes__", ())]
        _say("; ".join(words))
        return 128 + number
    except BrokenPipeError:
        # As any program in a pipe: whoever read the output has ended, as in ... | head.
        _drop_output()
        _say("stopped: the reader of the output has gone away")
        return 128 + signal.SIGPIPE
    except (ValueError, OSError, tf.errors.OpError) as error:
        if logging.get_verbosity() > logging.INFO:
            traceback.print_exc()
        _say(f"ERROR: {_in_words(error)}")
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _say(text):
    """Writes a line to stderr, which may be a pipe that nobody reads any more."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"\n{text}\n")
        sys.stderr.flush()


def _drop_output():
    """Sends what Python still writes to stdout, at its end at the latest, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _in_words(error):
    """Returns the message; of an error within tf.data, what our own code raised there."""
    text = str(error)
    if not isinstance(error, tf.errors.OpError):
        return text
    raised = re.findall(r"^ValueError: (.*)$", text, re.MULTILINE)
    return raised[-1] if raised else f"{text.splitlines()[0]} (--v=1 shows where)"


def _interrupt(number, frame):
    """Ends the process as Ctrl-C does: files that are being written are dropped."""
    raise KeyboardInterrupt(number)


def _parse(arguments):
    """Returns what is left after the flags; one clear line for a wrong one."""
    try:
        return flagfiles.parse(arguments)
    except ValueError as error:
        _say(flagfiles.describe(error))
        sys.exit(1)


def help_text(entry: str, doc: str | None) -> str:
    """Returns what `--help` prints: the entry's purpose, then its flags by group.

    Under `python -OO` there is no text on its purpose.
    """
    lines = [(doc or f"python -m lbunet_tf.{entry}").strip(), "", "Flags:"]
    for group, title in config.GROUPS.items():
        shown = [field for field in config.fields_of(entry) if field.name in config.FLAGS[group]]
        lines += ["", f"  {title}"] if shown else []
        lines += [line for field in shown for line in _flag_help(field, _is_of_run(field, entry))]
    if entry in (*fields.DATA, *fields.COMPARE, *fields.TUNE):
        lines += ["", "  --flagfile=flags/X.cfg: read flags from a file; later flags win."]
    lines += ["  --v=1: show the traceback of an error."]
    return "\n".join(lines)


def _is_of_run(field, entry):
    """Returns whether an entry takes a flag that is not given from the run's flags.cfg."""
    if entry in (*fields.DATA, *fields.COMPARE, *fields.TUNE):
        return False
    others = {*config.FLAGS["source"], "run", "precision", *flagfiles.NO_PROPERTIES}
    return field in config.fields_of("train") and field.name not in others


def _flag_help(field, is_of_run):
    default = field.default
    if isinstance(default, (list, tuple)):
        default = ",".join(map(str, default))
    choices = field.metadata["choices"]
    one_of = "|".join(choices or ())
    # Many choices stand in the text, where they are wrapped.
    is_one_of = choices and not field.metadata["many"] and len(one_of) < 60
    if isinstance(default, bool):
        default, shown = str(default).lower(), f"--[no]{field.name}"
    else:
        shown = f"--{field.name}=" + (one_of if is_one_of else _placeholder(field))
    text = field.metadata["help"]
    text += f" Choices: {', '.join(choices)}." if choices and not is_one_of else ""
    if is_of_run:
        text += " Default: that of the run."
    elif default != "":
        text += f" Default: {default}."
    return [
        f"    {shown}",
        *textwrap.wrap(text, 84, initial_indent=" " * 8, subsequent_indent=" " * 8),
    ]


def _placeholder(field):
    if field.metadata["many"]:
        return "A,B"
    return {int: "N", float: "X", str: "VALUE"}[type(field.default)]
