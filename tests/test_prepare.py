"""Tests of `lbunet_tf.prepare`, inside the process but where it is killed."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from lbunet_tf import config as config_lib
from lbunet_tf import prepare


@pytest.fixture
def config(drawn_folder):
    return config_lib.Config(
        source=("synthetic",), data_dir=(str(drawn_folder),), synthetic_count=40, image_size=64
    )


def test_a_preview_is_a_sheet_with_a_column_for_the_image_and_for_each_version(config, tmp_path):
    paths = [tmp_path / "sheets" / f"{name}.png" for name in ("none", "flips")]

    for path in paths:
        prepare.main(config.replace(augment=path.stem, preview=str(path)))

    plain, versions = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    assert plain.shape[0] / versions.shape[0] == pytest.approx(1, abs=0.1)
    assert versions.shape[1] / plain.shape[1] == pytest.approx(8, rel=0.15)
    # The outline of a lesion.
    assert (plain == (0, 255, 0)).all(axis=-1).sum() > 100


def test_without_the_flag_no_preview_is_drawn(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    prepare.main(config)

    assert list(tmp_path.iterdir()) == []


def _start(config, records):
    """Starts a process that prepares records, at most four in a shard."""
    code = (
        "from lbunet_tf import config, entry, prepare\n"
        "from lbunet_tf.data import record_writer\n"
        f"record_writer.SHARD_BYTES = {4 * config.image_size**2 * 4}\n"
        "entry.run(prepare.main, 'prepare')"
    )
    flags = [f"--source={config.source[0]}", f"--data_dir={config.data_dir[0]}"]
    flags += [f"--synthetic_count={config.synthetic_count}", f"--image_size={config.image_size}"]
    command = [sys.executable, "-c", code, *flags, f"--records={records}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_records_whose_writing_was_killed_are_those_of_an_undisturbed_run(config, tmp_path):
    prepare_whole = _start(config, tmp_path / "whole")
    folder = tmp_path / "killed"
    for file in ("manifest.csv", "lbunet-train.tfrecord-00002-*"):
        process = _start(config, folder)
        while not list(folder.glob(file)) and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert len(list(folder.glob("lbunet-train.tfrecord-*"))) < 7

    assert _start(config, folder).wait() == 0

    assert prepare_whole.wait() == 0
    assert _contents(folder) == _contents(tmp_path / "whole")
