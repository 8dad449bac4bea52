"""The check of image files before training: each is decoded once, none fails later."""

import concurrent.futures
import functools
import hashlib

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import near_duplicates
from lbunet_tf.data import places
from lbunet_tf.data import preprocessing

NUM_AT_ONCE = 2000


def check_files(
    manifest: pd.DataFrame, on_bad_image: str, hash_images: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (manifest, skipped).

    The manifest gains `content_hash`, the SHA-1 of each image file, and `mask_share`, the
    mask's share of the image (NaN without a mask); with `hash_images` also `perceptual_hash`.
    Records have them from when they were prepared, and are not checked again.

    Raises:
        ValueError: Records have no hash that is asked for; or a file cannot be decoded, or a
            mask's size is not its image's, and `on_bad_image` is "error".
    """
    is_file = ~places.are_records(manifest["image"])
    columns = ["content_hash", "mask_share", *[near_duplicates.HASH] * hash_images]
    known = manifest.reindex(columns=columns)[~is_file]
    if hash_images and (known[near_duplicates.HASH].fillna("") == "").any():
        raise ValueError(
            '"--near_duplicates" needs records that were prepared with it; prepare them again, or '
            "name the files. Received: records without perceptual_hash"
        )
    found = _check(manifest[is_file], hash_images)
    manifest = manifest.assign(**pd.concat([found[known.columns], known]))
    reasons = found["reason"].reindex(manifest.index, fill_value="")
    bad = reasons != ""
    if bad.any() and on_bad_image == "error":
        row = manifest[bad].iloc[0]
        raise ValueError(
            f"{reasons[bad].iloc[0]} (image {row['image_id']!r} of source {row['source']}, row "
            f"{int(manifest.index[bad][0]) + 1} of the manifest; {int(bad.sum())} of "
            f"{len(manifest)} are bad). Mend or download them again, or give --on_bad_image=skip "
            "to go on without them"
        )
    skipped = manifest.loc[bad, ["image_id", "image", "source"]].assign(reason=reasons[bad])
    if bad.any():
        logging.warning("skipped %d of %d bad images (--on_bad_image=skip)", bad.sum(), len(bad))
    if bad.all():
        raise ValueError(f"at least one image must be readable. Received: none of {len(bad)}")
    return manifest[~bad].reset_index(drop=True), skipped


def check_files_beside(
    rows: pd.DataFrame, others: pd.DataFrame, on_bad_image: str, max_bits: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Returns (rows, others, skipped): `rows` checked, near-duplicates of both in joint groups.

    `max_bits`: --near_duplicates; -1 looks for none.
    """
    finds_alike = max_bits >= 0
    rows, skipped = check_files(rows, on_bad_image, finds_alike)
    if finds_alike:
        rows, others = near_duplicates.with_joint_groups(rows, others, max_bits)
    return rows, others, skipped


def _check(rows, hash_images):
    """Returns content_hash, mask_share, perceptual_hash and reason ("" for a good one) of each."""
    results = []
    check = functools.partial(_check_row, hash_images)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        # In parts: what waits for a thread takes more memory than a row of the result.
        for start in range(0, len(rows), NUM_AT_ONCE):
            part = rows.iloc[start : start + NUM_AT_ONCE]
            results += threads.map(check, part["image"], part["mask"])
            if len(part) == NUM_AT_ONCE:
                logging.info("checked %d of %d images", len(results), len(rows))
    columns = ["content_hash", "mask_share", near_duplicates.HASH, "reason"]
    return pd.DataFrame(results, rows.index, columns).astype({"mask_share": "float64"})


def _check_row(hash_images, image_path, mask_path):
    """Returns (SHA-1 of the image file, the mask's share, a hash or "", what is wrong or "")."""
    # All of the file is read, and no more of it decoded than needed.
    size_px = near_duplicates.THUMBNAIL_PX if hash_images else 1
    decode = functools.partial(preprocessing.decode_reduced, size_px=size_px)
    try:
        contents, (image, image_size) = preprocessing.decode_file(image_path, decode)
    except ValueError as error:
        return "", np.nan, "", str(error)
    digest = hashlib.sha1(contents, usedforsecurity=False).hexdigest()
    look = near_duplicates.perceptual_hash(image) if hash_images else ""
    try:
        share = _check_mask(mask_path, tuple(image_size)) if mask_path else np.nan
    except ValueError as error:
        return digest, np.nan, look, str(error)
    return digest, share, look, ""


def _check_mask(mask_path, image_size):
    """Returns the mask's share of the image."""
    _, mask = preprocessing.decode_file(mask_path, preprocessing.decode_mask)
    if mask.shape[:2] == image_size:
        return round(float(mask.mean()), 6)
    raise ValueError(
        f"{mask_path} must have the size of its image, {image_size[1]} x {image_size[0]} px. "
        f"It has {mask.shape[1]} x {mask.shape[0]} px"
    )
