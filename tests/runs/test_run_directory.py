import io
import zipfile

import h5py
import numpy as np
import pytest

from lbunet_tf.runs import run_directory
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import whole_files

LINES = ["--run=x", "--epochs=2"]


def begin(path, lines=LINES, overwrite=False):
    """What train does: checks, and begins where the checks pass."""
    run_directory.check_for_training(str(path), lines, overwrite)
    return run_directory.begin_training(str(path), lines, overwrite)


def make_unfinished(path, num_epochs):
    begin(path)
    (path / run_directory.BACKUP).mkdir()
    if num_epochs:
        (path / run_directory.BACKUP / f"{num_epochs:04d}.weights.h5").write_text("weights")


def make_finished(path):
    make_unfinished(path, 2)
    whole_files.write_json(path / run_directory.FINISHED, {})


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


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
    with pytest.raises(ValueError, match="model.keras must be a complete.*cut short.*--overwrite"):
        run_directory.check_model(archive)


@pytest.mark.parametrize("share", [0.005, 0.3, 0.5, 0.9])
def test_one_wrong_bit_of_a_model_is_noticed(archive, share):
    content = bytearray(archive.read_bytes())
    content[int(share * len(content))] ^= 4
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="model.keras must be a complete Keras model"):
        run_directory.check_model(archive)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="model.keras .* is missing"):
        run_directory.check_model(tmp_path / "model.keras")


def test_a_finished_run_is_not_overwritten(tmp_path):
    make_finished(tmp_path / "run")
    with pytest.raises(ValueError, match="holds a finished run.*--overwrite"):
        begin(tmp_path / "run")


def test_the_backup_of_a_run_that_was_killed_while_it_finished_is_dropped(tmp_path):
    make_finished(tmp_path / "run")
    with pytest.raises(ValueError, match="holds a finished run"):
        begin(tmp_path / "run")
    assert not (tmp_path / "run" / run_directory.BACKUP).exists()


def test_overwrite_starts_a_finished_run_again(tmp_path):
    make_finished(tmp_path / "run")
    path = begin(tmp_path / "run", overwrite=True)
    assert names(path) == [output_folder.MARKER, run_directory.FLAGS]


def test_overwrite_deletes_what_a_run_wrote_and_nothing_else(tmp_path):
    path = tmp_path / "run"
    make_finished(path)
    own = [
        "model.keras",
        "tensorboard/train/events.out.tfevents.1.host.v2",
        "evaluation/report.html",
        "evaluation/model_card.md",
        "evaluation/figures/example_sheet.png",
        "evaluation/figures/roc.png",
        ".manifest.lbunet-partial.csv",
        "backup/.backup.lbunet-partial.weights.h5",
    ]
    others = [
        "notes.txt",
        "backup/mine.zip",
        "backup/my_copy.weights.h5",
        "notes.partial.txt",
        "evaluation/figures/mine.png",
        "export/1/saved_model.pb",
        "predicted/masks/a.png",
        "tensorboard/notes.txt",
    ]
    for name in own + others:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("x")
    begin(path, overwrite=True)
    files = [name for name in names(path) if (path / name).is_file()]
    assert files == sorted([*others, output_folder.MARKER, run_directory.FLAGS])
    assert not (path / "tensorboard" / "train").exists()


def test_overwrite_of_a_linked_run_works_on_the_run(tmp_path):
    make_finished(tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for _ in range(2):
        begin(tmp_path / "link", overwrite=True)
        whole_files.write_json(tmp_path / "run" / run_directory.FINISHED, {})
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("left", ["training.json", "model.keras", "backup/0002.weights.h5"])
def test_a_run_that_lost_its_flags_is_not_trained_over(tmp_path, left):
    make_unfinished(tmp_path / "run", 0)
    (tmp_path / "run" / left).write_text("of hours")
    (tmp_path / "run" / run_directory.FLAGS).unlink()
    with pytest.raises(ValueError, match="run must hold flags.cfg.*Put it back.*--overwrite"):
        begin(tmp_path / "run")
    assert (tmp_path / "run" / left).read_text() == "of hours"


def test_a_linked_folder_below_tensorboard_is_refused(tmp_path):
    make_unfinished(tmp_path / "run", 0)
    (tmp_path / "victim").mkdir()
    (tmp_path / "run" / "tensorboard").mkdir()
    (tmp_path / "run" / "tensorboard" / "train").symlink_to(tmp_path / "victim")
    with pytest.raises(ValueError, match="links inside an output folder.*tensorboard/train"):
        begin(tmp_path / "run")


def test_a_linked_folder_inside_a_run_is_refused_and_what_it_points_to_stays(tmp_path):
    make_finished(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "report.html").write_text("mine")
    (tmp_path / "run" / "evaluation").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="links inside an output folder.*evaluation is a link"):
        begin(tmp_path / "run", overwrite=True)
    assert (tmp_path / "elsewhere" / "report.html").read_text() == "mine"


def test_an_unfinished_run_is_continued_with_the_same_flags(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    path = begin(tmp_path / "run")
    assert (path / run_directory.BACKUP / "0002.weights.h5").is_file()


@pytest.mark.parametrize("num_epochs", [0, 2])
def test_an_unfinished_run_refuses_other_flags_and_names_them(tmp_path, num_epochs):
    make_unfinished(tmp_path / "run", num_epochs)
    (tmp_path / "run" / run_directory.MANIFEST).write_text("image_id,image\n")
    before = names(tmp_path / "run")
    with pytest.raises(ValueError, match="--epochs was 2, is 5.*--overwrite"):
        begin(tmp_path / "run", ["--run=x", "--epochs=5"])
    assert names(tmp_path / "run") == before


def test_a_run_that_starts_again_keeps_nothing_of_the_old_flags(tmp_path):
    make_unfinished(tmp_path / "run", 0)
    (tmp_path / "run" / run_directory.MANIFEST).write_text("image_id,image\n")
    path = begin(tmp_path / "run", ["--run=x", "--epochs=5"], overwrite=True)
    assert not (path / run_directory.MANIFEST).exists()
    assert (path / run_directory.FLAGS).read_text() == "--run=x\n--epochs=5\n"


def test_a_run_without_a_finished_epoch_keeps_its_manifest_with_the_same_flags(tmp_path):
    make_unfinished(tmp_path / "run", 0)
    (tmp_path / "run" / run_directory.MANIFEST).write_text("image_id,image\n")
    path = begin(tmp_path / "run")
    assert (path / run_directory.MANIFEST).read_text() == "image_id,image\n"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["thesis.tex", "flags.cfg", "training.json", "model.keras"])
def test_a_folder_of_other_files_is_refused_even_with_overwrite(tmp_path, name, overwrite):
    (tmp_path / name).write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        begin(tmp_path, overwrite=overwrite)
    assert names(tmp_path) == [name]


def test_a_run_of_an_earlier_version_is_continued_but_never_deleted(tmp_path):
    make_unfinished(tmp_path / "run", 2)
    (tmp_path / "run" / output_folder.MARKER).unlink()
    with pytest.raises(ValueError, match="from before the marker"):
        begin(tmp_path / "run", overwrite=True)
    path = begin(tmp_path / "run")
    assert (path / run_directory.BACKUP / "0002.weights.h5").is_file()


def test_a_file_in_the_place_of_a_run_is_named(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(ValueError, match='"--run" must be a folder'):
        begin(tmp_path / "run")


def test_no_run_says_what_to_give():
    with pytest.raises(ValueError, match="--run=runs/paper"), run_directory.check_named(""):
        pass
