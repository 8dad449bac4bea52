"""The check of image files before training: each is decoded once, none fails later."""

import concurrent.futures
import functools
import hashlib
import itertools

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import near_duplicates
from lbunet_tf.data.pixels import exif
from lbunet_tf.data.pixels import preprocessing
from lbunet_tf.data.records import record_path
from lbunet_tf.storage import file_names
from lbunet_tf.storage import input_files

NUM_AT_ONCE = 2000
NUM_LISTED = 20


def check_files(
    manifest: pd.DataFrame,
    on_bad_image: str,
    hash_images: bool = False,
    max_megapixels: int = 100,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (manifest, skipped).

    The manifest gains `content_hash` and `mask_hash`, the SHA-1 of each image file and of its
    mask's ("" without one), and `mask_share`, the mask's share of the image (NaN without a mask);
    with `hash_images` also `perceptual_hash`.
    Records have them from when they were prepared, and are not checked again. Masks that are
    empty or full are counted and listed in a warning.

    Raises:
        ValueError: Records have no hash that is asked for; or a file cannot be decoded, has more
            than `max_megapixels`, or a mask does not fit its image, and `on_bad_image` is "error".
    """
    is_file = ~record_path.are_records(manifest["image"])
    columns = ["content_hash", "mask_hash", "mask_share", *[near_duplicates.HASH] * hash_images]
    known = manifest.reindex(columns=columns)[~is_file]
    if hash_images and (known[near_duplicates.HASH].fillna("") == "").any():
        raise ValueError(
            '"--near_duplicates" needs records that were prepared with it; prepare them again, or '
            "name the files. Received: records without perceptual_hash"
        )
    found = _check(manifest[is_file], hash_images, max_megapixels)
    manifest = manifest.assign(**pd.concat([found[known.columns], known]))
    reasons = found["reason"].reindex(manifest.index, fill_value="")
    bad = reasons != ""
    if bad.any() and on_bad_image == "error":
        row = manifest[bad].iloc[0]
        raise ValueError(
            f"{reasons[bad].iloc[0]} (image {row['image_id']!r} of source {row['source']}; "
            f"{int(bad.sum())} of {len(manifest)} are bad). Repair them or download them again, or "
            "give --on_bad_image=skip to continue without them"
        )
    skipped = manifest.loc[bad, ["image_id", "image", "source"]].assign(reason=reasons[bad])
    for column in ("image_id", "image"):
        # A name that is no UTF-8 is among the reasons, and can stand in no table.
        skipped[column] = skipped[column].map(file_names.printable)
    if bad.any():
        logging.warning("skipped %d of %d bad images (--on_bad_image=skip)", bad.sum(), len(bad))
    if bad.all():
        raise ValueError(f"at least one image must be readable. Received: none of {len(bad)}")
    manifest = manifest[~bad].reset_index(drop=True)
    _warn_of_masks(manifest, 0, "empty")
    _warn_of_masks(manifest, 1, "full: they cover all of their images")
    return manifest, skipped


def _warn_of_masks(manifest, fraction, what):
    """Logs which masks say nothing about where the lesion is; some are right, most are not."""
    ids = manifest.loc[manifest["mask_share"] == fraction, "image_id"]
    if len(ids):
        logging.warning(
            "%d of %d masks are %s: %s%s (column mask_share of the manifest)",
            len(ids),
            manifest["mask_share"].notna().sum(),
            what,
            ", ".join(ids[:NUM_LISTED]),
            ", ..." if len(ids) > NUM_LISTED else "",
        )


def check_files_beside(
    rows: pd.DataFrame,
    others: pd.DataFrame,
    on_bad_image: str,
    max_bits: int,
    max_megapixels: int = 100,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Returns (rows, others, skipped): `rows` checked, near-duplicates of both in joint groups.

    `max_bits`: --near_duplicates; -1 looks for none.
    """
    finds_alike = max_bits >= 0
    rows, skipped = check_files(rows, on_bad_image, finds_alike, max_megapixels)
    if finds_alike:
        rows, others = near_duplicates.with_joint_groups(rows, others, max_bits)
    return rows, others, skipped


def _check(rows, hash_images, max_megapixels):
    """Returns the columns of `check_files` and the reason ("" for a good one) of each."""
    results = []
    check = functools.partial(_check_row, hash_images, max_megapixels)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        # The first alone: threads that find a function of TensorFlow not built yet all build it.
        # Then in parts: what waits for a thread takes more memory than a row of the result.
        starts = [0, *range(1, len(rows), NUM_AT_ONCE), len(rows)]
        for start, end in itertools.pairwise(starts):
            part = rows.iloc[start:end]
            results += threads.map(check, part["image"], part["mask"])
            if len(part) == NUM_AT_ONCE:
                logging.info("checked %d of %d images", len(results), len(rows))
    columns = ["content_hash", "mask_hash", "mask_share", near_duplicates.HASH, "reason"]
    return pd.DataFrame(results, rows.index, columns).astype({"mask_share": "float64"})


def _check_row(hash_images, max_megapixels, image_path, mask_path):
    """Returns (SHA-1 of the image file, of the mask's, mask_share, a hash or "", what is wrong)."""
    # All of the file is read, and no more of it decoded than needed.
    size_px = near_duplicates.THUMBNAIL_PX if hash_images else 1
    decode = functools.partial(preprocessing.decode_reduced, size_px=size_px)
    try:
        for path in (image_path, mask_path):
            input_files.check_name(path)
        contents, (image, size) = preprocessing.decode_file(image_path, decode, max_megapixels)
    except ValueError as error:
        return "", "", np.nan, "", str(error)
    digest = _sha1(contents)
    perceptual_hash = near_duplicates.perceptual_hash(image) if hash_images else ""
    if not mask_path:
        return digest, "", np.nan, perceptual_hash, ""
    try:
        mask_contents, mask = preprocessing.decode_file(
            mask_path, preprocessing.decode_mask, max_megapixels
        )
        orientations = [int(exif.orientation(each)) for each in (contents, mask_contents)]
        _check_mask(mask_path, tuple(size), mask.shape[:2], *orientations)
    except ValueError as error:
        return digest, "", np.nan, perceptual_hash, str(error)
    return digest, _sha1(mask_contents), round(float(mask.mean()), 6), perceptual_hash, ""


def _sha1(contents):
    return hashlib.sha1(contents, usedforsecurity=False).hexdigest()


def _check_mask(path, image_size, mask_size, of_image, of_mask):
    """Raises a ValueError where it is not certain which pixels of the image a mask is of.

    Each file is turned by its own EXIF orientation; upright, both must have one size. Where the
    orientations differ, the mask may have been drawn on the image as it is stored. Then the size
    must tell: one of them has no orientation, the other's exchanges the sides, and these differ.

    Args:
        path: Of the mask.
        image_size: Height and width, upright.
        mask_size: Height and width, upright.
        of_image: EXIF orientation, 1 for none.
        of_mask: EXIF orientation, 1 for none.
    """
    orientations = f"EXIF orientation {of_image} of the image, {of_mask} of the mask (1 is none)"
    if mask_size != image_size:
        raise ValueError(
            f"{path} must have the size of its image, {image_size[1]} x {image_size[0]} px. "
            f"It has {mask_size[1]} x {mask_size[0]} px"
            + (
                f"; both as viewers show them, by {orientations}"
                if (of_image, of_mask) != (1, 1)
                else ""
            )
        )
    size_tells = min(of_image, of_mask) == 1 and max(of_image, of_mask) >= 5
    if of_image != of_mask and not (size_tells and image_size[0] != image_size[1]):
        raise ValueError(
            f"{path} must have the orientation of its image: save both without an EXIF "
            f"orientation, or with the same one. Received: {orientations}; the sizes do not tell "
            "which was meant"
        )
