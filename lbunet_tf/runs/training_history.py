"""history.csv of a run: its finished epochs, and which of them is best."""

import pathlib

import pandas as pd

from lbunet_tf.runs import run_directory
from lbunet_tf.settings import output_group
from lbunet_tf.storage import whole_files

LOSS = "val_loss"
# Of the names of backups.
SUFFIX = ".weights.h5"


class DamagedBackupError(ValueError):
    """A backup does not hold what a training could continue from."""


def read(run: pathlib.Path) -> pd.DataFrame:
    """Returns the finished epochs of a run: those that its backup holds."""
    path = run / run_directory.HISTORY
    epochs = finished_epochs(run)
    if not path.is_file() or not epochs:
        return pd.DataFrame()
    return whole_files.read_table(path).iloc[:epochs]


def finished_epochs(run: pathlib.Path) -> int:
    """Returns how many epochs the latest whole backup holds; 0 without one."""
    return max(backups(run), default=0)


def backups(run: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns epochs -> path. Names are EPOCH-CRC32.weights.h5, older ones lack the CRC."""
    found = {}
    for path in (run / run_directory.BACKUP).glob(f"*{SUFFIX}"):
        epochs = path.name.removesuffix(SUFFIX).partition("-")[0]
        if epochs.isdigit():
            found[int(epochs)] = path
    return found


def backup_name(epochs: int, crc32: int) -> str:
    """Returns the name of the backup after so many epochs."""
    return f"{epochs:04d}-{crc32:08x}{SUFFIX}"


def best_epoch(history: pd.DataFrame, monitor: str = LOSS) -> int:
    """Returns the row of the best epoch: the lowest loss, or the highest score."""
    values = history[monitor].to_numpy()
    return int(values.argmin() if mode(monitor) == "min" else values.argmax())


def mode(monitor: str) -> str:
    """Returns "min" or "max": which end of a column is its best."""
    return "min" if monitor == LOSS else "max"


def val_column(outputs: output_group.Outputs, quantity: str) -> str:
    """Returns the column of history.csv that holds a value of --monitor on val."""
    if quantity == "loss":
        return LOSS
    head = {"dice": "mask", "balanced_accuracy": "diagnosis"}.get(quantity, outputs.score_rule)
    if head not in outputs.heads:
        # Label-as-mask, of which pixels make the score.
        head = "mask"
    # Keras puts the output's name in front where there are several.
    return f"val_{head}_{quantity}" if len(outputs.in_training) > 1 else f"val_{quantity}"
