"""Requirements, extras, locks, licences, and how scripts/setup.sh installs them."""

import importlib.metadata
import importlib.util
import os
import pathlib
import re
import subprocess
import tomllib

import pytest
from packaging import requirements

ROOT = pathlib.Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-test.lock")
# Of an extra, and left out of the locks: docs/dependencies.md says why.
UNLOCKED = ("keras-hub",)
# What the licence's own words are called in a package's metadata.
LICENCE_WORDS = {
    "Apache-2.0": "Apache",
    "BSD-3-Clause": "BSD",
    "MIT": "MIT",
    "MIT-CMU": "MIT-CMU",
    "MPL-2.0": "MPL-2.0",
    "PSF-2.0": "Python Software Foundation",
}


def direct(*files):
    """Returns name -> requirement of requirements files, those they include left out."""
    lines = "\n".join((ROOT / file).read_text() for file in files).splitlines()
    parsed = [requirements.Requirement(line) for line in lines if line[:1].isalnum()]
    return {requirement.name: requirement for requirement in parsed}


def pinned(lock):
    """Returns name -> list of (requirement of one release, its hashes) of a lock file.

    A package has several releases where each has a marker.
    """
    pins = {}
    joined = (ROOT / lock).read_text().replace("\\\n", " ")
    for line in joined.splitlines():
        if line and not line.lstrip().startswith("#"):
            text, *hashes = line.split("--hash=")
            requirement = requirements.Requirement(text.strip())
            pins.setdefault(requirement.name, []).append((requirement, hashes))
    return pins


def version(pin):
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


def licence_table():
    rows = re.findall(
        r"^\| ([a-z][\w-]*) \|(.*)\|$", (ROOT / "docs/dependencies.md").read_text(), re.M
    )
    return {
        name: [cell.strip() for cell in cells.split("|")]
        for name, cells in rows
        if name != "package"
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_a_release_within_each_direct_range(lock):
    files = ("requirements.txt", "requirements-test.txt")[: 1 + LOCKS.index(lock)]
    pins = pinned(lock)
    for name, requirement in direct(*files).items():
        assert name in pins, f"{lock} lacks {name}; run scripts/lock.sh"
        for pin, _ in pins[name]:
            assert requirement.specifier.contains(version(pin)), (
                f"{pin} in {lock}; run scripts/lock.sh"
            )


@pytest.mark.parametrize("lock", LOCKS)
def test_every_release_of_a_lock_has_hashes_and_no_address(lock):
    assert not re.search(r"https?:|file:|--index|--find-links|@ ", (ROOT / lock).read_text())
    for pins in pinned(lock).values():
        for pin, hashes in pins:
            assert hashes, pin
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", value) for value in hashes), pin


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("lock", LOCKS)
def test_a_python_gets_one_release_of_a_package(lock, python):
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    for name, pins in pinned(lock).items():
        fitting = [p for p, _ in pins if p.marker is None or p.marker.evaluate(environment)]
        assert len(fitting) <= 1, name
        if len(pins) > 1:
            assert fitting, name


def test_what_is_installed_is_what_was_tested():
    tested = pinned("requirements-test.lock")
    for name, pins in pinned("requirements.lock").items():
        assert [str(pin) for pin, _ in pins] == [str(pin) for pin, _ in tested[name]]


def extras():
    """Returns name -> requirement of the extras of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = sum(project["optional-dependencies"].values(), [])
    return {r.name: r for r in map(requirements.Requirement, texts)}


def test_the_tests_have_every_extra_in_its_own_range():
    locked = {name: r.specifier for name, r in extras().items() if name not in UNLOCKED}
    tested = direct("requirements-test.txt")
    assert locked == {name: tested[name].specifier for name in locked}
    assert not set(UNLOCKED) & set(tested)


def test_the_table_of_licences_names_each_direct_dependency_with_its_range():
    asked = direct("requirements.txt", "requirements-test.txt")
    asked |= {name: extras()[name] for name in UNLOCKED}
    ranges = {
        name: requirements.Requirement(name + cells[0]).specifier
        for name, cells in licence_table().items()
    }
    assert ranges == {name: requirement.specifier for name, requirement in asked.items()}


def test_the_table_says_for_whom_each_dependency_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed_by = {name: "all" for name in direct("requirements.txt")}
    for extra, texts in project["optional-dependencies"].items():
        needed_by |= {requirements.Requirement(text).name: f"extra `{extra}`" for text in texts}
    assert {name: cells[2] for name, cells in licence_table().items()} == {
        name: needed_by.get(name, "tests") for name in licence_table()
    }


@pytest.mark.parametrize("name", sorted(licence_table()))
def test_the_table_gives_the_licence_that_a_package_states(name):
    if name in UNLOCKED and not importlib.util.find_spec(name.replace("-", "_")):
        pytest.skip(f"{name} is not installed")
    distribution = importlib.metadata.distribution(name)
    stated = [
        value
        for key, value in distribution.metadata.items()
        if key in ("License", "License-Expression") or (key, value[:7]) == ("Classifier", "License")
    ]
    if not stated or stated == ["UNKNOWN"]:
        stated = [p.read_text() for p in distribution.files if p.name.startswith("LICEN")]
    assert LICENCE_WORDS[licence_table()[name][1]] in " ".join(stated)


def set_up(folder, requirements_file, python_of_environment):
    """Runs setup_environment in a folder whose .venv/bin/python is a stand-in.

    Returns the result, and what the stand-in was called with, one line per call.
    """
    (folder / "scripts").mkdir()
    (folder / "scripts/setup.sh").write_text((ROOT / "scripts/setup.sh").read_text())
    (folder / requirements_file).write_text("")
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" >> calls\n{python_of_environment}\n')
    python.chmod(0o755)
    result = subprocess.run(
        ["bash", "-c", f". scripts/setup.sh; setup_environment {requirements_file}"],
        cwd=folder,
        env={**os.environ, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result, (folder / "calls").read_text().splitlines()


def test_a_lock_is_installed_by_its_hashes_after_pip_and_setuptools(tmp_path):
    result, calls = set_up(tmp_path, "requirements.lock", "exit 0")
    installs = [call.split() for call in calls if " install " in call]
    assert result.returncode == 0, result.stderr
    assert "--upgrade" in installs[0] and {"pip>=26", "setuptools>=78.1.1"} <= set(installs[0])
    assert installs[1][-3:] == ["--require-hashes", "-r", "requirements.lock"]
    assert list(tmp_path.glob(".venv/.installed-*-requirements.lock"))


def test_ranges_are_installed_without_hashes(tmp_path):
    _, calls = set_up(tmp_path, "requirements.txt", "exit 0")
    assert calls[-2].endswith("-r requirements.txt") and "--require-hashes" not in calls[-2]


def test_the_package_itself_is_installed_last_and_brings_nothing_else(tmp_path):
    _, calls = set_up(tmp_path, "requirements.lock", "exit 0")
    assert {"--no-deps", "--no-build-isolation", "--editable"} <= set(calls[-1].split())


def test_a_lock_that_does_not_install_names_the_ranges_and_leaves_no_stamp(tmp_path):
    failing = 'case "$*" in *--require-hashes*) exit 1 ;; esac'
    result, _ = set_up(tmp_path, "requirements.lock", failing)
    assert result.returncode == 1
    assert "requirements.lock did not install" in result.stderr
    assert "pip install -r requirements.txt" in result.stderr
    assert not list(tmp_path.glob(".venv/.installed-*"))
