"""Sources by name: what the flags ask for becomes one manifest, checked for missing files."""

import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf import config as config_lib
from lbunet_tf.data import downloads
from lbunet_tf.data import manifest
from lbunet_tf.data import synthetic


def make_manifest(config: config_lib.Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (manifest, skipped) of all sources that the flags name.

    `skipped` lists the images that the labels name and the folder lacks
    (columns image_id, image, source, reason); they are left out of the manifest.

    Raises:
        ValueError: A source is unknown, its folder, a column or a file is missing,
            or an image_id stands twice.
    """
    if not config.source:
        raise ValueError(
            f'"--source" must name at least one of {", ".join(SOURCES)}. Received: nothing'
        )
    parts = []
    for position, name in enumerate(config.source):
        if name not in SOURCES:
            raise ValueError(f'"--source" must be of {", ".join(SOURCES)}. Received: {name}')
        if name == "synthetic":
            folder = config.data_dir[position] if config.data_dir else ""
            table = synthetic.draw_folder(
                folder or f"runs/drawn-{config.synthetic_count}-{config.image_size}-{config.seed}",
                config.synthetic_count,
                config.image_size,
                config.seed,
            )
        else:
            table = SOURCES[name](_folder(config, name, position))
        table = table if name == "manifest" else manifest.complete(table, name)
        parts.append(table)
    return _without_missing(
        manifest.check(pd.concat(parts, ignore_index=True)), config.allow_missing_images
    )


def _folder(config, name, position):
    if not config.data_dir:
        raise ValueError(
            f'"--data_dir" must name the folder of --source={name}, as in '
            f"--data_dir=$DATA/{name}. Received: nothing"
        )
    folder = pathlib.Path(config.data_dir[position]).expanduser().absolute()
    if not folder.exists():
        raise ValueError(
            f'"--data_dir" must exist. Received: {folder} for --source={name}, which is not there'
        )
    return folder


def _without_missing(table, allow_missing_images):
    there = np.array([pathlib.Path(path).is_file() for path in table["image"]])
    missing = table[~there]
    if len(missing) and not allow_missing_images:
        first = missing.iloc[0]
        raise ValueError(
            f"every image that the labels name must be there; {len(missing)} of {len(table)} are "
            f"not. The first is {first['image_id']!r} of source {first['source']}, row "
            f"{int(missing.index[0]) + 1}: looked for {first['image']}. Complete the download, "
            "or give --allow_missing_images to go on without them"
        )
    if not there.any():
        raise ValueError(
            f"at least one image must be there. Received: none of {len(table)}; the first is "
            f"{table['image'].iloc[0]}"
        )
    skipped = missing[["image_id", "image", "source"]].assign(reason="image is missing")
    if len(skipped):
        logging.warning(
            "%d of %d images are missing and left out (--allow_missing_images)",
            len(skipped),
            len(table),
        )
    has_mask = np.array([not path or pathlib.Path(path).is_file() for path in table["mask"]])
    no_mask = table[there & ~has_mask]
    if len(no_mask):
        first = no_mask.iloc[0]
        raise ValueError(
            f"every mask that is named must be there; {len(no_mask)} of {int(there.sum())} are "
            f"not. The first is of image {first['image_id']!r} of source {first['source']}, row "
            f"{int(no_mask.index[0]) + 1}: looked for {first['mask']}. Complete the download; or "
            "write the manifest (python -m lbunet_tf.prepare --output), empty its mask, and use "
            "--source=manifest"
        )
    return table[there].reset_index(drop=True), skipped


# `synthetic` is drawn, not read: `make_manifest` calls it with the count, size and seed.
SOURCES: dict[str, Callable[[pathlib.Path], pd.DataFrame]] = {
    "isic2016": downloads.isic2016,
    "isic2017": downloads.isic2017,
    "isic2018": downloads.isic2018,
    "isic2019": downloads.isic2019,
    "isic2020": downloads.isic2020,
    "ham10000": downloads.ham10000,
    "ph2": downloads.ph2,
    "folder": downloads.folder,
    "manifest": manifest.read,
    "synthetic": synthetic.draw_folder,
}
