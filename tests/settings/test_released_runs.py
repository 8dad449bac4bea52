"""The network that comes with the package: found by name, checked, and never written to."""

import pathlib
import shutil

import pytest

from lbunet_tf.settings import released_runs


@pytest.fixture
def released(tmp_path, monkeypatch):
    """The folder of a copy of the released run, in the place of the package's."""
    folder = tmp_path / "released"
    shutil.copytree(released_runs.FOLDER, folder)
    monkeypatch.setattr(released_runs, "FOLDER", folder)
    return folder / released_runs.DEFAULT


def test_a_name_is_a_folder_of_the_package():
    folder = released_runs.folder_of("isic2017")

    assert pathlib.Path(folder) == released_runs.FOLDER / "isic2017"
    assert released_runs.is_released(folder)
    assert released_runs.weights_of("isic2017") == f"{folder}/model.keras"


@pytest.mark.parametrize("run", ["runs/isic2017", "nothing", "", "/runs/a", "./isic2017", ".."])
def test_every_other_run_is_as_it_is_named(run):
    assert released_runs.folder_of(run) == run
    assert released_runs.weights_of(run) == run
    assert not released_runs.is_released(run)


def test_a_run_of_that_name_here_wins_and_a_folder_of_images_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "isic2017").mkdir()
    assert released_runs.folder_of("isic2017") != "isic2017"

    (tmp_path / "isic2017" / "flags.cfg").write_text("")
    assert released_runs.folder_of("isic2017") == "isic2017"
    # What a run has learnt from does not change with what is trained here later.
    in_package = f"{released_runs.FOLDER}/isic2017/model.keras"
    assert released_runs.weights_of("isic2017") == in_package


def test_its_results_go_into_the_working_directory():
    folder = released_runs.folder_of("isic2017")

    assert released_runs.results_folder(folder) == pathlib.Path("runs/released_isic2017")
    assert released_runs.results_folder("runs/a") == pathlib.Path("runs/a")


def test_the_files_are_those_that_were_released():
    released_runs.check(released_runs.folder_of("isic2017"))


@pytest.mark.parametrize("name", ["model.keras", "flags.cfg", "mask_threshold.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_file_that_is_another_is_named(released, name, damage):
    path = released / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + b"~")

    with pytest.raises(ValueError, match=f"{name} must be the file that was released"):
        released_runs.check(released)


def test_a_run_of_ones_own_is_not_checked(tmp_path):
    released_runs.check(tmp_path)
