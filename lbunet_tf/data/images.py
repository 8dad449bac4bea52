"""The check of image files before training: each is decoded once, none fails later."""

import concurrent.futures
import hashlib

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import places
from lbunet_tf.data import preprocessing


def check_files(manifest: pd.DataFrame, on_bad_image: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (manifest, skipped).

    The manifest gains `content_hash`, the SHA-1 of each image file, and `mask_share`, the
    mask's share of the image (NaN without a mask). Records have both from when they were
    prepared, and are not checked again.

    Raises:
        ValueError: A file cannot be decoded, or a mask's size is not its image's, and
            `on_bad_image` is "error".
    """
    is_file = ~places.are_records(manifest["image"])
    found = _check(manifest[is_file])
    known = manifest.reindex(columns=["content_hash", "mask_share"])[~is_file]
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


def _check(rows):
    """Returns content_hash, mask_share and reason ("" for a good one) of each row."""
    results = []
    with concurrent.futures.ThreadPoolExecutor() as threads:
        for result in threads.map(_check_row, rows["image"], rows["mask"]):
            results.append(result)
            if len(results) % 2000 == 0:
                logging.info("checked %d of %d images", len(results), len(rows))
    found = pd.DataFrame(results, rows.index, ["content_hash", "mask_share", "reason"])
    return found.astype({"mask_share": "float64"})


def _check_row(image_path, mask_path):
    """Returns (SHA-1 of the image file, the mask's share, what is wrong or "")."""
    try:
        contents, (height, width) = preprocessing.decode_file(image_path, _whole_size)
    except ValueError as error:
        return "", np.nan, str(error)
    digest = hashlib.sha1(contents, usedforsecurity=False).hexdigest()
    try:
        return digest, _check_mask(mask_path, (height, width)) if mask_path else np.nan, ""
    except ValueError as error:
        return digest, np.nan, str(error)


def _whole_size(contents):
    """Returns height and width of an image; all of it is read, and no more decoded than needed."""
    return preprocessing.decode_reduced(contents, 1)[1]


def _check_mask(mask_path, image_size):
    """Returns the mask's share of the image."""
    _, mask = preprocessing.decode_file(mask_path, preprocessing.decode_mask)
    if mask.shape[:2] == image_size:
        return round(float(mask.mean()), 6)
    raise ValueError(
        f"{mask_path} must have the size of its image, {image_size[1]} x {image_size[0]} px. "
        f"It has {mask.shape[1]} x {mask.shape[0]} px"
    )
