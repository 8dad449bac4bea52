"""The averaged weights (exponential moving average), put in place of the trained ones."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def average_scope(averaging: keras.callbacks.SwapEMAWeights | None) -> Iterator[None]:
    """Puts the averaged weights into the model within the block; nothing for None."""
    if averaging is None:
        yield
        return
    averaging.on_test_begin()
    try:
        yield
    finally:
        averaging.on_test_end()
