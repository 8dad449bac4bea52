"""What the machine allows at best: arithmetic at the rate of a matrix product, bytes at a copy's.

    python scripts/benchmarks/bench_floor.py [--image_size=128]

Prints the measured rates, the network's operations and bytes, and the two floors of a step.
"""

import argparse
import statistics
import time

import bench_turns

# Forward, gradient of the inputs, gradient of the kernels.
PASSES_OF_TRAINING = 3
# Read weight, gradient, two moments; written gradient, weight, two moments. Each float32.
BYTES_OF_ADAM = 8 * 4
MATRIX, COPIED_BYTES, ROUNDS = 3072, 1 << 28, 7


def main():
    """Prints the floors of training and of prediction."""
    options = bench_turns.parser(__doc__).parse_args()
    print(bench_turns.machine())
    for trains in (True, False):
        for name, seconds in floors(options, trains).items():
            print(f"{'training' if trains else 'prediction'}, {name}: {seconds:.3f} s")


def floors(options: argparse.Namespace, trains: bool) -> dict[str, float]:
    """Returns the seconds below which a step cannot fall, by what bounds it."""
    import tensorflow as tf

    from lbunet_tf import models
    from lbunet_tf.settings import config

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    model = models.build_model(
        config.make(encoder=options.encoder, encoder_weights="none", image_size=options.image_size)
    )
    count = operations(model) * options.batch_size * (PASSES_OF_TRAINING if trains else 1)
    weights = model.count_params()
    moved = weights * (BYTES_OF_ADAM if trains else 4)
    rates = {name: _matrix_rate(tf, name) for name in ("float32", "bfloat16")}
    found = {
        f"floor: {count / 1e9:.0f} G operations at {rate / 1e9:.0f} G/s ({name})": count / rate
        for name, rate in rates.items()
    }
    rate = _copy_rate()
    found[f"floor: {moved / 1e9:.2f} GB of weights at {rate / 1e9:.1f} GB/s"] = moved / rate
    return found


def operations(model) -> int:
    """Returns the multiplications and additions of one image's forward pass, convolutions only."""
    import keras

    convolutions = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    layers = model._flatten_layers()
    return sum(_operations(layer) for layer in layers if isinstance(layer, convolutions))


def _operations(layer):
    """Returns multiplications and additions of one image in a convolution."""
    height, width, channels = layer.output.shape[1:]
    taps = 1
    for length in layer.kernel.shape[:3]:
        taps *= length
    if layer.__class__.__name__ == "DepthwiseConv2D":
        taps //= layer.kernel.shape[2]
    return 2 * height * width * channels * taps


def _matrix_rate(tf, dtype):
    """Returns operations a second of a large matrix product."""
    matrix = tf.cast(tf.random.stateless_uniform((MATRIX, MATRIX), (0, 0)), dtype)
    multiply = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)[0]))
    return 2 * MATRIX**3 / _median_seconds(lambda: multiply().numpy())


def _copy_rate():
    """Returns bytes a second, read and written, of a copy larger than the caches."""
    import numpy as np

    source = np.ones(COPIED_BYTES, "uint8")
    target = np.empty_like(source)
    return 2 * COPIED_BYTES / _median_seconds(lambda: np.copyto(target, source))


def _median_seconds(call):
    call()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
