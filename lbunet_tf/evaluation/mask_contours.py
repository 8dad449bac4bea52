"""Two contours around the outline of a lesion, each with a promise for new patients.

The outer contour holds the lesion: of a new image it misses, on average, at most a fraction alpha
of the lesion's pixels (conformal risk control, Angelopoulos et al. 2024: what it misses can only
grow with the threshold). The inner contour is lesion: at most a fraction alpha of its pixels is
not, on average, with a stated confidence (learn then test, Angelopoulos et al. 2021: that fraction
may fall and rise). Both count each patient once, by the mean of the patient's images.
"""

import math
import os
import zipfile
import zlib

import numpy as np
import pandas as pd
from absl import logging
from scipy import stats

from lbunet_tf.evaluation import conformal
from lbunet_tf.evaluation import intervals
from lbunet_tf.serving import outlines

NUM_BINS = 128
# Histograms reach from minus this to this, in the logit of a pixel's lesion probability.
MAX_LOGIT = 12.0
# What a predictions table counts of the true mask.
OF_LESION = ["mask_tp", "mask_fn"]
# Of the inner contour.
CONFIDENCE = 0.95


def read(path: str | os.PathLike, rows: pd.DataFrame) -> np.ndarray:
    """Returns (N, 2, 128) counts of the images of rows, of a file of `predictions`.

    Args:
        path: `mask_histograms.npz`.
        rows: (N,) of the predictions next to it, each of an image with a mask.

    Raises:
        ValueError: The file is damaged, or is of other predictions: an image is missing, or has
            other pixels inside or outside its mask than its row says.
    """
    try:
        with np.load(path) as file:
            image_ids, counts = file["image_id"].tolist(), file["counts"]
    except (OSError, ValueError, LookupError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        _refuse(path, "be a whole file of histograms", f"{type(error).__name__}, {error}")
    shape = (len(image_ids), 2, NUM_BINS)
    if counts.shape != shape or counts.dtype.kind not in "iu":
        _refuse(path, f"have whole numbers of shape {shape}", f"{counts.dtype} {counts.shape}")
    number = pd.Series(range(len(image_ids)), image_ids)
    known = rows["image_id"].isin(number.index[~number.index.duplicated(keep=False)]).to_numpy()
    if not known.all():
        _refuse(path, "hold each image once", f"none, or several, of {_first(rows, ~known)}")
    counts = counts[number[rows["image_id"]].to_numpy()]
    for side, where, names in ((0, "outside", ["mask_fp", "mask_tn"]), (1, "inside", OF_LESION)):
        pixels, said = counts[:, side].sum(axis=1), rows[names].sum(axis=1).to_numpy()
        if (pixels != said).any():
            wrong_one = _first(rows, pixels != said)
            _refuse(
                path,
                f"be of the same predictions as the table: {' + '.join(names)} of each image must "
                f"be its pixels {where} the mask",
                f"{pixels[pixels != said][0]} pixels and {said[pixels != said][0]:g} in the table "
                f"of {wrong_one}",
            )
    return counts


def _first(rows, chosen):
    return f"image {rows['image_id'].to_numpy()[chosen][0]!r}"


def _refuse(path, needed, received):
    raise ValueError(
        f"{os.fspath(path)} must {needed}. Evaluate the run again, with python -m "
        f"lbunet_tf.evaluate, which writes it. Received: {received}"
    )


def probability(bin_number: int) -> float:
    """Returns the lowest probability of a bin: 0 of the first, just above 1 behind the last."""
    if bin_number <= 0:
        return 0.0
    if bin_number >= NUM_BINS:
        return float(np.nextafter(1, 2))
    logit = (bin_number / NUM_BINS * 2 - 1) * MAX_LOGIT
    return 1 / (1 + math.exp(-logit))


def missed(counts: np.ndarray) -> np.ndarray:
    """Returns (N, 129): the fraction of the lesion's pixels below each bin.

    Args:
        counts: (N, 2, 128) pixels outside and inside the true mask by bin, none of which is empty.
    """
    lesion = counts[:, 1].astype("float64")
    below = np.cumsum(np.pad(lesion, ((0, 0), (1, 0))), axis=1)
    return below / lesion.sum(axis=1, keepdims=True)


def wrong(counts: np.ndarray) -> np.ndarray:
    """Returns (N, 129): which fraction of the pixels from each bin on is not lesion, of none 0."""
    above = np.cumsum(np.pad(counts, ((0, 0), (0, 0), (0, 1)))[..., ::-1], axis=2)[..., ::-1]
    total = above.sum(axis=1)
    return np.where(total > 0, above[:, 0] / np.maximum(total, 1), 0.0)


def outer_bin(risk: np.ndarray, alpha: float) -> int:
    """Returns the highest bin from which on the pixels miss at most `alpha` of a new lesion.

    That is n / (n + 1) R + 1 / (n + 1) <= alpha. 0, the whole image, of fewer than
    ceil(1 / alpha) - 1 patients.

    Args:
        risk: (n, 129) `missed`, one row per patient.
        alpha: In 0..1.
    """
    count = len(risk)
    if count < conformal.least(alpha):
        logging.warning(
            "the outer contour needs the masks of %d patients at alpha %g, and has %d: it is the "
            "whole image",
            *(conformal.least(alpha), alpha, count),
        )
        return 0
    bound = (risk.sum(axis=0) + 1) / (count + 1)
    return int(np.flatnonzero(bound <= alpha + 1e-12)[-1])


def inner_bin(risk: np.ndarray, alpha: float, confidence: float = CONFIDENCE) -> int:
    """Returns the lowest bin whose region is not lesion for at most `alpha` of its pixels.

    Bins are tested from the highest down, by the p-value of Hoeffding and Bentkus, until one fails.
    128, no region at all, where the highest fails: of too few patients.

    Args:
        risk: (n, 129) `wrong`, one row per patient.
        alpha: In 0..1.
        confidence: That the promise holds, over draws of the n patients.
    """
    passed = NUM_BINS
    for number in range(NUM_BINS - 1, 0, -1):
        if hoeffding_bentkus(risk[:, number].mean(), len(risk), alpha) > 1 - confidence:
            break
        passed = number
    if passed == NUM_BINS:
        logging.warning(
            "the inner contour cannot be promised at alpha %g from the masks of %d patients: there "
            "is none",
            *(alpha, len(risk)),
        )
    return passed


def hoeffding_bentkus(mean: float, count: int, alpha: float) -> float:
    """Returns the p-value of "the risk is above alpha", of `count` risks in 0..1 (Bates 2021)."""
    low = min(mean, alpha)
    divergence = low * math.log(low / alpha) if low > 0 else 0.0
    divergence += (1 - low) * math.log((1 - low) / (1 - alpha))
    hoeffding = math.exp(-count * divergence)
    bentkus = math.e * stats.binom.cdf(math.ceil(count * mean - 1e-9), count, alpha)
    return float(min(hoeffding, bentkus, 1.0))


def fit(
    counts: np.ndarray, patients: np.ndarray, alpha: float, threshold: float = 0.5
) -> outlines.Contours:
    """Returns both contours, of images that neither training nor selection saw.

    Their thresholds lie on both sides of the outline's: where a promise would hold further in, or
    further out, than the outline, it holds there as well, and the contour is drawn next to it.

    Args:
        counts: (N, 2, 128), as `missed` takes them.
        patients: (N,) of any kind.
        alpha: The fraction that may be missed, and that may be wrong.
        threshold: Probability from which a pixel belongs to the outline, above 0 and below 1.
    """
    position = _bin_position(threshold)
    # What is missed falls with the threshold, and every higher bin passed the test of the inner.
    outer = min(
        outer_bin(intervals.by_patient(missed(counts), patients), alpha), math.floor(position)
    )
    inner = max(
        inner_bin(intervals.by_patient(wrong(counts), patients), alpha), math.ceil(position)
    )
    return outlines.Contours(probability(outer), probability(inner))


def measure(found: outlines.Contours, counts: np.ndarray, patients: np.ndarray) -> dict:
    """Returns how the contours do on other images, each patient counted once.

    `missed_fraction` of the lesion outside the outer contour; `inner_precision`, the fraction of
    the inner region that is lesion, None where no image has one; `inner_wrong_fraction`, what is
    promised, 0 of an image without one; `inner_empty_fraction` of patients' images; `outer_area`
    and `inner_area`, fractions of the image.

    Args:
        found: The contours.
        counts: (N, 2, 128), N at least 1.
        patients: (N,).
    """
    # An end may be the threshold of the outline, within a bin.
    outer, inner = math.floor(_bin_of(found.outer)), math.ceil(_bin_of(found.inner))
    total = counts.sum(axis=(1, 2))
    areas = {
        name: counts[:, :, number:].sum((1, 2)) / total
        for name, number in (("outer_area", outer), ("inner_area", inner))
    }
    is_empty = areas["inner_area"] == 0
    inner_wrong = wrong(counts)[:, inner]

    def mean(values, chosen=slice(None)):
        return intervals.mean_of_patients(values[chosen], patients[chosen])

    return {
        "missed_fraction": mean(missed(counts)[:, outer]),
        "inner_wrong_fraction": mean(inner_wrong),
        "inner_precision": None if is_empty.all() else mean(1 - inner_wrong, ~is_empty),
        "inner_empty_fraction": mean(is_empty),
        **{name: mean(values) for name, values in areas.items()},
    }


def _bin_of(end):
    """Returns where a probability in 0..1 lies among the bins, of one by `probability` its bin."""
    if end <= 0:
        return 0
    if end >= 1:
        return NUM_BINS
    position = _bin_position(end)
    return round(position) if math.isclose(position, round(position), abs_tol=1e-6) else position


def _bin_position(end):
    """Returns where a probability above 0 and below 1 lies among the bins, 0 to 128."""
    logit = math.log(end / (1 - end))
    return min(max((logit / MAX_LOGIT + 1) / 2, 0), 1) * NUM_BINS
