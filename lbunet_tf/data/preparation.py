"""From flags to a checked manifest with splits: what `prepare` shows and `train` freezes."""

import dataclasses

import pandas as pd
from absl import logging

from lbunet_tf.data import diagnoses
from lbunet_tf.data import manifests
from lbunet_tf.data import near_duplicates
from lbunet_tf.data import sources
from lbunet_tf.data import splits
from lbunet_tf.data.pixels import file_check
from lbunet_tf.settings import config
from lbunet_tf.settings import output_group


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A manifest with splits, what was skipped and why, and what crosses a split.

    `known`: for how many images a patient, lesion or duplicate is known at all.
    """

    manifest: pd.DataFrame
    skipped: pd.DataFrame
    crossings: dict[str, int]
    known: dict[str, int]


def prepare(settings: config.Config) -> Prepared:
    """Returns the checked, balanced and split manifest of the flags."""
    split, seed = settings.split, settings.source.seed
    manifest, missing = sources.make_manifest(
        settings.source, settings.preprocessing, settings.outputs.has_mask
    )
    if split.balance == "subset":
        manifest = splits.balanced_subset(manifest, split.benign_count, seed)
    if settings.source.max_images:
        manifest = splits.draw_at_most(manifest, settings.source.max_images, seed)
    finds_alike = split.near_duplicates >= 0
    masks = manifest.set_index("image_id")["mask"]
    if not settings.outputs.has_mask:
        manifest = manifest.assign(mask="")
    manifest, bad = file_check.check_files(
        manifest, settings.source.on_bad_image, finds_alike, settings.reading.max_megapixels
    )
    if finds_alike:
        manifest = near_duplicates.with_groups(manifest, split.near_duplicates)
    # Masks count though no head reads them: the splits are those of a run with a mask head, and
    # the two can be compared.
    manifest = manifest.assign(mask=manifest["image_id"].map(masks))
    manifest = splits.assign(manifest, split.split_by, split.split_percent, seed)
    if not settings.outputs.has_mask:
        manifest = manifest.assign(mask="")
    if len(split.split_percent) == 4 and manifests.CALIBRATION not in set(manifest["split"]):
        raise ValueError(
            f"calibration, which --split_percent asks for, has none of the {len(manifest)} images. "
            "Use more images, another --split_percent, or --split_by=image"
        )
    return of_manifest(split.split_by, manifest, pd.concat([missing, bad], ignore_index=True))


def of_manifest(split_by: str, manifest: pd.DataFrame, skipped: pd.DataFrame) -> Prepared:
    """Returns what is known of a manifest with splits, its leaks checked."""
    crossings = splits.report_crossings(manifest, split_by)
    logging.info("images by split:\n%s", manifests.describe(manifest))
    return Prepared(manifest, skipped, crossings, splits.known_groups(manifest))


def scored_labels(outputs: output_group.Outputs, rows: pd.DataFrame) -> set[float]:
    """Returns which labels (1 for melanoma, 0) the AUC of a training is measured on."""
    if outputs.score_rule != "diagnosis":
        return set(rows["label"].dropna())
    names = diagnoses.classes_of(rows["diagnosis"], outputs.classes)
    return {float(name == output_group.MELANOMA_CLASS) for name in names if name}


def check_targets(
    outputs: output_group.Outputs, balance: str, monitor: str, manifest: pd.DataFrame
) -> None:
    """Raises a ValueError where a split has nothing to learn from or to score."""
    for split in manifests.SPLITS:
        rows = manifest[manifest["split"] == split]
        if rows.empty:
            raise ValueError(
                f"every split needs images; {split} has none of the {len(manifest)} images. Use "
                "more images, "
                "another --split_percent, or --split_by=image"
            )
        has_mask = (rows["mask"] != "").any()
        if outputs.has_outlines and not has_mask:
            raise ValueError(
                f'"--mask_source=lesion" needs lesion masks, and no {split} image has one. Give a '
                "source with masks, or --mask_source=label for the paper's label-as-mask"
            )
        classes = scored_labels(outputs, rows)
        needs_label = outputs.mask_source == "label" or "melanoma" in outputs.heads
        if needs_label and rows["label"].isna().all():
            raise ValueError(
                f'"--mask_source=label" and the melanoma head need labels, and no {split} '
                "image has one. Give a source with labels, or --mask_source=lesion --heads=mask"
            )
        if split == "val" and monitor == "auc" and len(classes) < 2:
            raise ValueError(
                '"--monitor=auc" needs val images of both classes. Use more images, another '
                f"--split_percent or --seed, or --monitor=loss. Received: labels {classes}"
            )
        if needs_label and len(classes) == 1:
            logging.warning("%s has images of only one class, so its AUC is undefined", split)
    if outputs.class_names:
        diagnoses.check(manifest, outputs.classes)
    kept = manifest[manifest["split"] == manifests.CALIBRATION]
    if len(kept) and outputs.score_rule != "none" and set(kept["label"].dropna()) != {0.0, 1.0}:
        raise ValueError(
            "calibration images need both classes, or no threshold can be chosen on them. Use "
            "another --split_percent or --seed. Received: labels "
            f"{sorted(set(kept['label'].dropna()))}"
        )
    train = manifest[manifest["split"] == "train"]
    # By class, all of which were found.
    by_label = balance == "resample" and not outputs.class_names
    if by_label and set(train["label"].dropna()) != {0.0, 1.0}:
        raise ValueError(
            '"--balance=resample" needs training images of both classes. '
            f"Received: {int((train['label'] == 1).sum())} melanoma, "
            f"{int((train['label'] == 0).sum())} not, {int(train['label'].isna().sum())} unknown"
        )
