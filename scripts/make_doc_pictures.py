"""Draws the pictures of README.md and docs/ from the run of the quickstart and three CC0 images.

scripts/quickstart.sh
python scripts/make_doc_pictures.py [--run=runs/quickstart] [--folder=docs/pictures]

The pages of the report and of TensorBoard are photographed by Chromium (apt install chromium).
"""

import argparse
import contextlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import keras
import matplotlib.figure
import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

import lbunet_tf
from lbunet_tf.data import manifests
from lbunet_tf.data import pipeline
from lbunet_tf.drawing import overlays
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import flagfiles

# Figure of the evaluation -> width in pixels.
FIGURES = {
    "training_curves": 1100,
    "roc": 620,
    "confusion_matrix": 800,
    "threshold_curves": 700,
    "mask_sheet": 1100,
}
WEBP_QUALITY = 85
COLUMNS = 4


def main() -> None:
    """Draws every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--run", type=pathlib.Path, default=pathlib.Path("runs/quickstart"))
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("docs/pictures"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        drawn = pathlib.Path(temporary) / "drawn.png"
        draw_outlines(options.run, drawn)
        _save(drawn, options.folder / "outlines.webp", 1100)
        _draw_examples(options.folder / "examples", drawn)
        _save(drawn, options.folder / "examples.webp", 1100)
        sheet = pathlib.Path(temporary) / "augmentation.png"
        _draw_augmentation(options.run, sheet)
        _save(sheet, options.folder / "augmentation.webp", 1400)
        page = pathlib.Path(temporary) / "page.png"
        _photograph((options.run / run_directory.REPORT).resolve().as_uri(), page, (1000, 1030))
        _save(page, options.folder / "report.webp", 1000)
        with _tensorboard(options.run / "tensorboard") as address:
            _photograph(f"{address}/#images", page, (1150, 655))
        _save(page, options.folder / "tensorboard.webp", 1150)
    for name, width in FIGURES.items():
        source = options.run / run_directory.FIGURES / f"{name}.png"
        _save(source, options.folder / f"{name}.webp", width)
    for path in sorted(options.folder.glob("*.webp")):
        print(f"{path} {path.stat().st_size / 1000:.0f} kB")


def draw_outlines(run: pathlib.Path, path: pathlib.Path) -> None:
    """Draws test images of each class, evenly taken from the worst Dice to the best."""
    settings = flagfiles.read(str(run))
    table = pd.read_csv(run / run_directory.PREDICTIONS)
    table = table[table["split"] == "test"].sort_values("dice")
    parts = [table[table["label"] == label] for label in (0, 1)]
    ranks = [np.linspace(0, len(part) - 1, COLUMNS).astype(int) for part in parts]
    table = pd.concat(part.iloc[rank] for part, rank in zip(parts, ranks, strict=True))
    manifest = manifests.read(run / run_directory.MANIFEST).set_index("image_id", drop=False)
    examples = list(pipeline.make_examples(settings.preprocessing, manifest.loc[table["image_id"]]))
    model = ensemble.load_best(run)
    images = np.stack([example["image"] for example in examples])
    logits = model.predict(images.astype("float32"), verbose=0)["mask"]
    probabilities = keras.ops.convert_to_numpy(keras.ops.sigmoid(logits))[..., 0]
    figure = matplotlib.figure.Figure((2.6 * COLUMNS, 6.2), layout="constrained")
    axes = figure.subplots(2, COLUMNS).flat
    for axis, row, example, predicted in zip(
        axes, table.itertuples(), examples, probabilities, strict=True
    ):
        axis.imshow(example["image"])
        axis.contour(example["mask"][..., 0], [0.5], colors="lime", linewidths=1.8)
        axis.contour(predicted, [0.5], colors="magenta", linewidths=1.2)
        truth = "melanoma" if row.label == 1 else "not melanoma"
        axis.set_title(f"Dice {row.dice:.2f}\n{truth}, score {row.score:.2f}", fontsize=10)
        axis.set_axis_off()
    figure.supxlabel("green: true outline    magenta: predicted outline", fontsize=11)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def _draw_examples(folder, path):
    """Draws what the network of the package says of three images that it has never seen."""
    network = lbunet_tf.load("isic2017")
    pictures = []
    for image in sorted(folder.glob("*.jpg")):
        pixels = np.asarray(Image.open(image).convert("RGB"))
        # Of twice the size, lest the outline be a hair.
        large = np.asarray(Image.fromarray(pixels).resize((1024, 682), Image.Resampling.LANCZOS))
        thick = network.predict(image).mask_at(large.shape[:2])
        for _ in range(3):
            large = overlays.draw_one(large, thick)
            thick = ndimage.binary_erosion(thick)
        pictures.append(large)
    Image.fromarray(np.concatenate(pictures, axis=1)).save(path)


def _draw_augmentation(run, path):
    flags = [
        "--source=manifest",
        f"--data_dir={run / run_directory.MANIFEST}",
        "--split_by=official",
        "--augment=dermoscopy",
        f"--preview={path}",
    ]
    subprocess.run([sys.executable, "-m", "lbunet_tf.prepare", *flags], check=True)


def _photograph(address, path, size):
    """Writes what a browser window of (width, height) shows, once the page has been drawn."""
    chromium = shutil.which("chromium")
    if not chromium:
        sys.exit("pages are photographed by Chromium: apt install chromium")
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        flags += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
        flags += [f"--user-data-dir={profile}", "--virtual-time-budget=30000"]
        flags += [f"--window-size={size[0]},{size[1]}", f"--screenshot={path}"]
        subprocess.run([chromium, *flags, address], check=True, timeout=180)


@contextlib.contextmanager
def _tensorboard(folder):
    """Serves a folder of event files, and gives the address."""
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={folder}", "--port=0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if found := re.search(r"http://localhost:\d+", line):
                break
        else:
            sys.exit("TensorBoard did not start")
        try:
            yield found[0]
        finally:
            process.terminate()


def _save(source, path, width):
    """Writes a picture as WebP, without metadata, at most so wide."""
    image = Image.open(source).convert("RGB")
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.LANCZOS)
    image.save(path, "WEBP", quality=WEBP_QUALITY, method=6)


if __name__ == "__main__":
    main()
