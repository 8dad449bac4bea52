"""Tests of `lbunet_tf.data.sources.isic_archive`: a folder as `isic image download` leaves it."""

import csv
import logging

import numpy as np
import pytest

from lbunet_tf.data import diagnoses

MELANOMA = "Malignant melanocytic proliferations (Melanoma)"
COLUMNS = (
    "isic_id,attribution,copyright_license,age_approx,anatom_site_1,anatom_site_2,"
    "concomitant_biopsy,dermoscopic_type,diagnosis_1,diagnosis_2,diagnosis_3,diagnosis_4,"
    "diagnosis_confirm_type,fitzpatrick_skin_type,image_type,lesion_id,melanocytic,patient_id,sex"
).split(",")
NEVUS = {
    "isic_id": "ISIC_0000001",
    "attribution": "Hospital Clínic de Barcelona, Dermatology",
    "copyright_license": "CC-BY-NC",
    "age_approx": "45",
    "anatom_site_1": "Trunk",
    "anatom_site_2": "Posterior trunk",
    "concomitant_biopsy": "True",
    "diagnosis_1": "Benign",
    "diagnosis_2": "Benign melanocytic proliferations",
    "diagnosis_3": "Nevus",
    "diagnosis_4": "Nevus, Atypical, Dysplastic, or Clark",
    "diagnosis_confirm_type": "histopathology",
    "fitzpatrick_skin_type": "III",
    "image_type": "dermoscopic",
    "lesion_id": "IL_1",
    "patient_id": "IP_1",
    "sex": "female",
}
IN_SITU = {
    "isic_id": "ISIC_0000002",
    "attribution": "Anonymous",
    "copyright_license": "CC-0",
    "diagnosis_1": "Malignant",
    "diagnosis_2": MELANOMA,
    "diagnosis_3": "Melanoma in situ",
    "image_type": "dermoscopic",
}
CLOSE_UP = {**NEVUS, "isic_id": "ISIC_0000003", "image_type": "clinical: close-up"}
TILE = {**NEVUS, "isic_id": "ISIC_0000004", "image_type": "TBP tile: close-up"}
UNTYPED = {**NEVUS, "isic_id": "ISIC_0000005", "image_type": ""}


@pytest.fixture
def archive(tmp_path, write_image):
    """Returns a function that lays out a download of some rows, with some of the columns."""

    def lay_out(*rows, columns=COLUMNS):
        root = tmp_path / "archive"
        for row in rows:
            write_image(root / f"{row['isic_id']}.jpg")
        with (root / "metadata.csv").open("w", newline="", encoding="utf8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        (root / "attribution.txt").write_text("Anonymous")
        (root / "licenses").mkdir()
        (root / "licenses" / "CC-0.txt").write_text("CC-0")
        return root

    return lay_out


@pytest.fixture
def label_of(archive, read):
    """Returns a function: levels of a diagnosis, general first -> label."""

    def label_of(*levels):
        diagnosis = {f"diagnosis_{place}": "" for place in range(1, 6)}
        diagnosis |= {f"diagnosis_{place}": text for place, text in enumerate(levels, start=1)}
        return read("isic_archive", archive({**NEVUS, **diagnosis}))["label"].item()

    return label_of


def test_a_row_becomes_the_columns_of_the_manifest(archive, read):
    root = archive(NEVUS, IN_SITU)

    nevus, in_situ = read("isic_archive", root).to_dict("records")

    expected = {
        "image_id": "ISIC_0000001",
        "image": str(root / "ISIC_0000001.jpg"),
        "mask": "",
        "label": 0,
        "diagnosis": "Nevus, Atypical, Dysplastic, or Clark",
        "patient_id": "IP_1",
        "lesion_id": "IL_1",
        "age": 45,
        "sex": "female",
        "site": "Trunk",
        "skin_type": 3,
        "source": "isic_archive",
        "copyright_license": "CC-BY-NC",
        "attribution": "Hospital Clínic de Barcelona, Dermatology",
        "diagnosis_confirm_type": "histopathology",
    }
    assert {column: nevus[column] for column in expected} == expected
    assert in_situ["label"] == 1 and in_situ["diagnosis"] == "Melanoma in situ"
    assert np.isnan(in_situ["age"]) and np.isnan(in_situ["skin_type"])
    assert in_situ["patient_id"] == in_situ["sex"] == in_situ["site"] == ""


@pytest.mark.parametrize(
    "levels",
    [
        ("Malignant", MELANOMA),
        ("Malignant", MELANOMA, "Melanoma, NOS"),
        ("Malignant", MELANOMA, "Melanoma Invasive", "Melanoma Invasive, Nodular"),
        ("Malignant", MELANOMA, "Melanoma metastasis"),
    ],
)
def test_all_of_the_melanoma_branch_is_melanoma(label_of, levels):
    assert label_of(*levels) == 1


@pytest.mark.parametrize(
    "levels",
    [
        ("Benign",),
        ("Benign", "Benign melanocytic proliferations", "Nevus"),
        ("Malignant", "Malignant adnexal epithelial proliferations - Follicular"),
        ("Indeterminate", "Indeterminate epidermal proliferations", "Solar or actinic keratosis"),
        ("Benign", "Collision - Only benign proliferations"),
    ],
)
def test_what_is_known_to_be_another_lesion_is_not_melanoma(label_of, levels):
    assert label_of(*levels) == 0


@pytest.mark.parametrize(
    "levels",
    [
        (),
        ("Malignant",),
        ("Indeterminate",),
        ("Indeterminate", "Indeterminate melanocytic proliferations", "Atypical Spitz tumor"),
        ("Malignant", "Collision - At least one malignant proliferation"),
    ],
)
def test_what_may_be_a_melanoma_has_no_label(label_of, levels):
    assert np.isnan(label_of(*levels))


def test_skin_types_become_one_to_six(archive, read):
    numerals = ("I", "II", "III", "IV", "V", "VI", "")
    rows = [
        {**NEVUS, "isic_id": f"ISIC_{place}", "fitzpatrick_skin_type": numeral}
        for place, numeral in enumerate(numerals)
    ]

    skin_types = read("isic_archive", archive(*rows))["skin_type"]

    np.testing.assert_array_equal(skin_types, [1, 2, 3, 4, 5, 6, np.nan])


def test_images_that_are_not_dermoscopic_are_left_out_and_counted(archive, read, caplog):
    root = archive(CLOSE_UP, NEVUS, TILE, UNTYPED, IN_SITU)

    with caplog.at_level(logging.WARNING):
        table = read("isic_archive", root)

    assert table["image_id"].tolist() == ["ISIC_0000001", "ISIC_0000002"]
    assert table["skin_type"].notna().tolist() == [True, False]
    assert f"of 5 images in {root / 'metadata.csv'}" in caplog.text
    for count in ("1 clinical: close-up", "1 TBP tile: close-up", "1 without image_type"):
        assert count in caplog.text


def test_a_download_without_a_dermoscopic_image_says_what_it_has(archive, read):
    root = archive(CLOSE_UP, TILE)

    with pytest.raises(ValueError, match="Received: 1 clinical: close-up, 1 TBP tile") as error:
        read("isic_archive", root)

    assert str(root / "metadata.csv") in str(error.value)


def test_a_download_with_only_the_columns_that_are_needed_is_read(archive, read):
    columns = ("isic_id", "attribution", "copyright_license", "diagnosis_1", "image_type")

    table = read("isic_archive", archive(NEVUS, columns=columns))

    assert table["label"].tolist() == [0] and table["diagnosis"].tolist() == ["Benign"]
    assert table["age"].isna().all() and set(table["site"]) == {""}


def test_the_site_of_an_older_download_is_read(archive, read):
    row = {**NEVUS, "anatom_site_general": "posterior torso"}
    columns = ["anatom_site_general" if name == "anatom_site_1" else name for name in COLUMNS]

    assert read("isic_archive", archive(row, columns=columns))["site"].item() == "posterior torso"


def test_images_without_a_row_are_counted_and_the_first_is_named(
    archive, read, write_image, caplog
):
    root = archive(NEVUS)
    for name in ("ISIC_0000009", "ISIC_0000008"):
        write_image(root / f"{name}.jpg")

    with caplog.at_level(logging.WARNING):
        table = read("isic_archive", root)

    assert table["image_id"].tolist() == ["ISIC_0000001"]
    assert "2 images have no row" in caplog.text and "the first is ISIC_0000008" in caplog.text


def test_a_complete_download_raises_no_warning(archive, read, caplog):
    with caplog.at_level(logging.WARNING):
        read("isic_archive", archive(NEVUS, IN_SITU))

    assert caplog.text == ""


def test_a_download_that_was_cut_off_before_its_table_says_how_to_go_on(archive, read):
    root = archive(NEVUS)
    (root / "metadata.csv").unlink()

    with pytest.raises(ValueError, match="run scripts/download_isic.sh again") as error:
        read("isic_archive", root)

    assert f"Looked for {root / 'metadata.csv'}" in str(error.value)
    assert f"--source=isic_archive --data_dir={root}" in str(error.value)


@pytest.mark.parametrize("column", ["isic_id", "image_type", "diagnosis_1"])
def test_a_table_without_a_column_names_the_file_and_the_column(archive, read, column):
    root = archive(NEVUS, columns=[name for name in COLUMNS if name != column])

    with pytest.raises(ValueError) as error:
        read("isic_archive", root)

    assert f"{root / 'metadata.csv'} must have the column {column}" in str(error.value)


def test_another_diagnosis_1_names_file_value_row_and_image(archive, read):
    root = archive(NEVUS, {**IN_SITU, "diagnosis_1": "melanoma"})

    with pytest.raises(ValueError, match="'melanoma' in row 2, image 'ISIC_0000002'") as error:
        read("isic_archive", root)

    assert str(root / "metadata.csv") in str(error.value)


def test_another_skin_type_is_refused_by_its_value_and_image(archive, read):
    root = archive({**NEVUS, "fitzpatrick_skin_type": "VII"})

    with pytest.raises(ValueError, match="\"skin_type\".*'VII' in row 1, image 'ISIC_0000001'"):
        read("isic_archive", root)


def test_an_image_that_did_not_arrive_is_named_with_the_flag(archive, read):
    root = archive(NEVUS, IN_SITU)
    (root / "ISIC_0000002.jpg").unlink()

    with pytest.raises(ValueError, match="1 of 2 are missing.*--allow_missing_images") as error:
        read("isic_archive", root)

    assert str(root / "ISIC_0000002.jpg") in str(error.value)


def test_an_image_with_another_suffix_is_found_and_is_no_stranger(archive, read, caplog):
    root = archive(NEVUS)
    (root / "ISIC_0000001.jpg").rename(root / "ISIC_0000001.JPEG")

    with caplog.at_level(logging.WARNING):
        table = read("isic_archive", root)

    assert table["image"].tolist() == [str(root / "ISIC_0000001.JPEG")]
    assert caplog.text == ""


@pytest.mark.parametrize(
    "levels, diagnosis, code",
    [
        (("Benign", "Benign melanocytic proliferations", "Nevus, Spitz"), "Nevus, Spitz", "nv"),
        (("Benign", "Benign melanocytic proliferations"),
         "Benign melanocytic proliferations, Benign", "benign"),
        (("Malignant", MELANOMA), MELANOMA, "mel"),
        (("Malignant", "Malignant adnexal proliferations", "Merkel cell carcinoma"),
         "Merkel cell carcinoma, Malignant", "malignant"),
        (("Indeterminate",), "Indeterminate", ""),
    ],
)  # fmt: skip
def test_a_diagnosis_without_a_code_keeps_the_level_above_that_has_one(
    archive, read, levels, diagnosis, code
):
    row = {f"diagnosis_{place}": "" for place in range(1, 6)}
    row |= {f"diagnosis_{place}": text for place, text in enumerate(levels, start=1)}

    table = read("isic_archive", archive({**NEVUS, **row}))

    assert table["diagnosis"].tolist() == [diagnosis]
    assert diagnoses.codes_of(table["diagnosis"]).tolist() == [code]
