"""Which images a finished run may label, and the manifest that its labels are filled into."""

import os

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import manifests
from lbunet_tf.data import sources
from lbunet_tf.data import splits
from lbunet_tf.data.pixels import file_check
from lbunet_tf.data.records import record_path
from lbunet_tf.settings import command_groups
from lbunet_tf.settings import config
from lbunet_tf.storage import file_names

MASKS = "masks"
NEW = "new"


def list_images(
    settings: config.Config, of_run: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Returns (the checked images of the flags that the run was not tested on, skipped, failures).

    The rows gain `split_in_run`, and `mask_to_write`, the file of a mask that is made, from the
    folder of the manifest on. A target that a network made before is no true one, and is
    emptied. Images that cannot be decoded are skipped; `failures` says why, a line each.
    """
    rows, missing = sources.make_manifest(settings.source, settings.preprocessing)
    if record_path.are_records(rows["image"]).any():
        raise ValueError(
            '"--source=records" holds images at the network\'s size, but masks are made at the '
            "image's own size: name the files, as in --source=manifest --data_dir=DIR/manifest.csv"
        )
    if settings.source.max_images:
        rows = _draw(rows, of_run, settings.source)
    for target, unknown in (("mask", ""), ("label", np.nan)):
        rows[target] = rows[target].where(~manifests.is_made(rows, target), unknown)
    rows, of_run, bad = file_check.check_files_beside(
        rows, of_run, "skip", settings.split.near_duplicates, settings.reading.max_megapixels
    )
    rows["split_in_run"] = split_in_run(rows, of_run)
    counts = {name: int((rows["split_in_run"] == name).sum()) for name in (*manifests.SPLITS, NEW)}
    logging.info(
        "of %d images %d are in test or calibration of %s (by image, patient, lesion, duplicate or "
        "content) and are left out; %d are in its val split and only show how far targets agree; "
        "%d are in its train split; %d are new",
        len(rows),
        counts["test"],
        settings.paths.run,
        counts["val"],
        counts["train"],
        counts[NEW],
    )
    if counts["train"] + counts[NEW] == 0:
        raise ValueError(
            f"at least one image must be in neither val nor test of {settings.paths.run}. "
            f"Received: {len(rows)} images, all in val or test; give another --source"
        )
    skipped = pd.concat([missing, bad], ignore_index=True)
    rows = rows[rows["split_in_run"] != "test"].reset_index(drop=True)
    names = file_names.file_names(list(rows["image_id"]))
    rows["mask_to_write"] = [f"{MASKS}/{name}.png" for name in names]
    return rows, skipped, bad["reason"].tolist()


def _draw(rows, of_run, source):
    """Returns at most --max_images rows, new ones first: the run's seed may have drawn alike."""
    is_new = split_in_run(rows, of_run) == NEW
    new = splits.draw_at_most(rows[is_new], source.max_images, source.seed)
    other = splits.draw_at_most(rows[~is_new], source.max_images - len(new), source.seed)
    return pd.concat([new, other], ignore_index=True)


def split_in_run(rows: pd.DataFrame, of_run: pd.DataFrame) -> np.ndarray:
    """Returns (N,) the split of a run that each row stands in: test, val, train, or "new".

    A row stands where its image_id, patient, lesion, duplicate or content does, also by
    way of other rows. Of several splits the first counts in the order test, val, train:
    what may not be learnt from comes before what was.
    """
    # What thresholds were chosen on is no more to be learnt from than test.
    of_run = of_run.assign(split=of_run["split"].replace(manifests.CALIBRATION, "test"))
    group = splits.group_numbers(pd.concat([of_run, rows], ignore_index=True))
    theirs, ours = group[: len(of_run)], group[len(of_run) :]
    sides = ("test", "val", "train")
    stands = [np.isin(ours, theirs[(of_run["split"] == side).to_numpy()]) for side in sides]
    return np.select(stands, sides, NEW)


def lacks_mask(wanted: command_groups.PseudoLabels, rows: pd.DataFrame) -> np.ndarray:
    """Returns (N,) bool: rows to learn from whose mask is to be filled."""
    if "mask" not in wanted.targets:
        return np.zeros(len(rows), bool)
    unknown = (rows["mask"] == "") | wanted.ignore_true_masks
    return (unknown & (rows["split_in_run"] != "val")).to_numpy()


def fill(
    wanted: command_groups.PseudoLabels, run: str, rows: pd.DataFrame, table: pd.DataFrame
) -> pd.DataFrame:
    """Returns the manifest: true targets as they are, the network's own where none is.

    `pseudo_mask` and `pseudo_label` are 1 where the target is the network's own, and
    `pseudo_run` then names its run. All rows are train; those of val, and those left without
    any target, are dropped.

    Args:
        wanted: Which targets are filled.
        run: The run directory of the network.
        rows: The images, with `split_in_run` and `mask_to_write`.
        table: In the order of `rows`: `is_sure_mask`, and `sure_label`, NaN where unsure.
    """
    result = with_absolute_paths(rows)
    lacks = lacks_mask(wanted, rows)
    fill_mask = lacks & table["is_sure_mask"].to_numpy()
    # Relative to the CSV, so that the folder can be moved.
    written = rows["mask_to_write"]
    result["mask"] = np.where(fill_mask, written, np.where(lacks, "", result["mask"]))
    sure = table["sure_label"].notna() & ("melanoma" in wanted.targets)
    fill_label = rows["label"].isna() & sure.to_numpy()
    result["label"] = result["label"].where(~fill_label, table["sure_label"].to_numpy())
    result["pseudo_mask"] = fill_mask.astype(int)
    result["pseudo_label"] = fill_label.astype(int)
    # What this run has seen is seen by whoever learns from its targets.
    result["pseudo_run"] = np.where(fill_mask | fill_label, os.path.abspath(run), "")
    # Not official_part: such rows would be divided, and weak targets scored as if true.
    result["split"] = "train"
    has_target = (result["mask"] != "") | result["label"].notna()
    used = result[has_target & (rows["split_in_run"] != "val")]
    return used.drop(columns=["split_in_run", "mask_to_write"]).reset_index(drop=True)


def with_absolute_paths(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows with paths that hold wherever the CSV is written."""
    paths = {
        column: [os.path.abspath(path) if path else "" for path in rows[column]]
        for column in ("image", "mask")
    }
    return rows.assign(**paths)
