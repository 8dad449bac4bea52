"""Evaluates a finished run: predictions table, numbers, figures and a report.

    python -m lbunet_tf.evaluate --run=runs/paper

Everything that is printed comes from predictions.csv and pixel_histograms.npz.
"""

import json
import pathlib

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf import config as config_lib
from lbunet_tf import entry
from lbunet_tf import models
from lbunet_tf import run_directory
from lbunet_tf.data import manifest as manifest_lib
from lbunet_tf.evaluation import figures
from lbunet_tf.evaluation import predictions
from lbunet_tf.evaluation import report
from lbunet_tf.evaluation import scores


def main(config: config_lib.Config) -> None:
    """Evaluates the run that --run names."""
    evaluate(config)


def evaluate(config: config_lib.Config) -> dict[str, dict]:
    """Returns the metrics of val and test, all files written to the run directory."""
    run = pathlib.Path(config.run)
    model = models.load_best(run)
    manifest = manifest_lib.check_files_exist(manifest_lib.read(run / run_directory.MANIFEST))
    table = predictions.predict_run(config, run, model, manifest)
    with np.load(run / run_directory.HISTOGRAMS) as histograms:
        metrics = scores.evaluate_table(
            table, dict(histograms), config.mask_source, config.prevalence
        )
    run_directory.write_json(run / run_directory.METRICS, metrics)
    drawn = _draw(config, run, model, manifest, table, metrics)
    _write_report(config, run, metrics, drawn)
    _log(run, metrics)
    return metrics


def _draw(config, run, model, manifest, table, metrics):
    """Draws every figure that the data allows; returns their paths in the report's order."""
    folder = run / run_directory.FIGURES
    path = {name: folder / f"{name}.png" for name in report.CAPTIONS}
    for old in path.values():
        old.unlink(missing_ok=True)
    test = table[table["split"] == "test"]
    figures.class_balance(manifest, path["class_balance"])
    figures.training_curves(pd.read_csv(run / run_directory.HISTORY), path["training_curves"])
    if metrics["test"].get("num_scored"):
        _draw_classification(config, table, metrics, path)
    if metrics["test"].get("num_masks"):
        rows = scores.best_median_worst(test)
        sheet = predictions.predict_sheet(config, model, rows)
        figures.mask_sheet(sheet, rows, config.mask_source == "label", path["mask_sheet"])
    return [file for file in path.values() if file.is_file()]


def _draw_classification(config, table, metrics, path):
    test = table[table["split"] == "test"]
    curves = {
        f"{split} (n={metrics[split]['num_scored']}), AUC {metrics[split]['auc']:.3f}": [
            scores.roc_points(table[table["split"] == split])
        ]
        for split in ("val", "test")
        if metrics[split].get("auc") is not None
    }
    if curves:
        figures.roc(curves, path["roc"])
    at = {"test, threshold 0.5\n": metrics["test"]["at_0.5"]}
    marks = {"0.5": 0.5}
    chosen = metrics["test"].get("at_val_threshold")
    if chosen:
        at[f"test, threshold {chosen['threshold']:.3f}\n(chosen on val)"] = chosen
        marks["chosen on val"] = chosen["threshold"]
    figures.confusion_matrix(at, path["confusion_matrix"])
    curves = scores.threshold_curves(test, config.prevalence)
    run_directory.write_table(path["threshold_curves"].parents[1] / "threshold_curves.csv", curves)
    figures.threshold_curves(curves, marks, config.prevalence, path["threshold_curves"])


def _write_report(config, run, metrics, drawn):
    checks = json.loads((run / run_directory.CHECKS).read_text())
    finished = run / run_directory.FINISHED
    training = json.loads(finished.read_text()) if finished.is_file() else {"state": "unfinished"}
    crossing = {name: count for name, count in checks["crossings"].items() if count}
    known = ", ".join(f"{name} {count}" for name, count in checks["known"].items())
    data = ", ".join(config.source).replace("synthetic", "drawn images (no patients)")
    has_threshold = "at_val_threshold" in metrics["test"]
    context = {
        "Data": f"{data}; split by {config.split_by}; seed {config.seed}",
        "Leak check": (
            "nothing that is known stands on two sides of the split"
            if not crossing
            else "on more than one side of the split: "
            + ", ".join(f"{count} {name}" for name, count in crossing.items())
        )
        + f". Known for, of {checks['images']} images: {known}",
        "Skipped images": f"{checks['skipped']} (skipped.csv)",
        "Training": ", ".join(f"{name} {value}" for name, value in training.items()),
        "Threshold": "chosen on val by Youden's J, never on test"
        if has_threshold
        else "none chosen: val has not both classes with scores",
        "Masks": "scored at the network's size, "
        f"{config.image_size} x {config.image_size} px, at probability 0.5",
    }
    encoder = f" ({config.encoder}, {config.encoder_weights})" if config.model == "lbunet" else ""
    text = report.build_report(
        f"{config.model}{encoder} on {data}",
        metrics,
        drawn,
        context,
        config_lib.flag_lines(config),
    )
    run_directory.write_text(run / run_directory.REPORT, text)


def _log(run, metrics):
    for split, values in metrics.items():
        shown = (
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in values.items()
            if not isinstance(value, dict)
        )
        logging.info("%s: %s", split, ", ".join(shown))
    logging.info("numbers: %s", run / run_directory.METRICS)
    logging.info("figures: %s", run / run_directory.FIGURES)
    logging.info("report:  %s", run / run_directory.REPORT)


if __name__ == "__main__":
    entry.run(main, "evaluate")
