"""Tests of ISIC 2016, 2018 and 2019 in `data.sources.isic`, laid out as they are downloaded."""

import logging

import numpy as np
import pytest

ISIC2016 = {
    "Training": {"ISIC_0000000": "benign", "ISIC_0000002": "malignant"},
    "Test": {"ISIC_0000003": "0.0", "ISIC_0000013": "1.0"},
}
CLASSES_2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
CLASSES_2019 = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
TASK_1 = {
    "Training": ("ISIC_0000000", "ISIC_0000001"),
    "Validation": ("ISIC_0012255",),
    "Test": ("ISIC_0012169",),
}
TASK_3 = {
    "Training": {"ISIC_0024306": "NV", "ISIC_0024307": "NV", "ISIC_0024310": "MEL"},
    "Validation": {"ISIC_0034321": "BKL"},
    "Test": {"ISIC_0034524": "VASC"},
}
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
GROUP_LINES = (
    "image,lesion_id,diagnosis_confirm_type\n"
    "ISIC_0024307,HAM_0000550,follow-up\n"
    "ISIC_0024310,HAM_0003301,histopathology\n"
    "ISIC_0024306,HAM_0000550,follow-up\n"
)


def _one_hot(classes, diagnoses):
    lines = [",".join(("image", *classes))]
    for name, diagnosis in diagnoses.items():
        lines.append(",".join((name, *("1.0" if diagnosis == c else "0.0" for c in classes))))
    return "\n".join(lines) + "\n"


@pytest.fixture
def isic2016(tmp_path, write_image, write_mask):
    """Returns a function that lays out some parts of an ISIC 2016 download."""

    def lay_out(*parts, images="Part3"):
        root = tmp_path / "isic2016"
        for part in parts:
            for name in ISIC2016[part]:
                write_image(root / f"ISBI2016_ISIC_{images}_{part}_Data" / f"{name}.jpg")
                masks = root / f"ISBI2016_ISIC_Part1_{part}_GroundTruth"
                write_mask(masks / f"{name}_Segmentation.png")
            (root / f"ISBI2016_ISIC_Part3_{part}_GroundTruth.csv").write_text(
                "".join(f"{name},{label}\n" for name, label in ISIC2016[part].items())
            )
        return root

    return lay_out


@pytest.fixture
def task1(tmp_path, write_image, write_mask):
    """Returns a function that lays out some parts of Task 1-2 of ISIC 2018."""

    def lay_out(*parts):
        root = tmp_path / "isic2018"
        for part in parts:
            images = root / f"ISIC2018_Task1-2_{part}_Input"
            masks = root / f"ISIC2018_Task1_{part}_GroundTruth"
            for name in TASK_1[part]:
                write_image(images / f"{name}.jpg")
                write_mask(masks / f"{name}_segmentation.png")
            for folder in (images, masks):
                (folder / "ATTRIBUTION.txt").write_text("ISIC")
                (folder / "LICENSE.txt").write_text("CC-0")
        return root

    return lay_out


@pytest.fixture
def task3(tmp_path, write_image):
    """Returns a function that lays out some parts of Task 3 of ISIC 2018."""

    def lay_out(*parts):
        root = tmp_path / "isic2018"
        for part in parts:
            for name in TASK_3[part]:
                write_image(root / f"ISIC2018_Task3_{part}_Input" / f"{name}.jpg")
            truth = root / f"ISIC2018_Task3_{part}_GroundTruth"
            truth.mkdir()
            (truth / f"{truth.name}.csv").write_text(_one_hot(CLASSES_2018, TASK_3[part]))
        (root / GROUPINGS).write_text(GROUP_LINES)
        return root

    return lay_out


@pytest.fixture
def isic2019(tmp_path, write_image):
    """Returns a function that lays out an ISIC 2019 download, the training part nested."""

    def lay_out(test=False, nested=True):
        root = tmp_path / "isic2019"
        name = "ISIC_2019_Training_Input"
        images = root / name / name if nested else root / name
        truth = {"ISIC_0000000": "NV", "ISIC_0000001_downsampled": "MEL", "ISIC_0024306": "SCC"}
        for image in truth:
            write_image(images / f"{image}.jpg")
        (root / "ISIC_2019_Training_GroundTruth.csv").write_text(_one_hot(CLASSES_2019, truth))
        (root / "ISIC_2019_Training_Metadata.csv").write_text(
            "image,age_approx,anatom_site_general,lesion_id,sex\n"
            "ISIC_0024306,,,HAM_0000550,\n"
            "ISIC_0000000,55.0,anterior torso,,female\n"
            "ISIC_0000001_downsampled,30.0,lower extremity,MSK4_0011169,male\n"
        )
        if test:
            write_image(root / "ISIC_2019_Test_Input" / "ISIC_2019_Test_Input" / "ISIC_0034321.jpg")
            lines = _one_hot(CLASSES_2019, {"ISIC_0034321": "UNK"}).splitlines()
            (root / "ISIC_2019_Test_GroundTruth.csv").write_text(
                f"{lines[0]},score_weight,validation_weight\n{lines[1]},1.0,1.0\n"
            )
            (root / "ISIC_2019_Test_Metadata.csv").write_text(
                "image,age_approx,anatom_site_general,sex\nISIC_0034321,70.0,head/neck,male\n"
            )
        return root

    return lay_out


def test_isic2016_reads_words_of_the_training_part_and_numbers_of_the_test_part(isic2016, read):
    table = read("isic2016", isic2016("Training", "Test"))

    assert table["image_id"].tolist() == [*ISIC2016["Training"], *ISIC2016["Test"]]
    assert table["label"].tolist() == [0, 1, 0, 1]
    assert table["diagnosis"].tolist() == ["benign", "melanoma", "benign", "melanoma"]
    assert table["official_part"].tolist() == ["train", "train", "test", "test"]


def test_isic2016_pairs_each_image_with_the_mask_of_part_1(isic2016, read):
    root = isic2016("Training")

    masks = read("isic2016", root)["mask"].tolist()

    folder = root / "ISBI2016_ISIC_Part1_Training_GroundTruth"
    assert masks == [str(folder / f"{name}_Segmentation.png") for name in ISIC2016["Training"]]


@pytest.mark.parametrize("images", ["Part1", "Part3"])
def test_isic2016_takes_the_images_of_part_1_or_part_3(isic2016, read, images):
    root = isic2016("Test", images=images)

    table = read("isic2016", root)

    folder = root / f"ISBI2016_ISIC_{images}_Test_Data"
    assert table["image"].tolist() == [str(folder / f"{name}.jpg") for name in ISIC2016["Test"]]


def test_isic2016_without_part_1_has_no_masks(isic2016, read):
    root = isic2016("Training")
    (root / "ISBI2016_ISIC_Part1_Training_GroundTruth").rename(root / "elsewhere")

    assert set(read("isic2016", root)["mask"]) == {""}


def test_isic2016_without_labels_names_the_folder_and_the_file(tmp_path, read):
    with pytest.raises(ValueError, match="ISBI2016_ISIC_Part3_Training_GroundTruth.csv") as error:
        read("isic2016", tmp_path)

    assert f"{tmp_path} must hold the labels" in str(error.value)


def test_isic2016_without_images_names_both_places(isic2016, read):
    root = isic2016("Test")
    (root / "ISBI2016_ISIC_Part3_Test_Data").rename(root / "elsewhere")

    with pytest.raises(ValueError) as error:
        read("isic2016", root)

    assert f"{root} must hold the images" in str(error.value)
    assert "ISBI2016_ISIC_Part3_Test_Data, ISBI2016_ISIC_Part1_Test_Data" in str(error.value)


@pytest.mark.parametrize("label", ["melanoma", "", "2.0"])
def test_isic2016_with_another_label_names_file_label_and_row(isic2016, read, label):
    root = isic2016("Training")
    path = root / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv"
    path.write_text(f"ISIC_0000000,benign\nISIC_0000002,{label}\n")

    with pytest.raises(ValueError, match=f"Received: '{label}' in row 2") as error:
        read("isic2016", root)

    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["ISIC_0000000\nISIC_0000002\n", ""])
def test_isic2016_with_a_table_that_lacks_the_labels_names_the_file(isic2016, read, text):
    root = isic2016("Training")
    path = root / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv"
    path.write_text(text)

    with pytest.raises(ValueError) as error:
        read("isic2016", root)

    assert str(path) in str(error.value)


def test_isic2018_task_1_has_masks_and_no_labels(task1, read):
    root = task1("Training")

    table = read("isic2018", root)

    masks = root / "ISIC2018_Task1_Training_GroundTruth"
    assert table["image_id"].tolist() == list(TASK_1["Training"])
    assert table["mask"].tolist() == [
        str(masks / f"{name}_segmentation.png") for name in TASK_1["Training"]
    ]
    assert table["label"].isna().all() and set(table["diagnosis"]) == {""}


def test_isic2018_task_3_has_labels_and_no_masks(task3, read):
    root = task3("Training")

    table = read("isic2018", root)

    images = root / "ISIC2018_Task3_Training_Input"
    assert table["image"].tolist() == [str(images / f"{name}.jpg") for name in TASK_3["Training"]]
    assert table["label"].tolist() == [0, 0, 1]
    assert table["diagnosis"].tolist() == ["nv", "nv", "mel"]
    assert set(table["mask"]) == {""}


@pytest.mark.parametrize("place", ["", "ISIC2018_Task3_Training_GroundTruth"])
def test_isic2018_images_of_one_lesion_share_its_id(task3, read, place):
    root = task3("Training")
    (root / GROUPINGS).rename(root / place / GROUPINGS)

    lesions = read("isic2018", root)["lesion_id"].tolist()

    assert lesions == ["HAM_0000550", "HAM_0000550", "HAM_0003301"]


def test_isic2018_without_the_lesion_groups_says_so_and_knows_no_lesion(task3, read, caplog):
    root = task3("Training")
    (root / GROUPINGS).unlink()

    with caplog.at_level(logging.WARNING):
        table = read("isic2018", root)

    assert set(table["lesion_id"]) == {""}
    assert str(root / GROUPINGS) in caplog.text


def test_isic2018_gives_each_part_of_both_tasks_its_official_role(task1, task3, read):
    parts = ("Training", "Validation", "Test")
    root = task1(*parts)
    task3(*parts)

    table = read("isic2018", root).set_index("image_id")

    assert table["official_part"].to_dict() == {
        **dict.fromkeys(("ISIC_0000000", "ISIC_0000001"), "train"),
        **dict.fromkeys(TASK_3["Training"], "train"),
        **dict.fromkeys(("ISIC_0012255", "ISIC_0034321"), "val"),
        **dict.fromkeys(("ISIC_0012169", "ISIC_0034524"), "test"),
    }
    assert set(table["mask"] != "") == {True, False} and table["label"].notna().sum() == 5


def test_isic2018_an_image_of_both_tasks_has_one_row_with_mask_and_label(
    task1, task3, read, write_image, write_mask
):
    root = task1("Training")
    task3("Training")
    write_image(root / "ISIC2018_Task1-2_Training_Input" / "ISIC_0024310.jpg")
    write_mask(root / "ISIC2018_Task1_Training_GroundTruth" / "ISIC_0024310_segmentation.png")

    rows = read("isic2018", root).query("image_id == 'ISIC_0024310'")

    assert len(rows) == 1
    assert rows["label"].item() == 1 and rows["mask"].item().endswith("0024310_segmentation.png")


def test_isic2018_takes_the_images_of_task_1_without_their_masks(task1, read):
    root = task1("Validation")
    (root / "ISIC2018_Task1_Validation_GroundTruth").rename(root / "elsewhere")

    table = read("isic2018", root)

    assert table["image_id"].tolist() == ["ISIC_0012255"] and set(table["mask"]) == {""}


def test_isic2018_takes_a_table_of_task_3_that_lies_beside_the_images(task3, read):
    root = task3("Validation")
    name = "ISIC2018_Task3_Validation_GroundTruth"
    (root / name / f"{name}.csv").rename(root / f"{name}.csv")

    assert read("isic2018", root)["diagnosis"].tolist() == ["bkl"]


def test_isic2018_without_any_task_names_the_folder_and_what_was_looked_for(tmp_path, read):
    with pytest.raises(ValueError, match="ISIC2018_Task1-2_Training_Input") as error:
        read("isic2018", tmp_path)

    assert str(tmp_path) in str(error.value)
    assert "ISIC2018_Task3_Training_GroundTruth" in str(error.value)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("1.0,1.0,0.0,0.0,0.0,0.0,0.0", id="two classes"),
        pytest.param("0.0,0.0,0.0,0.0,0.0,0.0,0.0", id="no class"),
        pytest.param("0.5,0.5,0.0,0.0,0.0,0.0,0.0", id="two halves"),
        pytest.param("2.0,-1.0,0.0,0.0,0.0,0.0,0.0", id="more than one"),
        pytest.param(",1.0,0.0,0.0,0.0,0.0,0.0", id="an empty cell"),
        pytest.param("yes,0.0,0.0,0.0,0.0,0.0,0.0", id="a word"),
    ],
)
def test_a_row_that_is_not_one_class_is_refused_with_file_image_and_row(task3, read, row):
    root = task3("Training")
    name = "ISIC2018_Task3_Training_GroundTruth"
    path = root / name / f"{name}.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], f"ISIC_0024307,{row}", *lines[3:]]) + "\n")

    with pytest.raises(ValueError) as error:
        read("isic2018", root)

    assert str(path) in str(error.value)
    assert "'ISIC_0024307' in row 2" in str(error.value)


def test_isic2018_that_names_an_image_twice_in_a_table_is_refused(task3, read):
    root = task3("Training")
    name = "ISIC2018_Task3_Training_GroundTruth"
    path = root / name / f"{name}.csv"
    path.write_text(path.read_text() + "ISIC_0024310,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n")

    with pytest.raises(ValueError, match="ISIC_0024310"):
        read("isic2018", root)


@pytest.mark.parametrize("column", ["image", "MEL", "NV"])
def test_a_one_hot_table_without_a_column_names_the_file_and_the_column(isic2019, read, column):
    root = isic2019()
    path = root / "ISIC_2019_Training_GroundTruth.csv"
    path.write_text(path.read_text().replace(column, "other", 1))

    with pytest.raises(ValueError) as error:
        read("isic2019", root)

    assert f"{path} must have the column {column}" in str(error.value)


@pytest.mark.parametrize("text", ["", "image,MEL,NV\nISIC_0000000,0.0,1.0,0.0\n"])
def test_a_label_table_that_cannot_be_read_is_refused_by_its_name(isic2019, read, text):
    root = isic2019()
    path = root / "ISIC_2019_Training_GroundTruth.csv"
    path.write_text(text)

    with pytest.raises(ValueError) as error:
        read("isic2019", root)

    assert str(path) in str(error.value)


@pytest.mark.parametrize("nested", [True, False])
def test_isic2019_finds_the_images_in_the_nested_folder_or_the_plain_one(isic2019, read, nested):
    root = isic2019(nested=nested)

    table = read("isic2019", root)

    name = "ISIC_2019_Training_Input"
    folder = root / name / name if nested else root / name
    assert table["image"][1] == str(folder / "ISIC_0000001_downsampled.jpg")


def test_isic2019_joins_labels_and_metadata_by_id(isic2019, read):
    table = read("isic2019", isic2019())

    assert table["label"].tolist() == [0, 1, 0]
    assert table["diagnosis"].tolist() == ["nv", "mel", "scc"]
    assert table["lesion_id"].tolist() == ["", "MSK4_0011169", "HAM_0000550"]
    np.testing.assert_array_equal(table["age"], [55, 30, np.nan])
    assert table["sex"].tolist() == ["female", "male", ""]
    assert table["site"].tolist() == ["anterior torso", "lower extremity", ""]
    assert set(table["mask"]) == {""}


def test_isic2019_takes_the_test_part_without_lesions_and_with_weights(isic2019, read):
    table = read("isic2019", isic2019(test=True))

    assert table["official_part"].tolist() == ["train", "train", "train", "test"]
    assert table["lesion_id"].tolist()[-1] == "" and table["diagnosis"].tolist()[-1] == "unk"
    assert table["age"].tolist()[-1] == 70 and table["site"].tolist()[-1] == "head/neck"


def test_isic2019_goes_without_metadata_and_says_so(isic2019, read, caplog):
    root = isic2019()
    path = root / "ISIC_2019_Training_Metadata.csv"
    path.unlink()

    with caplog.at_level(logging.WARNING):
        table = read("isic2019", root)

    assert table["age"].isna().all() and set(table["lesion_id"]) == {""}
    assert str(path) in caplog.text


def test_isic2019_metadata_that_names_an_image_twice_is_refused(isic2019, read):
    root = isic2019()
    path = root / "ISIC_2019_Training_Metadata.csv"
    path.write_text(path.read_text() + "ISIC_0000000,60.0,,,male\n")

    with pytest.raises(ValueError, match="Received twice: ISIC_0000000") as error:
        read("isic2019", root)

    assert str(path) in str(error.value)


def test_isic2019_that_names_an_image_twice_is_refused(isic2019, read):
    root = isic2019()
    path = root / "ISIC_2019_Training_GroundTruth.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")

    with pytest.raises(ValueError, match="image_id must be unique.*'ISIC_0000000'"):
        read("isic2019", root)


def test_isic2019_without_labels_names_the_folder_and_the_file(tmp_path, read):
    with pytest.raises(ValueError, match="Looked for ISIC_2019_Training_GroundTruth.csv") as error:
        read("isic2019", tmp_path)

    assert str(tmp_path) in str(error.value)


def test_isic2019_without_images_names_the_place(isic2019, read):
    root = isic2019()
    (root / "ISIC_2019_Training_Input").rename(root / "elsewhere")

    with pytest.raises(ValueError, match="Looked for ISIC_2019_Training_Input"):
        read("isic2019", root)


def _unpack_into_itself(path):
    path.rename(path.with_name("unpacked"))
    path.mkdir()
    path.with_name("unpacked").rename(path / path.name)


def test_isic2016_finds_every_folder_and_table_that_was_unpacked_into_itself(isic2016, read):
    root = isic2016("Training")
    for path in list(root.iterdir()):
        _unpack_into_itself(path)

    table = read("isic2016", root)

    name = "ISBI2016_ISIC_Part3_Training_Data"
    assert table["image"][0] == str(root / name / name / "ISIC_0000000.jpg")
    name = "ISBI2016_ISIC_Part1_Training_GroundTruth"
    assert table["mask"][0] == str(root / name / name / "ISIC_0000000_Segmentation.png")


def test_isic2018_finds_every_folder_and_table_that_was_unpacked_into_itself(task1, task3, read):
    root = task1("Training")
    task3("Training")
    for path in list(root.iterdir()):
        _unpack_into_itself(path)

    table = read("isic2018", root)

    assert len(table) == 5
    assert (table["mask"] != "").sum() == 2 and (table["lesion_id"] != "").sum() == 3


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".JPEG", ".PNG"])
def test_images_and_masks_are_found_with_other_suffixes_and_capitals(task1, task3, read, suffix):
    root = task1("Training")
    task3("Training")
    for path in [*root.glob("*/*.jpg"), *root.glob("*/*.png")]:
        path.rename(path.with_suffix(suffix))

    table = read("isic2018", root)

    assert len(table) == 5 and (table["mask"] != "").sum() == 2
    assert {path[-len(suffix) :] for path in table["image"]} == {suffix}


def test_isic2018_lists_no_superpixels_and_no_hidden_files_of_task_1(task1, read):
    root = task1("Training")
    for name in ("ISIC_0000000_superpixels.png", "._ISIC_0000000.jpg"):
        (root / "ISIC2018_Task1-2_Training_Input" / name).write_bytes(b"")

    assert read("isic2018", root)["image_id"].tolist() == list(TASK_1["Training"])


def test_cells_of_an_official_table_are_stripped(isic2019, read):
    root = isic2019()
    path = root / "ISIC_2019_Training_Metadata.csv"
    path.write_text(
        path.read_text().replace("ISIC_0024306,", "ISIC_0024306 ,").replace(",MSK4", ", MSK4")
    )

    lesions = read("isic2019", root)["lesion_id"].tolist()

    assert lesions == ["", "MSK4_0011169", "HAM_0000550"]
