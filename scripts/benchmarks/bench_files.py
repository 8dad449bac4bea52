"""Times `lbunet predict` from files to files next to a plain PyTorch script, in turn.

    python scripts/benchmarks/bench_files.py FOLDER... --peer_python=peer/bin/python

Each command is a process of its own that predicts all images of a folder and writes scores, masks
and overlays to a folder that is deleted afterwards. For each: images per second with the start of
Python, the median of the rounds, and the memory of its largest process.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

OURS = {
    "keras": [],
    "openvino": ["--runtime=openvino"],
    "openvino auto": ["--runtime=openvino", "--precision=auto"],
}
PEERS = {"peer float32": [], "peer bfloat16": ["--bfloat16"]}


def main():
    """Measures and prints a Markdown table for each folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", help="images, or a folder of them")
    parser.add_argument("--run", default="isic2017")
    parser.add_argument("--peer_python", help="the Python of requirements-bench.txt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, help="at most, of each folder")
    options = parser.parse_args()
    for folder in options.folders:
        paths = sorted(str(path) for path in pathlib.Path(folder).iterdir())[: options.images]
        _report(folder, len(paths), _measure(paths, options))


def _measure(paths, options):
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        listed = pathlib.Path(scratch) / "images.csv"
        listed.write_text("\n".join(["image", *paths, ""]))
        plain = pathlib.Path(scratch) / "images.txt"
        plain.write_text("\n".join([*paths, ""]))
        ours = [sys.executable, "-m", "lbunet_tf.predict", f"--run={options.run}", listed]
        commands = {
            name: [*ours, *flags, f"--output={scratch}/out"] for name, flags in OURS.items()
        }
        if options.peer_python:
            script = pathlib.Path(__file__).with_name("bench_peer_files.py")
            peer = [options.peer_python, script, plain, f"{scratch}/out"]
            commands |= {name: [*peer, *flags] for name, flags in PEERS.items()}
        for _ in range(options.rounds):
            for name, command in commands.items():
                found.setdefault(name, []).append(_time(command))
                subprocess.run(["rm", "-r", f"{scratch}/out"], check=True)
    return found


def _time(command):
    """Returns (seconds, peak megabytes) of a process."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            errors.seek(0)
            sys.exit(errors.read().decode()[-2000:])
    return time.perf_counter() - started, used.ru_maxrss / 1000


def _report(folder, count, found):
    print(f"\n{folder}, {count} images\n")
    print("| command | images/s | seconds | peak memory, MB |\n|---|---|---|---|")
    for name, measured in found.items():
        seconds, megabytes = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"| {name} | {count / seconds:.1f} | {seconds:.1f} | {megabytes:,.0f} |")


if __name__ == "__main__":
    main()
