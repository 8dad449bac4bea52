"""What a wheel holds, and that it works where there is no repository; no network."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = ("lbunet_tf", "flags", "pyproject.toml", "setup.py", "requirements.txt", "README.md")
BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of this checkout, built next to it."""
    folder = tmp_path_factory.mktemp("sources")
    for name in (*SOURCES, "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, check=True, capture_output=True)
    (path,) = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """The folder that it is installed to."""
    folder = tmp_path_factory.mktemp("site")
    wheel.extractall(folder)
    return folder


def test_it_holds_every_module_every_flagfile_and_the_command(wheel):
    names = set(wheel.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "lbunet_tf").rglob("*.py")}
    recipes = {f"lbunet_tf/{path.relative_to(ROOT)}" for path in (ROOT / "flags").rglob("*.cfg")}
    released = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "lbunet_tf/released").rglob("*")
        if path.is_file()
    }
    templates = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "lbunet_tf/evaluation/reports/templates").iterdir()
    }
    ours = {name for name in names if ".dist-info/" not in name}
    assert "lbunet_tf/evaluation/reports/templates/page.html.jinja" in templates
    assert ours == modules | recipes | released | templates
    (entries,) = (name for name in names if name.endswith("entry_points.txt"))
    assert b"lbunet = lbunet_tf.settings.console:main" in wheel.read(entries)
    for name in recipes:
        assert wheel.read(name) == (ROOT / name.removeprefix("lbunet_tf/")).read_bytes()


def prepare(site, cwd, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "lbunet_tf.prepare", "--synthetic_count=20", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_flagfile_is_read_from_the_package_and_a_line_says_so(site, tmp_path):
    (tmp_path / "mine.cfg").write_text("--flagfile=flags/quickstart.cfg\n")

    ended = prepare(site, tmp_path, "--flagfile=mine.cfg", f"--data_dir={tmp_path / 'drawn'}")

    assert ended.returncode == 0, ended.stderr[-2000:]
    place = site / "lbunet_tf/flags/quickstart.cfg"
    line = f"there is no flags/quickstart.cfg here; reading the package's {place}"
    assert ended.stderr.count(line) == 1
