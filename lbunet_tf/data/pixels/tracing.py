"""TensorFlow functions of a file's bytes that threads may call at once."""

import functools
import threading
from collections.abc import Callable

import tensorflow as tf


def traced_once(function: Callable) -> Callable:
    """Returns a function of a scalar string, compiled at its first call and never again.

    A plain `tf.function` also traces once, but counts each thread that waits for that as one more
    trace, and TensorFlow warns of them.
    """
    traced = tf.function(function, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    compiled = functools.cache(traced.get_concrete_function)
    lock = threading.Lock()

    @functools.wraps(function)
    def call(contents):
        with lock:
            concrete = compiled()
        return concrete(tf.convert_to_tensor(contents, tf.string))

    return call
