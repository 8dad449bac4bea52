import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags

from lbunet_tf.settings import flagfiles

ROOT = pathlib.Path(__file__).parent.parent
FLAGFILES = sorted(path for path in (ROOT / "flags").rglob("*.cfg") if path.stem != "base")
COMPARISONS = [path for path in FLAGFILES if "--experiments=" in path.read_text()]
TRAININGS = [path for path in FLAGFILES if path not in COMPARISONS]
ZOO = [path for path in TRAININGS if path.parent.name == "zoo"]


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.name)
def test_a_flagfile_opens_with_what_command_and_score(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert header[1].startswith("# Command: ") and any("score" in line for line in header[2:])


@pytest.mark.parametrize("entry", ["train", "prepare"])
@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.name)
def test_a_flagfile_parses_to_a_checked_config(path, entry):
    name = path.relative_to(ROOT / "flags").with_suffix("")

    assert parse(entry, path).paths.run == f"runs/{name}"


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.name)
def test_a_flagfile_of_the_zoo_is_a_classifier_on_the_images_of_the_others(path):
    settings, first = (flagfiles.read_flagfile(one) for one in (path, ZOO[0]))

    assert (settings.model.model, settings.model.encoder) == ("classifier", path.stem)
    for group in ("source", "split", "outputs", "budget"):
        assert getattr(settings, group) == getattr(first, group)


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.name)
def test_a_flagfile_of_the_zoo_says_its_fidelity(path):
    assert re.search(r"^# Fidelity: (exact|faithful-reading|placeholder)", path.read_text(), re.M)


def parse(entry, path):
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flagfiles.define_flags(entry, values)
    values([entry, f"--flagfile={path}"])
    return flagfiles.from_flags(entry, values)


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.name)
def test_a_comparison_names_flagfiles_of_one_budget(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = parse("compare", path)

    assert settings.paths.run == f"runs/{path.stem}"
    experiments = [flagfiles.read_flagfile(name) for name in settings.comparison.experiments]
    assert (
        len({(run.budget.epochs, run.budget.patience, run.source.source) for run in experiments})
        == 1
    )


def test_the_scratch_recipe_is_the_papers_but_for_its_weights():
    paper, scratch = (
        flagfiles.read_flagfile(ROOT / "flags" / name)
        for name in ("paper.cfg", "paper_scratch.cfg")
    )

    assert scratch == paper.replace(encoder_weights="none", run=scratch.paths.run)


@pytest.mark.slow
def test_prepare_takes_the_flagfile_of_a_training(tmp_path):
    arguments = ["--flagfile=flags/quickstart.cfg", "--synthetic_count=20"]
    result = subprocess.run(
        [sys.executable, "-m", "lbunet_tf.prepare", *arguments, f"--data_dir={tmp_path / 'drawn'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "known, of 20 images:" in result.stdout and "skipped: 0" in result.stdout


def test_there_are_flagfiles():
    assert len(TRAININGS) >= 5 and len(COMPARISONS) >= 1 and len(ZOO) >= 15
