"""Reads many damaged files in every way the package reads files, and counts what comes of it.

    python scripts/benchmarks/check_fuzz.py FOLDER [--files=20000] [--seed=0] [--only=images,dicom]

Each file is a small good one with one to four mutations: bits, numbers, pieces left out, doubled,
put in from another file, or cut off; half of the time the checksums that the format has are then
made right again, so that what lies behind them is reached. A file must be read, or be refused by
a ValueError that names it. Everything else is counted as a failure and kept in FOLDER/failures/:

  unnamed   another exception, or an error that does not name the file
  crash     the process ended; it is started again behind that file
  hang      longer than 20 s
  escape    a file written or deleted outside FOLDER, a process started, an address called

`images` are JPEG, PNG and BMP files, as images and as masks; `served` the same as requests to an
exported model, where the other image of the request must be answered; `dicom`, `torch` (weights)
and `records` as their names say. A case depends on --seed and its number only.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import resource
import select
import shutil
import struct
import subprocess
import sys
import time
import zlib

import fuzz_files
import numpy as np

LIMIT_SECONDS = 20
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def main():
    """Checks the targets, prints a line each, and exits with 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(TARGETS))
    parser.add_argument("--worker", type=int, default=-1, help="of this script itself: where from")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    if arguments.worker >= 0:
        _work(arguments.only, folder, arguments.seed, arguments.worker, arguments.files)
        return
    (folder / "failures").mkdir(parents=True, exist_ok=True)
    failed = 0
    for target in arguments.only.split(","):
        failed += check(target, folder, arguments.seed, arguments.files)
    sys.exit(1 if failed else 0)


def check(target, folder, seed, num_files):
    """Returns how many cases of a target failed, and prints the counts."""
    counts, start, longest, peak = collections.Counter(), 0, 0.0, 0
    began = time.monotonic()
    while start < num_files:
        command = [sys.executable, __file__, os.fspath(folder), f"--only={target}"]
        command += [f"--seed={seed}", f"--files={num_files}", f"--worker={start}"]
        root = os.fspath(pathlib.Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "3"}
        with open(folder / f"{target}.log", "ab") as log:
            worker = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environment, bufsize=0
            )
            number, outcome = start - 1, "crash"
            for line in _lines(worker):
                if line is None:
                    worker.kill()
                    outcome = "hang"
                    break
                number, name, seconds, rss = line
                counts[name] += 1
                longest, peak = max(longest, seconds), max(peak, rss)
            worker.wait()
        start = number + 1
        if start < num_files:
            counts[outcome] += 1
            _keep(target, folder, seed, start, outcome)
            start += 1
    failed = sum(counts[name] for name in ("unnamed", "crash", "hang", "escape"))
    print(
        f"{target}: {num_files} files, {counts['read']} read, {counts['refused']} refused by name, "
        f"{failed} failed {dict(counts) if failed else ''}; longest {longest:.2f} s, peak "
        f"{peak / 1e9:.2f} GB, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return failed


def _lines(worker):
    """Yields what a worker says of each case, None where it says nothing for too long."""
    buffer, patience = b"", 300
    while True:
        if not select.select([worker.stdout], [], [], patience)[0]:
            yield None
            return
        data = os.read(worker.stdout.fileno(), 65536)
        if not data:
            return
        *whole, buffer = (buffer + data).split(b"\n")
        for line in whole:
            if line.startswith(b'{"number"'):
                # It has begun; before, it imports and builds.
                patience = LIMIT_SECONDS
                case = json.loads(line)
                yield case["number"], case["outcome"], case["seconds"], case["rss"]


def _work(target, folder, seed, start, stop):
    """Runs cases, and prints a line of JSON each."""
    scratch = folder / target
    scratch.mkdir(exist_ok=True)
    seeds, run = TARGETS[target](scratch)
    escapes = _watch(folder)
    for number in range(start, stop):
        contents = _mutated(seeds, target, seed, number)
        began = time.monotonic()
        escapes.clear()
        try:
            outcome, words = run(contents, number)
        # Whatever comes is what is looked for.
        except BaseException as error:
            outcome, words = "unnamed", f"{type(error).__name__}: {error}"
        if escapes:
            outcome, words = "escape", repr(escapes)
        if outcome not in ("read", "refused"):
            _keep(target, folder, seed, number, words, contents)
        case = {
            "number": number,
            "outcome": outcome,
            "seconds": round(time.monotonic() - began, 3),
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        print(json.dumps(case), flush=True)


def _watch(folder):
    """Returns a list that fills with what leaves the folder."""
    escapes = []
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def hook(event, arguments):
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & writes:
            path = os.path.abspath(os.fsdecode(arguments[0])) if _is_path(arguments[0]) else ""
            if path and not path.startswith((os.fspath(folder), "/dev/")):
                escapes.append((event, path))
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
            escapes.append((event, ""))
        elif event in ("socket.connect", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"):
            if not str(arguments[0]).startswith(os.fspath(folder)):
                escapes.append((event, str(arguments[0])))

    sys.addaudithook(hook)
    return escapes


def _is_path(value):
    return isinstance(value, str | bytes | os.PathLike)


def _keep(target, folder, seed, number, words, contents=b""):
    path = folder / "failures" / f"{target}-{seed}-{number}"
    path.with_suffix(".txt").write_text(f"{words}\n", encoding="utf-8", errors="replace")
    if contents:
        path.with_suffix(".bin").write_bytes(contents[1])


def _mutated(seeds, target, seed, number):
    """Returns (name, bytes) of a case."""
    draw = random.Random(f"{seed}/{target}/{number}")
    name = draw.choice(sorted(seeds))
    data = seeds[name]
    for _ in range(draw.choice((1, 1, 2, 4))):
        data = _mutate(data, draw, list(seeds.values()))
    if draw.random() < 0.5:
        data = _with_checksums(data)
    return name, data


def _mutate(data, draw, others):
    place = draw.randrange(len(data) + 1)
    # Headers stand in front, and are where most is decided.
    place = place if draw.random() < 0.5 else min(place, draw.randrange(200))
    length = min(int(10 ** draw.uniform(0, 2)), len(data))
    kind = draw.choice((0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 6))
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + data[place + length :]
    if kind == 2:
        return data[:place] + data[place : place + length] * draw.randint(2, 20) + data[place:]
    if kind == 3:
        return data[:place] + draw.randbytes(length) + data[place:]
    if kind == 4:
        other = draw.choice(others)
        start = draw.randrange(len(other) + 1)
        return data[:place] + other[start : start + length] + data[place + length :]
    if kind == 5:
        size = draw.choice((1, 2, 4))
        value = (draw.choice(NUMBERS) % 256**size).to_bytes(size, draw.choice(("big", "little")))
        return data[:place] + value + data[place + size :]
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8) if changed else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _with_checksums(data):
    """Returns a PNG or a file of records whose checksums fit what is in it; others as they are."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_with_checksums(data)
    return data


def _png_with_checksums(data):
    parts, place = [data[:8]], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        parts.append(data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body)))
        place += 12 + length
    return b"".join(parts) + data[place:]


def _named(path, function, *arguments):
    """Returns the outcome of a function that reads a file."""
    try:
        function(*arguments)
    except ValueError as error:
        is_named = path.name in str(error)
        return ("refused" if is_named else "unnamed"), str(error)
    return "read", ""


def images(scratch):
    """Image files, as images and as masks."""
    from lbunet_tf.data.pixels import preprocessing

    decoders = preprocessing.decode_image, preprocessing.decode_mask

    def run(case, number):
        path = scratch / case[0]
        path.write_bytes(case[1])
        decode = decoders[number % 2]
        return _named(path, preprocessing.decode_file, path, decode, 100)

    return fuzz_files.pictures(), run


def dicom(scratch):
    """DICOM files."""
    from lbunet_tf.data.pixels import new_images

    def run(case, number):
        path = scratch / case[0]
        path.write_bytes(case[1])
        return _named(path, new_images.read_image, os.fspath(path), 100)

    return fuzz_files.dicom_files(), run


def torch(scratch):
    """PyTorch files of weights."""
    from lbunet_tf.models import torch_file

    def run(case, number):
        path = scratch / case[0]
        path.write_bytes(case[1])
        return _named(path, torch_file.read_tensors, path)

    return {f"protocol{number}.pth": fuzz_files.torch_file(number) for number in (1, 2, 3)}, run


def records(scratch):
    """A folder of records: shards, manifest, plan, and what TensorFlow Datasets reads."""
    import tensorflow as tf

    from lbunet_tf import prepare
    from lbunet_tf.data.records import reader
    from lbunet_tf.settings import config

    whole, folder = scratch / "whole", scratch / "folder"
    settings = config.make(
        source=("synthetic",), data_dir=(f"{scratch}/drawn",), synthetic_count=12, image_size=32
    )
    if not (whole / "dataset_info.json").is_file():
        prepare.main(settings.replace(records=os.fspath(whole), split_by="image"))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    settings = settings.replace(source=("records",), data_dir=(os.fspath(folder),))
    columns = ("image_id", "image", "mask", "label")

    def read():
        table = reader.read(folder)
        load = reader.make_loader(settings.preprocessing, table["image"])
        load({name: tf.constant(table[name].tolist()) for name in columns})

    def run(case, number):
        path = folder / case[0]
        path.write_bytes(case[1])
        try:
            return _read_records(read, folder)
        finally:
            path.write_bytes((whole / case[0]).read_bytes())

    seeds = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    seeds = {name: data for name, data in seeds.items() if not name.startswith(".")}
    return seeds, run


def _read_records(read, folder):
    """Returns the outcome; in tf.data an error of our own stands within one of TensorFlow."""
    import tensorflow as tf

    try:
        read()
    except (ValueError, tf.errors.OpError) as error:
        is_named = os.fspath(folder) in str(error)
        return ("refused" if is_named else "unnamed"), str(error)
    return "read", ""


def served(scratch):
    """Requests to an exported model: a damaged image and a good one."""
    import tensorflow as tf

    from lbunet_tf import export
    from lbunet_tf import models
    from lbunet_tf.settings import config
    from lbunet_tf.settings import flagfiles

    run_folder = scratch / "run"
    settings = config.make(
        run=os.fspath(run_folder),
        encoder="efficientnet_lite0",
        encoder_weights="none",
        heads=("mask", "melanoma"),
        image_size=32,
    )
    version = run_folder / "export" / "1"
    if not version.is_dir():
        run_folder.mkdir(exist_ok=True)
        models.build_model(settings).save(run_folder / "model.keras")
        (run_folder / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(settings)))
        (run_folder / "manifest.csv").write_text("image_id,image\n")
        (run_folder / "training.json").write_text("{}")
        export.export(settings)
    serve = tf.saved_model.load(os.fspath(version)).signatures["serving_default"]
    pictures = fuzz_files.pictures()
    good = pictures["plain.jpg"]
    expected = float(serve(image_bytes=tf.constant([good]))["probability"][0])

    def run(case, number):
        outputs = serve(image_bytes=tf.constant([case[1], good]))
        errors, scores = outputs["error"].numpy(), outputs["probability"].numpy()
        if errors[1] or abs(scores[1] - expected) > 1e-4:
            return "unnamed", f"the good image was not answered: {errors}, {scores}"
        if bool(errors[0]) != bool(np.isnan(scores[0])):
            return "unnamed", f"error and score do not fit: {errors}, {scores}"
        return ("refused" if errors[0] else "read"), ""

    return pictures, run


TARGETS = {
    "images": images,
    "dicom": dicom,
    "torch": torch,
    "records": records,
    "served": served,
}

if __name__ == "__main__":
    main()
