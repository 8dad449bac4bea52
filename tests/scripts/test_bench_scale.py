"""scripts/benchmarks/bench_scale.py, run with tiny sizes."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_steps_are_run_and_printed_with_their_time_and_memory():
    result = subprocess.run(
        [
            *(sys.executable, "scripts/benchmarks/bench_scale.py", "--rows=300", "--hashes=100"),
            *("--images=80", "--steps=all,near_duplicates,evaluate"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    header, *lines = (line.split(" ") for line in result.stdout.splitlines())
    assert header == ["step", "count", "seconds", "cpu_seconds", "peak_megabytes"]
    assert [step for step, *_ in lines] == ["all", "near_duplicates", "evaluate"]
    assert all(float(number) >= 0 for line in lines for number in line[1:])
