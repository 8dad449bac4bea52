"""Checks and times the network on a CUDA GPU, under JAX or TensorFlow, next to the PyTorch peer.

    python scripts/benchmarks/gpu_check.py --peer_python=peer/bin/python
    python scripts/benchmarks/gpu_check.py --backends=jax,tensorflow --sizes=128 --batches=32

First: predictions and the losses of three training steps on the GPU against the CPU's. Then, for
every size, batch and precision, images a second of training and prediction from and to the host's
memory, in turn with the peer (channels-last, autocast, torch.compile), the share of the measured
peak of a matrix product, and peak memory of the device. Only Keras, NumPy and the backend are
needed. The exit code is 1 where the GPU does not agree with the CPU.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time

import bench_floor
import bench_turns

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
# Of float32 logits and losses, relative to the largest; TF32 rounds to 10 bits.
TOLERANCE = 2e-2
CHECKED_STEPS = 3
PRODUCTS = 10


def main():
    """Checks, measures and prints."""
    options = _parse()
    if options.worker:
        _work(options)
        return
    agree = [_check(options, backend) for backend in options.backends]
    peaks = {
        (backend, precision): _peak(options, backend, precision)
        for backend in options.backends
        for precision in options.precisions
    }
    print("\nbackend | what | size px | batch | precision | images/s | peer | ratio | of peak | MB")
    print("--- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---:")
    grid = itertools.product(options.sizes, options.batches, options.precisions)
    for (size, batch, precision), backend, what in itertools.product(
        grid, options.backends, ("train", "predict")
    ):
        case = _changed(options, image_size=size, batch_size=int(batch), setting=precision)
        _measure(case, backend, what, peaks[backend, precision])
    sys.exit(not all(agree))


def _changed(options, **changes):
    return argparse.Namespace(**vars(options) | changes)


def _parse():
    parser = bench_turns.parser(__doc__)
    parser.add_argument("--backends", default="jax", help="as in jax,tensorflow (%(default)s)")
    parser.add_argument("--device", default="gpu", choices=("gpu", "cpu"), help="cpu: a dry run")
    parser.add_argument("--sizes", default="128,256,512", help="px (%(default)s)")
    parser.add_argument("--batches", default="8,32,128", help="(%(default)s)")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="(%(default)s)")
    parser.add_argument(
        "--matrix", type=int, default=8192, help="side of the product (%(default)s)"
    )
    parser.add_argument("--setting", default="float32", help=argparse.SUPPRESS)
    parser.set_defaults(steps=10, rounds=5)
    options = parser.parse_args()
    for name in ("backends", "sizes", "batches", "precisions"):
        setattr(options, name, getattr(options, name).split(","))
    return options


def _command(options, worker, backend, device):
    """Returns the command and the environment of a worker."""
    command = [sys.executable, __file__, *bench_turns.shapes(options), f"--worker={worker}"]
    command += [f"--device={device}", f"--setting={options.setting}", f"--matrix={options.matrix}"]
    hidden = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"} if device == "cpu" else {}
    return command, bench_turns.environment(
        options.threads,
        KERAS_BACKEND=backend,
        # The peer needs room too.
        XLA_PYTHON_CLIENT_PREALLOCATE="false",
        TF_FORCE_GPU_ALLOW_GROWTH="true",
        **hidden,
    )


def _ask(options, worker, backend, device):
    """Returns what a worker that runs once says."""
    command, variables = _command(options, worker, backend, device)
    process = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=False)
    lines = [line for line in process.stdout.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        sys.exit(f"{worker} under {backend} on {device} failed; what it wrote stands above")
    return json.loads(lines[-1])


def _check(options, backend):
    """Prints how far the device is from the CPU; returns whether it is near enough."""
    small = _changed(options, image_size=options.sizes[0], batch_size=4)
    there = _ask(small, "numbers", backend, options.device)
    here = _ask(small, "numbers", backend, "cpu")
    print(f"{backend} {there['version']} on {there['device']}, compared with its CPU, float32:")
    is_near = True
    for name in ("logits", "losses"):
        scale = max(abs(value) for value in here[name])
        pairs = zip(there[name], here[name], strict=True)
        difference = max(abs(ours - theirs) for ours, theirs in pairs) / scale
        is_near &= difference <= TOLERANCE
        print(f"  {name}: largest difference {difference:.1e} of the largest value {scale:.3g}")
    return is_near


def _peak(options, backend, precision):
    case = _changed(options, setting=precision)
    rate = _ask(case, "peak", backend, options.device)["operations_per_second"]
    print(f"{backend}: {rate / 1e12:.2f} T operations/s in a product of {precision} matrices")
    return rate


def _measure(case, backend, what, peak):
    """Prints the line of one case; one that does not fit into memory says so."""
    workers = {"ours": _command(case, what, backend, case.device)}
    if case.peer_python:
        device = "cuda" if case.device == "gpu" else "cpu"
        setting = f"{case.setting} channels_last compile {device}"
        command = [case.peer_python, str(bench_turns.PEER), what, *bench_turns.shapes(case)]
        workers["peer"] = (
            [*command, f"--setting={setting}"],
            bench_turns.environment(case.threads),
        )
    start = f"{backend} | {what} | {case.image_size} | {case.batch_size} | {case.setting} | "
    try:
        measured = bench_turns.take_turns(workers, case.rounds)
    except RuntimeError as error:
        print(f"{start}{error} | | | |", flush=True)
        return
    seconds = {name: statistics.median(turns["seconds"]) for name, turns in measured.items()}
    rate = case.batch_size / seconds["ours"]
    peer = "not run | "
    if "peer" in seconds:
        peer = f"{case.batch_size / seconds['peer']:.1f} | {seconds['peer'] / seconds['ours']:.2f}"
    share = measured["ours"]["operations"][0] / seconds["ours"] / peak
    megabytes = max(measured["ours"]["device_megabytes"])
    print(f"{start}{rate:.1f} | {peer} | {share:.2f} | {megabytes:.0f}", flush=True)


def _work(options):
    import keras
    import numpy as np

    _refuse_other_device(keras, options.device)
    keras.config.set_dtype_policy(PRECISIONS[options.setting])
    if options.worker == "peak":
        print(json.dumps({"operations_per_second": _matrix_rate(keras, options.matrix)}))
        return
    model = _make_model(keras, options)
    batch = _make_batch(np, options)
    if options.worker == "numbers":
        print(json.dumps(_numbers(keras, np, model, batch)))
        return
    passes = bench_floor.PASSES_OF_TRAINING if options.worker == "train" else 1
    operations = passes * options.batch_size * bench_floor.operations(model)

    def more():
        return {"operations": operations, "device_megabytes": _device_peak(keras)}

    if options.worker == "train":
        bench_turns.fit(keras, model, (batch for _ in itertools.count()), options.steps, more)
    for _ in bench_turns.paced(options.steps, more):
        model.predict_on_batch(batch[0])


def _refuse_other_device(keras, device):
    devices = keras.distribution.list_devices()
    if (device == "gpu") != any("gpu" in name or "cuda" in name for name in devices):
        sys.exit(f"--device={device} needs one under {keras.backend.backend()}. Found: {devices}")


def _make_model(keras, options):
    from lbunet_tf import models
    from lbunet_tf.settings import config
    from lbunet_tf.training import losses

    settings = config.make(
        encoder=options.encoder, encoder_weights="none", image_size=options.image_size
    )
    model = models.build_model(settings)
    model.compile(keras.optimizers.Adam(1e-4, epsilon=1e-8), loss=losses.make_losses(("mask",)))
    return model


def _make_batch(np, options):
    """Returns random images and targets."""
    rng = np.random.default_rng(0)
    size = (options.batch_size, options.image_size, options.image_size)
    images = rng.integers(0, 256, (*size, 3)).astype("float32")
    return images, {"mask": rng.integers(0, 2, (*size, 1)).astype("float32")}


def _numbers(keras, np, model, batch):
    """Returns logits before, and losses of the first training steps."""
    images, targets = batch
    logits = model.predict_on_batch(images)["mask"]
    losses = [float(model.train_on_batch(images, targets)) for _ in range(CHECKED_STEPS)]
    module = sys.modules[keras.backend.backend()]
    return {
        "logits": np.asarray(logits, "float64").ravel()[::97].tolist(),
        "losses": losses,
        "device": ", ".join(keras.distribution.list_devices()),
        "version": module.__version__,
    }


def _matrix_rate(keras, side):
    """Returns operations a second of a product of two large matrices on the device."""
    matrix = keras.ops.full((side, side), 1 / side, keras.config.dtype_policy().compute_dtype)
    keras.ops.convert_to_numpy(keras.ops.matmul(matrix, matrix)[0, 0])
    start = time.perf_counter()
    product = matrix
    for _ in range(PRODUCTS):
        product = keras.ops.matmul(product, matrix)
    # Devices run behind: a number of the last product is there when all are.
    keras.ops.convert_to_numpy(product[0, 0])
    return PRODUCTS * 2 * side**3 / (time.perf_counter() - start)


def _device_peak(keras):
    """Returns the most megabytes held on the device at once; of the process, on a CPU."""
    module = sys.modules[keras.backend.backend()]
    if not any("gpu" in name for name in keras.distribution.list_devices()):
        return bench_turns.peak_megabytes()
    if keras.backend.backend() == "jax":
        return module.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6
    return module.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6


if __name__ == "__main__":
    main()
