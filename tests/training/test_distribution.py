"""Training over devices and processes against training by one: the same losses."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pandas as pd
import pytest

from lbunet_tf import train
from lbunet_tf.data.sources import synthetic
from lbunet_tf.runs import training_history
from lbunet_tf.settings import config
from lbunet_tf.training import distribution

ROOT = pathlib.Path(__file__).parents[2]
JOB = pathlib.Path(__file__).with_name("distributed_job.py")
# 32 images to train with, in batches of 6: the last has 2.
FLAGS = (
    "--source=synthetic",
    "--synthetic_count=44",
    "--image_size=32",
    "--heads=mask,melanoma",
    "--model=unet",
    "--encoder_weights=none",
    "--learning_rate=0.01",
    "--batch_size=6",
)
# Of a step, apart from its gradients.
PARTS = (
    "--epochs=3",
    "--average_weights=0.9",
    "--clip_norm=1",
    "--weight_decay=0.01",
    "--mask_loss=bce_dice",
    "--class_weights=melanoma",
)
HOSTS_PARTS = (*PARTS, "--gradient_accumulation=2")
# A broken connection is known at once, one that is not used after a heartbeat is missed.
SECONDS_TO_END = distribution.HEARTBEAT_SECONDS + 30


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A function of a run, flags and environment: starts one process of a training."""
    drawn = tmp_path_factory.mktemp("drawn") / "images"
    synthetic.draw_folder(str(drawn), 44, 32, seed=0)

    def begin(run, *flags, **environment):
        command = [sys.executable, JOB, *FLAGS, f"--run={run}", f"--data_dir={drawn}", *flags]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    return begin


@pytest.fixture(scope="module")
def start_two(start):
    """A function of a run and flags: starts the two processes of one job on loopback."""

    def begin(run, *flags):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        return [
            start(
                run,
                *flags,
                KERAS_BACKEND="jax",
                KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
                KERAS_DISTRIBUTION_NUM_PROCESSES="2",
                KERAS_DISTRIBUTION_PROCESS_ID=str(number),
            )
            for number in range(2)
        ]

    return begin


def _finish(*processes, timeout=600):
    """Returns what the processes printed; each must have ended well."""
    printed = [process.communicate(timeout=timeout)[0] for process in processes]
    for process, text in zip(processes, printed, strict=True):
        assert process.returncode == 0, text
    return printed


def _history(run):
    """Returns what is logged of each epoch, but the time."""
    return pd.read_csv(run / "history.csv").set_index("epoch").drop(columns="seconds")


def _files(run):
    return sorted(
        str(path.relative_to(run))
        for path in run.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts
    )


@pytest.fixture(scope="module")
def single_process_run(start, tmp_path_factory):
    """The run directory of three epochs by one process under JAX."""
    run = tmp_path_factory.mktemp("alone") / "run"
    _finish(start(run, *HOSTS_PARTS, KERAS_BACKEND="jax"))
    return run


@pytest.mark.slow
def test_two_mirrored_devices_train_to_the_losses_of_one(start, tmp_path):
    runs = tmp_path / "one", tmp_path / "two"
    flags, environment = (*PARTS, "--schedule=cosine"), {"KERAS_BACKEND": "tensorflow"}
    _finish(start(runs[0], *flags, **environment))

    _finish(start(runs[1], *flags, "--distribution=mirrored", **environment, LOGICAL_CPUS="2"))

    _assert_same_losses(*map(_history, runs))
    assert _files(runs[1]) == _files(runs[0])


def _assert_same_losses(one, two):
    """Two histories; a metric counts by thresholds, and a rounding may move an image across one."""
    losses = ["loss", "val_loss"]
    pd.testing.assert_frame_equal(two[losses], one[losses], rtol=1e-5)
    pd.testing.assert_frame_equal(two, one, rtol=1e-4)


@pytest.mark.parametrize(
    "kind, changes",
    [
        ("mirrored", {"gradient_accumulation": 2}),
        ("mirrored", {"precision": "mixed_float16"}),
        ("hosts", {"teacher": ("runs/other",)}),
    ],
)
def test_a_flag_that_does_not_go_with_several_devices_is_refused(kind, changes):
    settings = config.make(distribution=kind).replace(**changes)
    placement = distribution.Placement(kind, num_devices=2)

    with pytest.raises(ValueError, match=f'"--{next(iter(changes))}" needs --distribution='):
        train._check_placement(settings, placement)
    train._check_placement(settings, distribution.ONE_DEVICE)


@pytest.mark.slow
def test_hosts_of_which_one_is_killed_go_on_and_train_to_the_losses_of_one_process(
    start_two, single_process_run, tmp_path
):
    pytest.importorskip("jax")
    run = tmp_path / "run"
    job = start_two(run, *HOSTS_PARTS, "--epochs=3000", "--patience=3000")
    while not list((run / "backup").glob("0*.weights.h5")):
        assert all(process.poll() is None for process in job), job[0].communicate()[0]
        time.sleep(0.02)

    job[1].send_signal(signal.SIGKILL)
    before = time.monotonic()
    printed = job[0].communicate(timeout=SECONDS_TO_END)[0]

    assert time.monotonic() - before < SECONDS_TO_END
    assert job[0].returncode != 0
    assert "continues from the last finished epoch" in printed
    finished = training_history.finished_epochs(run)
    assert len(_history(run)) >= finished
    text = (run / "flags.cfg").read_text()
    (run / "flags.cfg").write_text(text.replace("=3000", f"={finished + 2}"))
    epochs = f"--epochs={finished + 2}", f"--patience={finished + 2}"
    output = _finish(*start_two(run, *HOSTS_PARTS, *epochs))[0]
    assert f"continuing from epoch {finished + 1}" in output
    assert list(_history(run).index) == list(range(1, finished + 3))
    assert _files(run) == _files(single_process_run)
    both = min(3, finished + 2)
    _assert_same_losses(_history(single_process_run)[:both], _history(run)[:both])


def test_hosts_are_refused_under_tensorflow(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")

    with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
        distribution.choose("hosts")


def test_a_launch_of_several_processes_under_tensorflow_is_refused(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")

    with pytest.raises(ValueError, match="MultiWorkerMirroredStrategy"):
        distribution.choose("auto")


def test_one_device_is_not_mirrored(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")

    assert distribution.choose("auto") == "none"
    with pytest.raises(ValueError, match="at least two GPUs"):
        distribution.choose("mirrored")


def test_an_srun_of_several_tasks_makes_hosts_under_jax_only(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")

    chosen = []
    for backend in ("jax", "tensorflow"):
        monkeypatch.setattr("keras.backend.backend", lambda backend=backend: backend)
        chosen.append(distribution.choose("auto"))

    assert chosen == ["hosts", "none"]
