"""Images that stand in more than one source: one row each, of what all of them know."""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import components
from lbunet_tf.data import diagnoses
from lbunet_tf.data import manifests
from lbunet_tf.data.records import record_path

OFFICIAL_ID = r"ISIC_\d{7}"
# What belongs to the image file; the rest of a row is about the lesion.
OF_FILE = ("image_id", "image", "mask", "pseudo_mask", "source")


def join(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Returns the rows of several sources; an image of two sources is one row.

    The challenges share images (ISIC 2018 Task 3 is HAM10000), under the archive's id; two
    images of another name in common need not be one, unless they are one file. Image and mask
    are those of the first source that has both, else of the first; whatever else that source
    does not know is taken from the next that does. Of diagnoses the most specific one is taken, of
    equally specific ones the first. A patient, lesion or group of duplicates for which two sources
    have two names gets the first of them in every row. What a network made (`pseudo_label`,
    `pseudo_mask`) gives way to what is known.

    Raises:
        ValueError: Two sources give an image different labels.
    """
    table = pd.concat(parts, ignore_index=True)
    if len(parts) == 1:
        return table
    ids = manifests.archive_ids(table["image_id"]).rename("archive_id")
    part = pd.Series(np.repeat(np.arange(len(parts)), [len(rows) for rows in parts]))
    several = part.groupby(ids).transform("nunique") > 1
    is_twice = pd.DataFrame({"id": ids, "part": part}).duplicated(keep=False)
    is_official = ids.str.fullmatch(OFFICIAL_ID)
    _refuse_twice(table[several & is_twice & is_official], ids)
    # What is left of it, equal names, is an error that `check` names.
    several &= ~is_twice
    several &= is_official | _are_one_file(table["image"], ids, several & ~is_official)
    if not several.any():
        return table
    table = _with_one_name(table, part, ids[several])
    shared, ids = table[several], ids[several]
    merged = _merge(shared, ids)
    first = ids.drop_duplicates()
    for column in table.columns:
        values = merged[column].reindex(first).to_numpy()
        text = column not in manifests.NUMBERS and column in manifests.COLUMNS
        table.loc[first.index, column] = (
            pd.Series(values, first.index).fillna("") if text else values
        )
    logging.info("%d images are in more than one source; each is used once", len(first))
    return table.drop(index=shared.index.difference(first.index)).reset_index(drop=True)


def _are_one_file(images, ids, where):
    """Returns (N,) bool: whether the images of an id are one file, however its path is written."""
    files = images[where].map(os.path.realpath)
    is_one = files.groupby(ids[where]).transform("nunique") == 1
    return is_one.reindex(images.index, fill_value=False)


def _refuse_twice(rows, ids):
    """Raises where a source has an image of another source twice, under two names."""
    names = rows["image_id"].groupby(ids[rows.index]).nunique()
    different = names.index[names > 1]
    if len(different):
        first = rows[ids[rows.index] == different[0]]
        raise ValueError(
            "a source must have an image once. Received: "
            f"{' and '.join(map(repr, first['image_id'][:2]))}, one image of the archive, in "
            f"{first['source'].iloc[0]}; delete one of the rows"
        )


def _with_one_name(table, part, ids):
    """Returns the table; names that a shared image has in two sources become the first of them.

    Or the one row an image would know one name, and other images of the lesion the other.

    Args:
        table: All rows.
        part: The number of the source of each.
        ids: Of the shared rows.
    """
    table = table.copy()
    for column in manifests.GROUPS:
        named = table.loc[ids.index, column]
        named = named[named != ""]
        if (named == named.groupby(ids[named.index]).transform("first")).all():
            continue
        # A plain number is a name in its own source: another numbers its patients otherwise.
        within = part.where(table[column].str.fullmatch(r"\d+"), -1)
        names = pd.MultiIndex.from_frame(pd.DataFrame({"part": within, "name": table[column]}))
        codes, distinct = names.factorize()
        codes = pd.Series(codes, table.index)
        # Over several images, too: A is B here, and B is C there.
        first = codes[named.index].groupby(ids[named.index]).transform("first")
        group = components.of_pairs(codes[named.index], first, len(distinct))
        chosen = pd.Series(distinct.get_level_values(1)).groupby(group).transform("first")
        table[column] = chosen.to_numpy()[codes]
    return table


def _merge(shared, ids):
    """Returns one row an id, of what its rows know."""
    # `first` takes the first that is not missing; "" is text's missing.
    merged = shared.replace("", None).groupby(ids).first()
    has_mask = shared["mask"] != ""
    wanted = pd.DataFrame(
        {
            "image": [os.path.isfile(record_path.file_of(path)) for path in shared["image"]],
            "mask": [os.path.isfile(record_path.file_of(path)) for path in shared["mask"]],
            "known": has_mask & ~manifests.is_made(shared, "mask"),
            "made": has_mask,
        },
        shared.index,
    )
    order = wanted.sort_values(list(wanted), ascending=False, kind="stable").index
    chosen = ids[order].drop_duplicates()
    of_file = [column for column in OF_FILE if column in shared]
    merged[of_file] = shared.loc[chosen.index, of_file].set_axis(chosen)
    merged["diagnosis"] = _most_specific(shared["diagnosis"], ids)
    made = manifests.is_made(shared, "label")
    known = shared["label"].mask(made).groupby(ids).first()
    _refuse_contradiction(shared[~made], ids[~made])
    _warn_of_sides(shared, ids)
    merged["label"] = known.fillna(merged["label"])
    if "pseudo_label" in shared:
        merged["pseudo_label"] = (known.isna() & merged["label"].notna()).astype(int)
    return merged


def _most_specific(diagnosis, ids):
    """Returns one diagnosis an id, with the ids as its index."""
    order = np.argsort(-diagnoses.specificities_of(diagnosis), kind="stable")
    known = diagnosis.where(diagnosis != "").iloc[order]
    return known.groupby(ids.iloc[order]).first()


def _refuse_contradiction(shared, ids):
    labels = shared["label"].groupby(ids).nunique()
    different = labels.index[labels > 1]
    if len(different):
        rows = shared[ids == different[0]]
        raise ValueError(
            "sources must agree on the label of an image that they share; "
            f"{len(different)} images differ. Received for {different[0]!r}: "
            + ", ".join(f"{row.label:g} in {row.source}" for row in rows.itertuples())
            + ". Leave one of the sources out, or fix the label in a --source=manifest"
        )


def _warn_of_sides(shared, ids):
    for column in ("split", "official_part"):
        sides = shared[column].where(shared[column] != "").groupby(ids).nunique()
        if (sides > 1).any():
            logging.warning(
                "%d images have different values of %s in two sources, the first is %r; that of "
                "the source that --source names first is taken",
                (sides > 1).sum(),
                column,
                sides.index[sides > 1][0],
            )
