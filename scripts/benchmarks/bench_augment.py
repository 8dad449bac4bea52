"""Prints how many images a second each augmentation makes on one core, of drawn images.

    python scripts/benchmarks/bench_augment.py [--sizes=128,256] [--images=200] [--rounds=5]

The augmentations take turns; the numbers are medians over the rounds, of wall time and of the
process' CPU time (which a busy machine disturbs less).
"""

import argparse
import statistics
import time

import numpy as np
import tensorflow as tf

from lbunet_tf.data.augmentation import mixing
from lbunet_tf.data.augmentation import recipes
from lbunet_tf.data.sources import synthetic

BATCH_SIZE = 8


def main():
    """Measures and prints."""
    options = _parse()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print("size_px augmentation images_per_second images_per_cpu_second")
    for size_px in options.sizes:
        datasets = make_datasets(size_px, options.images)
        rates = {name: [] for name in datasets}
        for _ in range(options.rounds):
            for name, dataset in datasets.items():
                rates[name].append(_rate(dataset, options.images))
        for name, measured in rates.items():
            wall, cpu = (statistics.median(column) for column in zip(*measured, strict=True))
            print(f"{size_px} {name} {wall:.0f} {cpu:.0f}", flush=True)


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")])
    parser.add_argument("--images", type=int, default=200, help="a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.set_defaults(sizes=[128, 256])
    return parser.parse_args()


def make_datasets(size_px, count):
    """Returns name -> dataset of `count` augmented images or their batches, once gone through."""
    drawn = tf.data.Dataset.from_tensor_slices(_draw(size_px)).repeat().take(count).enumerate()
    datasets = {
        name: drawn.map(lambda number, example, augment=augment: augment(example, _seed(number)))
        for name, augment in recipes.AUGMENTATIONS.items()
    }
    for name, augment in mixing.BATCH_AUGMENTATIONS.items():
        datasets[name] = drawn.batch(BATCH_SIZE).map(
            lambda numbers, examples, augment=augment: augment(
                tf.cast(examples["image"], tf.float32),
                {"mask": tf.cast(examples["mask"], tf.float32)},
                {"mask": tf.ones(tf.shape(examples["mask"])[:3])},
                _seed(numbers[0]),
            )
        )
    serial = tf.data.Options()
    serial.threading.private_threadpool_size = 1
    datasets = {name: dataset.with_options(serial) for name, dataset in datasets.items()}
    for dataset in datasets.values():
        _rate(dataset, count)
    return datasets


def _seed(number):
    return tf.stack([tf.zeros_like(number), number])


def _draw(size_px):
    rng = np.random.default_rng(0)
    traits = [synthetic.draw_traits(number % 2 == 0, rng) for number in range(BATCH_SIZE)]
    pairs = [synthetic.draw(lesion, 2, size_px, rng) for lesion in traits]
    images, masks = (np.stack(pictures) for pictures in zip(*pairs, strict=True))
    return {"image": images, "mask": masks[..., None]}


def _rate(dataset, count):
    """Returns images a second of wall time and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in dataset:
        pass
    return count / (time.perf_counter() - wall), count / (time.process_time() - cpu)


if __name__ == "__main__":
    main()
