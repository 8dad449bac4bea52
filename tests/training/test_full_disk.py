"""The callbacks of a run on a disk that fills up: the last good state is kept, and goes on."""

import contextlib
import os
import subprocess

import keras
import numpy as np
import pytest

from lbunet_tf.runs import run_directory
from lbunet_tf.runs import training_history

pytestmark = pytest.mark.slow
EPOCHS = 3


class _AtEndOf(keras.callbacks.Callback):
    """Does something when an epoch ends, before anything of it is saved."""

    def __init__(self, epoch, do):
        super().__init__()
        self.epoch, self.do = epoch, do

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.do()


@pytest.fixture(scope="module")
def undisturbed(make_model, fit, tmp_path_factory):
    """The weights after three epochs on a disk with room."""
    return fit(make_model(), tmp_path_factory.mktemp("undisturbed"), epochs=EPOCHS).get_weights()


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MB, for which mounting must be allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", os.fspath(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", os.fspath(folder)], check=True)


def _fill(folder, left):
    """Fills a disk up, except `left` bytes."""
    state = os.statvfs(folder)
    with open(folder / "filler", "wb") as file:
        file.write(bytes(max(0, state.f_bavail * state.f_frsize - left)))


def _check_goes_on(fit, make_model, run, weights):
    """Checks what a full disk left, and that the same training ends as an undisturbed one."""
    assert training_history.finished_epochs(run) in (1, 2)
    run_directory.check_model(run / "model.keras")
    assert [path for path in run.rglob("*") if "partial" in path.name] == []
    resumed = fit(make_model(), run, epochs=EPOCHS)
    for ours, theirs in zip(resumed.get_weights(), weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert list(training_history.read(run)["epoch"]) == [1, 2, 3]


@pytest.mark.parametrize("left", [0, 8, 32, 40, 60])
def test_a_full_disk_ends_in_a_clear_error_and_with_room_the_training_goes_on(
    make_model, fit, disk, undisturbed, left
):
    run = disk / "run"
    run.mkdir()
    full = _AtEndOf(1, lambda: _fill(disk, 1024 * left))

    with pytest.raises(OSError, match=f"there must be room for {run}.* MB are free in {run}"):
        fit(make_model(), run, epochs=EPOCHS, more=[full])

    (disk / "filler").unlink()
    _check_goes_on(fit, make_model, run, undisturbed)


def test_a_training_whose_checkpoints_do_not_fit_is_refused_at_once(make_model, fit, disk):
    run = disk / "run"
    run.mkdir()
    _fill(disk, 0)

    with pytest.raises(OSError, match="there must be room for .*backup: at least 0.0 MB"):
        fit(make_model(), run, epochs=EPOCHS)

    assert not (run / "history.csv").is_file()


def test_files_that_may_not_grow_keep_checkpoint_and_backup(
    make_model, fit, run, undisturbed, room
):
    with contextlib.ExitStack() as stack:
        full = _AtEndOf(1, lambda: stack.enter_context(room(7000)))
        with pytest.raises(OSError, match="there must be room for .*model.lbunet-partial.keras"):
            fit(make_model(), run, epochs=EPOCHS, more=[full])

    _check_goes_on(fit, make_model, run, undisturbed)
