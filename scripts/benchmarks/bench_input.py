"""Prints how many images a second are read, next to a PyTorch DataLoader with albumentations.

    python scripts/benchmarks/bench_input.py --peer_python=PEER/bin/python [--folder=DIR]
        [--threads=2] [--rounds=5]

Large JPEGs of 1,024 to 4,000 px are upscaled drawings with noise; small ones are what both sides
have prepared: this package its records, the peer resized files. Each reader runs in a process of
its own on the same cores, all take turns, and numbers are medians over the rounds, of wall time
and of CPU time (which a busy machine disturbs less; what 16 cores would give is reckoned from
it). No side augments; both end in float32 batches. An epoch goes before the clock starts.
--peer_python names an environment with torch, albumentations and opencv-python; without it the
peer is left out.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

LARGE_SIZES = ((1024, 768), (2048, 1536), (4000, 3000))
BATCH_SIZE, IMAGE_SIZE = 32, 128
# A GPU's rate, and the cores with it, that reading must keep up with.
WANTED_RATE, WANTED_CORES = 700, 16
# Reader -> (files, what it is compared with).
OURS = {
    "ours, large JPEGs": "large",
    "ours, large JPEGs, --antialias": "large",
    "ours, large JPEGs, --cache, later epochs": "large",
    "ours, records": "small",
}
PEERS = {
    "peer, large JPEGs": "large",
    "peer, resized JPEGs": "small",
    "peer, resized PNGs": "small",
}


def main():
    """Measures and prints; with --reader it is one of the processes that measure."""
    options = _parse()
    if options.reader:
        _pin(options.threads)
        read = read_by_peer if options.reader in PEERS else read_by_ours
        print(json.dumps(read(options)))
        return
    if not (options.folder / "small" / "records" / "dataset_info.json").is_file():
        _run(options, sys.executable, "make files")
    readers = {name: sys.executable for name in OURS}
    if options.peer_python:
        readers |= {name: options.peer_python for name in PEERS}
    measured = {name: [] for name in readers}
    for _ in range(options.rounds):
        for name, python in readers.items():
            measured[name].append(json.loads(_run(options, python, name)))
    _report(options, measured)


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--peer_python", default="", help="Python of the peer's environment")
    parser.add_argument("--folder", type=pathlib.Path, default="runs/bench_input", help="for files")
    parser.add_argument("--large", type=int, default=48, help="large images (%(default)s)")
    parser.add_argument("--small", type=int, default=1500, help="small images (%(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--reader", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(options, python, name):
    """Returns the last line that a process of this script prints."""
    flags = [f"--{name}={getattr(options, name)}" for name in ("folder", "large", "small")]
    command = [python, __file__, *flags, f"--threads={options.threads}", f"--reader={name}"]
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{name} failed: {done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


def _pin(threads):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _report(options, measured):
    print(f"{options.threads} threads, {IMAGE_SIZE} px, batches of {BATCH_SIZE}, medians")
    print(
        "reader; images/s (least to most); images/CPU s; peak MB; images/s of "
        f"{WANTED_CORES} cores, of the {WANTED_RATE} wanted"
    )
    rates = {}
    for name, rows in measured.items():
        wall, cpu, memory = (
            [row[column] for row in rows] for column in ("rate", "cpu_rate", "memory_mb")
        )
        rates[name] = (statistics.median(wall), statistics.median(cpu))
        on_cores = rates[name][1] * WANTED_CORES
        print(
            f"{name}; {rates[name][0]:.0f} ({min(wall):.0f} to {max(wall):.0f}); "
            f"{rates[name][1]:.0f}; {statistics.median(memory):.0f}; {on_cores:.0f}, "
            f"{on_cores / WANTED_RATE:.2f}"
        )
    for name, files in OURS.items():
        for peer, of_files in PEERS.items():
            if peer in rates and files == of_files:
                wall, cpu = (a / b for a, b in zip(rates[name], rates[peer], strict=True))
                print(f"{name} / {peer}: {wall:.2f}, of CPU time {cpu:.2f}")


def _timed(batches, per_epoch):
    """Returns images a second of wall time and of this process' CPU time, after one epoch."""
    count, started = 0, None
    for batch in batches:
        count += len(batch)
        if started is None and count >= per_epoch:
            count, started = 0, (time.perf_counter(), time.process_time())
    return count / (time.perf_counter() - started[0]), count / (time.process_time() - started[1])


def read_by_ours(options):
    """Returns this package's rate and peak memory; or makes the files that all read."""
    # The peer's environment has none of these.
    import tensorflow as tf

    from lbunet_tf.data import manifests
    from lbunet_tf.data import pipeline
    from lbunet_tf.data.records import reader
    from lbunet_tf.settings import config
    from lbunet_tf.settings import process

    process.reuse_freed()
    if options.reader == "make files":
        _make_files(options)
        return {}
    folder = options.folder / OURS[options.reader]
    of_records = "records" in options.reader
    settings = config.make(
        image_size=IMAGE_SIZE,
        batch_size=BATCH_SIZE,
        mask_source="label",
        antialias="--antialias" in options.reader,
        cache="--cache" in options.reader,
        epochs=_epochs(options),
    )
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    rows = reader.read(folder / "records") if of_records else manifests.read(folder / "all.csv")
    dataset = pipeline.make_training_dataset(settings, rows)
    rate, cpu_rate = _timed((images for images, _, _ in dataset), len(rows))
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"rate": rate, "cpu_rate": cpu_rate, "memory_mb": memory_mb}


def _epochs(options):
    if "--cache" in options.reader:
        return 100
    return 3 if "large" in options.reader else 6


def read_by_peer(options):
    """Returns the rate and peak memory of a DataLoader, its workers counted."""
    import albumentations
    import cv2
    import torch
    from albumentations import pytorch

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    files = sorted((options.folder / PEERS[options.reader]).glob("images/*.jpg"))
    if "PNG" in options.reader:
        files = sorted((options.folder / "small/resized").glob("*.png"))
    elif "resized" in options.reader:
        files = sorted((options.folder / "small/resized").glob("*.jpg"))
    resize = [] if "resized" in options.reader else [albumentations.Resize(IMAGE_SIZE, IMAGE_SIZE)]
    transform = albumentations.Compose([*resize, pytorch.ToTensorV2()])

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, number):
            image = cv2.cvtColor(cv2.imread(str(files[number])), cv2.COLOR_BGR2RGB)
            return transform(image=image)["image"]

    loader = torch.utils.data.DataLoader(
        Files(),
        BATCH_SIZE,
        shuffle=True,
        num_workers=options.threads,
        persistent_workers=True,
        prefetch_factor=4,
    )
    num_epochs = _epochs(options)
    batches = (images.float() for _ in range(num_epochs) for images in loader)
    rate, own_cpu_rate = _timed(batches, len(files))
    # The workers' use is known once they have ended; they load nothing but images.
    del batches, loader
    own, workers = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    worker_seconds = (workers.ru_utime + workers.ru_stime) / (num_epochs * len(files))
    return {
        "rate": rate,
        "cpu_rate": 1 / (worker_seconds + 1 / own_cpu_rate),
        "memory_mb": (own.ru_maxrss + options.threads * workers.ru_maxrss) / 1e3,
    }


def _make_files(options):
    import numpy as np
    import pandas as pd
    from PIL import Image

    from lbunet_tf import prepare
    from lbunet_tf.data.sources import synthetic
    from lbunet_tf.settings import config

    rng = np.random.default_rng(0)
    large = options.folder / "large"
    (large / "images").mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(options.large):
        image, _ = synthetic.draw(synthetic.draw_traits(number % 2 == 0, rng), 2, 512, rng)
        size = LARGE_SIZES[number % len(LARGE_SIZES)]
        pixels = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        pixels = pixels + rng.normal(0, 4, pixels.shape)
        names.append(f"images/L{number:04d}.jpg")
        pixels = np.clip(pixels, 0, 255).astype("uint8")
        Image.fromarray(pixels).save(large / names[-1], quality=90)
    ids = [pathlib.Path(name).stem for name in names]
    pd.DataFrame({"image_id": ids, "image": names, "label": 0}).to_csv(
        large / "all.csv", index=False
    )
    small = options.folder / "small"
    settings = config.make(
        source=("synthetic",),
        data_dir=(str(small / "drawn"),),
        synthetic_count=options.small,
        image_size=IMAGE_SIZE,
        records=str(small / "records"),
    )
    prepare.main(settings)
    (small / "resized").mkdir(exist_ok=True)
    for path in sorted((small / "drawn" / "images").glob("*.png")):
        image = Image.open(path)
        image.save(small / "resized" / f"{path.stem}.jpg", quality=95)
        image.save(small / "resized" / f"{path.stem}.png")


if __name__ == "__main__":
    main()
