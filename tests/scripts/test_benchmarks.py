"""The benchmark scripts run from start to end, on the smallest shapes and without the peer."""

import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
SMALL = ("--encoder=efficientnet_lite0", "--batch_size=2", "--rounds=1", "--steps=1", "--threads=1")


def _run(script, *options):
    """Returns the cells of each row that a script prints, by the first."""
    process = subprocess.run(
        [sys.executable, f"scripts/benchmarks/{script}.py", *SMALL, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PATH": ""},
    )
    assert process.returncode == 0, process.stderr[-2000:]
    rows = [line.split(" | ") for line in process.stdout.splitlines() if " | " in line]
    return {row[0]: row[1:] for row in rows}


def test_bench_predict_times_the_exported_model_and_the_floor():
    rows = _run("bench_predict", "--image_size=32", "--settings=openvino float32")
    assert float(rows["openvino float32"][0]) > 0
    assert sum(name.startswith("floor: ") for name in rows) == 3


def test_bench_start_times_a_first_step():
    rows = _run("bench_start", "--image_size=32", "--settings=float32")
    assert float(rows["float32"][0]) > 1


def test_gpu_check_without_a_gpu_says_what_it_found():
    process = subprocess.run(
        [sys.executable, "scripts/benchmarks/gpu_check.py", *SMALL],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "JAX_PLATFORMS": "cpu"},
    )
    assert process.returncode == 1
    assert "--device=gpu needs one under jax. Found: ['cpu:0']" in process.stderr
