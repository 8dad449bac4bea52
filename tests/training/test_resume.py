"""The callbacks in real trainings: killed, resumed, stopped."""

import os

import keras
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing import event_accumulator

from lbunet_tf.runs import training_history
from lbunet_tf.training import tensorboard

pytestmark = pytest.mark.slow


class _Kill(keras.callbacks.Callback):
    """Raises in the middle of an epoch, or when its numbers are there and nothing is saved."""

    def __init__(self, epoch, at_end=False):
        super().__init__()
        self.epoch, self.at_end = epoch, at_end
        self.now = None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not self.at_end and self.now == self.epoch and batch == 1:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if self.at_end and epoch == self.epoch:
            raise KeyboardInterrupt


def _fit_and_kill(fit, model, run, kill, **keywords):
    run.mkdir(exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        fit(model, run, more=[kill], **keywords)


@pytest.mark.parametrize("name", ["lr{0.1}", "{epoch}", "a{b"])
def test_braces_in_the_name_of_a_run_are_no_format(make_model, fit, tmp_path, name):
    (tmp_path / name).mkdir()

    fit(make_model(), tmp_path / name, epochs=1)

    assert (tmp_path / name / "model.keras").is_file()


def _files(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.suffix in (".h5", ".keras")}


@pytest.fixture(scope="module")
def undisturbed(make_model, fit, tmp_path_factory):
    """(model, run directory) after four epochs without interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return fit(make_model(), folder, epochs=4), folder


@pytest.fixture(scope="module", params=[False, True], ids=["in third epoch", "at its end"])
def resumed(request, make_model, fit, tmp_path_factory):
    """(model, run directory) of the same run, killed in its third epoch and started again."""
    folder = tmp_path_factory.mktemp("resumed")
    _fit_and_kill(fit, make_model(), folder, _Kill(2, request.param), epochs=4)
    return fit(make_model(), folder, epochs=4), folder


def test_a_killed_run_goes_on_to_the_weights_of_an_undisturbed_one(resumed, undisturbed):
    for ours, theirs in zip(resumed[0].get_weights(), undisturbed[0].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_killed_run_goes_on_with_the_optimizers_state(resumed, undisturbed):
    ours, theirs = (model.optimizer.variables for model, _ in (resumed, undisturbed))

    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)


def test_a_killed_run_ends_with_the_whole_history(resumed, undisturbed):
    ours, theirs = (
        pd.read_csv(run / "history.csv").drop(columns="seconds")
        for _, run in (resumed, undisturbed)
    )

    assert list(ours["epoch"]) == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5)


def test_a_killed_run_ends_with_the_checkpoint_of_an_undisturbed_one(resumed, undisturbed):
    ours, theirs = (
        keras.models.load_model(run / "model.keras", compile=False).get_weights()
        for _, run in (resumed, undisturbed)
    )

    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_run_killed_twice_counts_its_finished_epochs(make_model, fit, run):
    _fit_and_kill(fit, make_model(), run, _Kill(1), epochs=4)
    _fit_and_kill(fit, make_model(), run, _Kill(2), epochs=4)

    assert training_history.finished_epochs(run) == 2


def test_a_run_killed_in_its_first_epoch_has_no_history(make_model, fit, run):
    _fit_and_kill(fit, make_model(), run, _Kill(0), epochs=2)

    assert training_history.finished_epochs(run) == 0
    assert training_history.read(run).empty


def test_half_written_files_of_a_kill_are_harmless(make_model, fit, run, undisturbed):
    _fit_and_kill(fit, make_model(), run, _Kill(2), epochs=4)
    for name in (
        "backup/.backup.lbunet-partial.weights.h5",
        ".model.lbunet-partial.keras",
        ".history.lbunet-partial.csv",
    ):
        (run / name).write_bytes(b"half")

    resumed = fit(make_model(), run, epochs=4)

    for ours, theirs in zip(resumed.get_weights(), undisturbed[0].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_newer_of_two_backups_counts(make_model, fit, run):
    # Killed between writing the new backup and deleting the old one.
    fit(make_model(), run, epochs=2)
    (run / "backup" / "0001.weights.h5").write_bytes(b"older")

    assert training_history.finished_epochs(run) == 2


def test_only_the_last_backup_is_kept(make_model, fit, run):
    fit(make_model(), run, epochs=3)

    (name,) = os.listdir(run / "backup")
    assert name.startswith("0003-")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_damaged_backup_is_refused_by_name_with_a_way_out(
    make_model, fit, run, undisturbed, kept
):
    (whole,) = (undisturbed[1] / "backup").glob("0004-*")
    contents = whole.read_bytes()
    (run / "backup").mkdir()
    (run / "backup" / whole.name).write_bytes(contents[: int(kept * len(contents))])

    with pytest.raises(ValueError, match=f"{whole.name} must be a complete backup.*--overwrite"):
        fit(make_model(), run, epochs=5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_one_wrong_bit_of_a_backup_is_noticed(make_model, fit, run, undisturbed, share):
    (whole,) = (undisturbed[1] / "backup").glob("0004-*")
    contents = bytearray(whole.read_bytes())
    contents[int(share * len(contents))] ^= 1
    (run / "backup").mkdir()
    (run / "backup" / whole.name).write_bytes(contents)

    with pytest.raises(ValueError, match=f"{whole.name} .* cut short or damaged"):
        fit(make_model(), run, epochs=5)


def test_a_damaged_backup_is_not_replaced_by_an_older_one_unasked(make_model, fit, run):
    fit(make_model(), run, epochs=1)
    (first,) = (run / "backup").iterdir()
    contents = first.read_bytes()
    fit(make_model(), run, epochs=2)
    (second,) = (run / "backup").iterdir()
    second.write_bytes(b"half")
    first.write_bytes(contents)

    with pytest.raises(ValueError, match="Delete it to continue from epoch 2"):
        fit(make_model(), run, epochs=3)

    second.unlink()
    fit(make_model(), run, epochs=3)
    assert list(training_history.read(run)["epoch"]) == [1, 2, 3]


def test_a_backup_of_before_names_had_checksums_is_restored(make_model, fit, run, undisturbed):
    (whole,) = (undisturbed[1] / "backup").glob("0004-*")
    (run / "backup").mkdir()
    (run / "backup" / "0004.weights.h5").write_bytes(whole.read_bytes())

    resumed = fit(make_model(), run, epochs=4)

    for ours, theirs in zip(resumed.get_weights(), undisturbed[0].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_backup_of_another_model_is_refused(make_model, fit, run):
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.compile("adam", "mse")
    (run / "backup").mkdir()
    other.save_weights(run / "backup" / "0001.weights.h5")

    with pytest.raises(ValueError, match="must be a complete backup of this model"):
        fit(make_model(), run, epochs=2)


def test_a_checkpoint_leaves_no_partial_file(make_model, fit, run):
    fit(make_model(), run, epochs=2)

    assert [path for path in run.rglob("*") if "partial" in path.name] == []


def test_a_resumed_run_stops_in_the_epoch_in_which_it_would_have_stopped(make_model, fit, tmp_path):
    # Far too large a step: val_loss soon gets worse.
    ends = []
    for name, kill_in in (("undisturbed", None), ("killed", 2)):
        folder = tmp_path / name
        folder.mkdir()
        if kill_in:
            _fit_and_kill(
                fit, make_model(30.0, dropout=0.0), folder, _Kill(kill_in), epochs=12, patience=3
            )
        fit(make_model(30.0, dropout=0.0), folder, epochs=12, patience=3)
        ends.append(len(training_history.read(folder)))

    assert ends[0] == ends[1] < 12


def test_a_nan_in_the_training_loss_stops_with_a_clear_error(make_model, fit, run, batch):
    with pytest.raises(ValueError, match="loss must stay finite.*loss=nan at batch 1"):
        fit(make_model(), run, epochs=1, images=batch[0] * np.nan)


def test_a_nan_in_the_validation_loss_stops_with_a_clear_error(make_model, fit, run, batch):
    with pytest.raises(ValueError, match="val_loss=nan at the end of epoch 1"):
        fit(make_model(), run, epochs=1, val_images=batch[0] * np.nan)


@pytest.mark.parametrize("part", ["images", "val_images"])
def test_a_nan_leaves_checkpoint_and_backup_of_the_epoch_before(make_model, fit, run, batch, part):
    fit(make_model(), run, epochs=2)
    before = _files(run)

    with pytest.raises(ValueError, match="must stay finite"):
        fit(make_model(), run, epochs=3, **{part: batch[0] * np.nan})

    assert len(before) == 2
    assert _files(run) == before


def _events(folder):
    events = event_accumulator.EventAccumulator(os.fspath(folder), size_guidance={"tensors": 0})
    return events.Reload()


def test_each_epoch_writes_overlays_of_the_val_images_to_tensorboard(make_model, fit, run):
    fit(make_model(), run, epochs=2)

    events = _events(run / "tensorboard" / "validation")

    steps = [event.step for event in events.Tensors("masks: true green, predicted magenta")]
    assert steps == [0, 1]


def test_tensorboard_has_the_losses_of_train_and_val(make_model, fit, run):
    fit(make_model(), run, epochs=1)

    tags = {
        name: _events(run / "tensorboard" / name).Tags()["tensors"]
        for name in ("train", "validation")
    }

    assert "epoch_loss" in tags["train"]
    assert "epoch_loss" in tags["validation"]


def test_tensorboard_has_the_flags_as_text(run):
    tensorboard.write_flags(run, ["--seed=7", "--model=unet"], {"train": 3})

    (event,) = _events(run / "tensorboard" / "train").Tensors("flags")

    assert event.tensor_proto.string_val[0].decode().split() == ["--seed=7", "--model=unet"]
