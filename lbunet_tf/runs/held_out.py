"""The images that an evaluation scores: none that one of its runs has learnt from."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import diagnoses
from lbunet_tf.data import manifests
from lbunet_tf.data import sources
from lbunet_tf.data import splits
from lbunet_tf.data import unchanged
from lbunet_tf.data.pixels import file_check
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import released_runs
from lbunet_tf.storage import whole_files

# The best epoch and the threshold are chosen on val.
LEARNT = ("train", "val")
# By split, the sides whose images must not stand in it.
EARLIER = {"train": (), "val": ("train",), "test": LEARNT, manifests.CALIBRATION: LEARNT}
# What is scored after training.
SCORED = ("val", manifests.CALIBRATION, "test")


@dataclasses.dataclass(frozen=True)
class Scored:
    """A manifest whose val and test images are scored, its checks, and what was skipped.

    `skipped` is None for a run's own images: its skipped.csv lists them. `failures` says, a line
    each, which images could not be decoded.
    """

    manifest: pd.DataFrame
    checks: dict
    skipped: pd.DataFrame | None = None
    failures: Sequence[str] = ()


def own_images(runs: Sequence[str], verify_images: str = "quick") -> Scored:
    """Returns the manifest of the first run.

    Raises:
        ValueError: Another run has learnt from one of its val or test images, or a file
            of theirs is gone or has changed.
    """
    if released_runs.is_released(runs[0]):
        raise ValueError(
            '"--source" must name images to score: the network of the package comes without its '
            f"own. Received: --run={pathlib.Path(runs[0]).name} without --source"
        )
    by_run = _read_manifests(runs)
    # What the first has learnt from, its own training has checked.
    refuse_learnt(by_run | read_ancestors(_with_flags(by_run)[1:]), SCORED)
    checks = whole_files.read_json(
        pathlib.Path(runs[0]) / run_directory.CHECKS, ("images", "crossings", "known")
    )
    manifest = by_run[runs[0]]
    # Files of train are not read, and may be gone.
    scored = manifests.check_files_exist(manifest[manifest["split"].isin(SCORED)])
    unchanged.check(scored, runs[0], verify_images == "whole")
    return Scored(manifest, checks)


def other_images(settings: config.Config, source: image_groups.Source) -> Scored:
    """Returns all images of another source as test, and val and calibration of the first run.

    Those that stand in train, val or calibration of a run are left out, counted and listed in
    `skipped`, with all that share a patient, a lesion or more with one of them.

    Args:
        settings: The flags of the first run, with the others in `other_runs`.
        source: Where the images come from, and how many are drawn.

    Raises:
        ValueError: Nothing is left, or has something to be scored against; or another run has
            learnt from a val image of the first.
    """
    runs = settings.paths.runs
    by_run = _read_manifests(runs)
    first, *others = _with_flags(by_run)
    by_run |= read_ancestors(others)
    refuse_learnt(by_run, SCORED[:2])
    by_run |= read_ancestors([first])
    every = pd.concat(by_run.values(), ignore_index=True)
    # What thresholds were chosen on is no test either.
    learnt = every[every["split"].isin((*LEARNT, manifests.CALIBRATION))]
    has_mask = settings.outputs.has_mask
    rows, missing = sources.make_manifest(source, settings.preprocessing, has_mask)
    rows = rows if has_mask else rows.assign(mask="")
    rows, seen = _leave_out(rows, learnt, runs)
    if source.max_images:
        rows = splits.draw_at_most(rows, source.max_images, source.seed)
    _refuse_unscored(settings.outputs, rows)
    rows, learnt, bad = file_check.check_files_beside(
        rows, learnt, "skip", settings.split.near_duplicates, settings.reading.max_megapixels
    )
    # Once more: only now is the content of the files known.
    rows, copies = _leave_out(rows, learnt, runs)
    skipped = pd.concat([missing, seen, bad, copies], ignore_index=True)
    val = _own_val(settings.paths.run, by_run[settings.paths.run], settings.reading.verify_images)
    manifest = pd.concat([val, rows.assign(split="test")], ignore_index=True)
    logging.info("images to score:\n%s", manifests.describe(manifest))
    checks = _checks(rows, learnt, skipped, len(seen) + len(copies))
    return Scored(manifest, checks, skipped, bad["reason"].tolist())


def _own_val(run, rows, verify_images):
    """Returns val and calibration of a run; of a released one none: it comes without images."""
    val = rows[rows["split"].isin(SCORED[:2])]
    if released_runs.is_released(run):
        return val.iloc[:0]
    val = manifests.check_files_exist(val)
    unchanged.check(val, run, verify_images == "whole")
    return val


def _checks(rows, learnt, skipped, num_left_out):
    """Returns checks.json; what crosses is counted again, not taken to be nothing."""
    sides = pd.concat([learnt.assign(split="learnt"), rows.assign(split="test")])
    return {
        "images": len(rows),
        "skipped": len(skipped),
        "left_out": num_left_out,
        "crossings": splits.crossings(sides),
        "known": splits.known_groups(rows),
    }


def _read_manifests(runs):
    """Returns the manifest of each run, the first run's first."""
    return {run: manifests.read(pathlib.Path(run) / run_directory.MANIFEST) for run in runs}


def read_ancestors(runs: list[tuple[config.Config, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Returns by run the manifests of the runs that `runs` learnt from.

    Their teachers, initial weights and makers of pseudo-labels, and those of these.

    Args:
        runs: Of each its flags and its manifest.
    """
    waiting, found = list(runs), {}
    seen = {pathlib.Path(settings.paths.run).resolve() for settings, _ in runs}
    while waiting:
        settings, rows = waiting.pop()
        for parent in _parents(settings.distillation.teacher, settings.model.encoder_weights, rows):
            path = pathlib.Path(parent)
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            if not (path / run_directory.MANIFEST).is_file():
                logging.warning(
                    "leak check: %s was trained with %s, which is no longer there; what that run "
                    "had seen cannot be left out",
                    settings.paths.run,
                    parent,
                )
                continue
            found[parent] = manifests.read(path / run_directory.MANIFEST)
            waiting.append((flagfiles.read(parent), found[parent]))
    return found


def _with_flags(by_run):
    """Returns (flags, manifest) of each run."""
    return [(flagfiles.read(run), rows) for run, rows in by_run.items()]


def _parents(teachers, encoder_weights, rows):
    """Returns the folders of the runs that a run learnt from itself."""
    parents = [released_runs.teacher_of(run) for run in teachers]
    encoder_weights = released_runs.weights_of(encoder_weights)
    if encoder_weights.endswith(".keras"):
        parents.append(os.path.dirname(encoder_weights))
    return [*parents, *sorted(set(rows.get("pseudo_run", pd.Series(dtype=str)).dropna()) - {""})]


def refuse_learnt(by_run: dict[str, pd.DataFrame], scored: tuple[str, ...]) -> None:
    """Raises a ValueError where a run has learnt from a scored image of the first run.

    Also where it has learnt from one of its patient, lesion, duplicates or content, except
    those that stand on that side of the first run, too: its own split shares them,
    and its checks say how many (--split_by=image, the paper's).

    Args:
        by_run: By run, the first run's first.
        scored: The splits of the first run that are scored, of val and test.
    """
    # Of a million rows, the columns that are compared take a third of the memory.
    (first, own), *others = (
        (run, rows[rows.columns.intersection((*splits.KEYS, "split"))])
        for run, rows in by_run.items()
    )
    for run, other in others:
        for split in scored:
            rows = own[own["split"] == split]
            for side in EARLIER[split]:
                shared = own[own["split"].isin((*EARLIER[side], side))]
                _refuse(rows, other[other["split"] == side], shared, (first, split, run, side))


def _refuse(rows, learnt, shared, sides):
    first, split, run, side = sides
    keys, learnt, shared = (splits.keys(table) for table in (rows, learnt, shared))
    for column in keys.columns.intersection(learnt.columns):
        ours, theirs, both = splits.number_values(keys[column], learnt[column], shared[column])
        found = np.isin(ours, theirs[~np.isin(theirs, both) & (theirs >= 0)])
        if found.any():
            image_id = rows["image_id"][found].iloc[0]
            by = f", {column} {keys[column][found].iloc[0]!r}" if column != "image_id" else ""
            raise ValueError(
                f"the {split} images of {first} must be new to {run}, or the score would be too "
                f"high. {found.sum()} of {len(rows)} are, by their {column}, in {side} of {run}; "
                f"the first is image {image_id!r}{by}. Name runs with the same split; to train on "
                f"the split of {run}, give --split_by=official --source=manifest "
                f"--data_dir={run}/{run_directory.MANIFEST}"
            )


def _leave_out(rows, learnt, runs):
    """Returns (rows that no run has learnt from, what is left out and why)."""
    table = splits.keys(pd.concat([rows, learnt], ignore_index=True))
    groups = splits.group_numbers(table)
    is_learnt = np.isin(groups[: len(rows)], groups[len(rows) :])
    by = pd.Series("a further image of its group", index=rows.index)
    for column in reversed(table.columns):
        (values,) = splits.number_values(table[column])
        ours, theirs = values[: len(rows)], values[len(rows) :]
        by = by.mask(np.isin(ours, theirs) & (ours >= 0), column)
    by = by[is_learnt]
    counts = ", ".join(f"{name} {count}" for name, count in by.value_counts().items())
    logging.info(
        "left out %d of %d images that are in train, val or calibration of %s%s",
        len(by),
        len(rows),
        ", ".join(runs),
        f", by: {counts}" if counts else "",
    )
    if is_learnt.all():
        raise ValueError(
            f'"--source" must have images that are new to the run. All {len(rows)} are in train, '
            f"val or calibration of {', '.join(runs)}; name another source"
        )
    reasons = "is in train, val or calibration of a run, by " + by + "; left out"
    left_out = rows.loc[is_learnt, ["image_id", "image", "source"]].assign(reason=reasons)
    return rows[~is_learnt].reset_index(drop=True), left_out


def _refuse_unscored(outputs, rows):
    """Raises a ValueError where nothing that the outputs say can be scored."""
    has_label, has_mask = rows["label"].notna().any(), (rows["mask"] != "").any()
    needs_label = outputs.mask_source == "label" or outputs.score_rule != "none"
    has_class = bool(outputs.class_names) and bool(
        (diagnoses.classes_of(rows["diagnosis"], outputs.classes) != "").any()
    )
    if not (has_label and needs_label or has_mask and outputs.has_outlines or has_class):
        raise ValueError(
            '"--source" must have something to score the outputs against: lesion masks, labels for '
            f"a melanoma score, or diagnoses of --classes. None of the {len(rows)} images has any; "
            f"the run's are --heads={','.join(outputs.heads)} --mask_source={outputs.mask_source}"
        )
