"""Tests of `lbunet_tf.data.sources.lesion_sets`: HAM10000 and a person's own folders."""

import logging
import os
import re

import numpy as np
import pytest

from lbunet_tf.storage import output_folder


@pytest.mark.parametrize("metadata", ["HAM10000_metadata.csv", "HAM10000_metadata"])
def test_ham10000_reads_images_of_both_parts_with_their_masks(ham10000, read, metadata):
    root = ham10000(metadata=metadata)

    table = read("ham10000", root)

    assert table["image"].tolist() == [
        str(root / "HAM10000_images_part_1" / "ISIC_0024306.jpg"),
        str(root / "HAM10000_images_part_1" / "ISIC_0024307.jpg"),
        str(root / "HAM10000_images_part_2" / "ISIC_0024308.jpg"),
    ]
    masks = root / "HAM10000_segmentations_lesion_tschandl"
    assert table["mask"].tolist() == [
        str(masks / f"{n}_segmentation.png") for n in table["image_id"]
    ]


def test_ham10000_takes_mel_as_melanoma_and_keeps_diagnosis_and_lesion(ham10000, read):
    table = read("ham10000", ham10000())

    assert table["label"].tolist() == [0, 0, 1]
    assert table["diagnosis"].tolist() == ["nv", "nv", "mel"]
    assert table["lesion_id"].tolist() == ["HAM_0000001", "HAM_0000001", "HAM_0000002"]


def test_ham10000_takes_an_unknown_age_and_sex_as_missing(ham10000, read):
    table = read("ham10000", ham10000())

    np.testing.assert_array_equal(table["age"], [80, 80, np.nan])
    assert table["sex"].tolist() == ["male", "male", ""]


def test_ham10000_takes_an_unknown_site_as_missing(ham10000, read):
    assert read("ham10000", ham10000())["site"].tolist() == ["scalp", "scalp", ""]


def test_ham10000_goes_without_masks_and_says_so(ham10000, read, caplog):
    root = ham10000(masks=False)

    with caplog.at_level(logging.WARNING):
        table = read("ham10000", root)

    assert set(table["mask"]) == {""}
    assert "HAM10000_segmentations_lesion_tschandl" in caplog.text


def test_ham10000_without_images_names_the_folder(tmp_path, read):
    (tmp_path / "HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\nH,ISIC_0024306,nv\n")

    with pytest.raises(ValueError, match="Looked for HAM10000_images_part_1") as error:
        read("ham10000", tmp_path)

    assert str(tmp_path) in str(error.value)


def test_ham10000_without_metadata_names_the_file(ham10000, read):
    root = ham10000()
    (root / "HAM10000_metadata.csv").unlink()

    with pytest.raises(ValueError) as error:
        read("ham10000", root)

    assert f"{root} must hold the labels" in str(error.value)
    assert "HAM10000_metadata.csv, HAM10000_metadata" in str(error.value)


@pytest.mark.parametrize("name", ["melanoma", "Malignant", "MEL"])
def test_folder_takes_the_class_of_the_folder(tmp_path, read, write_image, name):
    write_image(tmp_path / name / "a.jpg")
    write_image(tmp_path / "nevus" / "b.png")
    write_image(tmp_path / "keratosis" / "c.BMP")

    table = read("folder", tmp_path).set_index("image_id")

    assert table["label"].to_dict() == {"a": 1, "b": 0, "c": 0}
    assert table["diagnosis"].to_dict() == {"a": name, "b": "nevus", "c": "keratosis"}


def test_folder_pairs_masks_beside_the_images_and_takes_none_for_an_image(
    tmp_path, read, write_image, write_mask
):
    for name in "abc":
        write_image(tmp_path / "melanoma" / f"{name}.jpg")
    first = write_mask(tmp_path / "melanoma" / "a_segmentation.png")
    second = write_mask(tmp_path / "melanoma" / "c_mask.png")

    table = read("folder", tmp_path)

    assert table["image_id"].tolist() == ["a", "b", "c"]
    assert table["mask"].tolist() == [str(first), "", str(second)]


def test_folder_with_one_name_in_two_classes_gives_both_the_name_of_their_class(
    tmp_path, read, write_image, write_mask
):
    for name in ("melanoma/1.jpg", "melanoma/3.jpg", "nevus/1.png", "nevus/2.jpg"):
        write_image(tmp_path / name)
    mask = write_mask(tmp_path / "nevus" / "1_mask.png")

    table = read("folder", tmp_path).set_index("image_id")

    assert list(table.index) == ["melanoma/1", "3", "nevus/1", "2"]
    assert table.loc["nevus/1", ["image", "mask", "label"]].tolist() == [
        str(tmp_path / "nevus" / "1.png"),
        str(mask),
        0,
    ]


def test_folder_with_one_name_twice_in_a_class_names_both_files(tmp_path, read, write_image):
    files = [write_image(tmp_path / "melanoma" / name) for name in ("a.jpg", "a.png")]

    with pytest.raises(ValueError, match="image_id must be unique") as error:
        read("folder", tmp_path)

    assert all(str(file) in str(error.value) for file in files)


def test_folder_without_a_melanoma_class_says_which_folders_it_found(tmp_path, read, write_image):
    write_image(tmp_path / "nevus" / "a.jpg")
    write_image(tmp_path / "keratosis" / "b.jpg")

    with pytest.raises(ValueError, match="Received: keratosis, nevus") as error:
        read("folder", tmp_path)

    assert str(tmp_path) in str(error.value) and "melanoma, malignant, mel" in str(error.value)


def test_ham10000_finds_the_images_that_were_unpacked_beside_the_labels(ham10000, read):
    root = ham10000()
    for part in (1, 2):
        for path in (root / f"HAM10000_images_part_{part}").iterdir():
            path.rename(root / path.name)

    table = read("ham10000", root)

    assert table["image"].tolist() == [str(root / f"{name}.jpg") for name in table["image_id"]]


def test_ham10000_finds_the_masks_in_a_folder_inside_one_of_the_same_name(ham10000, read):
    root = ham10000()
    name = "HAM10000_segmentations_lesion_tschandl"
    (root / name).rename(root / "masks")
    (root / name).mkdir()
    (root / "masks").rename(root / name / name)

    masks = read("ham10000", root)["mask"]

    assert masks[0] == str(root / name / name / "ISIC_0024306_segmentation.png")


def test_ham10000_with_another_dx_names_file_value_row_and_image(ham10000, read):
    root = ham10000()
    path = root / "HAM10000_metadata.csv"
    path.write_text(path.read_text().replace(",mel,", ",melanoma,"))

    with pytest.raises(ValueError, match="'melanoma' in row 3, image 'ISIC_0024308'") as error:
        read("ham10000", root)

    assert str(path) in str(error.value) and "akiec, bcc, bkl, df, mel, nv, vasc" in str(
        error.value
    )


def test_ham10000_takes_an_empty_dx_as_an_unknown_label(ham10000, read):
    root = ham10000()
    path = root / "HAM10000_metadata.csv"
    path.write_text(path.read_text().replace("ISIC_0024307,nv,", "ISIC_0024307,,"))

    table = read("ham10000", root)

    np.testing.assert_array_equal(table["label"], [0, np.nan, 1])
    assert table["diagnosis"].tolist() == ["nv", "", "mel"]


@pytest.fixture
def own(tmp_path, write_image):
    """A folder of one's own with a melanoma and a nevus."""
    write_image(tmp_path / "own" / "melanoma" / "a.jpg")
    write_image(tmp_path / "own" / "nevus" / "b.jpg")
    return tmp_path / "own"


@pytest.mark.parametrize("name", ["c.jpg", "c.PNG", "c.tif"])
def test_folder_refuses_an_image_outside_a_class_folder(own, read, name):
    (own / name).write_bytes(b"")

    with pytest.raises(ValueError) as error:
        read("folder", own)

    assert str(own / name) in str(error.value)


def test_folder_refuses_a_folder_inside_a_class_folder(own, read):
    (own / "nevus" / "patient_1").mkdir()

    with pytest.raises(ValueError, match="must hold files, not folders") as error:
        read("folder", own)

    assert str(own / "nevus" / "patient_1") in str(error.value)


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".webp", ".gif", ".heic", ".dcm"])
def test_folder_refuses_an_image_of_another_format(own, read, suffix):
    (own / "nevus" / f"c{suffix}").write_bytes(b"")

    with pytest.raises(ValueError, match="must be JPEG, PNG or BMP") as error:
        read("folder", own)

    assert str(own / "nevus" / f"c{suffix}") in str(error.value)


@pytest.mark.parametrize("place", ["nevus/c_mask.png", "nevus/a_segmentation.png"])
def test_folder_refuses_a_mask_without_its_image_beside_it(own, read, write_mask, place):
    mask = write_mask(own / place)

    with pytest.raises(ValueError, match="a mask must be next to its image") as error:
        read("folder", own)

    assert str(mask) in str(error.value)


def test_folder_refuses_two_masks_of_one_image(own, read, write_mask):
    write_mask(own / "nevus" / "b_mask.png")
    write_mask(own / "nevus" / "b_segmentation.png")

    with pytest.raises(ValueError, match="b_segmentation.png|b_mask.png"):
        read("folder", own)


def test_folder_says_how_many_files_are_no_images(own, read, caplog):
    for name in ("readings.xls", "notes.txt"):
        (own / "nevus" / name).write_bytes(b"")
    (own / "readme.txt").write_bytes(b"")

    with caplog.at_level(logging.WARNING):
        table = read("folder", own)

    assert table["image_id"].tolist() == ["a", "b"]
    assert f"{own / 'nevus'}: 2 files are not images" in caplog.text


@pytest.mark.parametrize(
    "folder", [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".Trash-1000", "$RECYCLE.BIN"]
)
@pytest.mark.parametrize("above", ["", "melanoma"])
def test_folder_takes_no_hidden_folder_for_a_class(own, read, write_image, caplog, folder, above):
    write_image(own / above / folder / "a.jpg")

    with caplog.at_level(logging.INFO, "absl"):
        table = read("folder", own)

    assert table["diagnosis"].tolist() == ["melanoma", "nevus"]
    kind = "hidden" if folder.startswith(".") else "of the system"
    assert f"left out of {own}: 1 {kind}" in caplog.text


@pytest.mark.parametrize("name", ["._a.jpg", ".a.jpg", "a_superpixels.png"])
@pytest.mark.parametrize("above", ["", "melanoma"])
def test_folder_takes_no_hidden_file_and_no_superpixels_for_an_image(own, read, name, above):
    (own / above / name).write_bytes(b"Mac OS X")

    assert read("folder", own)["image_id"].tolist() == ["a", "b"]


@pytest.mark.parametrize("folder, beside", [("masks", "scores.csv"), ("results", None)])
def test_folder_takes_no_earlier_results_for_a_class(own, read, write_image, folder, beside):
    write_image(own / folder / "c.png")
    (own / beside if beside else own / folder / output_folder.MARKER).write_text("{}")

    assert read("folder", own)["diagnosis"].tolist() == ["melanoma", "nevus"]


def test_folder_takes_no_masks_in_a_folder_of_their_own_for_a_class(own, read, write_image, caplog):
    for name in ("a", "b"):
        write_image(own / "masks" / f"{name}.png")

    with caplog.at_level(logging.INFO, "absl"):
        table = read("folder", own)

    assert table["diagnosis"].tolist() == ["melanoma", "nevus"]
    assert "2 masks in a folder of their own" in caplog.text


def test_folder_refuses_a_file_whose_name_is_no_utf8_and_shows_it(own, read):
    with open(os.fsencode(own / "nevus") + b"/caf\xe9.jpg", "wb"):
        pass

    with pytest.raises(ValueError, match="names must be UTF-8") as error:
        read("folder", own)

    assert "caf\\xe9.jpg" in str(error.value)


def test_ham10000_finds_images_and_masks_with_other_suffixes_and_capitals(ham10000, read):
    root = ham10000()
    image = root / "HAM10000_images_part_1" / "ISIC_0024307.jpg"
    image.rename(image.with_suffix(".JPG"))
    mask = root / "HAM10000_segmentations_lesion_tschandl" / "ISIC_0024308_segmentation.png"
    mask.rename(mask.with_suffix(".PNG"))
    (root / "HAM10000_images_part_2").rename(root / "ham10000_images_part_2")

    table = read("ham10000", root)

    assert table["image"].tolist()[1:] == [
        str(image.with_suffix(".JPG")),
        str(root / "ham10000_images_part_2" / "ISIC_0024308.jpg"),
    ]
    assert table["mask"][2] == str(mask.with_suffix(".PNG"))


def test_folder_refuses_a_folder_of_masks_with_one_of_no_image(own, read, write_image):
    for name in ("a", "b", "c"):
        write_image(own / "masks" / f"{name}.png")

    with pytest.raises(ValueError, match="a folder of masks by its name.*masks/c.png, and 0 more"):
        read("folder", own)


def test_folder_takes_kinds_of_melanoma_for_melanoma_and_unknown_for_nothing(
    tmp_path, read, write_image
):
    of_melanoma = ("Lentigo_maligna", "melanoma (less than 0.76 mm)", "Nodular melanoma")
    of_others = ("nevus", "non_melanoma", "NonMelanoma skin cancer", "non-mélanome")
    for name in (*of_melanoma, *of_others, "unknown"):
        write_image(tmp_path / name / f"{name}.jpg")

    labels = read("folder", tmp_path).set_index("image_id")["label"]

    assert labels[[*of_melanoma]].tolist() == [1] * 3
    assert labels[[*of_others]].tolist() == [0] * 4 and np.isnan(labels["unknown"])


@pytest.mark.parametrize(
    "name",
    [
        "suspected melanoma",
        "other (melanoma)",
        "melanoma_and_non_melanoma",
        "Mélanome",
        # As macOS writes it.
        "Me\N{COMBINING ACUTE ACCENT}lanome",
    ],
)
def test_folder_refuses_a_class_that_may_be_melanoma_and_may_not(own, read, write_image, name):
    write_image(own / name / "c.jpg")

    with pytest.raises(ValueError, match=f"must say whether it is melanoma.*{re.escape(name)}"):
        read("folder", own)
