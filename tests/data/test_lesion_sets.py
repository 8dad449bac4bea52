"""Tests of `lbunet_tf.data.lesion_sets`: HAM10000, PH2 and a person's own folders."""

import logging

import numpy as np
import pytest
from PIL import Image

from lbunet_tf.data import images

PH2_TABLE = (
    "|| Name   ||   Histological Diagnosis   || Clinical Diagnosis || Asymmetry || Colors    ||\n"
    "|| IMD003 ||                            ||         0          ||     0     ||  4        ||\n"
    "|| IMD002 || Compound nevus             ||         1          ||     1     ||  3 5      ||\n"
    "|| IMD058 || Superficial Melanoma é     ||         2          ||     2     ||  3 4 5 6  ||\n"
    "\nLegends: \nClinical Diagnosis: 0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma\n"
)
PH2_NAMES = ("IMD003", "IMD002", "IMD058")


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


def test_folder_with_one_name_in_two_classes_names_both_files(tmp_path, read, write_image):
    first = write_image(tmp_path / "melanoma" / "a.jpg")
    second = write_image(tmp_path / "nevus" / "a.jpg")

    with pytest.raises(ValueError, match="image_id must be unique") as error:
        read("folder", tmp_path)

    assert str(first) in str(error.value) and str(second) in str(error.value)


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
def ph2(tmp_path, write_image):
    """Returns a function that lays out a PH2 download, its table in the folder or one below."""

    def lay_out(below="", table=PH2_TABLE):
        root = tmp_path / "ph2"
        for name in PH2_NAMES:
            folder = root / below / "PH2 Dataset images" / name
            write_image(folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp")
            mask = folder / f"{name}_lesion" / f"{name}_lesion.bmp"
            mask.parent.mkdir()
            Image.new("1", (20, 16), 1).save(mask)
        # The original is in Latin-1.
        (root / below / "PH2_dataset.txt").write_text(table, encoding="latin-1")
        return root

    return lay_out


@pytest.mark.parametrize("below", ["", "PH2Dataset"])
def test_ph2_pairs_each_bmp_with_its_lesion_mask(ph2, read, below):
    root = ph2(below)

    table = read("ph2", root)

    folder = root / below / "PH2 Dataset images"
    assert table["image_id"].tolist() == list(PH2_NAMES)
    assert table["image"].tolist() == [
        str(folder / name / f"{name}_Dermoscopic_Image" / f"{name}.bmp") for name in PH2_NAMES
    ]
    assert table["mask"].tolist() == [
        str(folder / name / f"{name}_lesion" / f"{name}_lesion.bmp") for name in PH2_NAMES
    ]


def test_ph2_takes_the_clinical_diagnosis_2_alone_as_melanoma(ph2, read):
    table = read("ph2", ph2())

    assert table["label"].tolist() == [0, 0, 1]
    assert table["diagnosis"].tolist() == ["common nevus", "atypical nevus", "melanoma"]
    assert set(table["official_part"]) == {"train"}


def test_ph2_files_pass_the_check_before_training(ph2, read):
    checked, skipped = images.check_files(read("ph2", ph2()), "error")

    assert len(checked) == 3 and skipped.empty


def test_ph2_with_another_diagnosis_names_file_value_image_and_line(ph2, read):
    root = ph2(table=PH2_TABLE.replace("||         1          ||", "||         3          ||"))

    with pytest.raises(ValueError, match="'3' for IMD002 in line 3") as error:
        read("ph2", root)

    assert str(root / "PH2_dataset.txt") in str(error.value)


def test_ph2_with_a_line_that_is_cut_short_is_refused_and_not_left_out(ph2, read):
    root = ph2(table=PH2_TABLE + "|| IMD059 || Comp\n")

    with pytest.raises(ValueError, match="IMD059"):
        read("ph2", root)


def test_ph2_with_an_empty_table_names_the_file(ph2, read):
    root = ph2(table="")

    with pytest.raises(ValueError, match="must have rows") as error:
        read("ph2", root)

    assert str(root / "PH2_dataset.txt") in str(error.value)


def test_ph2_without_its_table_names_the_folder(ph2, read):
    root = ph2()
    (root / "PH2_dataset.txt").unlink()

    with pytest.raises(ValueError, match="Looked for PH2_dataset.txt, PH2Dataset/PH2") as error:
        read("ph2", root)

    assert f"{root} must hold the table" in str(error.value)


def test_ph2_without_its_images_names_the_folder(ph2, read):
    root = ph2()
    (root / "PH2 Dataset images").rename(root / "elsewhere")

    with pytest.raises(ValueError, match="Looked for PH2 Dataset images") as error:
        read("ph2", root)

    assert f"{root} must hold the images" in str(error.value)


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

    with pytest.raises(ValueError, match="a mask must stand beside its image") as error:
        read("folder", own)

    assert str(mask) in str(error.value)


def test_folder_refuses_two_masks_of_one_image(own, read, write_mask):
    write_mask(own / "nevus" / "b_mask.png")
    write_mask(own / "nevus" / "b_segmentation.png")

    with pytest.raises(ValueError, match="b_segmentation.png|b_mask.png"):
        read("folder", own)


def test_folder_says_how_many_files_are_no_images(own, read, caplog):
    for name in ("Thumbs.db", "notes.txt"):
        (own / "nevus" / name).write_bytes(b"")
    (own / "readme.txt").write_bytes(b"")

    with caplog.at_level(logging.WARNING):
        table = read("folder", own)

    assert table["image_id"].tolist() == ["a", "b"]
    assert f"{own / 'nevus'}: 2 files are no images" in caplog.text
