"""Tests of `lbunet_tf.data.sources.ph2`: its table in each form that circulates."""

import sys

import pandas as pd
import pytest
from PIL import Image

from lbunet_tf.data.pixels import file_check

PH2_TABLE = (
    "|| Name   ||   Histological Diagnosis   || Clinical Diagnosis || Asymmetry || Colors    ||\n"
    "|| IMD003 ||                            ||         0          ||     0     ||  4        ||\n"
    "|| IMD002 || Compound nevus             ||         1          ||     1     ||  3 5      ||\n"
    "|| IMD058 || Superficial Melanoma é     ||         2          ||     2     ||  3 4 5 6  ||\n"
    "\nLegends: \nClinical Diagnosis: 0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma\n"
)
PH2_NAMES = ("IMD003", "IMD002", "IMD058")


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
    checked, skipped = file_check.check_files(read("ph2", ph2()), "error")

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

    with pytest.raises(
        ValueError, match="Looked for PH2_dataset.txt, PH2_dataset.xlsx, PH2D"
    ) as error:
        read("ph2", root)

    assert f"{root} must hold the table" in str(error.value)


def test_ph2_without_its_images_names_the_folder(ph2, read):
    root = ph2()
    (root / "PH2 Dataset images").rename(root / "elsewhere")

    with pytest.raises(ValueError, match="Looked for PH2 Dataset images") as error:
        read("ph2", root)

    assert f"{root} must hold the images" in str(error.value)


TABS = (
    "Name\tHistological Diagnosis\tClinical Diagnosis\tAsymmetry\n"
    "IMD003\t\t0\t0\nIMD002\tCompound nevus\t1\t1\nIMD058\tMelanoma\t2\t2\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "table",
    [
        pytest.param(TABS, id="as the original"),
        pytest.param(TABS.replace("\n", "\r\n"), id="saved on Windows"),
        pytest.param(
            "Image Name\tCommon Nevus\tAtypical Nevus\tMelanoma\n"
            "IMD003\tX\t\t\nIMD002\t\tX\t\nIMD058\t\t\tX\n",
            id="as the spreadsheet",
        ),
    ],
)
def test_ph2_reads_a_copy_that_is_separated_by_tabs(ph2, read, table, encoding):
    root = ph2()
    (root / "PH2_dataset.txt").write_bytes(table.encode(encoding))

    rows = read("ph2", root)

    assert rows["image_id"].tolist() == list(PH2_NAMES)
    assert rows["label"].tolist() == [0, 0, 1]
    assert rows["diagnosis"].tolist() == ["common nevus", "atypical nevus", "melanoma"]


def test_ph2_with_two_marks_for_an_image_names_it(ph2, read):
    root = ph2(table="Image Name\tCommon Nevus\tAtypical Nevus\tMelanoma\nIMD003\tX\t\tX\n")

    with pytest.raises(ValueError, match="2 marks for IMD003 in line 2"):
        read("ph2", root)


@pytest.fixture
def spreadsheet(ph2):
    """A PH2 download whose table is the spreadsheet: legends first, and an X in one column."""
    pytest.importorskip("openpyxl")
    root = ph2()
    (root / "PH2_dataset.txt").unlink()
    rows = [["Legends:", "", "", "", ""], [""] * 5]
    rows += [
        ["Image Name", "Histological\nDiagnosis", "Common\nNevus", "Atypical Nevus", "Melanoma"]
    ]
    rows += [["IMD003", "", "X", "", ""], ["IMD002", "", "", "X", ""], ["IMD058", "", "", "", "X"]]
    pd.DataFrame(rows).to_excel(root / "PH2_dataset.xlsx", header=False, index=False)
    return root


def test_ph2_reads_the_spreadsheet(spreadsheet, read):
    rows = read("ph2", spreadsheet)

    assert rows["image_id"].tolist() == list(PH2_NAMES)
    assert rows["diagnosis"].tolist() == ["common nevus", "atypical nevus", "melanoma"]


def test_ph2_with_a_file_that_is_no_spreadsheet_names_it(spreadsheet, read):
    path = spreadsheet / "PH2_dataset.xlsx"
    path.write_text("IMD003")

    with pytest.raises(ValueError, match="must be a spreadsheet") as error:
        read("ph2", spreadsheet)

    assert str(path) in str(error.value)


def test_ph2_without_openpyxl_says_how_to_install_it(ph2, read, monkeypatch):
    root = ph2()
    (root / "PH2_dataset.txt").rename(root / "PH2_dataset.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)

    with pytest.raises(ValueError, match=r"pip install 'lbunet_tf\[xlsx\]'"):
        read("ph2", root)


def test_ph2_finds_an_archive_that_was_unpacked_into_itself_and_capitals(ph2, read):
    root = ph2("PH2Dataset/PH2Dataset")
    image = "PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp"
    path = root / "PH2Dataset/PH2Dataset" / image
    path.rename(path.with_suffix(".BMP"))

    assert read("ph2", root)["image"][0] == str(path.with_suffix(".BMP"))
