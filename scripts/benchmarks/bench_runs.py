"""Prints what runs cost: parameters, megabytes, and milliseconds an image on one core.

    taskset -c 0 python scripts/benchmarks/bench_runs.py RUN [RUN ...]

One image a call, as in a clinic; the runs take turns, and the median is printed.
"""

import pathlib
import statistics
import sys
import time

import numpy as np
import tensorflow as tf

from lbunet_tf.runs import ensemble

ROUNDS = 50
WARM_UP = 5


def main(runs):
    """Times the runs in turn and prints a line each."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    functions, loaded = {}, {}
    for run in runs:
        model = ensemble.load_best(pathlib.Path(run))
        image = tf.constant(np.zeros((1, *model.input_shape[1:]), "float32"))
        predict = tf.function(lambda image, model=model: model(image, training=False))
        functions[run] = lambda predict=predict, image=image: predict(image)
        loaded[run] = model
    seconds = {run: [] for run in runs}
    for _ in range(ROUNDS + WARM_UP):
        for run, call in functions.items():
            start = time.perf_counter()
            call()
            seconds[run].append(time.perf_counter() - start)
    print("run,size_px,parameters,megabytes,milliseconds_an_image")
    for run in runs:
        megabytes = (pathlib.Path(run) / "model.keras").stat().st_size / 1e6
        median = statistics.median(seconds[run][WARM_UP:]) * 1e3
        model = loaded[run]
        print(f"{run},{model.input_shape[1]},{model.count_params()},{megabytes:.1f},{median:.1f}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
