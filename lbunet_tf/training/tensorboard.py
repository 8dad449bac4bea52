"""What a run shows in TensorBoard: scalars, masks, PR curves, flags, HParams.

TensorBoard's writer is TensorFlow's under every Keras backend.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams_api
from tensorboard.plugins.pr_curve import summary as pr_curve

from lbunet_tf.drawing import overlays
from lbunet_tf.runs import run_directory
from lbunet_tf.storage import whole_files
from lbunet_tf.training import distribution
from lbunet_tf.training import running_average
from lbunet_tf.training.metrics import ClassAUC
from lbunet_tf.training.metrics import ImageAUC
from lbunet_tf.training.metrics import MelanomaAUC
from lbunet_tf.training.metrics import PixelAUC

# What TensorFlow's writer begins the names of its files with.
EVENT_FILE = "events.out.tfevents."
# Of a precision-recall curve, as Keras' own metrics have.
NUM_THRESHOLDS = 200


@contextlib.contextmanager
def writing(folder: pathlib.Path, part: str) -> Iterator[None]:
    """Makes a file of `folder` the place where `tf.summary` writes within the block.

    Args:
        folder: Made where it is not there.
        part: What is written, the end of the file's name. An older file of it is deleted: an
            epoch that is trained again after a kill has its points once.

    Raises:
        OSError: The file was not written whole. TensorFlow's writer says nothing of a full disk.
    """
    for old in folder.glob(f"{EVENT_FILE}*.{part}"):
        old.unlink()
    try:
        writer = tf.summary.create_file_writer(os.fspath(folder), filename_suffix=f".{part}")
        with writer.as_default():
            yield
        writer.close()
    except (tf.errors.ResourceExhaustedError, tf.errors.OutOfRangeError) as error:
        raise whole_files.no_room(folder / part) from error
    for path in list(folder.glob(f"{EVENT_FILE}*.{part}")):
        _check_whole(path)
        path.rename(path.with_name(_without_host(path.name, part)))


def _without_host(name, part):
    """Returns the name of a file of events without the host's, which TensorFlow puts into it.

    events.out.tfevents.TIME.HOST.PROCESS.NUMBER.PART, where a host's name may have dots.
    """
    front = name.removesuffix(f".{part}").split(".")
    return ".".join([*front[:4], *front[-2:], part])


def _check_whole(path):
    """Raises an OSError where a file of events is cut short; even an empty one has a record."""
    try:
        if sum(1 for _ in tf.data.TFRecordDataset(os.fspath(path))):
            return
    except tf.errors.DataLossError:
        pass
    raise whole_files.no_room(path)


def _epoch_part(epoch, what):
    return f"epoch-{epoch + 1:04d}-{what}"


class Scalars(keras.callbacks.Callback):
    """Writes every number of an epoch to TensorBoard, those of val apart, and the learning rate.

    With the names of Keras' own TensorBoard callback. That one keeps its files open over epochs:
    a kill loses the last points, and the epoch that is trained again stands there twice.
    """

    def __init__(self, run: pathlib.Path):
        super().__init__()
        self.folder = run / run_directory.TENSORBOARD

    def on_epoch_end(self, epoch, logs=None):
        """Writes a file for training and one for validation."""
        logs = logs or {}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        val = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
        parts = {"train": {**train, "learning_rate": rate}, "validation": val}
        for part, numbers in parts.items():
            with writing(self.folder / part, _epoch_part(epoch, "scalars")):
                for name, value in numbers.items():
                    tf.summary.scalar(f"epoch_{name}", value, step=epoch)


class MaskOverlays(keras.callbacks.Callback):
    """Writes a few val images with their masks to TensorBoard each epoch.

    Outlines of the true and the predicted mask; where the mask is the image's label on
    every pixel there is no outline, and the predicted probability stands next to the image.
    """

    def __init__(
        self,
        run: pathlib.Path,
        batch: tuple,
        mask_source: str,
        averaging: keras.callbacks.SwapEMAWeights | None = None,
        writes: bool = True,
    ):
        super().__init__()
        self.mask_source, self.averaging, self.writes = mask_source, averaging, writes
        self.folder = run / run_directory.TENSORBOARD / "validation"
        self.images, targets, weights = batch
        self.masks = np.asarray(targets["mask"])
        self.known = np.asarray(weights["mask"])[..., :1, :1, None]

    def set_model(self, model):
        """Takes the model, and how to predict with it."""
        super().set_model(model)
        self.predict = distribution.predict_locally(model)

    def on_epoch_end(self, epoch, logs=None):
        """Predicts and writes the overlays."""
        with running_average.average_scope(self.averaging):
            if not self.writes:
                return
            logits = np.asarray(self.predict(np.asarray(self.images))["mask"])
        images = np.asarray(self.images)
        if self.mask_source == "label":
            name = "label-as-mask: image, predicted probability (white 1)"
            grey = np.broadcast_to(255 / (1 + np.exp(-np.clip(logits, -30, 30))), images.shape)
            pictures = np.concatenate([images, grey], axis=2).astype("uint8")
        else:
            name = "masks: true green, predicted magenta"
            pictures = overlays.draw(images, self.masks * self.known, logits > 0)
        with writing(self.folder, _epoch_part(epoch, "overlays")):
            tf.summary.image(name, pictures, step=epoch, max_outputs=len(pictures))


class PrecisionRecallCurves(keras.callbacks.Callback):
    """Writes precision and recall of the validation images by threshold, each epoch.

    The counts are those that the model's AUC metrics hold after validation, at those of their
    thresholds that are next to 200 even ones, by which TensorBoard names them. Where nothing is
    predicted positive the precision is 1, as in scikit-learn.
    """

    NAMES = {
        ImageAUC: "pr curve: label-as-mask, images",
        PixelAUC: "pr curve: mask, pixels",
        MelanomaAUC: "pr curve: melanoma, images",
        ClassAUC: "pr curve: diagnosis mel, images",
    }

    def __init__(self, run: pathlib.Path):
        super().__init__()
        self.folder = run / run_directory.TENSORBOARD / "validation"

    def on_epoch_end(self, epoch, logs=None):
        """Writes a curve for each AUC metric that the model was compiled with."""
        with writing(self.folder, _epoch_part(epoch, "curves")):
            for metric in _all_metrics(self.model):
                if type(metric) in self.NAMES:
                    summary = _pr_curve(self.NAMES[type(metric)], metric)
                    tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=epoch)


def _all_metrics(model):
    """Returns the model's metrics, those of `compile` among them."""
    return [inner for metric in model.metrics for inner in getattr(metric, "metrics", [metric])]


def _pr_curve(name, metric):
    # TensorBoard takes thresholds for even. The ends of a metric lie just outside of 0 and 1.
    even = np.linspace(0, 1, NUM_THRESHOLDS)
    nearest = np.abs(np.subtract.outer(even, metric.thresholds)).argmin(axis=1)
    nearest[[0, -1]] = 0, len(metric.thresholds) - 1
    tp, fp, tn, fn = (
        np.asarray(keras.ops.convert_to_numpy(counts), "float64")[nearest]
        for counts in (
            metric.true_positives,
            metric.false_positives,
            metric.true_negatives,
            metric.false_negatives,
        )
    )
    return pr_curve.raw_data_pb(
        name=name,
        true_positive_counts=tp,
        false_positive_counts=fp,
        true_negative_counts=tn,
        false_negative_counts=fn,
        precision=np.where(tp + fp > 0, tp / np.maximum(tp + fp, 1e-9), 1.0),
        recall=tp / np.maximum(tp + fn, 1e-9),
        num_thresholds=len(tp),
    )


def write_flags(run: pathlib.Path, flag_lines: list[str], counts: dict) -> None:
    """Writes the resolved flags and the data's counts to TensorBoard's Text tab."""
    with writing(run / run_directory.TENSORBOARD / "train", "flags"):
        tf.summary.text("flags", "\n".join(f"    {line}" for line in flag_lines), step=0)
        tf.summary.text("data", f"```\n{json.dumps(counts, indent=2)}\n```", step=0)


def write_hparams(
    folder: pathlib.Path, trials: dict[str, tuple[dict[str, str | float], dict[str, float]]]
) -> None:
    """Writes TensorBoard's HParams table: a row a trial, to be sorted and filtered.

    Args:
        folder: A folder of its own, a subfolder a trial.
        trials: Name -> (hyperparameters, scores by name).
    """
    # A trial may lack a score: one without a melanoma score has no AUC.
    hyperparameters, scores = (
        dict.fromkeys(name for trial in trials.values() for name in trial[part]) for part in (0, 1)
    )
    with writing(folder, "hparams"):
        hparams_api.hparams_config(
            hparams=[hparams_api.HParam(name) for name in hyperparameters],
            metrics=[hparams_api.Metric(f"compare/{s}", display_name=s) for s in scores],
        )
    for name, (hyperparameters, scores) in trials.items():
        with writing(folder / name, "hparams"):
            hparams_api.hparams(hyperparameters, trial_id=name)
            for score, value in scores.items():
                # One group in the Scalars tab, where they are of no use.
                tf.summary.scalar(f"compare/{score}", value, step=0)
