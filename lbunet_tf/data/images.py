"""The check of image files before training: each is decoded once, none fails later."""

import concurrent.futures
import hashlib
import pathlib

import pandas as pd
import tensorflow as tf
from absl import logging
from PIL import Image

from lbunet_tf.data import preprocessing

# JPEG, PNG, BMP. A name does not say what is inside.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"BM")


def check_files(manifest: pd.DataFrame, on_bad_image: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (manifest, skipped); the manifest gains `content_hash`, the SHA-1 of each file.

    Raises:
        ValueError: A file cannot be decoded, or a mask's size is not its image's, and
            `on_bad_image` is "error".
    """
    with concurrent.futures.ThreadPoolExecutor() as threads:
        results = []
        for result in threads.map(_check_row, manifest["image"], manifest["mask"]):
            results.append(result)
            if len(results) % 2000 == 0:
                logging.info("checked %d of %d images", len(results), len(manifest))
    manifest = manifest.assign(content_hash=[content_hash for content_hash, _ in results])
    reasons = pd.Series([reason for _, reason in results], index=manifest.index)
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


def _check_row(image_path, mask_path):
    """Returns (SHA-1 of the image file, what is wrong or "")."""
    contents, shape, reason = _decoded_shape(image_path, preprocessing.decode_image)
    if not reason and mask_path:
        reason = _check_mask(mask_path, shape)
    return hashlib.sha1(contents, usedforsecurity=False).hexdigest(), reason


def _decoded_shape(path, decode):
    """Returns (bytes, shape, what is wrong or "") of one file."""
    contents = b""
    try:
        contents = pathlib.Path(path).read_bytes()
        if not contents.startswith(SIGNATURES):
            return contents, None, f"cannot decode {path}: it is no JPEG, PNG or BMP"
        return contents, decode(contents).shape, ""
    except (ValueError, OSError, tf.errors.OpError, Image.DecompressionBombError) as error:
        return contents, None, f"cannot decode {path}: {_first_line(error)}"


def _check_mask(mask_path, image_shape):
    _, shape, reason = _decoded_shape(mask_path, preprocessing.decode_mask)
    if reason:
        return reason
    if shape[:2] != image_shape[:2]:
        return (
            f"{mask_path} must have the size of its image, {image_shape[1]} x {image_shape[0]} px. "
            f"It has {shape[1]} x {shape[0]} px"
        )
    return ""


def _first_line(error):
    text = getattr(error, "message", "") or str(error)
    return text.split("\n")[0].replace("{{function_node __wrapped__", "").split("}} ")[-1][:160]
