"""What computes the logits of a batch: Keras, or another runtime that the network is converted for.

Another runtime costs seconds at the start, for many images to win back.
"""

import os
import pathlib
import tempfile
import threading
from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np

from lbunet_tf.models import policies
from lbunet_tf.serving import portable_models
from lbunet_tf.settings import precision
from lbunet_tf.settings import process

KERAS = "keras"
RUNTIMES = (KERAS, *portable_models.FORMATS)


# TensorFlow's precision is that of the process.
_COMPUTING = threading.Lock()


def make_network(
    model: keras.Model, runtime: str, precision_name: str
) -> Callable[[Sequence[np.ndarray]], dict[str, np.ndarray]]:
    """Returns a function of (S, S, 3) uint8 squares that gives their float64 logits by output.

    Args:
        model: (B, S, S, 3) RGB in 0..255 to a dict of logits.
        runtime: One of `RUNTIMES`.
        precision_name: --precision; other runtimes than Keras know "float32" and "auto".

    Raises:
        ValueError: The runtime is not installed, Keras runs on another backend than TensorFlow,
            which converts networks, or it does not say what the network says; or it has
            no such precision.
    """
    with _COMPUTING:
        if runtime == KERAS:
            compute = _by_keras(model, precision_name)
        else:
            compute = _Converted(model, runtime, precision_name)

    def logits_of(squares):
        # A runtime computes one batch at a time, and Beam's threads share a network.
        with _COMPUTING:
            found = compute(np.stack(squares).astype("float32"))
        return {name: np.asarray(value, "float64") for name, value in found.items()}

    return logits_of


def _by_keras(model, precision_name):
    name = _set_precision(precision_name)
    precision.rewrite_graphs("float32")
    if name.startswith("mixed"):
        model = policies.with_policy(model, name)
    # The rewriting that reduces precision is of graphs.
    is_eager = name == "float32" and keras.backend.backend() == "tensorflow"

    def compute(images):
        nonlocal is_eager
        if is_eager:
            # A graph takes three times as long to trace as one batch without it.
            is_eager = False
            return model(images, training=False)
        # Within this call alone: graphs of other networks, and of the user, are in float32.
        precision.rewrite_graphs(name)
        try:
            return model.predict_on_batch(images)
        finally:
            precision.rewrite_graphs("float32")

    return compute


def _set_precision(name):
    """Sets TensorFlow's precision, also back to float32; the policy of layers is its caller's."""
    before = keras.config.dtype_policy()
    try:
        return precision.set_precision(name)
    finally:
        keras.config.set_dtype_policy(before)


class _Converted:
    """A network as the file of another runtime, opened for the largest batch that came so far."""

    def __init__(self, model, runtime, precision_name):
        if precision_name not in ("float32", "auto"):
            raise ValueError(
                f'"--precision" must be float32 or auto with --runtime={runtime}. '
                f"Received: {precision_name}"
            )
        process.refuse_other_backends(f"--runtime={runtime}")
        self._is_reduced = precision_name == "auto"
        self._names = list(model.output)
        self._format = portable_models.FORMATS[runtime]
        # Deleted with this object: the file is opened again for a larger batch.
        self._folder = tempfile.TemporaryDirectory(prefix="lbunet-")
        self._path = pathlib.Path(self._folder.name) / self._format.file
        # What it is compared with must be float32.
        _set_precision("float32")
        portable_models.convert(runtime, model, self._path, flag="--runtime")
        self._size, self._run = 0, None

    def __call__(self, images):
        count = len(images)
        if count > self._size:
            self._run = self._format.open(
                self._path, images.shape, os.cpu_count() or 1, is_reduced=self._is_reduced
            )
            self._size = count
        if count < self._size:
            images = np.pad(images, [(0, self._size - count), (0, 0), (0, 0), (0, 0)])
        found = self._run(images)
        # A copy: the next batch may overwrite what a runtime gives.
        return {name: np.array(found[name][:count]) for name in self._names}
