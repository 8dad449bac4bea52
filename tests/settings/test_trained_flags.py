"""A flags.cfg that is not the one that a run was trained with is noticed."""

import hashlib
import json

import pytest

from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import trained_flags

CONFIG = config.make(
    source=("isic2018",), data_dir=("/d",), image_size=96, seed=4, teacher=("/home/me/a", "b")
)


@pytest.fixture
def run(tmp_path):
    """A finished run: its flags, and the same in training.json."""
    lines = flagfiles.flag_lines(CONFIG.replace(run=str(tmp_path)))
    (tmp_path / "flags.cfg").write_text("\n".join(lines) + "\n")
    kept = trained_flags.kept(lines, flagfiles.PATH_FLAGS)
    (tmp_path / "training.json").write_text(json.dumps({"epochs": 3, "flags": kept}))
    return tmp_path


def rewrite(run, old, new):
    path = run / "flags.cfg"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_the_flags_of_training_are_read(run):
    assert flagfiles.read(str(run)) == CONFIG.replace(run=str(run))


def test_the_order_of_lines_and_comments_do_not_matter(run):
    path = run / "flags.cfg"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["# mine", "", *reversed(lines)]))

    assert flagfiles.read(str(run)).preprocessing.image_size == 96


def test_a_run_and_its_images_may_be_moved(run):
    rewrite(run, "--data_dir=/d", "--data_dir=/e")
    rewrite(run, f"--run={run}", "--run=elsewhere")

    assert flagfiles.read(str(run)).source.data_dir == ("/e",)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("--image_size=96\n", "", "--image_size was 96, is not there"),
        ("--image_size=96\n", "--image_size=128\n", "--image_size was 96, is 128"),
        ("--seed=4\n", "--seed=4\n--seed=5\n", "--seed was 4, is 5"),
        ("--teacher=/home/me/a,b", "--teacher=/home/me/a", "1 flags differ: --teacher differs"),
        ("--seed=4\n", "--seed=4\n--flagfile=x.cfg\n", "--flagfile was not there, is x.cfg"),
    ],
)
def test_a_flag_that_has_changed_is_named_with_what_it_was(run, old, new, words):
    rewrite(run, old, new)

    with pytest.raises(ValueError, match=f"flags.cfg must be the one .* {words}.*training.json"):
        flagfiles.read(str(run))


def test_what_is_kept_holds_no_path_and_no_place(run):
    kept = json.loads((run / "training.json").read_text())["flags"]

    teacher = hashlib.sha256(b"/home/me/a,b").hexdigest()
    assert [line for line in kept if line.startswith("--teacher=")] == [
        f"--teacher=sha256:{teacher}"
    ]
    assert "--seed=4" in kept
    assert not any("/" in line or line.startswith(("--run=", "--data_dir=")) for line in kept)


def test_an_empty_file_is_not_taken_for_the_defaults(run):
    (run / "flags.cfg").write_text("")

    with pytest.raises(ValueError, match=r"flags.cfg must be the one .* \d\d flags differ"):
        flagfiles.read(str(run))


def test_a_run_of_an_older_version_is_read(run):
    (run / "training.json").write_text('{"epochs": 3}')
    rewrite(run, "--seed=4\n", "")

    assert flagfiles.read(str(run)).preprocessing.image_size == 96


def test_a_gutted_file_of_a_run_of_an_older_version_is_refused(run):
    (run / "training.json").write_text('{"epochs": 3}')
    (run / "flags.cfg").write_text("--seed=4\n")

    with pytest.raises(ValueError, match="flags.cfg must hold all flags .* lacks --source, --ima"):
        flagfiles.read(str(run))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"flags": 7}', '{"flags": [7]}', "[" * 9999])
def test_a_damaged_training_json_is_named(run, text):
    (run / "training.json").write_text(text)

    with pytest.raises(ValueError, match="training.json must "):
        flagfiles.read(str(run))


def test_a_file_that_is_no_utf8_is_named(run):
    (run / "flags.cfg").write_bytes("--data_dir=/bilder/müller\n".encode("latin-1"))

    with pytest.raises(ValueError, match="flags.cfg must be UTF-8; save it in that encoding"):
        flagfiles.read(str(run))
