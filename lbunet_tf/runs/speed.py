"""How long a network takes for an image."""

import time

import keras
import numpy as np

NUM_BATCHES = 7


def milliseconds_per_image(model: keras.Model, batch_size: int = 8) -> float:
    """Returns the median over batches of their time divided by their images, in milliseconds.

    The network alone, on the device of the process: pixels of the network's size are there already.
    """
    images = np.random.default_rng(0).uniform(0, 255, (batch_size, *model.input_shape[1:]))
    images = images.astype("float32")
    # The first traces the graph.
    model.predict_on_batch(images)
    seconds = []
    for _ in range(NUM_BATCHES):
        start = time.perf_counter()
        model.predict_on_batch(images)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds) / batch_size * 1e3)
