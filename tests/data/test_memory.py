"""Tests of `lbunet_tf.data.memory`: a cache is kept where it fits, and it is said."""

import ctypes
import logging
import os
import pathlib
import subprocess
import sys

import pytest

from lbunet_tf.data import memory

GB = 2**30
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def make_machine(tmp_path):
    """Returns a function that lays out /proc and /sys of a machine with 8 GB left."""

    def make(cgroup, files):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/meminfo").write_text(
            f"MemTotal: {16 * GB // 1024} kB\nMemAvailable: {8 * GB // 1024} kB\n"
        )
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
        for name, value in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
        return tmp_path

    return make


VERSION_2 = "0::/job.slice/step\n"
VERSION_1 = "9:name=systemd:/\n4:memory:/job\n0::/\n"
NOTHING_READ = "inactive_file 0\nactive_file 0"


@pytest.mark.parametrize(
    "cgroup, files, left",
    [
        pytest.param(VERSION_2, {}, 8 * GB, id="no container"),
        pytest.param(
            VERSION_2,
            {
                "memory.max": 4 * GB,
                "memory.current": 3 * GB,
                "memory.stat": f"anon {GB}\ninactive_file {GB}\nactive_file {GB // 2}",
            },
            2.5 * GB,
            id="a limit; files that were read make room",
        ),
        pytest.param(
            VERSION_2,
            {
                "job.slice/step/memory.max": "max",
                "job.slice/memory.max": 2 * GB,
                "job.slice/memory.current": GB,
                "job.slice/memory.stat": NOTHING_READ,
            },
            GB,
            id="a limit of a group above",
        ),
        pytest.param(
            VERSION_1,
            {
                "memory/job/memory.limit_in_bytes": 3 * GB,
                "memory/job/memory.usage_in_bytes": GB,
                "memory/job/memory.stat": NOTHING_READ,
            },
            2 * GB,
            id="version 1",
        ),
        pytest.param(
            VERSION_2,
            {
                "memory.max": 64 * GB,
                "memory.current": GB,
                "memory.stat": NOTHING_READ,
            },
            8 * GB,
            id="a limit above what the machine has left",
        ),
        pytest.param(
            VERSION_2,
            {"memory.max": GB, "memory.current": 2 * GB, "memory.stat": NOTHING_READ},
            0,
            id="more in use than the limit",
        ),
    ],
)
def test_what_is_left_is_the_least_of_machine_and_container(make_machine, cgroup, files, left):
    assert memory.available_bytes(make_machine(cgroup, files)) == left


def test_this_machine_has_memory_left():
    assert 0 < memory.available_bytes() < 2**50


@pytest.mark.parametrize("num_images, kept", [(1000, True), (1001, False)])
def test_images_are_kept_where_they_take_a_part_that_leaves_room(
    num_images, kept, monkeypatch, caplog
):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000 * 128**2 * 4 / 0.3 + 1)

    with caplog.at_level(logging.INFO, logger="absl"):
        assert memory.fits(num_images, 128) == kept

    assert ("keeping 1000 images" if kept else "they are NOT kept") in caplog.text
    assert "66 MB" in caplog.text and "218 MB" in caplog.text


FAULTS = """
import ctypes, resource, sys
from lbunet_tf.settings import process
if sys.argv[1] == "reused":
    process.reuse_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
for batch in range(20):
    if batch == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [libc.malloc(2**24) for _ in range(4)]
    for buffer in buffers:
        ctypes.memset(buffer, 1, 2**24)
    for buffer in buffers:
        libc.free(buffer)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
@pytest.mark.parametrize(
    "reused, variables, has_few_faults",
    [
        ("reused", {}, True),
        ("given back", {}, False),
        ("reused", {"MALLOC_TRIM_THRESHOLD_": "131072"}, False),
    ],
)
def test_memory_that_is_freed_is_reused_unless_the_user_has_set_otherwise(
    reused, variables, has_few_faults
):
    set_by_user = ("MALLOC_", "GLIBC_TUNABLES")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(set_by_user)
    }
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", FAULTS, reused]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    # Ten batches of 64 MB have 163,840 pages.
    assert (int(done.stdout) < 1000) == has_few_faults, done.stdout
