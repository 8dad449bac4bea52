"""The individual typology angle of an image: a rough estimate of how light the skin is.

From the pixels outside the lesion. Light, camera and colour constancy move it, so it stands next to
what it would be in a slightly darker and a slightly brighter photograph. Groh et al. 2022 (arXiv
2207.02942) find it no reliable annotation of skin type: nothing here takes it for one.
"""

import numpy as np
import pandas as pd

from lbunet_tf.data import prediction_columns

COLUMNS = prediction_columns.ITA
# What the brightness of `COLUMNS` is multiplied by.
BRIGHTNESS = (1.0, 0.9, 1.1)
# Chardon et al. 1991: above which angle, in degrees.
CATEGORIES = {
    "very light": 55,
    "light": 41,
    "intermediate": 28,
    "tan": 10,
    "brown": -30,
    "dark": -np.inf,
}
# The corners of a dermatoscope's view: no channel reaches this, of 255.
BLACK = 32
# Of the image; with less skin there is no estimate.
LEAST_FRACTION = 0.01
# IEC 61966-2-1: sRGB to XYZ, in units of the D65 white point.
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def lab(pixels: np.ndarray) -> np.ndarray:
    """Returns (N, 3) L*, a*, b* (CIE 1976, D65) of (N, 3) sRGB in 0..255."""
    values = np.asarray(pixels, "float64") / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    # White, of which each row's sum is X, Y and Z.
    ratio = linear @ (TO_XYZ / TO_XYZ.sum(axis=1, keepdims=True)).T
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def angle(lightness: float, b: float) -> float:
    """Returns atan2(L* - 50, b*) in degrees: above 90 where b* is below 0, as in bluish light."""
    return float(np.degrees(np.arctan2(lightness - 50, b)))


def estimate(image: np.ndarray, lesion: np.ndarray) -> tuple[float, float, float]:
    """Returns the angles of `COLUMNS`, NaN where too little skin is seen.

    Of the median L* and b* over the pixels outside the lesion that are not nearly black.

    Args:
        image: (H, W, 3) sRGB in 0..255.
        lesion: (H, W) bool.
    """
    skin = image[~lesion]
    skin = skin[skin.max(axis=1) >= BLACK] if len(skin) else skin
    if len(skin) < max(1, LEAST_FRACTION * lesion.size):
        return (np.nan,) * len(COLUMNS)
    found = []
    for factor in BRIGHTNESS:
        lightness, _, b = np.median(lab(np.clip(skin * factor, 0, 255)), axis=0)
        found.append(angle(lightness, b))
    return tuple(found)


def estimate_batch(
    images: np.ndarray, true: np.ndarray, known: np.ndarray, mask_logits: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the columns of `COLUMNS` of a batch, each (B,).

    Args:
        images: (B, H, W, 3) as the network sees them, in 0..255.
        true: (B, H, W, 1) masks of 0 and 1.
        known: (B,) bool: whose mask is known. Of the others pixels of probability 0.5 or more are
            lesion.
        mask_logits: (B, H, W, 1) that the network gives.
    """
    lesions = np.where(known[:, None, None, None], true > 0.5, mask_logits >= 0)[..., 0]
    angles = [estimate(*pair) for pair in zip(images, lesions, strict=True)]
    return dict(zip(COLUMNS, np.array(angles).T, strict=True))


def category(angles: pd.Series) -> pd.Series:
    """Returns the category of each angle, NaN where it is not known."""
    bounds = [*reversed(CATEGORIES.values()), np.inf]
    return pd.cut(pd.to_numeric(angles), bounds, labels=list(reversed(CATEGORIES))).astype(object)


def describe(table: pd.DataFrame) -> dict:
    """Returns how many images have an estimate, and how many a little light puts elsewhere.

    `changed_darker` and `changed_brighter` are the fractions of images whose category is another
    in a photograph of 10 % less and more brightness; None without images.
    """
    known = table[table[COLUMNS[0]].notna()]
    own, *others = (category(known[name]) for name in COLUMNS)
    changed = [float((one != own).mean()) if len(known) else None for one in others]
    return {
        "num_estimated": len(known),
        "num_without": len(table) - len(known),
        "changed_darker": changed[0],
        "changed_brighter": changed[1],
        **{f"num_{name.replace(' ', '_')}": int((own == name).sum()) for name in CATEGORIES},
    }
