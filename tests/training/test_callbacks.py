import keras
import numpy as np
import pandas as pd
import pytest

from lbunet_tf.runs import training_history
from lbunet_tf.training import callbacks


def _history(*val_losses):
    return pd.DataFrame({"epoch": range(1, len(val_losses) + 1), "val_loss": val_losses})


def test_a_half_written_checkpoint_never_becomes_the_best_model(make_model, run):
    (run / "model.keras").write_bytes(b"best")
    (run / ".model.lbunet-partial.keras").write_bytes(b"half")
    checkpoint = callbacks.WholeCheckpoint(run, _history(0.5))
    checkpoint.set_model(make_model())

    checkpoint.on_epoch_end(1, {"val_loss": 0.9})

    assert (run / "model.keras").read_bytes() == b"best"


def test_an_epoch_whose_backup_is_missing_is_not_in_the_history(run):
    # Killed between the history and the backup of the third epoch.
    (run / "backup").mkdir()
    (run / "backup" / "0002.weights.h5").write_bytes(b"")
    _history(0.9, 0.8, 0.1).to_csv(run / "history.csv", index=False)

    assert list(training_history.read(run)["val_loss"]) == [0.9, 0.8]


def test_a_worse_epoch_after_a_restart_does_not_replace_the_best_model(make_model, run):
    (run / "model.keras").write_bytes(b"best")
    checkpoint = callbacks.WholeCheckpoint(run, _history(0.9, 0.5, 0.7))
    checkpoint.set_model(make_model())

    checkpoint.on_epoch_end(3, {"val_loss": 0.6})

    assert (run / "model.keras").read_bytes() == b"best"


def test_a_better_epoch_after_a_restart_replaces_the_best_model(make_model, run):
    (run / "model.keras").write_bytes(b"best")
    model = make_model()
    checkpoint = callbacks.WholeCheckpoint(run, _history(0.9, 0.5, 0.7))
    checkpoint.set_model(model)

    checkpoint.on_epoch_end(3, {"val_loss": 0.4})

    saved = keras.models.load_model(run / "model.keras")
    np.testing.assert_array_equal(saved.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    "before, now, stops",
    [
        ((0.5, 0.6, 0.7), 0.8, True),
        ((0.5, 0.6, 0.7), 0.4, False),
        ((0.9, 0.5, 0.7), 0.8, False),
        ((), 0.8, False),
    ],
    ids=["third bad epoch", "better epoch", "second bad epoch", "new run"],
)
def test_early_stopping_remembers_the_epochs_before_a_restart(make_model, before, now, stops):
    model = make_model()
    stopping = callbacks.ResumedEarlyStopping(3, _history(*before))
    stopping.set_model(model)
    stopping.on_train_begin()
    model.stop_training = False

    stopping.on_epoch_end(len(before), {"val_loss": now})

    assert model.stop_training == stops


def test_an_infinite_loss_stops_too():
    with pytest.raises(ValueError, match="loss=inf at batch 5"):
        callbacks.StopOnNaN().on_train_batch_end(4, {"loss": float("inf")})


def test_history_has_a_row_an_epoch_from_one_with_every_logged_number(run):
    history = callbacks.HistoryFile(run, pd.DataFrame())

    history.on_epoch_end(0, {"loss": np.float32(0.5), "val_loss": 0.25})
    history.on_epoch_end(1, {"loss": 0.4, "val_loss": 0.125})

    table = pd.read_csv(run / "history.csv")
    assert table.drop(columns="seconds").to_dict("list") == {
        "epoch": [1, 2],
        "loss": [0.5, 0.4],
        "val_loss": [0.25, 0.125],
    }
