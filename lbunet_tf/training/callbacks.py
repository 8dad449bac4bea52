"""Callbacks of a run: checkpoints that survive a kill, history, early stopping."""

import math
import pathlib
import time
from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd

from lbunet_tf.runs import run_directory
from lbunet_tf.runs import training_history
from lbunet_tf.storage import archives
from lbunet_tf.storage import whole_files
from lbunet_tf.training import distribution
from lbunet_tf.training import metrics
from lbunet_tf.training import running_average
from lbunet_tf.training import tensorboard


class WholeBackup(keras.callbacks.Callback):
    """Saves weights and optimizer after each epoch, restores the latest when training begins.

    Keras' BackupAndRestore writes in place, so a kill while it writes loses both the old
    and the new state. Here a file is renamed when it is whole, its name is its epoch and its
    checksum, and the one before is deleted only then. It must be the last callback: an epoch is
    finished when its backup is there.
    """

    def __init__(self, run: pathlib.Path, writes: bool = True):
        super().__init__()
        self.run, self.writes = run, writes

    def on_train_begin(self, logs=None):
        """Restores the latest backup.

        Raises:
            ValueError: The backup is not of this model, or its file is damaged.
            OSError: There is no room for the checkpoints of this training.
        """
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        backups = training_history.backups(self.run)
        self._check_room(backups.values())
        if not backups:
            return
        finished = max(backups)
        path = backups.pop(finished)
        damage = f"{path} must be a complete backup of this model"
        mend = (
            f"Delete it to continue from epoch {max(backups, default=0) + 1}, or give --overwrite "
            "to start again"
        )
        _, has_sum, checksum = path.name.removesuffix(training_history.SUFFIX).partition("-")
        if has_sum and f"{whole_files.crc32(path):08x}" != checksum:
            raise training_history.DamagedBackupError(
                f"{damage}; it is cut short or damaged. {mend}"
            )
        try:
            self.model.load_weights(path)
        except Exception as error:
            # Keras raises whatever comes to pass where the file holds what it does not expect.
            raise training_history.DamagedBackupError(
                f"{damage}. {mend}. {archives.in_words(error)}"
            ) from error

    def on_epoch_end(self, epoch, logs=None):
        """Writes the backup of `epoch` + 1 finished epochs, then deletes older ones."""
        if not self.writes:
            return
        folder = self.run / run_directory.BACKUP
        folder.mkdir(exist_ok=True)
        partial = whole_files.partial_path(folder / f"backup{training_history.SUFFIX}")
        with whole_files.dropped_where_it_fails(partial, self._num_bytes()):
            with distribution.local_scope():
                self.model.save_weights(partial, overwrite=True)
            crc32 = whole_files.crc32(partial)
            path = folder / training_history.backup_name(epoch + 1, crc32)
            whole_files.put_in_place(partial, path)
        for old in training_history.backups(self.run).values():
            if old != path:
                old.unlink()

    def _num_bytes(self):
        optimizer = self.model.optimizer
        # Keras writes the state within a LossScaleOptimizer twice.
        inner = getattr(optimizer, "inner_optimizer", None)
        of_inner = num_bytes(inner.variables) if inner else 0
        return num_bytes(self.model.variables) + num_bytes(optimizer.variables) + of_inner

    def _check_room(self, backups):
        """Raises an OSError where checkpoints will not fit: known now, not after an epoch."""
        model = self.run / run_directory.MODEL
        there = sum(path.stat().st_size for path in (model, *backups) if path.is_file())
        # A backup is written next to the one before.
        needed = num_bytes(self.model.variables) + 2 * self._num_bytes() - there
        whole_files.check_room(self.run / run_directory.BACKUP, needed)


def num_bytes(variables: Sequence[keras.Variable]) -> int:
    """Returns the size of variables on disk."""
    return sum(math.prod(one.shape) * np.dtype(one.dtype).itemsize for one in variables)


class WholeCheckpoint(keras.callbacks.ModelCheckpoint):
    """ModelCheckpoint of the best epoch to model.keras, whole or not at all.

    Args:
        run: The run directory.
        history: The epochs before a restart.
        monitor: The column of the history that decides.
        saved_model: What is saved, with the layers of the model that is trained; None:
            that model itself.
        averaging: Puts averaged weights in place while the model is saved.
        writes: Whether this process saves; the others only keep in step with it.
    """

    def __init__(
        self,
        run: pathlib.Path,
        history: pd.DataFrame,
        monitor: str = training_history.LOSS,
        saved_model: keras.Model | None = None,
        averaging: keras.callbacks.SwapEMAWeights | None = None,
        writes: bool = True,
    ):
        self.path = run / run_directory.MODEL
        self.writes = writes
        self.partial = whole_files.partial_path(self.path)
        self.saved_model, self.averaging = saved_model, averaging
        row = training_history.best_epoch(history, monitor) if len(history) else None
        best = None if row is None else float(history[monitor].iloc[row])
        super().__init__(
            # Keras formats it with the logs of the epoch.
            str(self.partial).replace("{", "{{").replace("}", "}}"),
            monitor=monitor,
            mode=training_history.mode(monitor),
            save_best_only=True,
            initial_value_threshold=best,
        )

    def set_model(self, model):
        """Takes the model that is saved instead of the one that is trained."""
        super().set_model(self.saved_model or model)

    def on_epoch_end(self, epoch, logs=None):
        """Saves where the epoch is the best so far, and renames what was saved."""
        with running_average.average_scope(self.averaging):
            if not self.writes:
                return
            self.partial.unlink(missing_ok=True)
            size = num_bytes(self.model.variables)
            with whole_files.dropped_where_it_fails(self.partial, size):
                with distribution.local_scope():
                    super().on_epoch_end(epoch, logs)
                if self.partial.is_file():
                    whole_files.put_in_place(self.partial, self.path)


class ResumedEarlyStopping(keras.callbacks.EarlyStopping):
    """EarlyStopping that remembers the epochs before a restart."""

    def __init__(self, patience: int, history: pd.DataFrame, monitor: str = training_history.LOSS):
        super().__init__(monitor=monitor, mode=training_history.mode(monitor), patience=patience)
        self.history = history

    def on_train_begin(self, logs=None):
        """Replays the finished epochs."""
        super().on_train_begin(logs)
        for epoch, value in enumerate(self.history.get(self.monitor, ())):
            self.on_epoch_end(epoch, {self.monitor: float(value)})


class HistoryFile(keras.callbacks.Callback):
    """Writes history.csv after each epoch: epoch (from 1), seconds, every logged number."""

    def __init__(self, run: pathlib.Path, history: pd.DataFrame):
        super().__init__()
        self.path = run / run_directory.HISTORY
        self.rows = history.to_dict("records")
        self.began = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Adds a row and writes the file whole."""
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        seconds = round(time.monotonic() - self.began, 1)
        self.rows.append({"epoch": epoch + 1, "seconds": seconds, **numbers})
        whole_files.write_table(self.path, pd.DataFrame(self.rows))


class KnownLosses(keras.callbacks.Callback):
    """Puts the losses over what is known in the place of Keras' means over batches.

    It must be the first callback: those behind it see what it writes.

    Args:
        loss_weights: Output -> weight of its loss.
    """

    def __init__(self, loss_weights: dict[str, float]):
        super().__init__()
        self.loss_weights = loss_weights

    def on_epoch_end(self, epoch, logs=None):
        """Replaces `loss`, `val_loss`, and those of each output."""
        several = len(self.loss_weights) > 1
        for part in ("", "val_"):
            total = 0.0
            for name, weight in self.loss_weights.items():
                prefix = f"{part}{name}_" if several else part
                known = logs.pop(prefix + metrics.KNOWN_LOSS)
                total += weight * known
                if several:
                    logs[f"{prefix}loss"] = known
            # As Keras compares it, so that the history has the best epoch of the checkpoint.
            logs[f"{part}loss"] = float(np.float32(total))


class EpochSeeds(keras.callbacks.Callback):
    """Gives dropout and the like seeds that depend on the epoch alone; no backup holds them.

    So a training that continues drops what it would have dropped without the interruption.
    """

    # More than an epoch draws; 4,000 epochs fit into 32 bits.
    STEP = 2**20

    def on_epoch_begin(self, epoch, logs=None):
        """Sets the count of each seed generator, (seed, count), to that of the epoch."""
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                seed = int(keras.ops.convert_to_numpy(variable)[0])
                variable.assign(np.array([seed, epoch * self.STEP % 2**32], "uint32"))


class StopOnNaN(keras.callbacks.Callback):
    """Raises where the loss is not finite, before anything of that epoch is saved."""

    def on_train_batch_end(self, batch, logs=None):
        """Checks the running mean of the training loss."""
        self._check("loss", (logs or {}).get("loss"), f"batch {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        """Checks the validation loss."""
        self._check("val_loss", (logs or {}).get("val_loss"), f"the end of epoch {epoch + 1}")

    def _check(self, name, value, where):
        if value is not None and not np.isfinite(value):
            raise ValueError(
                f"the loss must stay finite. Received: {name}={value} at {where}. Lower "
                "--learning_rate, or look for broken images; the run directory keeps the earlier "
                "epochs"
            )


def make_callbacks(
    run: pathlib.Path,
    patience: int,
    val_batch: tuple,
    mask_source: str,
    monitor: str = training_history.LOSS,
    saved_model: keras.Model | None = None,
    has_average: bool = False,
    known_losses: dict[str, float] | None = None,
    placement: distribution.Placement = distribution.ONE_DEVICE,
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of a run, in the order in which they must act.

    `has_average`: whether the optimizer averages weights; validation then uses the average.
    `known_losses`: the weights of the outputs' losses where the model has a
    `metrics.KnownLoss` for each. `placement`: only its first process writes.
    """
    history, writes = training_history.read(run), placement.writes
    averaging = keras.callbacks.SwapEMAWeights() if has_average else None
    return [
        *([averaging] if averaging else []),
        *([KnownLosses(known_losses)] if known_losses else []),
        EpochSeeds(),
        StopOnNaN(),
        WholeCheckpoint(run, history, monitor, saved_model, averaging, writes),
        *([HistoryFile(run, history)] if writes else []),
        ResumedEarlyStopping(patience, history, monitor),
        *([tensorboard.Scalars(run)] if writes else []),
        *(
            [tensorboard.MaskOverlays(run, val_batch, mask_source, averaging, writes)]
            if val_batch
            else []
        ),
        *([tensorboard.PrecisionRecallCurves(run)] if writes else []),
        WholeBackup(run, writes),
        *([distribution.InStep(placement)] if placement.num_processes > 1 else []),
    ]
