"""Every flagfile of the repository resolves to the flags that it has always meant."""

import json
import pathlib

import pytest
from absl import flags

from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles

ROOT = pathlib.Path(__file__).parents[2]
EXPECTED = json.loads((pathlib.Path(__file__).parent / "flag_lines.json").read_text())
OF_COMPARE = ("table1", "initial_weights")


def test_every_flagfile_is_looked_at():
    assert set(EXPECTED) == {path.stem for path in (ROOT / "flags").glob("*.cfg")}


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in OF_COMPARE])
def test_a_flagfile_of_a_training_resolves_to_the_lines_that_it_had(name):
    settings = flagfiles.read_flagfile(ROOT / "flags" / f"{name}.cfg")

    assert sorted(flagfiles.flag_lines(settings)) == EXPECTED[name]


@pytest.mark.parametrize("name", OF_COMPARE)
def test_a_flagfile_of_a_comparison_resolves_to_the_lines_that_it_had(name):
    values = flags.FlagValues()
    flagfiles.define_flags("compare", values)
    flagfiles.parse(["compare", f"--flagfile={ROOT / 'flags' / f'{name}.cfg'}"], values)

    settings = flagfiles.from_flags("compare", values).values()

    lines = []
    for field in config.fields_of("compare"):
        value = settings[field.name]
        items = value if isinstance(value, tuple) else (value,)
        lines.append(f"--{field.name}={','.join(map(str, items))}")
    assert sorted(lines) == EXPECTED[name]
