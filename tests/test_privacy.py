"""Files that are given to others say nothing of the machine that they were made on."""

import getpass
import pathlib
import re
import socket
import sys
import zipfile

import pytest

from lbunet_tf import export
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import flagfiles

pytestmark = pytest.mark.slow

# What docs/sharing.md names; the other files of a run hold the paths of its images.
SHARED = (
    run_directory.MODEL,
    run_directory.HISTORY,
    run_directory.FINISHED,
    "evaluation",
    run_directory.TENSORBOARD,
)


@pytest.fixture(scope="module")
def shared(evaluated, tmp_path_factory):
    """Every file of a run that is given to others, and its exports in both formats."""
    settings, run, _ = evaluated
    output = tmp_path_factory.mktemp("exports")
    settings = flagfiles.read(str(run))
    for kind in run_directory.EXPORTS:
        export.export(settings.replace(format=kind, output=str(output / kind)))
    named = [run / name for name in SHARED]
    files = [file for path in (*named, output) for file in [path, *path.rglob("*")]]
    return [file for file in files if file.is_file() and file.suffix != ".lock"]


def contents(path):
    """Returns the bytes of a file; of an archive, also those of what is packed in it."""
    packed = b""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            packed = b"".join(archive.read(name) for name in archive.namelist())
    return path.read_bytes() + packed


def words(path):
    """Returns the texts in a file, of numbers nothing that looks like one by chance."""
    texts = re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", contents(path))
    return b"\n".join(re.findall(rb"[ -~]{12,}", texts))


def test_every_kind_of_file_is_looked_at(shared):
    suffixes = {path.suffix for path in shared}
    assert {".keras", ".pb", ".xml", ".json", ".html", ".md", ".png", ".csv"} <= suffixes
    assert any("tfevents" in path.name for path in shared)


def test_no_file_for_others_holds_a_folder_of_this_machine(shared, evaluated):
    run = evaluated[1]
    folders = {run.parent, run.parents[1], pathlib.Path.cwd(), pathlib.Path.home(), sys.prefix}
    folders |= {pathlib.Path("/home", getpass.getuser()), pathlib.Path(export.__file__).parents[1]}
    for path in shared:
        found = [folder for folder in map(str, folders) if folder.encode() in contents(path)]
        assert found == [], path


def test_no_file_for_others_holds_the_name_of_this_host(shared):
    host = re.escape(socket.gethostname())
    whole_word = rf"(?<![A-Za-z0-9]){host}(?![A-Za-z0-9])"
    for path in shared:
        assert not re.search(whole_word, path.name)
        # In numbers a short name stands by chance.
        if len(host) >= 6 or path.suffix in (".json", ".html", ".csv", ".xml"):
            assert not re.search(whole_word.encode(), words(path)), path


def test_the_report_still_names_the_run_and_its_data(evaluated):
    settings, run, _ = evaluated
    report = (run / run_directory.REPORT).read_text()
    assert f"<dt>Run</dt><dd>{run.name}</dd>" in report
    assert f"--data_dir={pathlib.Path(settings.source.data_dir[0]).name}\n" in report
