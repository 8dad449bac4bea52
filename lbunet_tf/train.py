"""Trains a model on a dataset folder, and writes everything to the run directory.

    python -m lbunet_tf.train --flagfile=flags/paper.cfg --data_dir=$DATA/isic2020

The same command continues an interrupted run from its last finished epoch.
Watch it with: tensorboard --logdir=runs
"""

import dataclasses
import math
import os
import pathlib
import sys

import keras
import pandas as pd
from absl import logging

from lbunet_tf import models
from lbunet_tf.data import manifests
from lbunet_tf.data import pipeline
from lbunet_tf.data import portions
from lbunet_tf.data import preparation
from lbunet_tf.data import unchanged
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import held_out
from lbunet_tf.runs import run_directory
from lbunet_tf.runs import training_history
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import precision
from lbunet_tf.settings import published_flags
from lbunet_tf.settings import released_runs
from lbunet_tf.settings import trained_flags
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import spreadsheets
from lbunet_tf.storage import whole_files
from lbunet_tf.training import callbacks
from lbunet_tf.training import compilation
from lbunet_tf.training import distribution
from lbunet_tf.training import tensorboard
from lbunet_tf.training import trainer

NUM_OVERLAYS = 8


def main(settings: config.Config) -> None:
    """Trains, or continues, the run that the flags name."""
    train(settings)


def train(settings: config.Config) -> pathlib.Path:
    """Returns the run directory of a finished training."""
    flag_lines = flagfiles.flag_lines(settings)
    run_directory.check_named(settings.paths.run)
    with (
        distribution.device_scope(
            settings.device.distribution, settings.device.batch_size
        ) as placement,
        precision.precision_scope(settings.device.precision) as precision_name,
    ):
        run = pathlib.Path(settings.paths.run)
        # Before models are built, which processes do together.
        first_lines = placement.text_of_first("flags", "\n".join(flag_lines)).split("\n")
        run_directory.refuse_other_flags(first_lines, flag_lines)
        if not placement.writes:
            _train(settings, run, flag_lines, placement, precision_name)
            return run
        # Refuse a finished run before hours of checking images.
        with whole_files.locked(settings.paths.run, "train"):
            run_directory.check_for_training(
                settings.paths.run, flag_lines, settings.paths.overwrite
            )
            refuse_inputs_of_the_old_run(settings)
            try:
                _train(settings, run, flag_lines, placement, precision_name)
            except KeyboardInterrupt as stop:
                epochs = training_history.finished_epochs(run)
                stop.add_note(
                    f"the same command without --overwrite continues {run} from epoch {epochs + 1}"
                )
                raise
    return run


def refuse_inputs_of_the_old_run(settings: config.Config) -> None:
    """Raises a ValueError where --overwrite would delete what the training starts from."""
    run = os.path.realpath(settings.paths.run)
    for flag in ("data_dir", "teacher", "encoder_weights"):
        value = settings.values()[flag]
        for path in map(released_runs.teacher_of, (value,) if isinstance(value, str) else value):
            is_inside = output_folder.holds(run, path)
            if settings.paths.overwrite and is_inside and path and os.path.exists(path):
                raise ValueError(
                    f'"--{flag}" must not lie in the run that --overwrite deletes. Name another '
                    f"--run. Received: --{flag}={path}, --run={settings.paths.run}"
                )


def check(settings: config.Config) -> None:
    """Builds and reads all that a training of these flags needs, and writes nothing to its run.

    Raises:
        ValueError: What `train` would refuse before it writes.
    """
    models.build_model(settings)
    _load_teachers(settings)
    _prepared(settings)


def _train(settings, run, flag_lines, placement, precision_name):
    _check_placement(settings, placement)
    _warn_without_effect(settings)
    # The model first: wrong or missing weights are known in seconds, files in minutes.
    model = models.build_model(settings)
    teachers = _load_teachers(settings)
    logging.info(
        "%s on %s in %s: %s trainable parameters, outputs %s",
        model.name,
        ", ".join(keras.distribution.list_devices()),
        precision_name,
        f"{_num_trainable(model):,}",
        ", ".join(model.output_names),
    )
    with placement.first_process_first("the manifest"):
        manifest = _frozen_manifest(settings, run, flag_lines, placement.writes)
    fitted = trainer.make_trainer(model, _batch_transforms(settings, teachers))
    compilation.compile_model(fitted, settings, manifest[manifest["split"] == "train"])
    _fit(fitted, settings, run, manifest, flag_lines, placement)
    placement.wait("the end of training")
    if placement.writes:
        _finish(run, model, settings, precision_name)


def _warn_without_effect(settings):
    """Warns of flags that change nothing next to others."""
    default = config.Config()
    model, split, loss = settings.model, settings.split, settings.loss
    if model.model == "unet" and model.encoder != default.model.encoder:
        logging.warning("--encoder=%s: --model=unet has none", model.encoder)
    if split.balance != "subset" and split.benign_count != default.split.benign_count:
        logging.warning("--benign_count changes nothing without --balance=subset")
    is_scaled = loss.head_weights != default.loss.head_weights and not settings.optimizer.clip_norm
    if len(settings.outputs.in_training) == 1 and is_scaled:
        logging.warning("--head_weights changes nothing for a network of one head")
    teaches = settings.distillation.teacher and settings.distillation.teacher_weight <= 0.5
    if teaches and settings.outputs.has_mask and loss.mask_loss == "lovasz":
        logging.warning(
            "--mask_loss=lovasz cuts targets at 0.5, so --teacher changes no mask that is known; "
            "give a --teacher_weight above 0.5, or another loss"
        )


def _check_manifest(settings, manifest):
    """Raises a ValueError where images and flags do not go together.

    Before the run that --overwrite replaces is deleted, and before anything is written.
    """
    _check_accumulation(settings, manifest)
    # Teachers, initial weights and makers of pseudo-labels must not have learnt from val or test.
    ancestors = held_out.read_ancestors([(settings, manifest)])
    held_out.refuse_learnt({settings.paths.run: manifest, **ancestors}, held_out.SCORED)
    train_rows = manifest[manifest["split"] == "train"]
    compilation.class_weights(settings.loss.class_weights, settings.outputs, train_rows)
    pipeline.check_reading(
        settings.source.source,
        settings.augmentation.source_weights,
        settings.preprocessing,
        manifest[manifest["split"].isin(held_out.LEARNT)],
    )


def _check_accumulation(settings, manifest):
    """Raises a ValueError where the whole training has too few batches for a single step."""
    num_images = (manifest["split"] == "train").sum()
    batches = settings.device.steps_per_epoch(num_images) * settings.budget.epochs
    if settings.optimizer.gradient_accumulation > batches:
        raise ValueError(
            f'"--gradient_accumulation" must be at most {batches}, the batches of all epochs. '
            f"Received: {settings.optimizer.gradient_accumulation}"
        )


def _check_placement(settings, placement):
    """Raises a ValueError that names a flag which does not go with several devices."""
    if settings.distillation.teacher and placement.kind == "hosts":
        raise ValueError(
            '"--teacher" needs --distribution=none or mirrored: the weights of a teacher cannot be '
            f"spread over processes. Received: --teacher={','.join(settings.distillation.teacher)}"
        )
    if settings.optimizer.gradient_accumulation > 1 and placement.kind == "mirrored":
        raise ValueError(
            '"--gradient_accumulation" needs --distribution=none or hosts: Keras does not '
            "accumulate over mirrored devices. Received: "
            f"--distribution={settings.device.distribution}, {placement.num_devices} devices, "
            f"--gradient_accumulation={settings.optimizer.gradient_accumulation}"
        )
    if settings.device.precision == "mixed_float16" and placement.kind == "mirrored":
        raise ValueError(
            '"--precision" needs --distribution=none or hosts for mixed_float16: of mirrored '
            "devices Keras looks for an overflow on the first alone. Take mixed_bfloat16 or auto. "
            f"Received: --distribution={settings.device.distribution}, {placement.num_devices} "
            "devices, --precision=mixed_float16"
        )


def _load_teachers(settings):
    """Returns the models of --teacher, which must see and mean the same as the student."""
    teachers = []
    for run in map(released_runs.teacher_of, settings.distillation.teacher):
        if not (pathlib.Path(run) / run_directory.FINISHED).is_file():
            raise ValueError(
                f'"--teacher" must name finished runs. {run} holds no {run_directory.FINISHED}'
            )
        theirs = flagfiles.read(run)
        differing = config.differing(settings.preprocessing, theirs.preprocessing)
        meanings = {
            "mask_source": settings.outputs.has_mask,
            "classes": bool(settings.outputs.class_names),
        }
        differing += [
            flag
            for flag, is_used in meanings.items()
            if is_used and getattr(theirs.outputs, flag) != getattr(settings.outputs, flag)
        ]
        for flag in differing:
            raise ValueError(
                f'"--teacher" must share the student\'s --{flag}. {run} has '
                f"{theirs.values()[flag]}. Received: --{flag}={settings.values()[flag]}"
            )
        ours = settings.outputs.heads
        if set(ours) - set(theirs.outputs.heads):
            raise ValueError(
                f'"--teacher" must have the student\'s heads. {run} has '
                f"--heads={','.join(theirs.outputs.heads)}. Received: --heads={','.join(ours)}"
            )
        teacher = ensemble.load_best(pathlib.Path(run))
        teacher.trainable = False
        teachers.append(teacher)
    return teachers


def _batch_transforms(settings, teachers):
    """Returns what changes a training batch on the accelerator, in order."""
    augment = (
        pipeline.make_batch_augmentation(settings.augmentation.augment, settings.source.seed)
        if pipeline.augments_in_step()
        else None
    )
    teacher = (
        trainer.make_teacher(teachers, settings.distillation.teacher_weight) if teachers else None
    )
    return [transform for transform in (augment, teacher) if transform]


def _num_trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def _frozen_manifest(settings, run, flag_lines, writes) -> pd.DataFrame:
    """Returns the run's manifest: the one it froze, or a new one, checked and frozen.

    Nothing is written to the run directory before flags, model and data are known to be right.
    """
    path = run / run_directory.MANIFEST
    if not writes:
        run_directory.check_shared(settings.paths.run, flag_lines)
    if path.is_file() and not (writes and settings.paths.overwrite):
        manifest = manifests.check_files_exist(manifests.read(path))
        logging.info("continuing %s with its own manifest", run)
        _check_manifest(settings, manifest)
        if writes:
            unchanged.check(manifest, run, settings.reading.verify_images == "whole")
            run_directory.begin_training(settings.paths.run, flag_lines, overwrite=False)
        return manifest
    prepared = _prepared(settings)
    run_directory.begin_training(settings.paths.run, flag_lines, settings.paths.overwrite)
    skipped = spreadsheets.quoted_table(prepared.skipped)
    whole_files.write_table(run / run_directory.SKIPPED, skipped)
    checks = {
        "images": len(prepared.manifest),
        "skipped": len(prepared.skipped),
        "crossings": prepared.crossings,
        "known": prepared.known,
    }
    whole_files.write_json(run / run_directory.CHECKS, checks)
    manifest = unchanged.with_ends(prepared.manifest)
    whole_files.write_table(path, manifest)
    return manifest


def _prepared(settings):
    """Returns the checked images of a new run."""
    prepared = preparation.prepare(settings)
    preparation.check_targets(
        settings.outputs, settings.split.balance, settings.score.monitor, prepared.manifest
    )
    _check_manifest(settings, prepared.manifest)
    return prepared


def _fit(model, settings, run, manifest, flag_lines, placement):
    rows = {split: manifest[manifest["split"] == split] for split in manifests.SPLITS}
    start = training_history.finished_epochs(run)
    if start:
        logging.info("continuing from epoch %d", start + 1)
        run_directory.check_model(run / run_directory.MODEL)
    counts = {split: len(part) for split, part in rows.items()}
    if placement.writes:
        shown = flagfiles.shown_lines(published_flags.without_folders(settings))
        tensorboard.write_flags(run, shown, counts)
    history = training_history.read(run)
    if start >= settings.budget.epochs or _is_out_of_patience(history, settings):
        return
    portion = portions.Portion(placement.process, placement.num_processes, placement.num_devices)
    val = pipeline.make_evaluation_dataset(
        settings.preprocessing, settings.outputs, settings.device, rows["val"], portion
    )
    model.fit(
        pipeline.make_training_dataset(settings, rows["train"], start, portion),
        epochs=settings.budget.epochs,
        initial_epoch=start,
        shuffle=False,
        # In a file, the bar's control characters would hide the numbers.
        verbose=(1 if sys.stdout.isatty() else 2) if placement.writes else 0,
        steps_per_epoch=settings.device.steps_per_epoch(len(rows["train"])),
        validation_data=val,
        callbacks=callbacks.make_callbacks(
            run,
            settings.budget.patience,
            _preview_batch(settings, rows["val"]) if settings.outputs.has_mask else None,
            settings.outputs.mask_source,
            training_history.val_column(settings.outputs, settings.score.monitor),
            models.inference_model(model, settings.outputs.heads),
            has_average=bool(settings.optimizer.average_weights),
            known_losses=settings.loss.weights(settings.outputs.in_training),
            placement=placement,
        ),
    )


def _preview_batch(settings, rows):
    """Returns the batch whose masks TensorBoard shows each epoch."""
    device = dataclasses.replace(settings.device, cache=False, batch_size=NUM_OVERLAYS)
    first = _first_of_both(rows, NUM_OVERLAYS)
    return next(
        iter(
            pipeline.make_evaluation_dataset(
                settings.preprocessing, settings.outputs, device, first
            )
        )
    )


def _is_out_of_patience(history, settings):
    """Returns whether early stopping had already ended the run before it was killed."""
    if history.empty:
        return False
    best = training_history.best_epoch(
        history, training_history.val_column(settings.outputs, settings.score.monitor)
    )
    return len(history) - 1 - best >= settings.budget.patience


def _first_of_both(rows, count):
    """Returns the first `count` rows, half of them melanomas where there are as many."""
    melanoma = rows["label"] == 1
    parts = [rows[melanoma].head(count // 2)]
    parts.append(rows[~melanoma].head(count - len(parts[0])))
    return pd.concat(parts)


def _finish(run, model, settings, precision_name):
    history = training_history.read(run)
    monitored = training_history.val_column(settings.outputs, settings.score.monitor)
    best = training_history.best_epoch(history, monitored)
    result = {
        "epochs": len(history),
        "best_epoch": best + 1,
        "val_loss": float(history[training_history.LOSS].iloc[best]),
        "monitor": monitored,
        "best_monitor": float(history[monitored].iloc[best]),
        "stopped_early": len(history) < settings.budget.epochs,
        "trainable_parameters": _num_trainable(model),
        "precision": precision_name,
        "training_seconds": round(float(history["seconds"].sum()), 1),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        trained_flags.KEY: trained_flags.kept(flagfiles.flag_lines(settings), flagfiles.PATH_FLAGS),
    }
    whole_files.write_json(run / run_directory.FINISHED, result)
    if (run / run_directory.METRICS).is_file():
        logging.warning(
            "%s was written before training ended, for an earlier epoch's model: evaluate again",
            run / run_directory.METRICS,
        )
    run_directory.drop_backup(run)
    logging.info(
        "finished after %d epochs, best %s %.4f in epoch %d. Evaluate with "
        "python -m lbunet_tf.evaluate --run=%s",
        result["epochs"],
        result["monitor"],
        result["best_monitor"],
        result["best_epoch"],
        run,
    )


if __name__ == "__main__":
    entry.run(main, "train")
