"""Tests of `lbunet_tf.data.diagnoses`: words of sources -> codes -> classes."""

import logging

import numpy as np
import pytest

from lbunet_tf.data import diagnoses
from lbunet_tf.data import sources


@pytest.mark.parametrize(
    "word, code",
    [
        ("nv", "nv"),
        ("Nevus", "nv"),
        (" atypical nevus ", "nv"),
        ("Nevus, Spitz", "nv"),
        ("Melanoma, NOS", "mel"),
        ("Melanoma in situ, associated with a nevus", "mel"),
        ("seborrheic keratosis", "bkl"),
        ("lichenoid keratosis", "bkl"),
        ("Solar or actinic keratosis", "ak"),
        ("lentigo NOS", "other"),
        ("benign", "benign"),
        ("Merkel cell carcinoma, Malignant", "malignant"),
        ("unknown", ""),
        ("", ""),
        ("a word that nobody uses", ""),
        # Derm7pt and PAD-UFES-20.
        ("melanoma (in situ)", "mel"),
        ("melanoma (less than 0.76 mm)", "mel"),
        ("clark nevus", "nv"),
        ("reed or spitz nevus", "nv"),
        ("lentigo", "other"),
        ("NEV", "nv"),
        ("ACK", "ak"),
        # People's own.
        ("melanoma_in_situ", "mel"),
        ("Lentigo_maligna", "mel"),
        ("Superficial spreading melanoma", "mel"),
        ("acral-lentiginous melanoma", "mel"),
        ("lentigo maligna melanoma", "mel"),
        ("melanomas", "mel"),
        ("seborrheic_keratosis", "bkl"),
        ("Spitz's naevus", "nv"),
        ("non melanoma", ""),
        ("nonmelanoma", ""),
        ("nevus or melanoma", ""),
        ("suspected melanoma", ""),
        # Brackets and commas qualify; they do not turn a melanoma into something else.
        ("Melanoma (in situ), nevus", "mel"),
        ("lentigo, maligna", "mel"),
        ("lentigo (maligna)", "mel"),
        ("malignant (melanoma)", "mel"),
        ("Lentigo, malignant", ""),
        ("melanosis, malignant", ""),
        ("nevus (melanoma)", ""),
        ("Naevus (malignant)", ""),
        ("other (melanoma)", ""),
        ("other (unknown)", ""),
        ("nevus (melanoma not excluded)", ""),
        ("melanoma (excluded)", ""),
        ("melanoma (?)", ""),
        ("melanoma (differential: nevus)", ""),
        ("nevus, not otherwise specified", "nv"),
        ("nevus (melanoma cannot be excluded)", ""),
        ("lentigo, suspected melanoma", ""),
        ("basal cell carcinoma (melanoma)", ""),
        # What is denied of a qualification leaves the lesion.
        ("melanoma, without ulceration", "mel"),
        ("Melanoma in situ (with possible regression)", "mel"),
        ("basal cell carcinoma (non-melanoma)", "bcc"),
        ("benign (no melanoma)", "benign"),
        ("nevus (no atypia)", "nv"),
        # HAM10000's long names, Fitzpatrick17k.
        ("Melanocytic nevi", "nv"),
        ("Benign keratosis-like lesions", "bkl"),
        ("Vascular lesions", "vasc"),
        ("Actinic keratoses", "ak"),
        ("superficial spreading melanoma ssm", "mel"),
        ("pigmented spindle cell nevus of Reed", "nv"),
        ("reed/spitz nevus", "nv"),
        ("Clark\N{RIGHT SINGLE QUOTATION MARK}s nevus", "nv"),
    ],
)
def test_the_words_of_sources_have_a_code(word, code):
    assert diagnoses.codes_of([word]).tolist() == [code]


@pytest.mark.parametrize(
    "word, specificity",
    [
        ("nv", 3),
        ("Nevus, Spitz", 3),
        ("lentigo NOS", 3),
        ("Benign", 2),
        ("Merkel cell carcinoma, Malignant", 2),
        ("a word that nobody uses", 1),
        (" Unknown", 0),
        ("n/a", 0),
        ("", 0),
    ],
)
def test_a_kind_of_lesion_says_more_than_benign_and_that_more_than_nothing(word, specificity):
    assert diagnoses.specificities_of([word]).tolist() == [specificity]


def test_diagnoses_without_a_label_are_counted(caplog):
    words = ["melanoma", "suspected melanoma", "suspected melanoma", "benign", "", "unknown"]

    diagnoses.warn_of_unlabelled(words)

    assert "3 of 6 images get no label" in caplog.text
    assert "suspected melanoma (2), benign (1)" in caplog.text


def test_no_word_has_two_codes():
    words = [word for words in diagnoses.SYNONYMS.values() for word in words]

    assert len(words) == len(set(words)) and not set(words) & set(diagnoses.SYNONYMS)


@pytest.mark.parametrize("classes", diagnoses.CLASS_SETS)
def test_no_code_is_in_two_classes(classes):
    codes = [code for codes in diagnoses.CLASS_SETS[classes].values() for code in codes]

    assert len(codes) == len(set(codes)) and set(codes) <= set(diagnoses.SYNONYMS)


@pytest.mark.parametrize(
    "classes, expected",
    [
        ("ham10000", ["mel", "nv", "akiec", "", "", ""]),
        ("isic2019", ["mel", "nv", "", "scc", "", ""]),
        ("nv_vs_rest", ["rest", "nv", "rest", "rest", "", ""]),
        ("clinical", ["malignant", "benign", "malignant", "malignant", "benign", ""]),
    ],
)
def test_codes_become_classes(classes, expected):
    words = ["melanoma", "nevus", "akiec", "scc", "benign", "unknown"]

    assert diagnoses.classes_of(words, classes).tolist() == expected


def test_targets_are_one_hot_and_unknown_ones_are_empty():
    targets = diagnoses.targets_of(["nevus", "", "scc"], "clinical")

    assert targets.dtype == np.float32 and targets.tolist() == [[1, 0], [0, 0], [0, 1]]


def test_classes_are_counted_from_the_dx_that_the_reader_of_ham10000_gives(ham10000):
    root = ham10000()
    dx = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df", "")
    lines = [
        f"H_{number},ISIC_{number},{code},histo,50,male,back" for number, code in enumerate(dx)
    ]
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization"
    (root / "HAM10000_metadata.csv").write_text("\n".join([header, *lines]) + "\n")

    found = sources.SOURCES["ham10000"](root)["diagnosis"]

    assert diagnoses.targets_of(found, "nv_vs_rest").sum(0).tolist() == [1, 6]
    # bkl, df, nv and vasc are benign.
    assert diagnoses.targets_of(found, "clinical").sum(0).tolist() == [4, 3]
    assert diagnoses.targets_of(found, "ham10000").sum(0).tolist() == [1] * 7


@pytest.fixture
def manifest(make_table):
    """Eight images, half of them melanomas, two of each kind in train."""
    words = ["melanoma", "nevus"] * 4
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    return make_table(8, diagnosis=words, split=splits, source="a")


def test_classes_that_are_all_there_pass(manifest, caplog):
    diagnoses.check(manifest, "clinical")

    assert caplog.text == ""


def test_a_class_that_train_lacks_is_refused(manifest):
    with pytest.raises(ValueError, match="Missing: akiec, bcc, bkl, df, vasc; the diagnoses in "):
        diagnoses.check(manifest, "ham10000")


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_that_another_split_lacks_is_a_warning(manifest, split, caplog):
    manifest.loc[manifest["split"] == split, "diagnosis"] = "nevus"

    with caplog.at_level(logging.WARNING):
        diagnoses.check(manifest, "clinical")

    assert f"{split} has no image of the class malignant" in caplog.text


def test_images_of_no_class_are_counted_with_their_words(manifest, caplog):
    manifest.loc[[4, 6], "diagnosis"] = "something else"

    with caplog.at_level(logging.WARNING):
        diagnoses.check(manifest, "clinical")

    assert "2 of 8 images are in no class of --classes=clinical" in caplog.text
    assert "something else (2)" in caplog.text


@pytest.mark.parametrize("classes", ["ham10000", "isic2019"])
def test_akiec_with_its_parts_is_refused_by_the_names_of_their_sources(manifest, classes):
    manifest.loc[0, ["diagnosis", "source"]] = ["akiec", "ham10000"]
    manifest.loc[1, ["diagnosis", "source"]] = ["scc", "isic2019"]

    with pytest.raises(ValueError, match=r"scc \(--source=isic2019\), akiec \(--source=ham10000\)"):
        diagnoses.check(manifest, classes)


def test_akiec_with_its_parts_is_malignant(manifest, caplog):
    manifest.loc[0, "diagnosis"], manifest.loc[2, "diagnosis"] = "akiec", "scc"

    diagnoses.check(manifest, "clinical")

    assert caplog.text == ""
