"""Drawn dermoscopy: seeded images, true masks and patients, for demos and tests.

Melanomas and other lesions differ by asymmetry, border, number of colours and size,
each with overlap; base colour and skin tone are drawn alike for both, so that neither
mean colour nor area alone tells them apart (docs/results.md states how far they do).
Nothing here is medical data and no score on it says anything about real lesions.
"""

import dataclasses
import os
import pathlib

import numpy as np
import pandas as pd
from absl import logging
from PIL import Image
from PIL import ImageDraw
from scipy import ndimage

from lbunet_tf.data import manifests
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import whole_files

# The marker of a folder of drawings, and what is written there.
WORK = "draw"
OWN = ("images/DRAWN_*.png", "masks/DRAWN_*.png", "manifest.csv", "drawn.json")
# Counts up when the drawing changes, so that old images are not taken for new ones.
DRAWING = 1
# Mean RGB of Fitzpatrick types 1 to 6 under a dermatoscope, our choice.
SKIN_TONES = np.array(
    [
        (236, 205, 190),
        (226, 190, 168),
        (208, 165, 135),
        (180, 132, 100),
        (140, 98, 72),
        (98, 68, 52),
    ],
    dtype="float32",
)
LESION_TINTS = {
    "light_brown": (0.78, 0.66, 0.56),
    "dark_brown": (0.48, 0.36, 0.30),
    "black": (0.26, 0.22, 0.22),
    "blue_grey": (0.50, 0.52, 0.60),
    "red": (0.92, 0.55, 0.52),
    "white": (0.86, 0.88, 0.92),
}
SITES = ("torso", "lower extremity", "upper extremity", "head/neck", "palms/soles")


@dataclasses.dataclass(frozen=True)
class Lesion:
    """What is drawn for one lesion; traits in 0..1, lengths as a share of the image's side."""

    melanoma: bool
    asymmetry: float
    border: float
    num_colours: int
    radius: float


def draw_folder(path: str, count: int, size_px: int, seed: int) -> pd.DataFrame:
    """Returns the manifest of `count` drawn images in folder `path`, drawing what is not there.

    Raises:
        ValueError: The folder holds drawings of another count, size or seed, or other files.
    """
    path = pathlib.Path(os.path.expanduser(path)).absolute()
    wanted = {"drawing": DRAWING, "count": count, "size_px": size_px, "seed": seed}
    drawn = path / "drawn.json"
    if not drawn.is_file():
        # Trainings that begin together wait, and share what the first one draws.
        with whole_files.locked(path, WORK, waits=True):
            if not drawn.is_file():
                _draw_all(path, wanted)
    if whole_files.read_json(drawn) != wanted:
        raise ValueError(
            f"{path} holds other drawings ({whole_files.read_json(drawn)}). Name another "
            f"--data_dir, or delete it. Received: {wanted}"
        )
    return manifests.read(path / "manifest.csv")


def _draw_all(path, wanted):
    count, size_px, seed = wanted["count"], wanted["size_px"], wanted["seed"]
    output_folder.check(path, WORK, OWN, "--data_dir")
    output_folder.mark(path, WORK)
    logging.info("drawing %d images of %d px in %s", count, size_px, path)
    for name in ("images", "masks"):
        (path / name).mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(_draw_files(path, count, size_px, seed))
    table = manifests.complete(table, "synthetic")
    whole_files.write_table(path / "manifest.csv", table)
    whole_files.write_json(path / "drawn.json", wanted)


def _draw_files(path, count, size_px, seed):
    for row, rng in _patients(count, seed):
        image, mask = draw(row.pop("lesion"), row["skin_type"], size_px, rng)
        name = row["image_id"]
        row["image"] = f"images/{name}.png"
        row["mask"] = f"masks/{name}_segmentation.png"
        Image.fromarray(image).save(path / row["image"], compress_level=1)
        Image.fromarray(mask * np.uint8(255)).save(path / row["mask"])
        yield row


def _patients(count, seed):
    """Yields (row, generator) for each image; a patient has one to six lesions."""
    people = np.random.default_rng((seed, 0))
    # Images and patients of two seeds are others, and have other names; 0 is the usual one.
    of_seed = f"{seed}_" if seed else ""
    number, patient, left = 0, -1, 0
    while number < count:
        if left == 0:
            patient += 1
            left = int(people.integers(1, 7))
            skin_type = int(people.choice(6, p=(0.12, 0.26, 0.26, 0.16, 0.12, 0.08))) + 1
            sex = str(people.choice(("female", "male")))
            age = float(np.clip(np.round(people.normal(52, 16) / 5) * 5, 15, 85))
            risk = float(np.clip(0.4 + 0.004 * (age - 52), 0.15, 0.65))
        rng = np.random.default_rng((seed, 1, number))
        melanoma = bool(rng.random() < risk)
        row = {
            "image_id": f"DRAWN_{of_seed}{number:06d}",
            "lesion": draw_traits(melanoma, rng),
            "label": float(melanoma),
            "diagnosis": "melanoma" if melanoma else "nevus",
            "patient_id": f"DP_{of_seed}{patient:05d}",
            "lesion_id": f"DL_{of_seed}{number:06d}",
            "age": age,
            "sex": sex,
            "site": str(rng.choice(SITES, p=(0.45, 0.22, 0.17, 0.12, 0.04))),
            "skin_type": skin_type,
        }
        yield row, rng
        number += 1
        left -= 1


def draw_traits(melanoma: bool, rng: np.random.Generator) -> Lesion:
    """Returns random traits; melanomas tend to more of each, with overlap."""
    shift = 0.5 if melanoma else 0.0
    return Lesion(
        melanoma=melanoma,
        asymmetry=float(np.clip(rng.normal(0.22 + shift, 0.15), 0, 1)),
        border=float(np.clip(rng.normal(0.20 + shift, 0.14), 0, 1)),
        num_colours=int(rng.choice((2, 3, 4, 5), p=(0.12, 0.38, 0.32, 0.18)))
        if melanoma
        else int(rng.choice((1, 2, 3), p=(0.5, 0.38, 0.12))),
        radius=float(np.clip(rng.normal(0.235 if melanoma else 0.205, 0.045), 0.1, 0.36)),
    )


def draw(
    lesion: Lesion, skin_type: int, size_px: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns one drawn image (S, S, 3) uint8 and its true mask (S, S) uint8, 0 or 1."""
    inside = _signed_distance(lesion, size_px, rng)
    mask = (inside > 0).astype("uint8")
    skin = _skin(skin_type, size_px, rng)
    softness = size_px * (0.03 - 0.018 * lesion.border)
    cover = 1 / (1 + np.exp(-np.clip(inside / softness * 2.0, -30, 30)))
    tint = _lesion_tint(lesion, size_px, rng)
    image = skin * (1 - cover[..., None] * (1 - tint))
    image = _artefacts(image, size_px, rng)
    image += rng.normal(0, 2.5, image.shape).astype("float32")
    return np.clip(np.round(image), 0, 255).astype("uint8"), mask


def _signed_distance(lesion, size_px, rng):
    """Returns (S, S): distance to the border in pixels along the radius, positive inside."""
    centre = size_px * (0.5 + rng.uniform(-0.1, 0.1, 2))
    y, x = np.mgrid[:size_px, :size_px].astype("float32")
    turn = rng.uniform(0, np.pi)
    stretch = 1 + rng.uniform(0.0, 0.25)
    dy, dx = y - centre[0], x - centre[1]
    along = (dx * np.cos(turn) + dy * np.sin(turn)) / stretch
    across = (dy * np.cos(turn) - dx * np.sin(turn)) * stretch
    angle = np.arctan2(across, along)
    wave = np.zeros_like(x)
    for order in range(1, 4):
        height = 0.30 * lesion.asymmetry * rng.uniform(0.5, 1.0) / order
        wave += height * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    for order in range(5, 14):
        height = 0.075 * lesion.border * rng.uniform(0.0, 1.0)
        wave += height * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return lesion.radius * size_px * np.maximum(1 + wave, 0.25) - np.hypot(along, across)


def _noise(size_px, cells, rng):
    """Returns (S, S) smooth noise of about unit variance with `cells` bumps a side."""
    coarse = rng.normal(size=(cells + 3, cells + 3)).astype("float32")
    return ndimage.zoom(coarse, size_px / cells, order=1)[:size_px, :size_px]


def _skin(skin_type, size_px, rng):
    tone = SKIN_TONES[skin_type - 1] * np.float32(rng.uniform(0.92, 1.06))
    tone = tone * rng.uniform(0.97, 1.03, 3).astype("float32")
    texture = 4.0 * _noise(size_px, 5, rng) + 3.0 * _noise(size_px, size_px // 5, rng)
    return tone + texture[..., None].astype("float32")


def _lesion_tint(lesion, size_px, rng):
    """Returns (S, S, 3): what the lesion multiplies the skin's colour by."""
    base = str(rng.choice(("light_brown", "dark_brown")))
    tint = np.broadcast_to(np.array(LESION_TINTS[base], "float32"), (size_px, size_px, 3)).copy()
    tint *= np.float32(rng.uniform(0.78, 1.18))
    others = [name for name in LESION_TINTS if name != base]
    for name in rng.permutation(others)[: lesion.num_colours - 1]:
        patch = _noise(size_px, 5, rng) > 0.55
        patch = ndimage.gaussian_filter(patch.astype("float32"), size_px / 90)[..., None]
        tint = tint * (1 - patch) + patch * np.array(LESION_TINTS[str(name)], "float32")
    network = 0.06 * _noise(size_px, size_px // 6, rng)
    return np.clip(tint + network[..., None], 0.08, 1.1)


def _artefacts(image, size_px, rng):
    """Returns the image with hair, ruler marks, gel bubbles and dark corners, each at random."""
    if rng.random() < 0.45:
        image = _blend(image, _hair(size_px, rng), rng.uniform(20, 70) * np.ones(3), 0.8)
    if rng.random() < 0.25:
        image = _blend(image, _ruler(size_px, rng), np.array((30, 30, 40)), 0.75)
    if rng.random() < 0.25:
        image = _blend(image, _bubbles(size_px, rng), np.array((250, 250, 250)), 0.55)
    if rng.random() < 0.3:
        y, x = np.mgrid[:size_px, :size_px] / (size_px - 1) - 0.5
        corner = 1 / (1 + np.exp(-(np.hypot(x, y) - rng.uniform(0.55, 0.65)) / 0.015))
        image = _blend(image, corner, np.array((8, 6, 6)), 1.0)
    return image


def _blend(image, cover, colour, strength):
    weight = (strength * cover)[..., None].astype("float32")
    return image * (1 - weight) + weight * colour.astype("float32")


def _canvas(size_px):
    """Returns a canvas of twice the size, so that what is drawn is smooth once shrunk."""
    canvas = Image.new("L", (2 * size_px, 2 * size_px))
    return canvas, ImageDraw.Draw(canvas)


def _shrunk(canvas, size_px):
    return np.asarray(canvas.reduce(2), "float32")[:size_px, :size_px] / 255


def _hair(size_px, rng):
    canvas, pen = _canvas(size_px)
    t = np.linspace(0, 1, 14)[:, None]
    for _ in range(int(rng.integers(2, 9))):
        start, bend, end = rng.uniform(-0.1, 1.1, (3, 2)) * 2 * size_px
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        width = max(1, round(size_px / 128 * rng.uniform(1, 3)))
        pen.line([tuple(point) for point in curve], fill=255, width=width)
    return _shrunk(canvas, size_px)


def _ruler(size_px, rng):
    canvas, pen = _canvas(size_px)
    side = 2 * size_px
    step = side / rng.uniform(14, 24)
    for number in range(int(side / step) + 1):
        length = side * (0.07 if number % 5 == 0 else 0.035)
        pen.line([(number * step, side), (number * step, side - length)], fill=255, width=2)
    return np.rot90(_shrunk(canvas, size_px), int(rng.integers(4)))


def _bubbles(size_px, rng):
    canvas, pen = _canvas(size_px)
    for _ in range(int(rng.integers(2, 9))):
        centre = rng.uniform(0, 2 * size_px, 2)
        radius = 2 * size_px * rng.uniform(0.01, 0.04)
        box = [*(centre - radius), *(centre + radius)]
        pen.ellipse(box, outline=255, width=max(1, round(size_px / 100)))
        pen.point(tuple(centre - radius / 2), fill=255)
    return _shrunk(canvas, size_px)
