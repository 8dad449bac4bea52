"""What a process needs around it: Matplotlib's backend, open streams, Keras' settings, malloc."""

import contextlib
import ctypes
import gc
import os
import pathlib
import sys
from collections.abc import Iterator
from collections.abc import Sequence

from absl import logging

BACKENDS = ("tensorflow", "jax")
COMMANDS = (
    "prepare",
    "train",
    "evaluate",
    "predict",
    "export",
    "compare",
    "tune",
    "pseudo_label",
)
# What Keras and TensorFlow import where they find it, and no command asks of them.
UNASKED = ("sklearn", "matplotlib")
# Of glibc's mallopt: what is set, and to what; 32 MB is the most that it takes for the second.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT_BYTES, LARGEST_KEPT_BYTES = 2**29, 2**25
# What the models are defined and tested with; keras.json and other code may say otherwise.
KERAS = {"image_data_format": "channels_last", "floatx": "float32", "epsilon": 1e-7}


def refuse_other_backends(asked: str) -> None:
    """Raises a ValueError where Keras does not run on TensorFlow, which alone can do `asked`."""
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f"{asked} needs the TensorFlow backend, which reads runs of every backend: give "
            f"KERAS_BACKEND=tensorflow. Received: KERAS_BACKEND={backend}"
        )


def command_of(argv: Sequence[str], original: Sequence[str]) -> str:
    """Returns X where `python -m lbunet_tf.X` is starting, "" in a program that imports us.

    Args:
        argv: `sys.argv`, which begins with -m while Python looks for the module.
        original: `sys.orig_argv`, which names it.
    """
    if argv[:1] != ["-m"]:
        return ""
    modules = [word for word in original if "lbunet_tf." in word]
    return modules[0].rpartition("lbunet_tf.")[2] if modules else ""


def start_command(entry: str, arguments: Sequence[str]) -> None:
    """Prepares the process of a command, before it imports Keras.

    Ends it where a flag cannot be read, or Keras cannot start. A command draws to files only:
    Matplotlib refuses a backend that it does not know, as that of a notebook (MPLBACKEND) where
    IPython is not installed.
    """
    os.environ["MPLBACKEND"] = "Agg"
    # TensorBoard's HParams import tf.keras; ours is Keras 3, and the old one need not be there.
    os.environ["TF_USE_LEGACY_KERAS"] = "0"
    open_streams()
    if entry in COMMANDS:
        _refuse_wrong_flags(entry, arguments)
    try:
        with _imported_fast():
            import keras
            import tensorflow  # noqa: F401
    # Whatever it is: a backend that is not installed, a wrong keras.json, warnings as errors.
    except Exception as error:
        _refuse(f"{type(error).__name__}: {error}")
    if keras.backend.backend() not in BACKENDS:
        _refuse(f"the backend {keras.backend.backend()}")


@contextlib.contextmanager
def _imported_fast() -> Iterator[None]:
    """Halves the time that Keras and TensorFlow take to be imported.

    They do not see `UNASKED`, and no garbage is looked for among objects that all stay.
    """
    hidden = [name for name in UNASKED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        for name in hidden:
            del sys.modules[name]


def _refuse_wrong_flags(entry, arguments):
    """Ends the process where a flag cannot be read, before TensorFlow is imported."""
    # It defines flags of its own when it is imported, --help when the command runs.
    from absl import app  # noqa: F401

    from lbunet_tf.settings import flagfiles

    if any(word.lstrip("-").startswith("help") or word == "-h" for word in arguments):
        return
    wrong = flagfiles.describe_wrong(entry, arguments)
    if wrong:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"\n{wrong}\n")
        sys.exit(1)


def open_streams() -> None:
    """Gives a closed standard stream to /dev/null; what cannot be encoded is escaped.

    Otherwise the first file that is opened gets the number of the closed stream, and what a
    library prints is written into it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _refuse(received):
    backend = os.environ.get("KERAS_BACKEND", "")
    home = os.environ.get("KERAS_HOME", os.path.expanduser("~/.keras"))
    sys.stderr.write(
        f"\nERROR: Keras must start, with the backend {' or '.join(BACKENDS)}. It reads "
        f"KERAS_BACKEND, else {pathlib.Path(home) / 'keras.json'}: correct it there. Received: "
        f"KERAS_BACKEND={backend}; {' '.join(received.split())}\n"
    )
    sys.exit(1)


def set_keras() -> None:
    """Sets what Keras' models are built with, whatever keras.json says; logs what was otherwise."""
    import keras

    for name, value in KERAS.items():
        found = getattr(keras.config, name)()
        if found != value:
            logging.warning(
                "Keras' %s was %s, from keras.json or this program; it is now %s, which the "
                "models need",
                name,
                found,
                value,
            )
            getattr(keras.config, f"set_{name}")(value)
    for name in ("max_epochs", "max_steps_per_epoch"):
        limit = getattr(keras.config, name)()
        if limit is not None:
            logging.warning("Keras limits every training: KERAS_%s=%s", name.upper(), limit)


def reuse_freed() -> None:
    """Makes this process keep what it frees for its next batch.

    By default glibc gives a batch's memory back, and the kernel clears every page of the next:
    with records that took as long as reading them. 512 MB are kept, and what the other arenas of
    glibc hold, at most 64 MB in one piece. Another C library, and what the user has set
    (MALLOC_*, GLIBC_TUNABLES), are left as they are.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
