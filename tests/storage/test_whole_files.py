"""Tests of `lbunet_tf.storage.whole_files`."""

import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from lbunet_tf.storage import pictures
from lbunet_tf.storage import whole_files


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_files.whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"


def test_a_file_that_fails_half_way_leaves_nothing_beside_the_old_one(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_files.whole_file(tmp_path / "a.csv") as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_disk_has_no_room_for_is_named_with_the_room_it_needs(tmp_path, room):
    whole_files.write_text(tmp_path / "a.csv", "old" * 1_000_000)
    with pytest.raises(
        OSError, match=r"a\.lbunet-partial\.csv: more than 0\.2 MB, and .* MB are free in"
    ):
        with room(200_000):
            whole_files.write_text(tmp_path / "a.csv", "new" * 1_000_000)
    assert (tmp_path / "a.csv").read_text() == "old" * 1_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_file_that_will_not_fit_is_refused_before_it_is_begun(tmp_path):
    num_bytes = 2 * shutil.disk_usage(tmp_path).total
    partial = whole_files.partial_path(tmp_path / "a.csv")
    with pytest.raises(OSError, match="there must be room for .*a.lbunet-partial.csv"):
        with whole_files.dropped_where_it_fails(partial, num_bytes):
            partial.write_text("begun")
    assert list(tmp_path.iterdir()) == []


def test_half_a_picture_is_no_file_of_that_kind(tmp_path, monkeypatch):
    def kill(partial, path):
        raise SystemExit

    # As after kill -9: nothing cleans up.
    monkeypatch.setattr(whole_files, "put_in_place", kill)
    monkeypatch.setattr(
        whole_files, "dropped_where_it_fails", lambda partial: contextlib.nullcontext()
    )
    with pytest.raises(SystemExit):
        pictures.write_mask(tmp_path / "a.b.png", np.zeros((4, 5), "uint8"))
    with pytest.raises(SystemExit):
        pictures.write_jpeg(tmp_path / "c.jpg", np.zeros((4, 5, 3), "uint8"))

    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".a.b.png.lbunet-partial", ".c.jpg.lbunet-partial"]


def test_a_folder_is_put_in_place_with_its_files(tmp_path):
    (tmp_path / "partial-1" / "variables").mkdir(parents=True)
    (tmp_path / "partial-1" / "variables" / "index").write_text("x")
    whole_files.put_in_place(tmp_path / "partial-1", tmp_path / "1")
    assert (tmp_path / "1" / "variables" / "index").read_text() == "x"
    assert not (tmp_path / "partial-1").exists()


@pytest.mark.parametrize("name", [".", "B"])
def test_a_folder_has_one_lock_whatever_it_is_called(tmp_path, monkeypatch, name):
    (tmp_path / "A").mkdir()
    (tmp_path / "B").symlink_to(tmp_path / "A")
    monkeypatch.chdir(tmp_path / "A")
    place = name if name == "." else tmp_path / name
    with whole_files.locked(tmp_path / "A", "train"):
        with pytest.raises(ValueError, match="one process at a time may train"):
            with whole_files.locked(place, "train"):
                pass


def test_a_second_process_on_one_run_is_refused(tmp_path):
    run = str(tmp_path / "runs" / "paper")
    with whole_files.locked(run, "train"):
        code = (
            f"from lbunet_tf.storage import whole_files as w\nwith w.locked({run!r}, 'train'): pass"
        )
        second = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert f"one process at a time may train {run}" in second.stderr
    assert re.search(rf"\(process {os.getpid()} on host [0-9a-f]{{6}}\)", second.stderr)


def test_a_lock_does_not_name_the_host(tmp_path):
    with whole_files.locked(tmp_path / "run", "train"):
        (lock,) = tmp_path.glob(".run.train.lock")
        assert socket.gethostname() not in lock.read_text().split()


@pytest.mark.parametrize("place, work", [(".", "evaluate"), ("export", "export")])
def test_a_folder_that_another_process_works_on_is_not_deleted(tmp_path, place, work):
    run = tmp_path / "runs" / "paper [1]"
    (run / "evaluation").mkdir(parents=True)
    code = (
        "import sys\nfrom lbunet_tf.storage import whole_files\n"
        f"with whole_files.locked({str(run / place)!r}, {work!r}):\n"
        "    print('locked', flush=True)\n    sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "locked\n"

    # Its own lock does not keep a process from it.
    with whole_files.locked(run, "train"):
        with pytest.raises(ValueError, match=f"process {other.pid} on .*{work}.lock"):
            whole_files.refuse_where_locked(run)
        other.communicate()
        whole_files.refuse_where_locked(run)


def test_a_lock_for_one_kind_of_work_leaves_the_others_free(tmp_path):
    run = tmp_path / "paper"
    with whole_files.locked(run, "train"), whole_files.locked(run, "evaluate"):
        pass


def test_one_may_wait_for_a_lock(tmp_path):
    order = []

    def wait():
        with whole_files.locked(tmp_path / "drawn", "draw", waits=True):
            order.append("second")

    second = threading.Thread(target=wait)
    with whole_files.locked(tmp_path / "drawn", "draw"):
        second.start()
        second.join(0.2)
        order.append("first")
    second.join()
    assert order == ["first", "second"]


def test_a_lock_ends_with_its_block(tmp_path):
    run = str(tmp_path / "paper")
    with whole_files.locked(run, "train"):
        pass
    with whole_files.locked(run, "train"):
        pass
    assert not (tmp_path / "paper").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a": 1}}', b"[1, 2]", b"null", b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut", "too much", "list", "null", "not UTF-8", "deep"],
)
def test_json_that_is_damaged_is_named(tmp_path, content):
    path = tmp_path / "training.json"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=f"^{path} must be "):
        whole_files.read_json(path)


def test_json_is_read_back(tmp_path):
    whole_files.write_json(tmp_path / "a.json", {"name": "Läsion", "value": 0.1})

    assert whole_files.read_json(tmp_path / "a.json") == {"name": "Läsion", "value": 0.1}


@pytest.mark.parametrize("content", [b"", b'a,b\n"1,2\n', b"a\n1\n2,3\n", b"a\n\xff\n"])
def test_a_table_that_is_damaged_is_named(tmp_path, content):
    path = tmp_path / "history.csv"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=f"^{path} must be a CSV table"):
        whole_files.read_table(path)


def test_the_lock_of_a_folder_whose_name_goes_on_is_not_of_this_one(tmp_path):
    (tmp_path / "lesion").mkdir()
    (tmp_path / ".lesion.v2.train.lock").write_text("process 1 on host abcdef")

    with open(tmp_path / ".lesion.v2.train.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        whole_files.refuse_where_locked(tmp_path / "lesion")
        with pytest.raises(ValueError, match="another process is using it"):
            whole_files.refuse_where_locked(tmp_path / "lesion.v2")
