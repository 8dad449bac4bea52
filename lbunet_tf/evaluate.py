"""Evaluates finished runs: predictions table, numbers, figures and a report.

    python -m lbunet_tf.evaluate --run=runs/paper
    python -m lbunet_tf.evaluate --run=runs/a --run=runs/b --output=runs/a_and_b
    python -m lbunet_tf.evaluate --run=runs/a --source=ham10000 --data_dir=$DATA/ham10000

Several runs: the mean of their probabilities. Another source: all its images are test, but for
those from which a run has learnt; the threshold stays that of the run's own val images.
Everything that is printed comes from predictions.csv and pixel_histograms.npz.
"""

import dataclasses
import os
import pathlib
import shutil
import time

import numpy as np
from absl import logging

from lbunet_tf import config as config_lib
from lbunet_tf import entry
from lbunet_tf import flagfiles
from lbunet_tf import members
from lbunet_tf import run_directory
from lbunet_tf import whole_files
from lbunet_tf.data import held_out
from lbunet_tf.evaluation import facts
from lbunet_tf.evaluation import figures
from lbunet_tf.evaluation import predictions
from lbunet_tf.evaluation import report
from lbunet_tf.evaluation import scores
from lbunet_tf.training import callbacks


def main(config: config_lib.Config) -> None:
    """Evaluates the runs that --run names, on their own images or on those of --source."""
    evaluate(config, flagfiles.other_source())


def evaluate(config: config_lib.Config, other_source: dict | None = None) -> dict[str, dict]:
    """Returns the metrics of val and test; all files are written to the output folder.

    That is the run directory, or --output, or RUN/on_SOURCE.

    Args:
        config: Of the first run, with the others in `other_runs`.
        other_source: Values of config.OTHER_SOURCE by name: all images of that source are
            test instead of the run's own. Nothing: the run's own.
    """
    source = _source_config(config, other_source or {})
    asked = _asked(config, source)
    output = _output_folder(config, source, asked)
    with whole_files.locked(output, "evaluate"):
        return _evaluate(config, source, asked, output)


def _evaluate(config, source, asked, output):
    model = members.load_mean(config)
    scored = held_out.other_images(config, source) if source else held_out.own_images(config)
    _write_scored(output, config, scored, asked)
    start = time.perf_counter()
    table = predictions.predict_run(config, output, model, scored.manifest)
    speed = members.describe_speed(config, len(table), time.perf_counter() - start)
    logging.info("scored %s", speed)
    with np.load(output / run_directory.HISTOGRAMS) as histograms:
        metrics = scores.evaluate_table(
            table, dict(histograms), config.mask_source, config.prevalence
        )
    what = {"tta": config.tta, "runs": len(config.runs)}
    metrics = {split: {**values, **what} for split, values in metrics.items()}
    whole_files.write_json(output / run_directory.METRICS, metrics)
    drawn = _draw(config, output, model, scored.manifest, table, metrics)
    _write_report(config, source, output, scored.checks, metrics, drawn)
    _log(output, metrics)
    return metrics


def _source_config(config, other_source):
    """Returns how another source is read, None without one; nothing of it is the run's own."""
    if not other_source:
        return None
    return config_lib.Config(image_size=config.image_size).replace(**other_source)


def _asked(config, source):
    """Returns what decides an evaluation, by flag; folders do not depend on how they are named."""
    asked = {"run": [os.path.abspath(run) for run in config.runs], "tta": config.tta}
    if source:
        folders = [os.path.abspath(folder) for folder in source.data_dir]
        fields = {name: getattr(source, name) for name in config_lib.OTHER_SOURCE}
        asked |= {**fields, "source": list(source.source), "data_dir": folders}
    return asked


def _output_folder(config, source, asked):
    """Returns where to write; a folder of something else, other flags too, is refused."""
    run = pathlib.Path(config.run)
    default = run / f"on_{'+'.join(source.source)}" if source else run
    output = members.output_folder(config, default)
    is_other = output != run and output.is_dir() and any(output.iterdir())
    if is_other and not (output / run_directory.CHECKS).is_file():
        raise ValueError(
            f'"--output" must be new, empty or an older evaluation. {output} holds other files'
        )
    if is_other:
        before = whole_files.read_json(output / run_directory.CHECKS).get("asked", asked)
        changed = sorted(name for name in asked if before.get(name) != asked[name])
        if changed:
            words = ", ".join(f"--{name} {before.get(name)}, now {asked[name]}" for name in changed)
            raise ValueError(
                f"{output} holds an evaluation of other flags ({words}). Give --output for another "
                "folder, or delete that one"
            )
    return output


def _write_scored(output, config, scored, asked):
    """Writes what tells which images were scored; a run directory holds it already."""
    run = pathlib.Path(config.run)
    if output == run:
        return
    # First the file by which an older evaluation is known.
    checks = {**scored.checks, "asked": asked}
    whole_files.write_json(output / run_directory.CHECKS, checks)
    if scored.skipped is None:
        shutil.copyfile(run / run_directory.SKIPPED, output / run_directory.SKIPPED)
    else:
        whole_files.write_table(output / run_directory.SKIPPED, scored.skipped)
    manifest = scored.manifest.copy()
    for column in ("image", "mask"):
        # A manifest's paths may be relative to its folder, and this is another.
        manifest[column] = [os.path.abspath(path) if path else "" for path in manifest[column]]
    whole_files.write_table(output / run_directory.MANIFEST, manifest)


def _draw(config, output, model, manifest, table, metrics):
    """Draws every figure that the data allows; returns their paths in the report's order."""
    folder = output / run_directory.FIGURES
    path = {name: folder / f"{name}.png" for name in report.CAPTIONS}
    for old in path.values():
        old.unlink(missing_ok=True)
    test = table[table["split"] == "test"]
    figures.class_balance(manifest, path["class_balance"])
    if not config.other_runs:
        history = whole_files.read_table(pathlib.Path(config.run) / run_directory.HISTORY)
        best = callbacks.best_epoch(history, config.val_column(config.monitor)) + 1
        figures.training_curves(history, best, path["training_curves"])
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
    whole_files.write_table(path["threshold_curves"].parents[1] / "threshold_curves.csv", curves)
    figures.threshold_curves(curves, marks, config.prevalence, path["threshold_curves"])


def _write_report(config, source, output, checks, metrics, drawn):
    training = {}
    for run in config.runs:
        finished = pathlib.Path(run) / run_directory.FINISHED
        training[run] = whole_files.read_json(finished) if finished.is_file() else {}
    sources = [name for run in config.runs for name in flagfiles.read(run).source]
    config = dataclasses.replace(config, source=tuple(dict.fromkeys(sources)))
    text = report.build_report(
        facts.title(config, source),
        metrics,
        drawn,
        {
            "Scored": members.describe(config),
            **facts.of_images(config, source, checks, metrics["test"]),
            **facts.of_training(training),
        },
        flagfiles.flag_lines(config),
    )
    whole_files.write_text(output / run_directory.REPORT, text)


def _log(output, metrics):
    for split, values in metrics.items():
        shown = (
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in values.items()
            if not isinstance(value, dict)
        )
        logging.info("%s: %s", split, ", ".join(shown))
        for source, part in values.get("by_source", {}).items():
            names = [name for name in ("auc", "dice", "iou") if part.get(name) is not None]
            found = ", ".join(f"{name} {part[name]:.4f}" for name in names)
            logging.info("%s of %s: %d images, %s", split, source, part["num_images"], found)
    logging.info("numbers: %s", output / run_directory.METRICS)
    logging.info("figures: %s", output / run_directory.FIGURES)
    logging.info("report:  %s", output / run_directory.REPORT)


if __name__ == "__main__":
    entry.run(main, "evaluate")
