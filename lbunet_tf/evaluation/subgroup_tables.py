"""Tables of flags by image id, such as artefacts: what they say of the images of a run.

A table is somebody else's, about other images too. What it does not say of an image is unknown.
"""

import os
import pathlib
from collections.abc import Sequence

import pandas as pd
from absl import logging

from lbunet_tf.data import identifiers
from lbunet_tf.data import listing
from lbunet_tf.data import manifests
from lbunet_tf.data import prediction_columns
from lbunet_tf.data import tables
from lbunet_tf.evaluation import subgroups

ID_COLUMNS = ("image_id", "image_name", "image", "isic_id")
# The class itself: in its groups there is nothing to tell apart.
CLASS_COLUMNS = ("label", "target", "melanoma", "malignant")
FLAG_WORDS = {0.0: "no", 1.0: "yes"}
# Of more values a column has no groups: it is a number, or a name for each image.
MOST_GROUPS = 20


def read(paths: Sequence[str], rows: pd.DataFrame, asked: Sequence[str]) -> pd.DataFrame:
    """Returns the attributes of images, one row per `image_id` of `rows`, one column per attribute.

    Text, "" where a table says nothing; 0 and 1 are no and yes. Where `asked` is
    `subgroups.COLUMNS` these are the columns that hold 0, 1 or nothing, except the class
    (`CLASS_COLUMNS`, or what says it of these images by another name); else those that `asked`
    names. A name that several tables have is an attribute of each, as in `ruler (FILE)`: two people
    do not see the same rulers.

    Args:
        paths: CSV files with one of `ID_COLUMNS`.
        rows: Of a manifest.
        asked: --subgroups.

    Raises:
        ValueError: A file cannot be read, has no ids, says two things of an image, knows none of
            the images, or has no column to group by, or one that the run has itself. The message
            names the file.
    """
    found = [_read_one(path, rows, asked) for path in paths]
    names = [name for one in found for name in one]
    columns = {}
    for path, one in zip(paths, found, strict=True):
        for name in one:
            is_shared = names.count(name) > 1
            title = f"{name} ({pathlib.Path(path).stem})" if is_shared else name
            if title in columns:
                raise ValueError(
                    f'"--subgroup_table" must name each file once, and files of different names. '
                    f"Received: {','.join(paths)}"
                )
            columns[title] = one[name].to_numpy()
    return pd.DataFrame(columns, index=pd.Index(rows["image_id"], name="image_id"))


def _read_one(path, rows, asked):
    """Returns the attributes of one table for each of `rows`, in their order."""
    if not os.path.isfile(path):
        raise ValueError(f'"--subgroup_table" must name CSV files. There is no file {path}')
    table = tables.stripped(tables.read_text(pathlib.Path(path)))
    id_column = next((name for name in ID_COLUMNS if name in table), None)
    if id_column is None:
        raise ValueError(
            f"{path} must have a column of image ids: {', '.join(ID_COLUMNS)}. Received: "
            f"{', '.join(table.columns)}"
        )
    others = table.drop(columns=id_column)
    is_default = tuple(asked) == subgroups.COLUMNS
    kept = others[
        [name for name in others if (_is_flag(others[name]) if is_default else name in asked)]
    ]
    ids = _matched(_ids(table[id_column]), _ids(rows["image_id"]))
    if is_default:
        kept = kept.drop(columns=_class_columns(path, kept, ids, rows))
    if kept.empty:
        _refuse_no_column(path, others, is_default, asked)
    _refuse_known(path, kept, rows)
    kept = kept.apply(_in_words).set_axis(ids)
    return _of_images(path, kept, rows)


def _ids(column):
    """Returns ids in the form in which they are compared: no ending of a file, no odd Unicode."""
    endings = "|".join(ending.removeprefix(".") for ending in listing.IMAGE_SUFFIXES)
    return manifests.archive_ids(column.str.replace(rf"(?i)\.(?:{endings})$", "", regex=True))


def _matched(ids, own):
    """Returns ids of a table, without their folder where the rest is an image of the run."""
    names = ids.str.replace(r"^.*[/\\]", "", regex=True)
    return ids.mask(~ids.isin(own) & names.isin(own), names)


def _class_columns(path, flags, ids, rows):
    """Returns which flags are the class, or its opposite, of all images of which both are known."""
    if "label" not in rows:
        return []
    label = pd.Series(rows["label"].to_numpy(), _ids(rows["image_id"]))
    label = ids.map(label.groupby(level=0).first())
    found = [name for name in flags if _is_class(flags[name], label)]
    if found:
        logging.info(
            "%s: no groups by %s, which says the class of every test image that it knows; name it "
            "with --subgroups to have them",
            *(path, ", ".join(found)),
        )
    return found


def _is_class(flag, label):
    flag = pd.to_numeric(flag, errors="coerce")
    both = flag.notna() & label.notna()
    is_alike = (flag == label)[both]
    return label[both].nunique() > 1 and (is_alike.all() or not is_alike.any())


def _is_flag(column):
    """Returns whether a column holds 0, 1 or nothing, and is not the class."""
    known = column[~column.str.lower().isin(identifiers.UNKNOWN_WORDS)]
    is_class = column.name.lower() in CLASS_COLUMNS
    return (
        len(known) > 0 and not is_class and pd.to_numeric(known, errors="coerce").isin([0, 1]).all()
    )


def _in_words(column):
    known = ~column.str.lower().isin(identifiers.UNKNOWN_WORDS)
    numbers = pd.to_numeric(column.where(known), errors="coerce")
    return column.where(known, "").mask(numbers.isin([0, 1]), numbers.map(FLAG_WORDS))


def _of_images(path, table, rows):
    # An empty cell says nothing, also where another row of the image says something.
    table = table.replace("", None)
    is_odd = table.groupby(level=0).nunique() > 1
    if is_odd.any(axis=None):
        image_id = is_odd.index[is_odd.any(axis=1)][0]
        column = is_odd.columns[is_odd.loc[image_id]][0]
        values = ", ".join(map(repr, table.loc[image_id, column].dropna().unique()))
        raise ValueError(
            f"{path} must say one thing of each image. Received for {image_id!r}: {column} {values}"
        )
    table = table.groupby(level=0, sort=False).first().fillna("")
    own = _ids(rows["image_id"])
    num_known = int(own.isin(table.index).sum())
    if not num_known:
        raise ValueError(
            f"{path} must know some of the test images by their ids. Received: ids such as "
            f"{_first(table.index)!r}, and images such as {_first(own)!r}"
        )
    logging.info(
        "%s knows %d of %d test images; groups by %s",
        *(path, num_known, len(rows), ", ".join(table.columns)),
    )
    found = table.reindex(own).fillna("")
    _refuse_many(path, found)
    return found


def _first(ids):
    return next(iter(ids), "")


def _refuse_no_column(path, others, is_default, asked):
    needed = (
        "a column of 0 and 1, except the class; name another with --subgroups"
        if is_default
        else f"one of the columns of --subgroups={','.join(asked)}"
    )
    raise ValueError(f"{path} must have {needed}. Received: {', '.join(others.columns)}")


def _refuse_known(path, kept, rows):
    known = [name for name in kept if name in rows or name in prediction_columns.RESERVED]
    if known:
        raise ValueError(
            f"{path} must not have columns that the run's own predictions.csv has. Received: "
            f"{', '.join(known)}; rename them, or leave them out of --subgroups"
        )


def _refuse_many(path, found):
    for name in found:
        count = found[name].nunique()
        if count > MOST_GROUPS:
            raise ValueError(
                f"{path} must have at most {MOST_GROUPS} values in a column that --subgroups "
                f"names; put numbers into ranges. Received: {name} with {count}"
            )
