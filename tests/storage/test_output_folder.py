import os

import pytest

from lbunet_tf.storage import output_folder
from lbunet_tf.storage import whole_files

OWN = ("scores.csv", "masks", "figures/*.png")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def check(folder):
    output_folder.check(folder, "predict", OWN, "--output")


@pytest.fixture
def ours(tmp_path):
    """A folder that `predict` wrote, with a file of somebody else."""
    folder = tmp_path / "ours"
    output_folder.mark(folder, "predict", ["masks/a.png"])
    for name in ("scores.csv", "masks/a.png", "masks/true.png", "figures/roc.png", "notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_new_empty_and_own_folders_pass(tmp_path, ours):
    (tmp_path / "empty").mkdir()
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / ".DS_Store").write_text("of a desktop")
    # A kill while the marker was written.
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "..lbunet-partial.lbunet_tf.json").write_text("{")
    for folder in (*(tmp_path / name for name in ("new", "empty", "seen", "begun")), ours):
        check(folder)


@pytest.mark.parametrize(
    "marker",
    [
        None,
        "",
        "{}",
        "[]",
        "no json",
        '{"package": "another", "work": "predict"}',
        '{"package": "lbunet_tf", "work": "train"}',
        '{"package": "lbunet_tf"}',
    ],
)
def test_a_folder_without_our_marker_of_this_work_is_refused(tmp_path, marker):
    (tmp_path / "scores.csv").write_text("reader,score\n")
    if marker is not None:
        (tmp_path / output_folder.MARKER).write_text(marker)
    with pytest.raises(ValueError, match='"--output" must be a new or empty folder.*other files'):
        check(tmp_path)


def test_a_marker_that_is_a_link_is_none(tmp_path, ours):
    (tmp_path / "forged").mkdir()
    (tmp_path / "forged" / output_folder.MARKER).symlink_to(ours / output_folder.MARKER)
    with pytest.raises(ValueError, match="other files"):
        check(tmp_path / "forged")


@pytest.mark.parametrize("name", ["file", "broken"])
def test_what_is_no_folder_is_named(tmp_path, name):
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f'"--output" must be a folder.*{name}'):
        check(tmp_path / name)


@pytest.mark.parametrize("name", ["scores.csv", "masks", "figures", "figures/roc.png"])
def test_a_link_where_we_write_is_refused(tmp_path, ours, name):
    (tmp_path / "victim").mkdir()
    os.rename(ours / name, tmp_path / "moved")
    (ours / name).symlink_to(tmp_path / "victim")
    with pytest.raises(ValueError, match="links inside an output folder are not followed"):
        check(ours)


def test_a_folder_may_itself_be_named_by_a_link(tmp_path, ours):
    (tmp_path / "link").symlink_to(ours)
    check(tmp_path / "link")


def test_only_what_is_on_the_list_is_deleted(ours):
    output_folder.delete_own(ours, ["scores.csv", "figures/*.png"])
    assert names(ours) == [output_folder.MARKER, "masks", "masks/true.png", "notes.txt"]


def test_a_link_is_deleted_and_not_what_it_points_to(tmp_path, ours):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "roc.png").write_text("mine")
    (ours / "scores.csv").unlink()
    (ours / "scores.csv").symlink_to(tmp_path / "victim" / "roc.png")
    os.rename(ours / "figures", tmp_path / "figures")
    (ours / "figures").symlink_to(tmp_path / "victim")
    output_folder.delete_own(ours, ["scores.csv", "figures/*.png"])
    assert (tmp_path / "victim" / "roc.png").read_text() == "mine"
    assert not (ours / "scores.csv").is_symlink()


@pytest.mark.parametrize("delete", [output_folder.delete_own, output_folder.delete_listed])
@pytest.mark.parametrize("name", ["../victim.png", "/etc/victim.png", "masks/../../victim.png", ""])
def test_a_crafted_marker_deletes_nothing_outside_the_folder(tmp_path, ours, name, delete):
    (tmp_path / "victim.png").write_text("mine")
    output_folder.mark(ours, "predict", [name.replace("/etc", str(tmp_path))])
    delete(ours, [])
    assert (tmp_path / "victim.png").read_text() == "mine"


def test_listed_files_that_are_not_kept_go_and_no_others(ours):
    output_folder.mark(ours, "predict", ["masks/a.png", "scores.csv"])

    output_folder.delete_listed(ours, ["scores.csv"])

    assert names(ours) == [".lbunet_tf.json", "figures", "figures/roc.png"] + [
        *("masks", "masks/true.png", "notes.txt", "scores.csv")
    ]


def test_a_file_of_somebody_else_is_not_in_the_way_of_ours(ours):
    output_folder.refuse_files_of_others(ours, ["masks/a.png", "masks/new.png"])
    with pytest.raises(ValueError, match="masks/true.png and 0 more were not written by this"):
        output_folder.refuse_files_of_others(ours, ["masks/a.png", "masks/true.png"])


def test_a_listed_name_is_no_pattern(ours):
    output_folder.mark(ours, "predict", ["masks/*.png"])
    output_folder.delete_own(ours, [])
    assert (ours / "masks" / "true.png").is_file()


def test_a_staged_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(KeyError), output_folder.staged(tmp_path / "1", "export") as partial:
        partial.mkdir()
        (partial / "model").write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with output_folder.staged(tmp_path / "1", "export") as partial:
        partial.mkdir()
        (partial / "model").write_text("whole")
    assert names(tmp_path) == ["1", "1/model"]


def test_what_a_kill_left_in_staging_is_replaced_and_a_strangers_folder_is_not(tmp_path):
    output_folder.mark(tmp_path / "partial-1", "export")
    with output_folder.staged(tmp_path / "1", "export") as partial:
        partial.mkdir()
    (tmp_path / "partial-2").mkdir()
    (tmp_path / "partial-2" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="partial-2 must not exist"):
        with output_folder.staged(tmp_path / "2", "export"):
            pass
    assert names(tmp_path) == ["1", "partial-2", "partial-2/thesis.tex"]


@pytest.mark.parametrize("content", ["thesis", None])
def test_a_lock_file_of_somebody_else_is_left_alone(tmp_path, content):
    lock = tmp_path / ".out.predict.lock"
    (tmp_path / "victim").write_text("mine")
    if content:
        lock.write_text(content)
    else:
        lock.symlink_to(tmp_path / "victim")
    with pytest.raises(ValueError, match=r"\.out\.predict\.lock must be a lock file of ours"):
        with whole_files.locked(tmp_path / "out", "predict"):
            pass
    assert (tmp_path / "victim").read_text() == "mine"
    assert lock.read_text() == (content or "mine")


def test_a_file_is_not_written_through_a_link_in_its_place(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "scores.csv").symlink_to(tmp_path / "victim")
    whole_files.write_text(tmp_path / "scores.csv", "new")
    assert (tmp_path / "victim").read_text() == "mine"
    whole_files.partial_path(tmp_path / "a.csv").symlink_to(tmp_path / "victim")
    with pytest.raises(ValueError, match="links inside an output folder"):
        whole_files.write_text(tmp_path / "a.csv", "new")
    assert (tmp_path / "victim").read_text() == "mine"
