"""Compares the exports of a run with its Keras model on the run's test images, on one core.

    taskset -c 0 python scripts/benchmarks/bench_exports.py runs/isic2017 --images=150

For each format and precision: megabytes, milliseconds of one image (the median), the largest
difference of a melanoma probability and of a pixel's, AUC and Dice. Needs the extras `openvino`,
`onnx` and `litert`; what is not installed is named and skipped.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np
from sklearn import metrics

from lbunet_tf import export
from lbunet_tf.data import manifests
from lbunet_tf.data import pipeline
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import portable_models
from lbunet_tf.serving import postprocessing
from lbunet_tf.settings import flagfiles


def main():
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=150, help="at most, of the test images")
    options = parser.parse_args()
    settings = flagfiles.read(options.run)
    manifest = manifests.read(pathlib.Path(options.run) / run_directory.MANIFEST)
    rows = manifest[manifest["split"] == "test"].reset_index(drop=True)[: options.images]
    examples = list(pipeline.make_examples(settings.preprocessing, rows).as_numpy_iterator())
    images = np.stack([example["image"] for example in examples]).astype("float32")
    masks = np.stack([example["mask"] for example in examples]) > 0
    labels = np.array([example["label"] for example in examples])
    rule = mask_threshold.rule_of([options.run], settings.mask_cleanup)
    model = ensemble.load_mean(settings)
    keras_file = pathlib.Path(options.run) / run_directory.MODEL
    expected = _of_logits(_timed(model.predict_on_batch, images))
    print("| format | precision | MB | ms | probability | pixel | AUC | Dice |")
    print("|---|---|---|---|---|---|---|---|")
    _report("Keras", "float32", keras_file, expected, expected, (labels, masks, rule))
    for name, chosen in portable_models.FORMATS.items():
        for precision in chosen.precisions:
            with tempfile.TemporaryDirectory() as folder:
                asked = settings.replace(format=name, export_precision=precision, output=folder)
                try:
                    path = export.export(asked) / chosen.file
                except ValueError as error:
                    print(f"{name} {precision} is skipped: {error}", file=sys.stderr)
                    continue
                found = _timed(chosen.open(path, images[:1].shape), images)
                _report(name, precision, path, found, expected, (labels, masks, rule))


def _timed(run, images):
    """Returns the outputs of all images, and under "ms" the median of one."""
    run(images[:1])
    found, seconds = [], []
    for number in range(len(images)):
        start = time.perf_counter()
        # A copy: a runtime may give its own memory, which the next image fills.
        outputs = {
            name: np.array(value) for name, value in run(images[number : number + 1]).items()
        }
        seconds.append(time.perf_counter() - start)
        found.append(outputs)
    joined = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    return joined | {"ms": 1000 * float(np.median(seconds))}


def _of_logits(found):
    return {
        "probability": postprocessing.sigmoid(found["melanoma"].astype("float64"))[:, 0],
        "mask_probability": postprocessing.sigmoid(found["mask"].astype("float64")),
        "ms": found["ms"],
    }


def _report(name, precision, path, found, expected, truth):
    labels, masks, rule = truth
    files = [path] if path.suffix != ".xml" else [path, path.with_suffix(".bin")]
    size = sum(file.stat().st_size for file in files) / 1e6
    differences = [
        float(np.abs(found[output] - expected[output]).max())
        for output in ("probability", "mask_probability")
    ]
    auc = metrics.roc_auc_score(labels, found["probability"])
    dice = np.mean(
        [_dice(*pair, rule) for pair in zip(found["mask_probability"], masks, strict=True)]
    )
    cells = [name, precision, f"{size:.1f}", f"{found['ms']:.1f}"]
    cells += [f"{difference:.1e}" for difference in differences]
    print("| " + " | ".join([*cells, f"{auc:.4f}", f"{dice:.4f}"]) + " |", flush=True)


def _dice(probability, mask, rule):
    inside = np.clip(probability.astype("float64"), 1e-9, 1 - 1e-9)
    predicted = rule.clean(np.log(inside / (1 - inside))) >= rule.logit
    total = predicted.sum() + mask.sum()
    return 2 * (predicted & mask).sum() / total if total else 1.0


if __name__ == "__main__":
    main()
