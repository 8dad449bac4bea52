"""The precision of the arithmetic: Keras' dtype policies, and oneDNN's bfloat16 on CPUs."""

import contextlib
import pathlib
from collections.abc import Iterator

import keras
import tensorflow as tf

ONEDNN = "onednn_bfloat16"
CPU_INFO = pathlib.Path("/proc/cpuinfo")
# Instructions that multiply bfloat16 and add in float32.
BFLOAT16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


@contextlib.contextmanager
def precision_scope(name: str) -> Iterator[str]:
    """Sets the precision within the block, and float32 after it: what is scored then is."""
    try:
        yield set_precision(name)
    finally:
        set_precision("float32")


def set_precision(name: str) -> str:
    """Sets the precision of the models that are built next; returns its name.

    `auto` takes mixed_bfloat16 on accelerators that multiply it (GPUs from Ampere on);
    `onednn_bfloat16` under TensorFlow on a CPU with bfloat16 instructions: convolutions, and
    what lies between them, in bfloat16, while variables, losses and the saved model stay
    float32; else float32.

    Raises:
        ValueError: `onednn_bfloat16` under another backend, or on a CPU that has no bfloat16.
    """
    if name == "auto":
        name = _fastest()
    if name == ONEDNN:
        _refuse_onednn_elsewhere()
    keras.config.set_dtype_policy("float32" if name == ONEDNN else name)
    rewrite_graphs(name)
    return name


def rewrite_graphs(name: str) -> None:
    """Sets whether TensorFlow's graphs that run for the first time from now on are reduced.

    Args:
        name: What `set_precision` returned; `ONEDNN` alone is of graphs.
    """
    if keras.backend.backend() == "tensorflow":
        tf.config.optimizer.set_experimental_options(
            {"auto_mixed_precision_onednn_bfloat16": name == ONEDNN}
        )


def _fastest():
    if any(not device.startswith("cpu") for device in keras.distribution.list_devices()):
        return "mixed_bfloat16" if _compute_capability() >= (8, 0) else "float32"
    if keras.backend.backend() == "tensorflow" and has_bfloat16_instructions(CPU_INFO):
        return ONEDNN
    return "float32"


def _compute_capability():
    """Returns that of the first GPU; another accelerator counts as new."""
    if keras.backend.backend() == "tensorflow":
        gpus = tf.config.list_physical_devices("GPU")
        details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
        return details.get("compute_capability", (8, 0))
    import jax

    text = getattr(jax.local_devices()[0], "compute_capability", "8.0")
    return tuple(int(number) for number in text.split("."))


def has_bfloat16_instructions(cpu_info: pathlib.Path) -> bool:
    """Returns whether this machine's CPU says that it multiplies bfloat16 (Linux, x86)."""
    if not cpu_info.is_file():
        return False
    lines = cpu_info.read_text().splitlines()
    flags = next((line.split(":")[1] for line in lines if line.startswith("flags")), "")
    return bool(BFLOAT16_INSTRUCTIONS & set(flags.split()))


def _refuse_onednn_elsewhere():
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f'"--precision={ONEDNN}" needs the TensorFlow backend; take mixed_bfloat16 or auto. '
            f"Received: KERAS_BACKEND={backend}"
        )
    if not has_bfloat16_instructions(CPU_INFO):
        raise ValueError(
            f'"--precision={ONEDNN}" needs a CPU with {" or ".join(sorted(BFLOAT16_INSTRUCTIONS))}'
            f", named in {CPU_INFO}; take auto or float32. Received: a CPU that has neither"
        )
