"""Tests of `scripts/download_isic.sh`, with stand-ins for the programs isic and curl."""

import os
import pathlib
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts/download_isic.sh"
# As `isic image download` does: the folder is the last argument, and metadata.csv comes last.
ISIC = """#!/bin/bash
echo "$@" >> "$CALLS"
for folder; do :; done
mkdir -p "$folder/licenses"
touch "$folder/ISIC_0000001.jpg" "$folder/licenses/CC-0.txt"
printf 'isic_id\\r\\nISIC_0000001\\r\\n' > "$folder/metadata.csv"
echo Anonymous > "$folder/attribution.txt"
"""


@pytest.fixture
def program(tmp_path):
    """Returns a function that puts a program of a name on the PATH of the script."""

    def make(name, text):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    make("isic", ISIC)
    make("curl", "#!/bin/bash\n")
    return make


@pytest.fixture
def download(tmp_path, program):
    """Returns a function that runs the script with some arguments, from `tmp_path`."""

    def run(*arguments):
        path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
        return subprocess.run(
            [SCRIPT, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "CALLS": str(tmp_path / "calls")},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize(
    ("name", "collections"),
    [("isic2020", "70"), ("isic2018", "63,66"), ("ham10000", "212"), ("218", "218")],
)
def test_a_set_is_asked_for_by_its_collections(tmp_path, download, name, collections):
    result = download(name, "here", "--limit", "100")

    assert result.returncode == 0, result.stderr
    asked = (tmp_path / "calls").read_text()
    assert asked == f"image download --collections {collections} --limit 100 here\n"


def test_the_end_says_how_to_read_it_and_whom_to_name(tmp_path, download):
    result = download("isic2020", tmp_path / "here")

    assert f"--source=isic_archive --data_dir={tmp_path / 'here'}" in result.stdout
    assert "licenses" in result.stdout and "attribution.txt" in result.stdout
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "ISIC_0000001.jpg",
        "attribution.txt",
        "licenses",
        "metadata.csv",
    ]


@pytest.mark.parametrize("arguments", [(), ("isic2020",)])
def test_without_a_set_and_a_folder_the_usage_is_shown(tmp_path, download, arguments):
    result = download(*arguments)

    assert result.returncode == 2
    assert "scripts/download_isic.sh SET DIR" in result.stderr
    assert not (tmp_path / "calls").exists()


def test_an_unknown_set_is_refused_by_its_name(tmp_path, download):
    result = download("isic2034", "here")

    assert result.returncode == 2
    assert "Received: isic2034" in result.stderr
    assert not (tmp_path / "calls").exists()


def test_without_a_network_isic_is_not_started(tmp_path, program, download):
    program("curl", "#!/bin/bash\necho 'curl: (6) Could not resolve host' >&2\nexit 6\n")

    result = download("isic2020", "here")

    assert result.returncode == 1
    assert "the ISIC Archive does not answer" in result.stderr
    assert not (tmp_path / "calls").exists()


def test_the_status_of_a_failing_isic_is_passed_on(program, download):
    program("isic", "#!/bin/bash\nexit 3\n")

    result = download("isic2020", "here")

    assert result.returncode == 3
    assert "isic did not finish" in result.stderr and result.stdout == ""


def test_a_table_of_an_earlier_download_does_not_pass_for_a_new_one(tmp_path, program, download):
    table = tmp_path / "here" / "metadata.csv"
    table.parent.mkdir()
    table.write_text("isic_id\n")
    os.utime(table, (0, 0))
    program("isic", "#!/bin/bash\nexit 0\n")

    result = download("isic2020", "here")

    assert result.returncode == 1
    assert "isic did not finish" in result.stderr


def test_images_that_isic_lost_without_a_word_are_counted(program, download):
    program("isic", ISIC + "printf 'ISIC_0000002\\r\\n' >> \"$folder/metadata.csv\"\n")

    result = download("isic2020", "here")

    assert result.returncode == 1
    assert "1 of 2 images have arrived" in result.stderr
