import subprocess
import sys

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


def test_a_finished_run_is_not_overwritten(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    run_directory.write_json(tmp_path / "run" / run_directory.FINISHED, {})
    with pytest.raises(ValueError, match="holds a finished run.*--overwrite"):
        run_directory.prepare_for_training(str(tmp_path / "run"), LINES, overwrite=False)


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
    with pytest.raises(ValueError, match="--run=runs/paper"), run_directory.locked(""):
        pass


def test_a_second_process_on_one_run_is_refused(tmp_path):
    run = str(tmp_path / "runs" / "paper")
    with run_directory.locked(run):
        code = f"from lbunet_tf import run_directory as r\nwith r.locked({run!r}): pass"
        second = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert "one process at a time may write to a folder" in second.stderr


def test_a_lock_ends_with_its_block(tmp_path):
    run = str(tmp_path / "paper")
    with run_directory.locked(run):
        pass
    with run_directory.locked(run):
        pass
    assert not (tmp_path / "paper").exists()
