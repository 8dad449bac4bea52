import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile

import pytest

from lbunet_tf import run_directory

LINES = ["--run=x", "--epochs=2"]


def make_unfinished(path, num_epochs):
    run_directory.prepare_for_training(str(path), LINES, overwrite=False)
    (path / run_directory.BACKUP).mkdir()
    if num_epochs:
        (path / run_directory.BACKUP / f"{num_epochs:04d}.weights.h5").write_text("weights")


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), run_directory.whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"


def test_a_file_that_fails_half_way_leaves_nothing_beside_the_old_one(tmp_path):
    with pytest.raises(KeyboardInterrupt), run_directory.whole_file(tmp_path / "a.csv") as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_disk_has_no_room_for_is_named_with_the_room_it_needs(tmp_path, room):
    run_directory.write_text(tmp_path / "a.csv", "old" * 1_000_000)
    with pytest.raises(OSError, match=r"a\.partial\.csv: at least 0\.2 MB, and .* MB are free in"):
        with room(200_000):
            run_directory.write_text(tmp_path / "a.csv", "new" * 1_000_000)
    assert (tmp_path / "a.csv").read_text() == "old" * 1_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_file_that_will_not_fit_is_refused_before_it_is_begun(tmp_path):
    num_bytes = 2 * shutil.disk_usage(tmp_path).total
    partial = tmp_path / "a.partial.csv"
    with pytest.raises(OSError, match="there must be room for .*a.partial.csv"):
        with run_directory.dropped_where_it_fails(partial, num_bytes):
            partial.write_text("begun")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_put_in_place_with_its_files(tmp_path):
    (tmp_path / "partial-1" / "variables").mkdir(parents=True)
    (tmp_path / "partial-1" / "variables" / "index").write_text("x")
    run_directory.put_in_place(tmp_path / "partial-1", tmp_path / "1")
    assert (tmp_path / "1" / "variables" / "index").read_text() == "x"
    assert not (tmp_path / "partial-1").exists()


@pytest.mark.parametrize("name", [".", "B"])
def test_a_folder_has_one_lock_whatever_it_is_called(tmp_path, monkeypatch, name):
    (tmp_path / "A").mkdir()
    (tmp_path / "B").symlink_to(tmp_path / "A")
    monkeypatch.chdir(tmp_path / "A")
    place = name if name == "." else tmp_path / name
    with run_directory.locked(tmp_path / "A", "train"):
        with pytest.raises(ValueError, match="one process at a time may train"):
            with run_directory.locked(place, "train"):
                pass


@pytest.fixture
def archive(tmp_path):
    """A zip archive as Keras writes it: two members, not compressed."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{}" * 50)
        file.writestr("model.weights.h5", bytes(range(256)) * 40)
    return path


def test_a_whole_model_passes(archive):
    run_directory.check_model(archive)


@pytest.mark.parametrize("kept", [0, 0.1, 0.5, 0.99])
def test_a_model_that_is_cut_short_is_named(archive, kept):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match="model.keras must be a whole.*cut short.*--overwrite"):
        run_directory.check_model(archive)


@pytest.mark.parametrize("share", [0.005, 0.3, 0.5, 0.9])
def test_one_wrong_bit_of_a_model_is_noticed(archive, share):
    content = bytearray(archive.read_bytes())
    content[int(share * len(content))] ^= 4
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="model.keras must be a whole Keras model"):
        run_directory.check_model(archive)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="model.keras .* is missing"):
        run_directory.check_model(tmp_path / "model.keras")


def test_a_finished_run_is_not_overwritten(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    run_directory.write_json(tmp_path / "run" / run_directory.FINISHED, {})
    with pytest.raises(ValueError, match="holds a finished run.*--overwrite"):
        run_directory.prepare_for_training(str(tmp_path / "run"), LINES, overwrite=False)


def test_the_backup_of_a_run_that_was_killed_while_it_finished_is_dropped(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    run_directory.write_json(tmp_path / "run" / run_directory.FINISHED, {})
    with pytest.raises(ValueError, match="holds a finished run"):
        run_directory.prepare_for_training(str(tmp_path / "run"), LINES, overwrite=False)
    assert not (tmp_path / "run" / run_directory.BACKUP).exists()


def test_overwrite_starts_a_finished_run_anew(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    run_directory.write_json(tmp_path / "run" / run_directory.FINISHED, {})
    path = run_directory.prepare_for_training(str(tmp_path / "run"), LINES, overwrite=True)
    assert [child.name for child in path.iterdir()] == [run_directory.FLAGS]


def test_an_unfinished_run_goes_on_with_the_same_flags(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    path = run_directory.prepare_for_training(str(tmp_path / "run"), LINES, overwrite=False)
    assert (path / run_directory.BACKUP / "0002.weights.h5").is_file()


def test_an_unfinished_run_refuses_other_flags_and_names_them(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    other = ["--run=x", "--epochs=5"]
    with pytest.raises(ValueError, match="--epochs was 2, is 5"):
        run_directory.prepare_for_training(str(tmp_path / "run"), other, overwrite=False)


def test_a_run_without_a_finished_epoch_starts_anew_with_other_flags(tmp_path):
    make_unfinished(tmp_path / "run", 0)
    other = ["--run=x", "--epochs=5"]
    path = run_directory.prepare_for_training(str(tmp_path / "run"), other, overwrite=False)
    assert (path / run_directory.FLAGS).read_text() == "--run=x\n--epochs=5\n"


def test_a_run_that_starts_anew_keeps_nothing_of_the_old_flags(tmp_path):
    make_unfinished(tmp_path / "run", 0)
    (tmp_path / "run" / run_directory.MANIFEST).write_text("image_id,image\n")
    other = ["--run=x", "--epochs=5"]
    path = run_directory.prepare_for_training(str(tmp_path / "run"), other, overwrite=False)
    assert [child.name for child in path.iterdir()] == [run_directory.FLAGS]


def test_a_run_without_a_finished_epoch_keeps_its_manifest_with_the_same_flags(tmp_path):
    make_unfinished(tmp_path / "run", 0)
    (tmp_path / "run" / run_directory.MANIFEST).write_text("image_id,image\n")
    path = run_directory.prepare_for_training(str(tmp_path / "run"), LINES, overwrite=False)
    assert (path / run_directory.MANIFEST).read_text() == "image_id,image\n"


def test_a_folder_of_other_files_is_refused_even_with_overwrite(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        run_directory.prepare_for_training(str(tmp_path), LINES, overwrite=True)
    assert (tmp_path / "thesis.tex").is_file()


def test_no_run_says_what_to_give():
    with pytest.raises(ValueError, match="--run=runs/paper"), run_directory.check_named(""):
        pass


def test_a_second_process_on_one_run_is_refused(tmp_path):
    run = str(tmp_path / "runs" / "paper")
    with run_directory.locked(run, "train"):
        code = f"from lbunet_tf import run_directory as r\nwith r.locked({run!r}, 'train'): pass"
        second = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert f"one process at a time may train {run}" in second.stderr
    assert f"(process {os.getpid()} on {socket.gethostname()})" in second.stderr


def test_a_lock_for_one_kind_of_work_leaves_the_others_free(tmp_path):
    run = tmp_path / "paper"
    with run_directory.locked(run, "train"), run_directory.locked(run, "evaluate"):
        pass


def test_one_may_wait_for_a_lock(tmp_path):
    order = []

    def wait():
        with run_directory.locked(tmp_path / "drawn", "draw", waits=True):
            order.append("second")

    second = threading.Thread(target=wait)
    with run_directory.locked(tmp_path / "drawn", "draw"):
        second.start()
        second.join(0.2)
        order.append("first")
    second.join()
    assert order == ["first", "second"]


def test_a_lock_ends_with_its_block(tmp_path):
    run = str(tmp_path / "paper")
    with run_directory.locked(run, "train"):
        pass
    with run_directory.locked(run, "train"):
        pass
    assert not (tmp_path / "paper").exists()
