"""Kills commands with SIGKILL at random moments, and compares what they end with.

    python scripts/benchmarks/check_kills.py FOLDER [--kills=20] [--seed=0]
        [--minutes=60] [--only=train]

Each command runs once undisturbed. Then it is started, killed, started again, until it is left
alone long enough to end; its files must then be those of the undisturbed run. That is a round;
rounds go on until each command was killed --kills times. Half of the moments are drawn over the
time of the undisturbed run, half stand just after some file has begun to be written.

Files are compared byte for byte, except: how long training took (history.csv, training.json,
runs.csv, tables and reports); date and object numbers within model.keras; TensorBoard's files, of
which the points (folder, tag, step, content) must be the same, none missing and none twice. Locks
are left out.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pandas as pd
from tensorboard.backend.event_processing import event_file_loader

DATA = (
    "--source=synthetic",
    "--data_dir=drawn",
    "--synthetic_count=48",
    "--image_size=32",
)
TRAINING = (
    *DATA,
    "--mask_source=lesion",
    "--heads=mask,melanoma",
    "--model=unet",
    "--encoder_weights=none",
    "--batch_size=8",
    "--augment=flips",
)
COMMANDS = {
    "prepare": (
        *DATA,
        "--augment=flips",
        "--output=rows.csv",
        "--preview=rows.png",
        "--records=records",
    ),
    "train": (*TRAINING, "--epochs=3", "--run=run"),
    "evaluate": ("--run=run",),
    "predict": ("--run=run", "--output=predicted", "--batch_size=2", "drawn/images"),
    "compare": ("--run=compared", "--experiments=slow.cfg,fast.cfg"),
}
# What a start needs of the package before it reads a flag; nothing is written until then.
SCANS_A_SECOND = 300


def main():
    """Checks the commands, prints a line each, and exits with 1 where one did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="no new round after that")
    parser.add_argument("--only", default=",".join(COMMANDS))
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    failures = []
    for name in arguments.only.split(","):
        failures += check(name, folder, arguments.kills, random.Random(arguments.seed), end)
    sys.exit(1 if failures else 0)


def check(name, folder, num_kills, draw, end):
    """Returns what went wrong, a line each, and prints counts."""
    whole = folder / f"{name}-undisturbed"
    work = folder / "work"
    if not whole.is_dir():
        _run_undisturbed(name, folder)
    seconds, writes = _measure(name, folder, whole)
    counts = collections.Counter()
    failures = []
    while counts["kills"] < num_kills and not failures:
        if time.monotonic() > end:
            failures.append(f"{name}: out of time")
            break
        _start_anew(name, folder)
        failures += _round(name, work, draw, num_kills, (seconds, writes), counts)
        failures += [] if failures else [f"{name}: {line}" for line in differences(whole, work)]
        counts["rounds"] += 1
    print(
        f"{name}: {counts['kills']} kills, {counts['within a write']} of them within a write, in "
        f"{counts['rounds']} rounds; undisturbed {seconds:.0f} s and {writes} files written; "
        f"{'FAILED' if failures else 'all rounds end like the undisturbed run'}",
        flush=True,
    )
    for failure in failures[:20]:
        print(failure, flush=True)
    return failures


def _run_undisturbed(name, folder):
    """Makes the folder NAME-undisturbed."""
    _start_anew(name, folder)
    killed, _ = _attempt(name, folder / "work", lambda seconds, writes: False)
    if killed is None:
        sys.exit(f"{name} failed without a kill: see {_log(folder / 'work')}")
    (folder / "work").rename(folder / f"{name}-undisturbed")


def _start_anew(name, folder):
    """Makes the folder in which a command finds what it needs."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    if name in ("evaluate", "predict"):
        if not (folder / "train-undisturbed").is_dir():
            _run_undisturbed("train", folder)
        shutil.copytree(folder / "train-undisturbed", work)
        return
    work.mkdir()
    for experiment, rate in (("slow", 1e-4), ("fast", 1e-3)):
        flags = (*TRAINING, "--epochs=1", f"--learning_rate={rate}")
        (work / f"{experiment}.cfg").write_text("\n".join(flags) + "\n")


def _measure(name, folder, whole):
    """Returns how long the undisturbed run took and how many writes were seen, measuring once."""
    path = folder / f"{name}-undisturbed.json"
    if not path.is_file():
        _start_anew(name, folder)
        most = [0.0, 0]

        def look(seconds, writes):
            most[:] = seconds, writes
            return False

        _attempt(name, folder / "work", look)
        path.write_text(json.dumps(most))
        lines = differences(whole, folder / "work")
        if lines:
            sys.exit(f"two undisturbed runs of {name} differ: {lines}")
    return json.loads(path.read_text())


def _round(name, work, draw, num_kills, measured, counts):
    """Starts and kills until the command ends; returns what went wrong."""
    seconds, writes = measured
    while True:
        is_finished = _is_finished(name, work)
        if counts["kills"] >= num_kills:
            is_due = lambda now, seen: False  # noqa: E731
        elif draw.random() < 0.5:
            moment = draw.uniform(0.2, 1.02) * seconds
            is_due = lambda now, seen, moment=moment: now >= moment  # noqa: E731
        else:
            is_due = _make_write_due(draw.randint(1, max(writes, 1)), 10 ** draw.uniform(-3, -0.3))
        killed, is_within = _attempt(name, work, is_due)
        if killed is None and not is_finished:
            return [f"{name}: see {_log(work)}"]
        # A run that was finished before is refused, and that is right.
        if not killed:
            return []
        counts["kills"] += 1
        counts["within a write"] += is_within


def _is_finished(name, work):
    """Returns whether the command had ended before it was killed: it then refuses to run again."""
    if name == "train":
        return (work / "run" / "training.json").is_file()
    marker = work / "predicted" / ".lbunet_tf.json"
    return name == "predict" and marker.is_file() and json.loads(marker.read_text())["finished"]


def _make_write_due(number, delay):
    """Returns a function that is true `delay` seconds after the `number`th write was seen."""
    seen_at = []

    def is_due(now, seen):
        if seen >= number and not seen_at:
            seen_at.append(now)
        return bool(seen_at) and now >= seen_at[0] + delay

    return is_due


def _attempt(name, work, is_due):
    """Runs the command until it ends or is due to be killed.

    Returns:
        Whether it was killed, None where it failed by itself; and whether a file was then half
        written.
    """
    command = [sys.executable, "-m", f"lbunet_tf.{name}", *COMMANDS[name]]
    # One thread: sums are then taken in the same order each time.
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment["PYTHONPATH"] = os.fspath(pathlib.Path(__file__).resolve().parents[2])
    with open(_log(work), "a", encoding="utf-8") as log:
        log.write(f"--- {' '.join(command)}\n")
        log.flush()
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)
        began, there, seen = time.monotonic(), set(), 0
        while process.poll() is None:
            now = _half_written(work)
            seen += len(now - there)
            there = now
            if is_due(time.monotonic() - began, seen):
                process.send_signal(signal.SIGKILL)
                process.wait()
                log.write("--- killed\n")
                return True, bool(_half_written(work))
            time.sleep(1 / SCANS_A_SECOND)
    return (False if process.returncode == 0 else None), False


def _log(work):
    return work.parent / "log.txt"


def _half_written(work):
    return {
        os.path.join(folder, name)
        for folder, folders, names in os.walk(work)
        for name in (*names, *folders)
        if "partial" in name
    }


def differences(whole: pathlib.Path, other: pathlib.Path) -> list[str]:
    """Returns in what two folders differ, one line per file."""
    names = [_names(folder) for folder in (whole, other)]
    lines = [f"{name} is missing" for name in sorted(names[0] - names[1])]
    lines += [f"{name} is left over" for name in sorted(names[1] - names[0])]
    for name in sorted(names[0] & names[1]):
        if _content(whole / name) != _content(other / name):
            lines.append(f"{name} has another content")
    points = [_points(folder) for folder in (whole, other)]
    lines += [f"TensorBoard lacks {point}" for point in sorted((points[0] - points[1]).elements())]
    lines += [f"TensorBoard has {point}" for point in sorted((points[1] - points[0]).elements())]
    return lines


def _names(folder):
    return {
        os.fspath(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "tfevents" not in path.name and path.suffix != ".lock"
    }


def _content(path):
    """Returns what must be the same of a file."""
    if path.name in ("history.csv", "runs.csv", "table.csv"):
        table = pd.read_csv(path, dtype=str)
        return table[[name for name in table if "seconds" not in name]].to_csv()
    if path.suffix in (".html", ".md"):
        return re.sub(r"[\d.]+ min\b|training_seconds [\d.]+", "", path.read_text())
    if path.name == "training.json":
        content = json.loads(path.read_text())
        del content["training_seconds"]
        return content
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist()) - {"metadata.json"}
            content = {name: archive.read(name) for name in names}
        return content | {
            "config.json": re.sub(rb'"shared_object_id": \d+', b"", content["config.json"])
        }
    return path.read_bytes()


def _points(folder):
    """Returns how often each point (folder, tag, step, content) stands in TensorBoard's files."""
    points = collections.Counter()
    for path in folder.rglob("*tfevents*"):
        for event in event_file_loader.EventFileLoader(os.fspath(path)).Load():
            for value in event.summary.value:
                if value.tag == "compare/training minutes":
                    continue
                tensor = b"" if "hparams" in value.tag else value.tensor.SerializeToString()
                place = os.fspath(path.parent.relative_to(folder))
                points[place, value.tag, event.step, hash(tensor)] += 1
    return points


if __name__ == "__main__":
    main()
