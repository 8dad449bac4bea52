"""Trains a model on a dataset folder, and writes everything to the run directory.

    python -m lbunet_tf.train --flagfile=flags/paper.cfg --data_dir=$DATA/isic2020

The same command goes on with a run that was interrupted, from its last finished epoch.
Watch it with: tensorboard --logdir=runs
"""

import math
import pathlib
import shutil
import sys

import keras
import pandas as pd
from absl import logging

from lbunet_tf import config as config_lib
from lbunet_tf import entry
from lbunet_tf import models
from lbunet_tf import run_directory
from lbunet_tf.data import manifest as manifest_lib
from lbunet_tf.data import pipeline
from lbunet_tf.data import prepared as prepared_lib
from lbunet_tf.training import callbacks
from lbunet_tf.training import losses
from lbunet_tf.training import metrics
from lbunet_tf.training import tensorboard

NUM_OVERLAYS = 8


def main(config: config_lib.Config) -> None:
    """Trains, or goes on training, the run that the flags name."""
    train(config)


def train(config: config_lib.Config) -> pathlib.Path:
    """Returns the run directory of a finished training."""
    flag_lines = config_lib.flag_lines(config)
    # Refuse a finished run before hours of checking images.
    with run_directory.locked(config.run):
        run = run_directory.prepare_for_training(config.run, flag_lines, config.overwrite)
        _train(config, run, flag_lines)
    return run


def _train(config, run, flag_lines):
    # The model first: wrong or missing weights are known in seconds, files in minutes.
    keras.config.set_dtype_policy(config.precision)
    model = models.build_model(config)
    compile_model(model, config)
    logging.info(
        "%s on %s: %s trainable parameters, outputs %s",
        model.name,
        ", ".join(keras.distribution.list_devices()),
        f"{_num_trainable(model):,}",
        ", ".join(model.output_names),
    )
    _fit(model, config, run, _frozen_manifest(config, run), flag_lines)
    _finish(run, model, config)


def compile_model(model: keras.Model, config: config_lib.Config) -> None:
    """Compiles with the paper's optimizer (III.L) and the losses and metrics of the heads.

    Adam's epsilon is PyTorch's 1e-8; Keras' default is 1e-7.
    """
    model.compile(
        optimizer=keras.optimizers.Adam(
            config.learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8
        ),
        loss=losses.make_losses(config.heads),
        weighted_metrics=metrics.make_metrics(config.heads, config.mask_source),
    )


def _num_trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def _frozen_manifest(config, run) -> pd.DataFrame:
    """Returns the run's manifest: the one it froze, or a new one, checked and frozen."""
    path = run / run_directory.MANIFEST
    if path.is_file():
        logging.info("going on in %s with its own manifest", run)
        return manifest_lib.check_files_exist(manifest_lib.read(path))
    prepared = prepared_lib.prepare(config)
    prepared_lib.check_targets(config, prepared.manifest)
    run_directory.write_table(run / run_directory.SKIPPED, prepared.skipped)
    checks = {
        "images": len(prepared.manifest),
        "skipped": len(prepared.skipped),
        "crossings": prepared.crossings,
        "known": prepared.known,
    }
    run_directory.write_json(run / run_directory.CHECKS, checks)
    run_directory.write_table(path, prepared.manifest)
    return prepared.manifest


def _fit(model, config, run, manifest, flag_lines):
    rows = {split: manifest[manifest["split"] == split] for split in manifest_lib.SPLITS}
    start = callbacks.finished_epochs(run)
    if start:
        logging.info("going on after %d finished epochs", start)
    tensorboard.write_flags(run, flag_lines, {split: len(part) for split, part in rows.items()})
    history = callbacks.read_history(run)
    if start >= config.epochs or _is_out_of_patience(history, config.patience):
        return
    val = pipeline.make_evaluation_dataset(config, rows["val"])
    preview = config.replace(cache=False, batch_size=NUM_OVERLAYS)
    val_batch = next(
        iter(pipeline.make_evaluation_dataset(preview, _first_of_both(rows["val"], NUM_OVERLAYS)))
    )
    model.fit(
        pipeline.make_training_dataset(config, rows["train"], start),
        epochs=config.epochs,
        initial_epoch=start,
        shuffle=False,
        # In a file, the bar's control characters would hide the numbers.
        verbose=1 if sys.stdout.isatty() else 2,
        steps_per_epoch=pipeline.steps_per_epoch(config, len(rows["train"])),
        validation_data=val,
        callbacks=callbacks.make_callbacks(run, config.patience, val_batch, config.mask_source),
    )


def _is_out_of_patience(history, patience):
    """Returns whether early stopping had already ended the run before it was killed."""
    if history.empty:
        return False
    return len(history) - 1 - int(history["val_loss"].to_numpy().argmin()) >= patience


def _first_of_both(rows, count):
    """Returns the first `count` rows, half of them melanomas where there are as many."""
    melanoma = rows["label"] == 1
    parts = [rows[melanoma].head(count // 2)]
    parts.append(rows[~melanoma].head(count - len(parts[0])))
    return pd.concat(parts)


def _finish(run, model, config):
    history = callbacks.read_history(run)
    best = int(history["val_loss"].to_numpy().argmin())
    result = {
        "epochs": len(history),
        "best_epoch": best + 1,
        "best_val_loss": float(history["val_loss"].iloc[best]),
        "stopped_early": len(history) < config.epochs,
        "trainable_parameters": _num_trainable(model),
        "training_seconds": round(float(history["seconds"].sum()), 1),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }
    _drop_optimizer(run / run_directory.MODEL)
    run_directory.write_json(run / run_directory.FINISHED, result)
    shutil.rmtree(run / run_directory.BACKUP)
    logging.info(
        "finished after %d epochs, best val_loss %.4f in epoch %d. Evaluate with "
        "python -m lbunet_tf.evaluate --run=%s",
        result["epochs"],
        result["best_val_loss"],
        result["best_epoch"],
        run,
    )


def _drop_optimizer(path):
    """Saves the best model anew without Adam's state, which is two thirds of its file."""
    model = keras.models.load_model(path, compile=False)
    with run_directory.whole_file(path) as partial:
        model.save(partial)


if __name__ == "__main__":
    entry.run(main, "train")
