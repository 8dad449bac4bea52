"""Tests of `lbunet_tf.data.sources`: official downloads as they lie on disk -> manifest."""

import logging
import pathlib

import numpy as np
import pytest

from lbunet_tf.data import sources
from lbunet_tf.settings import config
from lbunet_tf.storage import whole_files

ISIC2020_V1 = (
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,"
    "diagnosis,benign_malignant,target\n"
    "ISIC_0000001,IP_1,female,45.0,torso,nevus,benign,0\n"
    "ISIC_0000002,IP_1,female,50.0,head/neck,melanoma,malignant,1\n"
    "ISIC_0000003,IP_2,,,,unknown,benign,0\n"
)
ISIC2020_V2 = (
    "image_name,patient_id,lesion_id,sex,age_approx,anatom_site_general_challenge,"
    "diagnosis,benign_malignant,target\n"
    "ISIC_0000001,IP_1,IL_1,female,45,torso,nevus,benign,0\n"
    "ISIC_0000002,IP_1,IL_2,female,50,head/neck,melanoma,malignant,1\n"
    "ISIC_0000003,IP_2,IL_3,,,,unknown,benign,0\n"
)
ISIC2020_NAMES = ("ISIC_0000001", "ISIC_0000002", "ISIC_0000003")
GROUND_TRUTHS = {
    "ISIC_2020_Training_GroundTruth.csv": ISIC2020_V1,
    "ISIC_2020_Training_GroundTruth_v2.csv": ISIC2020_V2,
    "train.csv": ISIC2020_V1,
}
DUPLICATES = "ISIC_2020_Training_Duplicates.csv"


@pytest.fixture
def isic2020(tmp_path, write_image):
    """Returns a function that lays out an ISIC 2020 download."""

    def lay_out(labels="ISIC_2020_Training_GroundTruth_v2.csv", images="train"):
        root = tmp_path / "isic2020"
        for name in ISIC2020_NAMES:
            write_image(root / images / f"{name}.jpg")
        (root / labels).write_text(GROUND_TRUTHS[labels])
        return root

    return lay_out


@pytest.fixture
def isic2017(tmp_path, write_image, write_mask):
    """Returns a function that lays out some parts of an ISIC 2017 download."""

    def lay_out(*parts):
        root = tmp_path / "isic2017"
        for number, part in enumerate(parts):
            names = [f"ISIC_00{number}000{row}" for row in range(3)]
            for name in names:
                write_image(root / f"ISIC-2017_{part}_Data" / f"{name}.jpg")
                write_image(root / f"ISIC-2017_{part}_Data" / f"{name}_superpixels.png")
                write_mask(
                    root / f"ISIC-2017_{part}_Part1_GroundTruth" / f"{name}_segmentation.png"
                )
            labels = zip(names, ("0.0,0.0", "1.0,0.0", "0.0,1.0"), strict=True)
            (root / f"ISIC-2017_{part}_Part3_GroundTruth.csv").write_text(
                "image_id,melanoma,seborrheic_keratosis\n"
                + "".join(f"{name},{label}\n" for name, label in labels)
            )
            (root / f"ISIC-2017_{part}_Data_metadata.csv").write_text(
                "image_id,age_approximate,sex\n"
                f"{names[2]},unknown,unknown\n{names[0]},55,female\n{names[1]},30,male\n"
            )
        return root

    return lay_out


@pytest.mark.parametrize("labels", GROUND_TRUTHS)
def test_isic2020_reads_each_ground_truth(isic2020, read, labels):
    table = read("isic2020", isic2020(labels=labels))

    assert table["image_id"].tolist() == list(ISIC2020_NAMES)
    assert table["label"].tolist() == [0, 1, 0]
    assert table["patient_id"].tolist() == ["IP_1", "IP_1", "IP_2"]
    assert table["diagnosis"].tolist() == ["nevus", "melanoma", "benign"]
    np.testing.assert_array_equal(table["age"], [45, 50, np.nan])
    assert table["sex"].tolist() == ["female", "female", ""]
    assert table["site"].tolist() == ["torso", "head/neck", ""]
    assert set(table["mask"]) == {""} and set(table["split"]) == {""}
    assert set(table["source"]) == {"isic2020"}


def test_isic2020_reads_the_lesions_of_ground_truth_v2(isic2020, read):
    assert read("isic2020", isic2020())["lesion_id"].tolist() == ["IL_1", "IL_2", "IL_3"]


def test_isic2020_prefers_ground_truth_v2_because_it_knows_the_lesions(isic2020, read):
    root = isic2020()
    (root / "ISIC_2020_Training_GroundTruth.csv").write_text(ISIC2020_V1)

    assert read("isic2020", root)["lesion_id"].tolist() == ["IL_1", "IL_2", "IL_3"]


@pytest.mark.parametrize("images", ["train", "jpeg/train", "ISIC_2020_Training_JPEG/train"])
def test_isic2020_finds_the_images_of_each_layout(isic2020, read, images):
    root = isic2020(images=images)

    table = read("isic2020", root)

    assert table["image"].tolist() == [str(root / images / f"{n}.jpg") for n in ISIC2020_NAMES]


def test_isic2020_of_kaggle_takes_the_jpegs_and_not_the_dicom_folder_train(isic2020, read):
    root = isic2020(labels="train.csv", images="jpeg/train")
    (root / "train").mkdir()
    (root / "train" / "ISIC_0000001.dcm").write_bytes(b"DICM")

    assert set(read("isic2020", root)["image"].map(pathlib.Path).map(lambda p: p.parent)) == {
        root / "jpeg/train"
    }


def test_isic2020_known_duplicates_share_a_group_through_a_chain_of_pairs(isic2020, read):
    root = isic2020()
    (root / DUPLICATES).write_text(
        "image_name_1,image_name_2\nISIC_0000001,ISIC_7\nISIC_7,ISIC_0000003\n"
    )

    groups = read("isic2020", root)["duplicate_group"]

    assert groups[0] == groups[2] != "" and groups[1] == ""


def test_isic2020_keeps_separate_pairs_of_duplicates_in_separate_groups(isic2020, read):
    root = isic2020()
    (root / DUPLICATES).write_text(
        "image_name_1,image_name_2\nISIC_0000001,ISIC_7\nISIC_0000002,ISIC_8\n"
    )

    assert read("isic2020", root)["duplicate_group"].nunique() == 3


def test_isic2020_without_the_duplicates_file_says_so_and_has_no_groups(isic2020, read, caplog):
    root = isic2020()

    with caplog.at_level(logging.WARNING):
        table = read("isic2020", root)

    assert set(table["duplicate_group"]) == {""}
    assert str(root / DUPLICATES) in caplog.text


def test_isic2020_without_labels_names_the_folder_and_what_was_looked_for(isic2020, read):
    root = isic2020(labels="train.csv")
    (root / "train.csv").unlink()

    with pytest.raises(ValueError) as error:
        read("isic2020", root)

    assert str(root) in str(error.value)
    assert all(name in str(error.value) for name in GROUND_TRUTHS)


def test_isic2020_without_images_names_the_folder_and_what_was_looked_for(tmp_path, read):
    (tmp_path / "train.csv").write_text(ISIC2020_V1)

    with pytest.raises(ValueError) as error:
        read("isic2020", tmp_path)

    assert str(tmp_path) in str(error.value)
    assert "ISIC_2020_Training_JPEG/train, jpeg/train, train" in str(error.value)


@pytest.mark.parametrize("column", ["image_name", "patient_id", "target"])
def test_isic2020_without_a_column_names_the_file_and_the_column(isic2020, read, column):
    root = isic2020(labels="train.csv")
    (root / "train.csv").write_text(ISIC2020_V1.replace(column, "other"))

    with pytest.raises(ValueError) as error:
        read("isic2020", root)

    assert f"{root / 'train.csv'} must have the column {column}" in str(error.value)


def test_isic2020_with_a_repeated_image_names_the_image_and_its_row(isic2020, read):
    root = isic2020(labels="train.csv")
    (root / "train.csv").write_text(ISIC2020_V1 + ISIC2020_V1.splitlines()[2] + "\n")

    with pytest.raises(ValueError, match=r"image_id must be unique.*row 2 .*'ISIC_0000002'"):
        read("isic2020", root)


def test_isic2017_pairs_images_and_masks_by_id(isic2017, read):
    root = isic2017("Training")

    table = read("isic2017", root)

    masks = root / "ISIC-2017_Training_Part1_GroundTruth"
    assert table["image_id"].tolist() == ["ISIC_000000" + row for row in "012"]
    assert table["mask"].tolist() == [
        str(masks / f"{n}_segmentation.png") for n in table["image_id"]
    ]
    assert table["image"].map(pathlib.Path).map(lambda p: p.stem).tolist() == [
        "ISIC_000000" + row for row in "012"
    ]


def test_isic2017_reads_the_labels_of_task_3(isic2017, read):
    table = read("isic2017", isic2017("Training"))

    assert table["label"].tolist() == [0, 1, 0]
    assert table["diagnosis"].tolist() == ["nevus", "melanoma", "seborrheic keratosis"]


def test_isic2017_joins_metadata_by_id_and_takes_unknown_as_missing(isic2017, read):
    table = read("isic2017", isic2017("Training"))

    np.testing.assert_array_equal(table["age"], [55, 30, np.nan])
    assert table["sex"].tolist() == ["female", "male", ""]


def test_isic2017_goes_without_the_metadata_file(isic2017, read):
    root = isic2017("Training")
    (root / "ISIC-2017_Training_Data_metadata.csv").unlink()

    table = read("isic2017", root)

    assert table["age"].isna().all() and set(table["sex"]) == {""}


def test_isic2017_keeps_an_image_that_the_metadata_lacks(isic2017, read):
    root = isic2017("Training")
    path = root / "ISIC-2017_Training_Data_metadata.csv"
    path.write_text("image_id,age_approximate,sex\nISIC_0000001,30,male\n")

    table = read("isic2017", root)

    np.testing.assert_array_equal(table["age"], [np.nan, 30, np.nan])
    assert table["sex"].tolist() == ["", "male", ""]


def test_isic2017_metadata_that_names_an_image_twice_is_refused_with_file_and_image(isic2017, read):
    root = isic2017("Training")
    path = root / "ISIC-2017_Training_Data_metadata.csv"
    path.write_text(path.read_text() + "ISIC_0000001,31,male\n")

    with pytest.raises(ValueError) as error:
        read("isic2017", root)

    assert str(path) in str(error.value) and "ISIC_0000001" in str(error.value)


def test_isic2017_finds_the_metadata_inside_the_folder_of_the_images(isic2017, read):
    root = isic2017("Training")
    name = "ISIC-2017_Training_Data_metadata.csv"
    (root / name).rename(root / "ISIC-2017_Training_Data" / name)

    np.testing.assert_array_equal(read("isic2017", root)["age"], [55, 30, np.nan])


def test_isic2017_without_metadata_names_both_places(isic2017, read, caplog):
    root = isic2017("Training")
    name = "ISIC-2017_Training_Data_metadata.csv"
    (root / name).unlink()

    with caplog.at_level(logging.WARNING):
        read("isic2017", root)

    assert str(root / name) in caplog.text
    assert str(root / "ISIC-2017_Training_Data" / name) in caplog.text


def test_isic2017_takes_an_empty_label_as_unknown_and_not_as_nevus(isic2017, read):
    root = isic2017("Training")
    path = root / "ISIC-2017_Training_Part3_GroundTruth.csv"
    path.write_text(path.read_text().replace("ISIC_0000000,0.0,0.0", "ISIC_0000000,,"))

    table = read("isic2017", root)

    np.testing.assert_array_equal(table["label"], [np.nan, 1, 0])
    assert table["diagnosis"].tolist() == ["", "melanoma", "seborrheic keratosis"]


@pytest.mark.parametrize(
    "parts, roles",
    [
        (("Training",), ["train"]),
        (("Training", "Validation"), ["train", "test"]),
        (("Training", "Validation", "Test_v2"), ["train", "val", "test"]),
    ],
)
def test_isic2017_gives_each_part_its_official_role(isic2017, read, parts, roles):
    table = read("isic2017", isic2017(*parts))

    assert table["official_part"].tolist() == [role for role in roles for _ in range(3)]


def test_isic2017_without_its_labels_names_the_file(isic2017, read):
    root = isic2017("Training")
    labels = root / "ISIC-2017_Training_Part3_GroundTruth.csv"
    labels.rename(root / "elsewhere")

    with pytest.raises(ValueError) as error:
        read("isic2017", root)

    assert str(labels) in str(error.value)


def test_isic2017_without_the_task_1_masks_has_no_masks(isic2017, read):
    root = isic2017("Training")
    (root / "ISIC-2017_Training_Part1_GroundTruth").rename(root / "elsewhere")

    table = read("isic2017", root)

    assert set(table["mask"]) == {""}


def test_isic2017_without_any_part_names_the_folder(tmp_path, read):
    with pytest.raises(
        ValueError, match="must hold the images. Looked for ISIC-2017_Training"
    ) as e:
        read("isic2017", tmp_path)

    assert str(tmp_path) in str(e.value)


def test_manifest_paths_are_relative_to_the_csv_file(tmp_path, read, write_image, write_mask):
    image, mask = write_image(tmp_path / "p" / "a.png"), write_mask(tmp_path / "m" / "a.png")
    outside = write_image(tmp_path.parent / f"{tmp_path.name}-b.png")
    csv = tmp_path / "rows.csv"
    csv.write_text(f"image_id,image,mask\na,p/a.png,m/a.png\nb,{outside},\n")

    table = read("manifest", csv)

    assert table["image"].tolist() == [str(image), str(outside)]
    assert table["mask"].tolist() == [str(mask), ""]


def test_manifest_carries_labels_splits_and_further_columns(tmp_path, read, write_image):
    for name in "ab":
        write_image(tmp_path / f"{name}.png")
    csv = tmp_path / "rows.csv"
    csv.write_text("image_id,image,label,split,camera\na,a.png,1,train,x\nb,b.png,,val,y\n")

    table = read("manifest", csv)

    np.testing.assert_array_equal(table["label"], [1, np.nan])
    assert table["split"].tolist() == ["train", "val"]
    assert table["camera"].tolist() == ["x", "y"]


def test_a_manifest_that_was_written_from_a_source_reads_back_the_same(tmp_path, read, isic2017):
    table = read("isic2017", isic2017("Training", "Validation"))
    whole_files.write_table(tmp_path / "rows.csv", table)

    again = read("manifest", tmp_path / "rows.csv")

    assert again.fillna(-1).to_dict("records") == table.fillna(-1).to_dict("records")


def test_synthetic_draws_as_many_images_of_the_size_as_the_flags_say(tmp_path, read):
    table = read("synthetic", tmp_path / "drawn", synthetic_count=12)

    assert len(table) == 12
    assert set(table["source"]) == {"synthetic"}


def test_several_sources_stand_one_after_another(isic2017, ham10000, make_config):
    settings = make_config(
        source=("ham10000", "isic2017"), data_dir=(str(ham10000()), str(isic2017("Training")))
    )

    table, _ = sources.make_manifest(settings.source, settings.preprocessing)

    assert table["source"].tolist() == ["ham10000"] * 3 + ["isic2017"] * 3
    assert table.index.tolist() == list(range(6))


def test_sources_that_give_an_image_two_labels_are_refused_by_its_id(
    tmp_path, ham10000, write_image, make_config
):
    write_image(tmp_path / "mine" / "mel" / "ISIC_0024307.jpg")
    settings = make_config(
        source=("ham10000", "folder"), data_dir=(str(ham10000()), str(tmp_path / "mine"))
    )

    with pytest.raises(ValueError, match="'ISIC_0024307': 0 in ham10000, 1 in folder"):
        sources.make_manifest(settings.source, settings.preprocessing)


def test_no_source_is_refused_with_the_list_of_sources(make_config):
    with pytest.raises(ValueError, match='"--source" must name') as error:
        sources.make_manifest(make_config().source, config.Config().preprocessing)

    assert all(name in str(error.value) for name in sources.SOURCES)


def test_an_unknown_source_is_refused_by_its_name(make_config):
    with pytest.raises(ValueError, match='"--source" must be one of .*Received: isic2034'):
        sources.make_manifest(
            make_config(source=("isic2034",)).source, config.Config().preprocessing
        )


@pytest.mark.parametrize("source", [name for name in sources.SOURCES if name != "synthetic"])
def test_a_source_without_a_folder_is_refused_with_the_flag(make_config, source):
    with pytest.raises(ValueError, match=f'"--data_dir" must name the folder of --source={source}'):
        sources.make_manifest(make_config(source=(source,)).source, config.Config().preprocessing)


@pytest.mark.parametrize("source", [name for name in sources.SOURCES if name != "synthetic"])
def test_a_folder_that_is_not_there_is_refused_with_flag_and_folder(tmp_path, read, source):
    with pytest.raises(ValueError) as error:
        read(source, tmp_path / "nowhere")

    assert '"--data_dir"' in str(error.value)
    assert str(tmp_path / "nowhere") in str(error.value)


def test_a_missing_image_error_names_the_image_the_file_and_the_flag(isic2020, read):
    root = isic2020()
    (root / "train" / "ISIC_0000002.jpg").unlink()

    with pytest.raises(ValueError) as error:
        read("isic2020", root)

    message = str(error.value)
    assert "1 of 3" in message
    assert "'ISIC_0000002'" in message
    assert str(root / "train" / "ISIC_0000002.jpg") in message
    assert "--allow_missing_images" in message


def test_a_missing_image_error_names_the_image(isic2020, read):
    root = isic2020()
    (root / "train" / "ISIC_0000002.jpg").unlink()

    with pytest.raises(ValueError, match="of image 'ISIC_0000002'"):
        read("isic2020", root)


def test_allowed_missing_images_are_left_out_listed_and_counted(isic2020, make_config, caplog):
    root = isic2020()
    for name in ("ISIC_0000001", "ISIC_0000003"):
        (root / "train" / f"{name}.jpg").unlink()
    settings = make_config(source=("isic2020",), data_dir=(str(root),), allow_missing_images=True)

    with caplog.at_level(logging.WARNING):
        table, skipped = sources.make_manifest(settings.source, settings.preprocessing)

    assert table["image_id"].tolist() == ["ISIC_0000002"] and table.index.tolist() == [0]
    assert skipped["image_id"].tolist() == ["ISIC_0000001", "ISIC_0000003"]
    assert set(skipped["reason"]) == {"image is missing; left out"}
    assert "of 3 images 2 are missing and were left out" in caplog.text


def test_nothing_is_listed_as_skipped_where_every_image_is_there(isic2020, make_config):
    settings = make_config(
        source=("isic2020",), data_dir=(str(isic2020()),), allow_missing_images=True
    )

    assert sources.make_manifest(settings.source, settings.preprocessing)[1].empty


def test_allowing_missing_images_does_not_allow_a_download_without_any(isic2020, read):
    root = isic2020()
    for name in ISIC2020_NAMES:
        (root / "train" / f"{name}.jpg").unlink()

    with pytest.raises(ValueError, match="at least one image must exist. None of 3 does"):
        read("isic2020", root, allow_missing_images=True)


def test_a_missing_mask_error_names_the_file(isic2017, read):
    root = isic2017("Training")
    mask = root / "ISIC-2017_Training_Part1_GroundTruth" / "ISIC_0000001_segmentation.png"
    mask.unlink()

    with pytest.raises(ValueError) as error:
        read("isic2017", root)

    assert str(mask) in str(error.value) and "1 " in str(error.value)


def test_a_missing_mask_error_names_its_image(isic2017, read):
    root = isic2017("Training")
    (root / "ISIC-2017_Training_Part1_GroundTruth" / "ISIC_0000001_segmentation.png").unlink()

    with pytest.raises(ValueError, match="of image 'ISIC_0000001'"):
        read("isic2017", root)


def test_the_mask_of_an_image_that_is_missing_and_allowed_may_be_missing_too(isic2017, read):
    root = isic2017("Training")
    (root / "ISIC-2017_Training_Part1_GroundTruth" / "ISIC_0000001_segmentation.png").unlink()
    (root / "ISIC-2017_Training_Data" / "ISIC_0000001.jpg").unlink()

    table = read("isic2017", root, allow_missing_images=True)

    assert table["image_id"].tolist() == ["ISIC_0000000", "ISIC_0000002"]


def test_an_allowed_missing_mask_keeps_the_image_without_one_lists_and_counts_it(
    isic2017, make_config, caplog
):
    root = isic2017("Training")
    (root / "ISIC-2017_Training_Part1_GroundTruth" / "ISIC_0000001_segmentation.png").unlink()
    settings = make_config(source=("isic2017",), data_dir=(str(root),), allow_missing_images=True)

    with caplog.at_level(logging.WARNING):
        table, skipped = sources.make_manifest(settings.source, settings.preprocessing)

    assert (table["mask"] != "").tolist() == [True, False, True]
    assert skipped["image_id"].tolist() == ["ISIC_0000001"]
    assert skipped["reason"].tolist() == ["mask is missing; image kept without"]
    assert "1 have no mask file and are kept" in caplog.text


def test_a_missing_mask_error_names_the_flag_that_lets_it_pass(isic2017, read):
    root = isic2017("Training")
    (root / "ISIC-2017_Training_Part1_GroundTruth" / "ISIC_0000001_segmentation.png").unlink()

    with pytest.raises(ValueError, match="--allow_missing_images .* without a mask"):
        read("isic2017", root)


@pytest.mark.parametrize(
    "source", [name for name in sources.SOURCES if name not in ("synthetic", "manifest")]
)
def test_a_file_in_place_of_a_folder_is_refused_by_its_name(tmp_path, read, source):
    (tmp_path / "archive.zip").write_bytes(b"PK")

    with pytest.raises(ValueError) as error:
        read(source, tmp_path / "archive.zip")

    assert str(tmp_path / "archive.zip") in str(error.value)
