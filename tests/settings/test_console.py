"""The command `lbunet` is `python -m lbunet_tf.X` by another name."""

import pathlib
import subprocess
import sys

import pytest

from lbunet_tf.settings import process

ROOT = pathlib.Path(__file__).parents[2]
# What pip writes to bin/lbunet.
SCRIPT = "import sys\nfrom lbunet_tf.settings.console import main\nsys.exit(main())\n"


def run(tmp_path, *arguments, cwd=ROOT, **environment):
    script = tmp_path / "lbunet"
    script.write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_it_lists_every_command_in_a_line(tmp_path, arguments):
    ended = run(tmp_path, *arguments)

    assert (ended.returncode, ended.stderr) == (0, "")
    lines = {line.split()[0]: line for line in ended.stdout.splitlines() if line[:2] == "  "}
    assert set(process.COMMANDS) <= set(lines)
    assert all(line.rstrip().endswith(".") for name, line in lines.items() if name != "lbunet")


def test_every_module_that_is_a_command_is_listed():
    modules = (ROOT / "lbunet_tf").glob("[a-z]*.py")
    commands = {path.stem for path in modules if 'if __name__ == "__main__"' in path.read_text()}
    assert set(process.COMMANDS) == commands


def test_a_wrong_command_is_one_clear_line(tmp_path):
    ended = run(tmp_path, "trian")

    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "ERROR: the first word after lbunet must be a command: prepare, train" in ended.stderr
    assert "Did you mean train? Received: trian" in ended.stderr


@pytest.mark.slow
def test_a_command_starts_as_with_python_m_in_an_unkind_environment(tmp_path):
    ended = run(tmp_path, "export", "--help", MPLBACKEND="module://no_such_module.backend")

    assert ended.returncode == 0, ended.stderr[-999:]
    assert ended.stdout.startswith("Exports a run") and "--format=" in ended.stdout


@pytest.mark.slow
def test_a_wrong_flag_of_a_command_is_one_line_and_its_exit_status(tmp_path):
    ended = run(tmp_path, "prepare", "--epohcs=3")

    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "Unknown command line flag 'epohcs'" in ended.stderr
