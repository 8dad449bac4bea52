"""Times a training step next to the PyTorch peer's, in turn, with the floor of the machine.

    python scripts/benchmarks/bench_train.py --peer_python=peer/bin/python

Both train a U-Net on the same encoder, random weights and inputs, binary cross-entropy, Adam.
A turn is three steps; medians over the turns. The floor is what the arithmetic of the
convolutions (three times the forward pass's) takes at the rate of a large matrix product, and
what reading and writing weights, gradients and Adam's moments takes at the rate of a copy.
"""

import sys

import bench_floor
import bench_turns

# Name -> (KERAS_BACKEND, --precision).
SETTINGS = {
    "tensorflow float32": ("tensorflow", "float32"),
    "tensorflow onednn_bfloat16": ("tensorflow", "onednn_bfloat16"),
    "tensorflow mixed_bfloat16": ("tensorflow", "mixed_bfloat16"),
    "jax float32": ("jax", "float32"),
}
PEER_SETTINGS = ("float32 channels_last", "bfloat16 channels_last", "bfloat16", "bfloat16 compile")


def main():
    """Measures and prints."""
    options = bench_turns.parser(__doc__).parse_args()
    if options.worker:
        _work(options)
        return
    base = [sys.executable, __file__, *bench_turns.shapes(options)]
    workers = {
        name: (
            [*base, f"--worker={precision}"],
            bench_turns.environment(options.threads, KERAS_BACKEND=backend),
        )
        for name, (backend, precision) in bench_turns.chosen(SETTINGS, options.settings).items()
    }
    workers |= bench_turns.peers(options, "train", PEER_SETTINGS)
    measured = bench_turns.take_turns(workers, options.rounds)
    what = f"training step, {bench_turns.conditions(options)}"
    bench_turns.report(measured, what, bench_floor.floors(options, trains=True))


def _work(options):
    import keras

    bench_turns.fit(keras, make_model(options), make_dataset(options), options.steps)


def make_model(options):
    """Returns a compiled model of random weights, in --worker's precision."""
    import tensorflow as tf

    from lbunet_tf import models
    from lbunet_tf.settings import config
    from lbunet_tf.settings import precision
    from lbunet_tf.settings import process
    from lbunet_tf.training import compilation

    # As every command does.
    process.reuse_freed()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    settings = config.make(
        encoder=options.encoder,
        encoder_weights="none",
        image_size=options.image_size,
        batch_size=options.batch_size,
        precision=options.worker,
    )
    precision.set_precision(settings.device.precision)
    model = models.build_model(settings)
    compilation.compile_model(model, settings, train_rows=range(8 * options.batch_size))
    return model


def make_dataset(options):
    """Returns one random batch of (images, targets, weights), again and again."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    size = (options.batch_size, options.image_size, options.image_size)
    images = rng.integers(0, 256, (*size, 3)).astype("float32")
    masks = rng.integers(0, 2, (*size, 1)).astype("float32")
    batch = (images, {"mask": masks}, {"mask": np.ones(size, "float32")})
    return tf.data.Dataset.from_tensors(batch).repeat()


if __name__ == "__main__":
    main()
