import io
import zipfile

import h5py
import numpy as np
import pytest

from lbunet_tf import run_directory
from lbunet_tf import whole_files

LINES = ["--run=x", "--epochs=2"]


def make_unfinished(path, num_epochs):
    run_directory.prepare_for_training(str(path), LINES, overwrite=False)
    (path / run_directory.BACKUP).mkdir()
    if num_epochs:
        (path / run_directory.BACKUP / f"{num_epochs:04d}.weights.h5").write_text("weights")


@pytest.fixture
def archive(tmp_path):
    """A zip archive as Keras writes it: two members, not compressed."""
    path = tmp_path / "model.keras"
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["kernel"] = np.arange(2000.0)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{}" * 50)
        file.writestr("model.weights.h5", weights.getvalue())
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
    whole_files.write_json(tmp_path / "run" / run_directory.FINISHED, {})
    with pytest.raises(ValueError, match="holds a finished run.*--overwrite"):
        run_directory.prepare_for_training(str(tmp_path / "run"), LINES, overwrite=False)


def test_the_backup_of_a_run_that_was_killed_while_it_finished_is_dropped(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    whole_files.write_json(tmp_path / "run" / run_directory.FINISHED, {})
    with pytest.raises(ValueError, match="holds a finished run"):
        run_directory.prepare_for_training(str(tmp_path / "run"), LINES, overwrite=False)
    assert not (tmp_path / "run" / run_directory.BACKUP).exists()


def test_overwrite_starts_a_finished_run_anew(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    whole_files.write_json(tmp_path / "run" / run_directory.FINISHED, {})
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
