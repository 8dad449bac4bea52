"""Prints seconds and peak memory of what grows with the number of images.

    python scripts/benchmarks/bench_scale.py [--rows=10000,100000,1000000] [--hashes=...]
        [--images=1000,10000,100000]

A drawn manifest is read, balanced, split, leak-checked, described and frozen, without its image
files; drawn hashes are searched for near-duplicates; drawn images are evaluated with a tiny
network. Each step runs in a process of its own, after what it needs, and `all` is one process of
all of them. Peak memory is the whole process', with its libraries (`nothing`).
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd

SEED = 0
MAX_BITS = 4
IMAGE_PX = 32
NUM_PICTURES = 64
RUN_FLAGS = {"image_size": IMAGE_PX, "batch_size": 64, "heads": ("mask", "melanoma")}


def main():
    """Runs every step of every size and prints a line each."""
    options = _parse()
    if options.step:
        print(json.dumps(measure(options.step, options.count, pathlib.Path(options.folder))))
        return
    print("step count seconds cpu_seconds peak_megabytes")
    with tempfile.TemporaryDirectory() as folder:
        for counts, steps in (
            (options.rows, ("nothing", *MANIFEST_STEPS, "all")),
            (options.hashes, ("near_duplicates",)),
            (options.images, ("evaluate",)),
        ):
            for count in counts:
                if "all" in steps:
                    draw_manifest(count).to_csv(f"{folder}/drawn{count}.csv", index=False)
                for step in steps if not options.steps else options.steps & set(steps):
                    _print(step, count, _in_new_process(step, count, folder))


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    for name, default in (
        ("rows", [10**4, 10**5, 10**6]),
        ("hashes", [10**4, 10**5, 10**6]),
        ("images", [10**3, 10**4, 10**5]),
    ):
        parser.add_argument(f"--{name}", type=_numbers, default=default, help="%(default)s")
    parser.add_argument("--steps", type=lambda text: set(text.split(",")), help="default: all")
    # How a step is run in a process of its own.
    for name in ("step", "count", "folder"):
        parser.add_argument(f"--{name}", type=int if name == "count" else str, help="internal")
    return parser.parse_args()


def _numbers(text):
    return [int(number) for number in text.split(",") if number]


def _in_new_process(step, count, folder):
    command = [sys.executable, __file__, f"--step={step}", f"--count={count}"]
    result = subprocess.run(
        [*command, f"--folder={folder}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{step} of {count} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def _print(step, count, found):
    numbers = (f"{found[name]:.2f}" for name in ("seconds", "cpu_seconds"))
    print(step, count, *numbers, f"{found['peak_megabytes']:.0f}", flush=True)


def measure(step: str, count: int, folder: pathlib.Path) -> dict[str, float]:
    """Returns seconds, CPU seconds and the process' peak memory of one step."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Data and model, as every entry imports them.
    from lbunet_tf import evaluate as _  # noqa: F401

    run = _prepare(step, count, folder)
    start, cpu_start = time.perf_counter(), time.process_time()
    run()
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "peak_megabytes": _peak_kilobytes() / 1e3,
    }


def _peak_kilobytes():
    """Returns the most memory that this process has had; ru_maxrss counts its parent's, too."""
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)


def _prepare(step, count, folder):
    """Returns the function to be measured, with what it needs made."""
    if step == "near_duplicates":
        return _near_duplicates(count)
    if step == "evaluate":
        return _evaluation(count, folder)
    path = folder / f"drawn{count}.csv"
    if step == "nothing":
        return lambda: None
    if step == "all":
        return lambda: _all(path)
    if step == "read":
        return lambda: _read(path)
    table = _read(path)
    if step not in ("balance", "split"):
        table = _split(table)
    return lambda: MANIFEST_STEPS[step](table)


def draw_manifest(count: int) -> pd.DataFrame:
    """Returns a manifest as it is frozen, without splits: 16 images a patient, 2 % melanoma."""
    rng = np.random.default_rng(SEED)
    numbers = np.arange(count)

    def text(form, values):
        return [form % value for value in values]

    def some(*values):
        return np.array(values)[rng.integers(0, len(values), count)]

    return pd.DataFrame(
        {
            "image_id": text("ISIC_%07d", numbers),
            "image": text("images/ISIC_%07d.jpg", numbers),
            "mask": np.where(numbers % 5, "", text("masks/ISIC_%07d_segmentation.png", numbers)),
            "label": (rng.random(count) < 0.02).astype(int),
            "diagnosis": some("nevus", "melanoma", "seborrheic keratosis", ""),
            "patient_id": text("IP_%07d", rng.integers(0, count // 16 + 1, count)),
            "lesion_id": text("IL_%07d", rng.integers(0, 2 * count, count)),
            "age": some("", "30", "45.0", "60"),
            "sex": some("male", "female", ""),
            "site": some("torso", "head/neck", "lower extremity", "unknown"),
            "source": some("isic2019", "isic2020", "ham10000"),
            "duplicate_group": np.where(
                rng.random(count) < 0.02, text("d%d", rng.integers(0, count // 50 + 1, count)), ""
            ),
            "official_part": "train",
            "content_hash": [rng.bytes(20).hex() for _ in range(count)],
            "mask_share": np.where(numbers % 5, "", text("%.6f", rng.random(count))),
        }
    )


def _read(path):
    from lbunet_tf.data import manifests

    return manifests.read(path)


def _balance(table):
    from lbunet_tf.data import pipeline
    from lbunet_tf.data import splits

    subset = splits.balanced_subset(table, int((table["label"] == 1).sum()), SEED)
    labels, sources = table["label"].to_numpy(), table["source"].to_numpy()
    return subset, pipeline.epoch_order(labels, "resample", SEED, 0, sources)


def _split(table):
    from lbunet_tf.data import splits

    return splits.assign(table, "patient", (70, 15, 15), SEED)


def _leak_check(table):
    from lbunet_tf.data import splits
    from lbunet_tf.runs import held_out

    splits.report_crossings(table, "patient")
    held_out.refuse_learnt({"a run": table, "another of its split": table}, ("val", "test"))


def _describe(table):
    from lbunet_tf.data import manifests

    return manifests.describe(table)


def _freeze(table):
    from lbunet_tf.storage import whole_files

    with tempfile.TemporaryDirectory() as folder:
        whole_files.write_table(f"{folder}/manifest.csv", table)


MANIFEST_STEPS = {
    "read": _read,
    "balance": _balance,
    "split": _split,
    "leak_check": _leak_check,
    "describe": _describe,
    "freeze": _freeze,
}


def _all(path):
    table = _read(path)
    _balance(table)
    table = _split(table)
    for step in ("leak_check", "describe", "freeze"):
        MANIFEST_STEPS[step](table)


def _near_duplicates(count):
    """Half of the hashes are drawn, each of the others is at most MAX_BITS away from one."""
    from lbunet_tf.data import near_duplicates

    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, 2**64, count // 2, "uint64")
    beside = drawn.copy()
    for _ in range(MAX_BITS):
        beside ^= np.uint64(1) << rng.integers(0, 64, len(drawn), "uint64")
    hashes = pd.Series([f"{value:016x}" for value in np.concatenate([drawn, beside])])

    def run():
        groups = near_duplicates.group(hashes, MAX_BITS)
        if (groups[: len(drawn)] != groups[len(drawn) :]).any():
            raise ValueError("every hash must stand in the group of the one that it is drawn from")

    return run


def _evaluation(count, folder):
    """An evaluation of `count` images, of NUM_PICTURES files, with a network of one layer."""
    import keras

    from lbunet_tf import evaluate
    from lbunet_tf.data.sources import synthetic
    from lbunet_tf.runs import run_directory
    from lbunet_tf.settings import config
    from lbunet_tf.settings import flagfiles
    from lbunet_tf.storage import whole_files

    run = folder / f"run{count}"
    settings = config.make(run=str(run), source=("synthetic",), **RUN_FLAGS)
    run.mkdir()
    whole_files.write_text(run / run_directory.FLAGS, "\n".join(flagfiles.flag_lines(settings)))
    pictures = synthetic.draw_folder(folder / "pictures", NUM_PICTURES, IMAGE_PX, SEED)
    rows = pictures.iloc[np.arange(count) % len(pictures)].reset_index(drop=True)
    rows["image_id"] = [f"{name}-{number}" for number, name in enumerate(rows["image_id"])]
    rows["split"] = np.where(np.arange(count) % 4, "test", "val")
    for column in ("image", "mask"):
        rows[column] = [os.path.abspath(file) for file in rows[column]]
    whole_files.write_table(run / run_directory.MANIFEST, rows)
    whole_files.write_text(run / run_directory.HISTORY, "epoch,loss,val_loss,seconds\n0,1,1,1\n")
    whole_files.write_json(
        run / run_directory.CHECKS, {"images": count, "skipped": 0, "crossings": {}, "known": {}}
    )
    image = keras.Input((IMAGE_PX, IMAGE_PX, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 255)(image)
    mask = keras.layers.Conv2D(1, 3, padding="same", name="mask")(scaled)
    melanoma = keras.layers.Dense(1, name="melanoma")(
        keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(scaled))
    )
    outputs = {"mask": mask, "melanoma": melanoma}
    keras.Model(image, outputs).save(run / run_directory.MODEL)
    return lambda: evaluate.evaluate(settings)


if __name__ == "__main__":
    main()
