"""The two contours of masks that are chosen after training and frozen with the run."""

import dataclasses
import pathlib

import numpy as np
import pandas as pd

from lbunet_tf.evaluation import choices
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import mask_contours
from lbunet_tf.runs import frozen
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import outlines

# What they cover where nothing else is asked for.
COVERAGE = 0.95


def check(rows: pd.DataFrame, coverage: float, has_outlines: bool, target: choices.Target) -> None:
    """Refuses, before hours of predictions, contours that `make` could not make.

    Args:
        rows: Of the manifest, those on which they are chosen.
        coverage: --contour_coverage, 0 where it is not asked for.
        has_outlines: Whether masks are outlines of lesions.
        target: As in `make`.

    Raises:
        ValueError: A coverage is asked for and there are no masks; or the run's frozen contours,
            which would be used, are damaged.
    """
    if not coverage:
        if target.run:
            frozen.read_contours(target.run)
        return
    if not has_outlines:
        _refuse(coverage, "a network of outlines: train with --mask_source=lesion", "another one")
    if not (rows["mask"] != "").any():
        _refuse_without_masks(coverage, len(rows))


def _refuse_without_masks(coverage, num_images):
    _refuse(
        coverage,
        "images with masks of lesions that the run's contours are chosen on (val, or calibration). "
        "Leave it out for the contours that the run has; a released network comes without images",
        f"no such mask of {num_images} images",
    )


def _refuse(coverage, needed, received):
    raise ValueError(
        f'"--contour_coverage" needs {needed}. Received: --contour_coverage={coverage:g}, '
        f"{received}"
    )


def make(
    table: pd.DataFrame,
    histograms: pathlib.Path,
    threshold: float,
    coverage: float | None,
    target: choices.Target,
) -> dict:
    """Returns how mask contours do on test; {} where there are none.

    Where no image of test has a mask, it says what was chosen and nothing else.

    Args:
        table: The predictions.
        histograms: `mask_histograms.npz` of them, which need not be there.
        threshold: Probability from which a pixel belongs to the outline.
        coverage: 1 - coverage of a lesion may be missed, and of the inner region wrong; None for
            the contours that the run has, else for new ones of `COVERAGE`.
        target: Whose they are.

    Raises:
        ValueError: A coverage is asked for, and no lesion is there to choose on; or the histograms
            are not those of the table.
    """
    kept = frozen.read_contours(target.run) if target.run and coverage is None else None
    wanted = coverage or (kept or {}).get("coverage", COVERAGE)
    # They must lie around the outline, whose threshold may have moved.
    is_around = kept is not None and kept.get("threshold", threshold) == threshold
    found = kept if is_around else _new_contours(table, histograms, threshold, wanted) or kept
    if found is None:
        if coverage:
            num_images = int((table["split"] == choices.part_of(table)).sum())
            _refuse_without_masks(coverage, num_images)
        return {}
    if found is not kept:
        target.freeze(frozen.add, run_directory.CONFORMAL, {frozen.CONTOURS: found})
    contours = outlines.Contours(found["outer"], found["inner"]).around(threshold)
    measured = {
        "asked": found["coverage"],
        **dataclasses.asdict(contours),
        **{name: found[name] for name in ("confidence", "chosen_on")},
    }
    rows, counts, num_empty = _mask_counts(table[table["split"] == "test"], histograms)
    measured |= {"num_masks": len(rows), "num_empty": num_empty}
    measured["is_promised"] = choices.is_promised(table, target)
    if not rows.empty:
        measured |= mask_contours.measure(contours, counts, contract.patients(rows)[0])
    return {frozen.CONTOURS: measured}


def _new_contours(table, histograms, threshold, coverage):
    """Returns the contours' part of conformal.json, None without masks to choose on."""
    part = choices.part_of(table)
    rows, counts, num_empty = _mask_counts(table[table["split"] == part], histograms)
    if rows.empty:
        return None
    key = contract.patients(rows)[0]
    found = mask_contours.fit(counts, key, 1 - coverage, threshold)
    return {
        "outer": found.outer,
        "inner": found.inner,
        "threshold": threshold,
        "coverage": coverage,
        "confidence": mask_contours.CONFIDENCE,
        "chosen_on": part,
        "num_masks": len(rows),
        "num_patients": len(set(key)),
        "num_empty": num_empty,
    }


def _mask_counts(table, histograms):
    """Returns (rows whose mask is not empty, their (N, 2, 128) counts, how many are empty)."""
    nothing = table.iloc[:0], np.zeros((0, 2, mask_contours.NUM_BINS)), 0
    if not contract.has_masks(table) or not histograms.is_file():
        return nothing
    rows = table[table["mask_tp"].notna()]
    if rows.empty:
        return nothing
    counts = mask_contours.read(histograms, rows)
    has_lesion = counts[:, 1].sum(axis=1) > 0
    return rows[has_lesion], counts[has_lesion], int((~has_lesion).sum())
