"""The precision of the arithmetic: Keras' dtype policies, and oneDNN's bfloat16 on CPUs."""

import pathlib

import keras
import tensorflow as tf

ONEDNN = "onednn_bfloat16"
CPU_INFO = pathlib.Path("/proc/cpuinfo")
# Instructions that multiply bfloat16 and add in float32.
BFLOAT16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def set_precision(name: str) -> str:
    """Sets the precision of the models that are built next; returns its name.

    `auto` takes what measured fastest at equal accuracy (BUILD_NOTES, Speed): mixed_bfloat16 on
    accelerators; on a CPU with bfloat16 instructions, under TensorFlow, `onednn_bfloat16`:
    convolutions, and what lies between them, in bfloat16, while variables, losses and the saved
    model stay float32. Elsewhere float32.

    Raises:
        ValueError: `onednn_bfloat16` under another backend, or on a CPU that has no bfloat16.
    """
    if name == "auto":
        name = _fastest()
    if name == ONEDNN:
        _refuse_onednn_elsewhere()
    keras.config.set_dtype_policy("float32" if name == ONEDNN else name)
    if keras.backend.backend() == "tensorflow":
        # TensorFlow's graphs are rewritten when they first run.
        tf.config.optimizer.set_experimental_options(
            {"auto_mixed_precision_onednn_bfloat16": name == ONEDNN}
        )
    return name


def _fastest():
    if any(not device.startswith("cpu") for device in keras.distribution.list_devices()):
        return "mixed_bfloat16"
    if keras.backend.backend() == "tensorflow" and has_bfloat16_instructions(CPU_INFO):
        return ONEDNN
    return "float32"


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
            f", named in {CPU_INFO}; take auto or float32. Received: a CPU without"
        )
