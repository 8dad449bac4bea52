"""Pixels of target 0 and 1 by logit: of all images of a split, and of each mask."""

import pathlib
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from lbunet_tf.evaluation import mask_contours
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import output_group
from lbunet_tf.storage import whole_files

# Those of all pixels reach from minus this to this, in the logit.
NUM_BINS = 65536
MAX_LOGIT = 30.0


def of_masks(
    names: Sequence[str], logits: np.ndarray, mask: np.ndarray, known: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (image_id, (2, 128) counts) of each image of a batch whose mask is known."""
    for name, one, true, is_known in zip(names, logits, mask, known, strict=True):
        if is_known:
            counts = np.zeros((2, mask_contours.NUM_BINS), "int64")
            add(counts, one, true, mask_contours.MAX_LOGIT)
            yield name, counts


def add(
    histogram: np.ndarray, logits: np.ndarray, target: np.ndarray, max_logit: float = MAX_LOGIT
) -> None:
    """Adds pixels to a (2, bins) histogram in place: row 0 target 0, row 1 target 1.

    Bins are equally wide in the logit, from -max_logit to max_logit, with 0 (probability 0.5) on
    an edge. Bins of probability would tie nearly all pixels of a confident network.
    """
    bins = histogram.shape[1]
    positions = (logits + max_logit) * (bins / (2 * max_logit))
    positions = np.clip(np.floor(positions), 0, bins - 1).astype("int64")
    for value in (0, 1):
        chosen = positions[(target > 0.5) == value]
        histogram[value] += np.bincount(chosen, minlength=bins)


def write(
    output: pathlib.Path,
    histograms: dict[str, np.ndarray],
    masks: Sequence[tuple[str, np.ndarray]],
    run_outputs: output_group.Outputs,
) -> None:
    """Writes the histograms of all pixels by split, and of outlines those of each mask.

    Without a mask head, or without outlines, an older file is deleted.
    """
    path = output / run_directory.HISTOGRAMS
    if run_outputs.has_mask:
        with whole_files.whole_file(path) as partial:
            np.savez_compressed(partial, **histograms)
    else:
        path.unlink(missing_ok=True)
    path = output / run_directory.MASK_HISTOGRAMS
    if not run_outputs.has_outlines:
        path.unlink(missing_ok=True)
        return
    counts = [histogram for _, histogram in masks]
    with whole_files.whole_file(path) as partial:
        np.savez_compressed(
            partial,
            image_id=np.array([name for name, _ in masks], dtype=str),
            counts=np.array(counts, "uint32").reshape((-1, 2, mask_contours.NUM_BINS)),
        )


def read(output: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the histogram of all pixels of each split."""
    with np.load(output / run_directory.HISTOGRAMS) as file:
        return dict(file)
