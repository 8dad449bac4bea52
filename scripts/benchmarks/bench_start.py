"""Times from the start of Python to the end of the first training step, next to the peer's.

    python scripts/benchmarks/bench_start.py --peer_python=peer/bin/python

Every turn is a new process: imports, building the model, compiling, one step. Medians.
"""

import subprocess
import sys
import time

import bench_turns

SETTINGS = {"float32": "float32", "onednn_bfloat16": "onednn_bfloat16"}
PEER_SETTINGS = ("float32 channels_last", "bfloat16 channels_last", "bfloat16 compile")
STEPPED = "stepped"


def main():
    """Measures and prints."""
    options = bench_turns.parser(__doc__).parse_args()
    if options.worker:
        _work(options)
        return
    base = [sys.executable, __file__, *bench_turns.shapes(options)]
    environment = bench_turns.environment(options.threads)
    workers = {
        name: ([*base, f"--worker={name}"], environment)
        for name in bench_turns.chosen(SETTINGS, options.settings)
    }
    workers |= bench_turns.peers(options, "start", PEER_SETTINGS)
    measured = {name: {"seconds": [], "megabytes": []} for name in workers}
    # The first round fills the caches of the file system.
    for number in range(options.rounds + 1):
        for name, (command, variables) in workers.items():
            seconds, megabytes = _start(command, variables)
            if number:
                measured[name]["seconds"].append(seconds)
                measured[name]["megabytes"].append(megabytes)
    what = "start of Python to the end of the first training step"
    bench_turns.report(measured, f"{what}, {bench_turns.conditions(options)}")


def _start(command, variables):
    """Returns seconds until the process says that it has stepped, and its peak memory."""
    start = time.perf_counter()
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith(STEPPED):
                return time.perf_counter() - start, float(line.split()[1])
    raise RuntimeError(f"{' '.join(command)} must step once; it exited {process.returncode}")


def _work(options):
    import bench_train

    model = bench_train.make_model(options)
    model.fit(bench_train.make_dataset(options), steps_per_epoch=1, shuffle=False, verbose=0)
    print(STEPPED, bench_turns.peak_megabytes(), flush=True)


if __name__ == "__main__":
    main()
