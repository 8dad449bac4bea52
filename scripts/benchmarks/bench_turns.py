"""What the benchmarks share: workers in processes of their own that take turns.

A worker prints a line "ready" once it is warm, and then, for each line that it reads, one line
of JSON: {"seconds": of one step, "megabytes": its peak memory}. Only one works at a time.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

PEER = pathlib.Path(__file__).parent / "bench_peer.py"


def parser(doc: str) -> argparse.ArgumentParser:
    """Returns a parser with the options of every benchmark."""
    made = argparse.ArgumentParser(description=doc.split("\n\n")[0], allow_abbrev=False)
    made.add_argument("--encoder", default="resnet101", help="of both (%(default)s)")
    made.add_argument("--image_size", type=int, default=128, help="px (%(default)s)")
    made.add_argument("--batch_size", type=int, default=8, help="(%(default)s)")
    made.add_argument("--threads", type=int, default=os.cpu_count(), help="(%(default)s)")
    made.add_argument("--rounds", type=int, default=7, help="turns of each (%(default)s)")
    made.add_argument("--steps", type=int, default=3, help="of a turn (%(default)s)")
    made.add_argument("--settings", help="of this package, comma-separated; all if left out")
    made.add_argument("--peer_python", help="Python with requirements-bench.txt; no peer if absent")
    made.add_argument("--peer_settings", help="of the peer, comma-separated; all if left out")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    return made


def shapes(options: argparse.Namespace) -> list[str]:
    """Returns the options that a worker must share, as arguments."""
    names = ("encoder", "image_size", "batch_size", "threads", "steps")
    return [f"--{name}={getattr(options, name)}" for name in names]


def conditions(options: argparse.Namespace) -> str:
    """Returns the options that a worker must share, in words."""
    return (
        f"{options.encoder}, {options.image_size} px, batch {options.batch_size}, "
        f"{options.threads} threads"
    )


def environment(threads: int, **more: str) -> dict[str, str]:
    """Returns the environment of a worker: this one's, with so many threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "2", **more}


def paced(steps: int, more: Callable[[], dict[str, float]] = dict) -> Iterator[None]:
    """Yields before each step of a worker: two turns to warm up, then one for each line read.

    `more` gives further numbers to say after a turn.
    """
    yield from [None] * (2 * steps)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        yield from [None] * steps
        seconds = (time.perf_counter() - start) / steps
        said = {"seconds": seconds, "megabytes": peak_megabytes(), **more()}
        print(json.dumps(said), flush=True)


def fit(keras, model, data, steps: int, more: Callable[[], dict[str, float]] = dict) -> None:
    """Trains a Keras model on endless data as `paced` says, and exits.

    All turns are in one call of model.fit: each makes a new iterator, and its end now and then
    waits for tf.data's tuner.
    """
    pace = paced(steps, more)

    class Paced(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if next(pace, "over") == "over":
                sys.exit()

        def on_train_batch_end(self, batch, logs=None):
            # Waits for the device.
            float(logs["loss"])

    model.fit(data, steps_per_epoch=10**9, verbose=0, shuffle=False, callbacks=[Paced()])


def peak_megabytes() -> float:
    """Returns the most memory that this process has held at once."""
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) / 1e3


def take_turns(
    workers: dict[str, tuple[Sequence[str], dict[str, str]]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Returns name -> what its worker said -> a list over the turns.

    Args:
        workers: Name -> command and environment of a worker.
        rounds: Turns of each, A B A B.

    Raises:
        RuntimeError: A worker ended before its time; what it wrote stands above.
    """
    running = {}
    for name, (command, variables) in workers.items():
        running[name] = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        # One after the other: a start next to a start would be slow for both.
        _await(name, running[name], "ready")
    measured = {name: {} for name in workers}
    for _ in range(rounds):
        for name, process in running.items():
            process.stdin.write("turn\n")
            process.stdin.flush()
            for key, value in json.loads(_await(name, process, "{")).items():
                measured[name].setdefault(key, []).append(value)
    for process in running.values():
        process.stdin.close()
        process.wait()
    return measured


def _await(name, process, start):
    for line in process.stdout:
        if line.startswith(start):
            return line
    raise RuntimeError(f"the worker {name!r} must go on to its end; it exited {process.wait()}")


def chosen(settings: dict, names: str | None) -> dict:
    """Returns the settings that a comma-separated option names; all where it is left out."""
    if not names:
        return settings
    unknown = set(names.split(",")) - set(settings)
    if unknown:
        sys.exit(f"settings are {', '.join(settings)}. Received: {', '.join(sorted(unknown))}")
    return {name: settings[name] for name in names.split(",")}


def peers(options: argparse.Namespace, what: str, settings: Sequence[str]) -> dict:
    """Returns the peer's workers by name, none without --peer_python."""
    if not options.peer_python:
        return {}
    base = [options.peer_python, str(PEER), what, *shapes(options)]
    return {
        f"peer {name}": ([*base, f"--setting={name}"], environment(options.threads))
        for name in chosen(dict.fromkeys(settings), options.peer_settings)
    }


def report(measured: dict, what: str, floors: dict[str, float] | None = None) -> None:
    """Prints a table of medians, and the ratios of our best to the peer's best."""
    print(f"\n{what}\n{machine()}\n")
    print("setting | median s | fastest s | slowest s | peak memory MB")
    print("--- | ---: | ---: | ---: | ---:")
    medians = {name: statistics.median(turns["seconds"]) for name, turns in measured.items()}
    for name, turns in measured.items():
        seconds = turns["seconds"]
        print(
            f"{name} | {medians[name]:.3f} | {min(seconds):.3f} | {max(seconds):.3f} | "
            f"{max(turns['megabytes']):.0f}"
        )
    for name, seconds in (floors or {}).items():
        print(f"{name} | {seconds:.3f} | | |")
    print()
    best = min((name for name in medians if not name.startswith("peer")), key=medians.get)
    # The peer has no export of its own: its model converted by OpenVINO is another comparison.
    converted = [name for name in medians if name.startswith("peer openvino")]
    own = [name for name in medians if name.startswith("peer") and name not in converted]
    for names in (own, converted):
        if names:
            _print_ratio(measured, medians, best, min(names, key=medians.get))


def _print_ratio(measured, medians, name, peer):
    memory = max(measured[name]["megabytes"]) / max(measured[peer]["megabytes"])
    time_ratio = medians[name] / medians[peer]
    print(f"{name} / {peer}: {time_ratio:.2f} of the time, {memory:.2f} of the memory")


def machine() -> str:
    """Returns the processor, its cores and the system."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"
