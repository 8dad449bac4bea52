"""Balance and split: which images are used, and on which side each stands."""

import hashlib

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import components
from lbunet_tf.data import manifests
from lbunet_tf.data import near_duplicates

GROUP_COLUMNS = (
    "patient_id",
    "lesion_id",
    "duplicate_group",
    "content_hash",
    near_duplicates.GROUP,
)
KEYS = ("image_id", *GROUP_COLUMNS)


def balanced_subset(manifest: pd.DataFrame, benign_count: int, seed: int) -> pd.DataFrame:
    """Returns every melanoma and `benign_count` others, drawn with `seed` (paper IV.A).

    Raises:
        ValueError: There are fewer others, no melanoma, or images without a label.
    """
    unknown = manifest["label"].isna()
    if unknown.any():
        raise ValueError(
            '"--balance=subset" needs a label for every image. Received: '
            f"{int(unknown.sum())} without, the first is {manifest['image_id'][unknown].iloc[0]!r}"
        )
    benign = manifest["image_id"][manifest["label"] == 0]
    if len(benign) < benign_count or len(benign) == len(manifest):
        raise ValueError(
            f'"--benign_count" must be at most the number of benign images, and there must be '
            f"melanomas. Received: --benign_count={benign_count}, {len(benign)} benign, "
            f"{len(manifest) - len(benign)} melanoma"
        )
    drawn = benign.iloc[_shuffled(benign, seed, "subset")[:benign_count]]
    keep = (manifest["label"] == 1) | manifest.index.isin(drawn.index)
    return manifest[keep].reset_index(drop=True)


def draw_at_most(manifest: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Returns at most `count` images, drawn with `seed`; their order is kept."""
    drawn = np.sort(_shuffled(manifest["image_id"], seed, "draw")[:count])
    return manifest.iloc[drawn].reset_index(drop=True)


def _shuffled(keys, seed, purpose):
    """Returns positions in an order that depends only on the keys, the seed and the purpose."""
    marks = (hashlib.sha256(f"{purpose}/{seed}/{key}".encode()).digest() for key in keys.tolist())
    # As numbers of 64 bits, most significant first, bytes sort fast.
    words = np.frombuffer(b"".join(marks), ">u8").astype("u8").reshape(-1, 4)
    return np.lexsort(words.T[::-1])


def assign(
    manifest: pd.DataFrame, split_by: str, percents: tuple[int, ...], seed: int
) -> pd.DataFrame:
    """Returns the manifest with `split` filled: train, val, test; of four percents, calibration.

    Stratified by source, melanoma and mask; `split_by="patient"` keeps a patient, a
    lesion and known duplicates on one side; "image" is the paper's; "official" keeps
    the parts of the download and divides only the training part, into train and what
    is not there yet. The same seed gives the same split on any machine: it orders
    groups by a hash of their ids, not by a random stream.
    """
    given = manifest["split"] != ""
    if given.any() and split_by != "official":
        raise ValueError(
            f'"--split_by" must be "official" to keep the {int(given.sum())} splits that the '
            f"manifest holds; empty its split column to split again. Received: {split_by}"
        )
    result = manifest.copy()
    if split_by == "official":
        _refuse_without_part(manifest)
        parts = manifest["official_part"].where(~given, manifest["split"])
        to_divide = (parts == "train") & ~given
        if given.all():
            return result
        names = manifests.ALL_SPLITS[: len(percents)]
        missing = [name not in set(parts) for name in names]
        shares = [
            share * (lacks or name == "train")
            for share, lacks, name in zip(percents, missing, names, strict=True)
        ]
        result["split"] = parts
    else:
        to_divide = pd.Series(True, index=manifest.index)
        shares = list(percents)
    rows = manifest[to_divide]
    result.loc[to_divide, "split"] = _divide(rows, split_by == "image", shares, seed)
    return result


def _refuse_without_part(manifest):
    to_take = manifest["split"] == ""
    other = to_take & ~manifest["official_part"].isin(("", *manifests.SPLITS))
    if other.any():
        row = manifest[other].iloc[0]
        raise ValueError(
            f"official_part must be one of {', '.join(manifests.SPLITS)} or empty. Received: "
            f"{row['official_part']!r} for image {row['image_id']!r}, {int(other.sum())} such rows"
        )
    without = to_take & (manifest["official_part"] == "")
    if without.any():
        raise ValueError(
            '"--split_by=official" needs a source with official parts, or a manifest whose '
            f"split column is filled. Received: {int(without.sum())} images without, the first "
            f"is {manifest['image_id'][without].iloc[0]!r}"
        )


def _divide(rows, by_image, shares, seed):
    """Returns a split for each row; groups go whole, strata by stratum."""
    group = np.arange(len(rows)) if by_image else group_numbers(rows)
    table = pd.DataFrame(
        {
            "group": group,
            "id": rows["image_id"].to_numpy(),
            "melanoma": (rows["label"] == 1).to_numpy(),
            "mask": (rows["mask"] != "").to_numpy(),
            "source": rows["source"].to_numpy(),
        }
    )
    groups = table.groupby("group").agg(
        id=("id", "min"),
        melanoma=("melanoma", "max"),
        mask=("mask", "max"),
        source=("source", "min"),
        images=("id", "size"),
    )
    side = pd.Series("", index=groups.index)
    edges = np.cumsum(shares) / sum(shares)
    for (source, melanoma, mask), members in groups.groupby(["source", "melanoma", "mask"]):
        # Plain types: how pandas prints its own differs between versions, and the hash with it.
        stratum = (str(source), bool(melanoma), bool(mask))
        order = members.index[_shuffled(members["id"], seed, f"split/{stratum}")]
        images = members.loc[order, "images"].to_numpy()
        middle = (np.cumsum(images) - images / 2) / images.sum()
        side[order] = np.array(manifests.ALL_SPLITS)[np.searchsorted(edges, middle, side="right")]
    return side[group].to_numpy()


def keys(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns what tells images apart, of the columns that there are; "" where unknown."""
    known = manifest[[column for column in KEYS if column in manifest]].fillna("")
    return known.assign(image_id=manifests.archive_ids(known["image_id"]))


def number_values(*columns: pd.Series) -> list[np.ndarray]:
    """Returns for each column (N,) int: equal values have one number in all of them, "" is -1."""
    joined = pd.concat(columns, ignore_index=True)
    codes = pd.factorize(joined.mask(joined == ""))[0]
    return np.split(codes, np.cumsum([len(column) for column in columns])[:-1])


def group_numbers(manifest: pd.DataFrame) -> np.ndarray:
    """Returns (N,) int: rows of one id, patient, lesion, duplicate or content have one number.

    Directly, or over other rows. An empty value is shared with none.
    """
    table = keys(manifest)
    rows = [np.arange(len(manifest))]
    groups = [np.arange(len(manifest))]
    nodes = len(manifest)
    for column in table:
        (codes,) = number_values(table[column])
        known = np.flatnonzero(codes >= 0)
        rows.append(known)
        groups.append(codes[known] + nodes)
        nodes += codes.max(initial=-1) + 1
    rows, groups = np.concatenate(rows), np.concatenate(groups)
    return components.of_pairs(rows, groups, nodes)[: len(manifest)]


def crossings(manifest: pd.DataFrame) -> dict[str, int]:
    """Returns how many values of each kind stand on more than one side of the split."""
    found = {}
    for column, values in keys(manifest).items():
        is_known = values != ""
        sides = manifest["split"][is_known].groupby(values[is_known], sort=False).nunique()
        found[column] = int((sides > 1).sum())
    return found


def known_groups(manifest: pd.DataFrame) -> dict[str, int]:
    """Returns for how many images each kind of group is known."""
    columns = [column for column in GROUP_COLUMNS if column in manifest]
    return {column: int((manifest[column].fillna("") != "").sum()) for column in columns}


def report_crossings(manifest: pd.DataFrame, split_by: str) -> dict[str, int]:
    """Returns `crossings`, logged; raises where a split by patient has any."""
    found, known = crossings(manifest), known_groups(manifest)
    words = ", ".join(f"{count} {column}" for column, count in found.items())
    logging.info(
        "leak check: known, of %d images: %s",
        len(manifest),
        ", ".join(f"{column} {count}" for column, count in known.items()),
    )
    if split_by == "patient" and not (known["patient_id"] or known["lesion_id"]):
        logging.warning(
            "leak check: no patient and no lesion is known, so --split_by=patient keeps only "
            "identical files and known duplicates together"
        )
    if not any(found.values()):
        logging.info("leak check: nothing that is known crosses a split (%s)", words)
        return found
    if split_by == "patient":
        raise ValueError(
            f"no image, lesion, patient or duplicate may cross a split. Found: {words}"
        )
    logging.warning(
        "leak check: with --split_by=%s these are on more than one side: %s. Scores on val "
        "and test are too high, since they share these with train",
        split_by,
        words,
    )
    return found
