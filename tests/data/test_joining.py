"""Images that stand in more than one source: `joining.join`."""

import pandas as pd
import pytest

from lbunet_tf.data import diagnoses
from lbunet_tf.data import joining
from lbunet_tf.data import manifests


def _part(source, **columns):
    return manifests.complete(pd.DataFrame(columns), source)


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
    table = joining.join([labelled, outlined]).set_index("image_id")

    assert list(table.index) == ["ISIC_0000007", "y", "z"]
    row = table.loc["ISIC_0000007"]
    # Image and mask are of one download: copies of an image can differ in size.
    assert (row["image"], row["mask"], row["source"]) == ("i/x.jpg", "i/x.png", "isic2018")
    assert (row["label"], row["lesion_id"], row["skin_type"]) == (1, "l7", 3)


def test_the_first_source_is_taken_where_neither_has_a_mask(labelled, outlined):
    outlined["mask"] = ""

    row = joining.join([labelled, outlined]).set_index("image_id").loc["ISIC_0000007"]

    assert (row["image"], row["source"], row["lesion_id"]) == ("h/x.jpg", "ham10000", "l7")


def test_the_source_whose_files_are_there_is_taken(labelled, outlined, tmp_path):
    (tmp_path / "x.jpg").touch()
    labelled["image"] = [str(tmp_path / "x.jpg"), "h/y.jpg"]

    row = joining.join([labelled, outlined]).set_index("image_id").loc["ISIC_0000007"]

    assert (row["image"], row["mask"]) == (str(tmp_path / "x.jpg"), "")


def test_a_smaller_copy_of_isic_2019_is_the_image_that_it_is_a_copy_of(labelled, outlined):
    labelled["image_id"] = ["ISIC_0000007_downsampled", "y"]

    table = joining.join([labelled, outlined])

    assert table["image_id"].tolist() == ["ISIC_0000007", "y", "z"]
    assert table["label"][0] == 1


def test_two_manifests_that_name_one_file_know_it_together(labelled):
    other = labelled.assign(image_id=["ISIC_0000007", "y"], age=[50, 60])

    assert joining.join([labelled, other])["age"].tolist() == [50, 60]


def test_what_a_network_made_gives_way_to_what_is_known(labelled, outlined):
    outlined = outlined.assign(label=[1.0, 0.0], pseudo_label=1, pseudo_mask=1)
    labelled["mask"] = ["h/x.png", ""]

    row = joining.join([outlined, labelled]).set_index("image_id").loc["ISIC_0000007"]

    assert (row["label"], row["mask"]) == (1, "h/x.png")
    assert row["pseudo_label"] == 0 and row["pseudo_mask"] != 1


def test_what_a_network_made_is_kept_where_nothing_is_known(labelled, outlined):
    outlined = outlined.assign(label=[1.0, 0.0], pseudo_label=1, pseudo_mask=1)
    labelled["label"] = float("nan")

    row = joining.join([labelled, outlined]).set_index("image_id").loc["ISIC_0000007"]

    assert (row["label"], row["mask"]) == (0, "i/x.png")
    assert (row["pseudo_label"], row["pseudo_mask"]) == (1, 1)


@pytest.mark.parametrize("is_swapped", [False, True])
@pytest.mark.parametrize(
    "one, other, expected",
    [
        ("benign", "nevus", "nevus"),
        ("malignant", "melanoma", "melanoma"),
        ("benign", "Nevus, Spitz", "Nevus, Spitz"),
        ("unknown", "bcc", "bcc"),
        ("a word that nobody uses", "df", "df"),
        ("a word that nobody uses", "benign", "benign"),
        ("unknown", "benign", "benign"),
        ("unknown", "a word that nobody uses", "a word that nobody uses"),
        ("", "benign", "benign"),
        ("", "unknown", "unknown"),
        ("", "", ""),
    ],
)
def test_the_most_specific_diagnosis_is_taken_in_any_order(
    labelled, outlined, one, other, expected, is_swapped
):
    labelled["diagnosis"], outlined["diagnosis"] = one, other
    parts = [outlined, labelled] if is_swapped else [labelled, outlined]

    row = joining.join(parts).set_index("image_id").loc["ISIC_0000007"]

    assert row["diagnosis"] == expected


@pytest.mark.parametrize("is_swapped", [False, True])
@pytest.mark.parametrize(
    "classes, expected",
    [("nv_vs_rest", "nv"), ("ham10000", "nv"), ("isic2019", "nv"), ("clinical", "benign")],
)
def test_an_image_has_the_class_of_the_source_that_names_it(
    labelled, outlined, classes, expected, is_swapped
):
    labelled["label"], labelled["diagnosis"] = 0.0, "benign"
    outlined["label"], outlined["diagnosis"] = 0.0, "nevus"
    parts = [outlined, labelled] if is_swapped else [labelled, outlined]

    table = joining.join(parts).set_index("image_id")

    found = diagnoses.classes_of(table["diagnosis"], classes)
    assert found[list(table.index).index("ISIC_0000007")] == expected


def test_of_two_kinds_of_lesion_the_first_sources_is_taken(labelled, outlined):
    labelled["diagnosis"], outlined["diagnosis"] = "solar lentigo", "lentigo NOS"

    tables = [joining.join(parts) for parts in ([labelled, outlined], [outlined, labelled])]

    found = [table.set_index("image_id").loc["ISIC_0000007", "diagnosis"] for table in tables]
    assert found == ["solar lentigo", "lentigo NOS"]


def test_each_image_has_its_own_diagnosis():
    ids = [f"ISIC_000000{number}" for number in range(4)]
    images = [f"{name}.jpg" for name in ids]
    coarse = _part("isic2016", image_id=ids, image=images, diagnosis=["benign"] * 4)
    words = ["nevus", "", "bcc", "df"]
    fine = _part("isic2017", image_id=ids[::-1], image=images[::-1], diagnosis=words)

    table = joining.join([coarse, fine])

    assert table["image_id"].tolist() == ids
    assert table["diagnosis"].tolist() == ["df", "bcc", "benign", "nevus"]


def test_what_no_source_knows_stays_unknown(labelled, outlined):
    table = joining.join([labelled, outlined]).set_index("image_id")

    assert table.loc["ISIC_0000007", "site"] == "" and pd.isna(table.loc["ISIC_0000007", "age"])
    assert pd.isna(table.loc["z", "label"]) and table.loc["y", "mask"] == ""


def test_sources_that_contradict_each_other_are_refused_by_image(labelled, outlined):
    outlined["label"] = [0.0, 0.0]

    with pytest.raises(ValueError, match="'ISIC_0000007': 1 in ham10000, 0 in isic2018"):
        joining.join([labelled, outlined])


def test_an_image_twice_in_one_source_is_left_for_the_check(labelled):
    table = joining.join([pd.concat([labelled, labelled])])

    with pytest.raises(ValueError, match="image_id must be unique"):
        manifests.check(table)


def test_sources_without_a_shared_image_are_put_one_after_the_other(labelled, outlined):
    outlined["image_id"] = ["z", "w"]

    assert list(joining.join([labelled, outlined])["image_id"]) == ["ISIC_0000007", "y", "z", "w"]


def test_images_of_a_name_that_is_not_the_archives_need_not_be_one(labelled, outlined):
    for table in (labelled, outlined):
        table["image_id"] = table["image_id"].replace("ISIC_0000007", "photo1")

    with pytest.raises(ValueError, match="image_id must be unique.*ham10000, isic2018"):
        manifests.check(joining.join([labelled, outlined]))


def test_one_file_of_two_spellings_is_one_image(labelled, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    first = labelled.assign(image_id=["a", "b"], image=[f"{tmp_path}/data/{n}.jpg" for n in "ab"])
    other = first.assign(image=[f"{tmp_path}/link/a.jpg", f"{tmp_path}/link/../data/b.jpg"])

    assert joining.join([first, other])["image"].tolist() == first["image"].tolist()


def test_sides_of_two_sources_that_differ_are_said(labelled, caplog):
    first = labelled.assign(split=["train", "val"])

    table = joining.join([first, labelled.assign(split=["test", ""])])

    assert table["split"].tolist() == ["train", "val"]
    assert "1 images have different values of split in two sources" in caplog.text


def test_a_lesion_of_two_names_is_one_lesion():
    challenge = _part(
        "isic2019",
        image_id=["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"],
        image=["c/1.jpg", "c/2.jpg", "c/3.jpg"],
        lesion_id=["BCN_1", "BCN_2", "BCN_3"],
    )
    archive = _part(
        "isic_archive",
        # The first and the second are one lesion here, and the fifth is of it.
        image_id=["ISIC_0000001", "ISIC_0000002", "ISIC_0000004", "ISIC_0000005"],
        image=["a/1.jpg", "a/2.jpg", "a/4.jpg", "a/5.jpg"],
        lesion_id=["IL_7", "IL_7", "IL_8", "IL_7"],
    )

    table = joining.join([challenge, archive])

    found = dict(zip(table["image_id"].str[-1], table["lesion_id"], strict=True))
    assert found == {"1": "BCN_1", "2": "BCN_1", "3": "BCN_3", "4": "IL_8", "5": "BCN_1"}


@pytest.mark.parametrize(
    "name", ["ISIC_0000007.jpg", "isic_0000007", "ISIC_0000007_downsampled.JPG"]
)
def test_ids_of_the_archive_are_known_as_files_and_in_small_letters(labelled, name):
    own = _part("manifest", image_id=[name], image=["o/x.jpg"], lesion_id=["l7"])

    table = joining.join([labelled, own])

    assert table["image_id"].tolist() == ["ISIC_0000007", "y"]
    assert table["lesion_id"].tolist() == ["l7", ""]


def test_numbers_of_patients_that_two_tables_give_otherwise_join_no_others():
    # One table numbers its patients from 1, the other from 2; half of the images are shared.
    ids = [f"ISIC_{number:07d}" for number in range(20)]
    one = _part("a", image_id=ids, image=ids, patient_id=[str(n + 1) for n in range(20)])
    other = _part(
        "b", image_id=ids[:10], image=ids[:10], patient_id=[str(n + 2) for n in range(10)]
    )

    table = joining.join([one, other])

    assert table["patient_id"].tolist() == one["patient_id"].tolist()


def test_names_that_are_no_plain_numbers_are_one_in_every_source():
    # HAM_1 stands in a third source, of an image that the others lack.
    archive = _part("a", image_id=["ISIC_0000001"], image=["a.jpg"], lesion_id=["IL_1"])
    ham = _part("h", image_id=["ISIC_0000001"], image=["h.jpg"], lesion_id=["HAM_1"])
    third = _part("t", image_id=["ISIC_0000002"], image=["t.jpg"], lesion_id=["HAM_1"])

    table = joining.join([archive, ham, third])

    assert table["lesion_id"].tolist() == ["IL_1", "IL_1"]


def test_files_that_are_not_of_the_archive_may_be_named_like_smaller_copies():
    one = _part("a", image_id=["x"], image=["a.jpg"])
    other = _part("b", image_id=["x_", "x_downsampled"], image=["b.jpg", "c.jpg"])

    assert len(joining.join([one, other])) == 3


def test_two_names_of_one_image_in_a_source_are_named():
    one = _part("a", image_id=["ISIC_0000001", "ISIC_0000007"], image=["d.jpg", "a.jpg"])
    # The first stands twice under one name, which `check` names.
    ids = ["ISIC_0000001", "ISIC_0000001", "isic_0000007", "ISIC_0000007.jpg"]
    other = _part("b", image_id=ids, image=["e.jpg", "f.jpg", "b.jpg", "c.jpg"])

    with pytest.raises(
        ValueError, match="'isic_0000007' and 'ISIC_0000007.jpg', one image .* in b"
    ):
        joining.join([one, other])
