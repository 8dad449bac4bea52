"""Times the prediction of a batch next to the PyTorch peer's, in turn, with the machine's floor.

    python scripts/benchmarks/bench_predict.py --peer_python=peer/bin/python

A batch of resized pixels in memory to mask probabilities in memory, random weights: by the
Keras model, and by the model that `export --format=openvino` writes. The peer likewise, and
exported to OpenVINO by its own converter.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import bench_floor
import bench_turns

SETTINGS = {
    "keras float32": "float32",
    "keras onednn_bfloat16": "onednn_bfloat16",
    "openvino float32": "f32",
    "openvino bfloat16": "bf16",
}
PEER_SETTINGS = (
    "float32 channels_last",
    "bfloat16 channels_last",
    "bfloat16 channels_last compile",
    "openvino float32",
    "openvino bfloat16",
)


def main():
    """Measures and prints."""
    parser = bench_turns.parser(__doc__)
    parser.add_argument("--exported", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker == "export":
        _export(options)
        return
    if options.worker:
        _work(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = bench_turns.chosen(SETTINGS, options.settings)
        base = [sys.executable, __file__, *bench_turns.shapes(options), f"--exported={folder}"]
        # In a process of its own: TensorFlow's memory ends with it.
        subprocess.run([*base, "--worker=export"], check=True)
        workers = {
            name: ([*base, f"--worker={name}"], bench_turns.environment(options.threads))
            for name in settings
        }
        workers |= bench_turns.peers(options, "predict", PEER_SETTINGS)
        measured = bench_turns.take_turns(workers, options.rounds)
    what = f"prediction of a batch, {bench_turns.conditions(options)}"
    bench_turns.report(measured, what, bench_floor.floors(options, trains=False))


def _work(options):
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (options.batch_size, options.image_size, options.image_size, 3)
    images = rng.integers(0, 256, shape).astype("float32")
    make = _make_openvino if options.worker.startswith("openvino") else _make_keras
    step = make(options, SETTINGS[options.worker], images)
    for _ in bench_turns.paced(options.steps):
        step()


def _make_keras(options, precision, images):
    import bench_train

    options.worker = precision
    model = bench_train.make_model(options)
    return lambda: model.predict_on_batch(images)


def _make_openvino(options, precision, images):
    import openvino

    core = openvino.Core()
    model = core.read_model(f"{options.exported}/model.xml")
    model.reshape(list(images.shape))
    compiled = core.compile_model(
        model,
        "CPU",
        {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": options.threads},
    )
    return lambda: compiled(images)


def _export(options):
    import bench_train

    from lbunet_tf.serving import portable_models

    options.worker = "float32"
    model = bench_train.make_model(options)
    folder = pathlib.Path(options.exported)
    portable_models.write("openvino", model, folder, "none", True, {}, "float32")


if __name__ == "__main__":
    main()
