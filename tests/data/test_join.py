"""Images that stand in more than one source: `manifest.join`."""

import pandas as pd
import pytest

from lbunet_tf.data import manifest


def _part(source, **columns):
    return manifest.complete(pd.DataFrame(columns), source)


@pytest.fixture
def labelled():
    return _part(
        "ham10000", image_id=["ISIC_0000007", "y"], image=["h/x.jpg", "h/y.jpg"], label=[1, 0]
    )


@pytest.fixture
def outlined():
    return _part(
        "isic2018",
        image_id=["z", "ISIC_0000007"],
        image=["i/z.jpg", "i/x.jpg"],
        mask=["i/z.png", "i/x.png"],
        lesion_id=["", "l7"],
        skin_type=[2, 3],
    )


def test_an_image_of_two_sources_is_one_row_that_knows_what_both_know(labelled, outlined):
    table = manifest.join([labelled, outlined]).set_index("image_id")

    assert list(table.index) == ["ISIC_0000007", "y", "z"]
    row = table.loc["ISIC_0000007"]
    assert (row["image"], row["source"], row["label"]) == ("h/x.jpg", "ham10000", 1)
    assert (row["mask"], row["lesion_id"], row["skin_type"]) == ("i/x.png", "l7", 3)


def test_what_no_source_knows_stays_unknown(labelled, outlined):
    table = manifest.join([labelled, outlined]).set_index("image_id")

    assert table.loc["ISIC_0000007", "site"] == "" and pd.isna(table.loc["ISIC_0000007", "age"])
    assert pd.isna(table.loc["z", "label"]) and table.loc["y", "mask"] == ""


def test_sources_that_contradict_each_other_are_refused_by_image(labelled, outlined):
    outlined["label"] = [0.0, 0.0]

    with pytest.raises(ValueError, match="'ISIC_0000007': 1 in ham10000, 0 in isic2018"):
        manifest.join([labelled, outlined])


def test_an_image_twice_in_one_source_is_left_for_the_check(labelled):
    table = manifest.join([pd.concat([labelled, labelled])])

    with pytest.raises(ValueError, match="image_id must be unique"):
        manifest.check(table)


def test_sources_without_a_shared_image_are_put_one_after_the_other(labelled, outlined):
    outlined["image_id"] = ["z", "w"]

    assert list(manifest.join([labelled, outlined])["image_id"]) == ["ISIC_0000007", "y", "z", "w"]


def test_images_of_a_name_that_is_not_the_archives_need_not_be_one(labelled, outlined):
    for table in (labelled, outlined):
        table["image_id"] = table["image_id"].replace("ISIC_0000007", "photo1")

    with pytest.raises(ValueError, match="image_id must be unique.*ham10000, isic2018"):
        manifest.check(manifest.join([labelled, outlined]))
