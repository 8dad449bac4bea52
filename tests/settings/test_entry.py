"""How an entry ends: stopped by a signal, or refused because another process is at work."""

import signal
import subprocess
import sys
import time

import pytest

from lbunet_tf import evaluate
from lbunet_tf import export
from lbunet_tf import predict
from lbunet_tf import train
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import whole_files

pytestmark = pytest.mark.slow


def _start(entry, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.tiny_encoder", f"lbunet_tf.{entry}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_training_that_is_stopped_says_after_which_epoch_it_goes_on(tmp_path):
    run = tmp_path / "run"
    flags = ["--source=synthetic", f"--data_dir={tmp_path / 'drawn'}", "--synthetic_count=40"]
    flags += ["--encoder=tiny", "--encoder_weights=none", "--image_size=32"]
    process = _start("train", f"--run={run}", "--epochs=100", *flags)
    while process.poll() is None and not list(run.glob("backup/0*.weights.h5")):
        time.sleep(0.01)

    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()

    epochs = max(int(backup.name[:4]) for backup in run.glob("backup/*"))
    command = "the same command without --overwrite"
    line = f"stopped by SIGTERM; {command} continues {run} from epoch {epochs + 1}"
    assert (process.returncode, line in error.splitlines()) == (143, True), error[-3000:]
    assert "Traceback" not in error
    assert [path for path in run.rglob("*") if "partial" in path.name] == []


READS = """
import sys, time
import tensorflow as tf
from lbunet_tf.settings import entry
def fetch(number):
    until = time.monotonic() + 0.02
    while time.monotonic() < until:
        pass
    return number

def main(config):
    numbers = tf.data.Dataset.range(10**6)
    read = numbers.map(
        lambda number: tf.numpy_function(fetch, (number,), tf.int64), num_parallel_calls=4
    )
    iterator = iter(read.prefetch(4))
    next(iterator)
    raise {error}

entry.run(main, "prepare")
"""


@pytest.mark.parametrize(
    "error, status, words",
    [
        ("ValueError('--a is wrong')", 1, "ERROR: --a is wrong"),
        ("KeyboardInterrupt()", 130, "stopped by SIGINT"),
        ("RuntimeError('not foreseen')", 1, "RuntimeError: not foreseen"),
    ],
)
def test_an_error_while_python_reads_for_tf_data_ends_the_process(error, status, words):
    ended = subprocess.run(
        [sys.executable, "-c", READS.format(error=error)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (ended.returncode, words in ended.stderr) == (status, True), ended.stderr[-3000:]


@pytest.mark.parametrize(
    "work, folder, call",
    [
        ("train", "", train.train),
        ("evaluate", "", evaluate.evaluate),
        ("export", "export", export.export),
        ("predict", "predicted", lambda settings: predict.predict(settings, [settings.paths.run])),
    ],
)
def test_a_second_process_is_refused(untrained_run, work, folder, call):
    settings = flagfiles.read(str(untrained_run))
    held = untrained_run / folder if folder else untrained_run
    (untrained_run / "image.png").write_bytes(b"not read")

    with whole_files.locked(held, work):
        with pytest.raises(ValueError, match=f"one process at a time may {work} {held}"):
            call(settings)


def test_a_second_prepare_of_one_file_is_refused(drawn_folder, tmp_path):
    rows = tmp_path / "rows.csv"
    flags = ["--source=synthetic", f"--data_dir={drawn_folder}", "--synthetic_count=40"]

    with whole_files.locked(rows, "prepare"):
        process = _start("prepare", *flags, "--image_size=64", f"--output={rows}")
        _, error = process.communicate()

    assert process.returncode == 1
    assert f"ERROR: only one process at a time may prepare {rows}" in error
