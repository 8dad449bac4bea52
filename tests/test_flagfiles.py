import pathlib

import pytest
from absl import flags

from lbunet_tf import config as config_lib

FLAGFILES = sorted((pathlib.Path(__file__).parent.parent / "flags").glob("*.cfg"))


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.name)
def test_a_flagfile_opens_with_what_command_and_score(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert header[1].startswith("# Command: ") and any("score" in line for line in header[2:])


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.name)
def test_a_flagfile_parses_to_a_checked_config(path):
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    config_lib.define_flags("train", values)
    values(["train", f"--flagfile={path}"])
    assert config_lib.from_flags("train", values).run == f"runs/{path.stem}"


def test_there_are_flagfiles():
    assert len(FLAGFILES) >= 5
