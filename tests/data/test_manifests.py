"""Tests of `lbunet_tf.data.manifests`."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.data import manifests
from lbunet_tf.data import prediction_columns
from lbunet_tf.storage import whole_files


def _csv(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return path


def test_complete_adds_our_columns_in_order_before_further_ones():
    table = pd.DataFrame({"device": ["x"], "image": ["a.png"], "image_id": ["a"]})

    completed = manifests.complete(table, "folder")

    assert list(completed.columns) == [*manifests.COLUMNS, "device"]


def test_complete_leaves_unknown_text_empty_and_unknown_numbers_missing():
    table = pd.DataFrame({"image_id": ["a"], "image": ["a.png"], "sex": [None]})

    row = manifests.complete(table, "folder").iloc[0]

    assert row["sex"] == "" and row["mask"] == "" and row["patient_id"] == ""
    assert np.isnan(row["label"]) and np.isnan(row["age"]) and np.isnan(row["skin_type"])


@pytest.mark.parametrize("word", ["", "unknown", "Unknown", "nan", None, np.nan, " "])
def test_an_age_that_says_unknown_is_missing(word):
    table = pd.DataFrame({"image_id": ["a", "b"], "image": ["a", "b"], "age": [word, "45"]})

    ages = manifests.complete(table, "folder")["age"]

    assert np.isnan(ages[0]) and ages[1] == 45.0


def test_a_number_column_with_text_names_the_column_the_value_and_the_image():
    table = pd.DataFrame({"image_id": ["a", "b"], "image": ["a", "b"], "label": ["1", "mel"]})

    with pytest.raises(ValueError, match=r"\"label\".*'mel' in row 2, image 'b'"):
        manifests.complete(table, "folder")


def test_complete_does_not_change_the_table_it_is_given():
    table = pd.DataFrame({"image_id": ["a"], "image": ["a.png"]})

    manifests.complete(table, "folder")

    assert list(table.columns) == ["image_id", "image"]


def test_a_manifest_that_keeps_the_rules_comes_back_unchanged(make_table):
    table = make_table(3, label=[0, 1, np.nan], split=["train", "val", ""])

    pd.testing.assert_frame_equal(manifests.check(table), table)


def test_a_manifest_without_rows_is_refused(make_table):
    with pytest.raises(ValueError, match="at least one image. Received: 0 rows"):
        manifests.check(make_table(2).iloc[:0])


def test_a_repeated_image_id_error_names_the_id_the_row_and_both_files(make_table):
    table = make_table(4)
    table.loc[2, "image_id"] = "i0001"

    with pytest.raises(ValueError) as error:
        manifests.check(table)

    message = str(error.value)
    assert "image_id must be unique" in message
    assert "row 2 (image_id='i0001'" in message
    assert "/d/i0001.png" in message and "/d/i0002.png" in message


def test_an_empty_image_id_is_refused_by_its_row(make_table):
    table = make_table(3)
    table.loc[2, "image_id"] = ""

    with pytest.raises(ValueError, match=r"needs an image_id.*row 3 "):
        manifests.check(table)


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_a_label_other_than_0_and_1_is_refused_by_its_row(make_table, label):
    with pytest.raises(ValueError, match=r"label must be 1 \(melanoma\), 0 .*row 2 "):
        manifests.check(make_table(3, label=[0, label, 1]))


def test_a_split_of_another_name_is_refused_by_its_row(make_table):
    with pytest.raises(ValueError, match=r"split must be one of train, val, test.*row 3 .*'dev'"):
        manifests.check(make_table(3, split=["train", "", "dev"]))


def test_read_needs_the_columns_image_id_and_image_and_names_the_file(tmp_path):
    path = _csv(tmp_path, "name,image\na,a.png\n")

    with pytest.raises(ValueError) as error:
        manifests.read(path)

    assert str(path) in str(error.value)
    assert '"image_id" and "image"' in str(error.value)
    assert "Received: name, image" in str(error.value)


def test_read_carries_further_columns_as_they_are_written(tmp_path):
    path = _csv(tmp_path, "image_id,image,device,batch\na,a.png,NA,007\n")

    row = manifests.read(path).iloc[0]

    assert row["device"] == "NA" and row["batch"] == "007"


def test_read_keeps_the_source_that_the_file_names(tmp_path):
    path = _csv(tmp_path, "image_id,image,source\na,a.png,isic2017\nb,b.png,clinic\n")

    assert manifests.read(path)["source"].tolist() == ["isic2017", "clinic"]


def test_read_calls_the_source_manifest_where_the_file_names_none(tmp_path):
    path = _csv(tmp_path, "image_id,image\na,a.png\n")

    assert manifests.read(path)["source"].tolist() == ["manifest"]


def test_read_takes_a_file_that_a_spreadsheet_saved_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("image_id,image,label\na,a.png,1\n", encoding="utf-8-sig")

    assert manifests.read(path)["image_id"].tolist() == ["a"]


def test_a_written_manifest_reads_back_equal(tmp_path, make_table):
    table = make_table(
        3, label=[0, 1, np.nan], age=[45, np.nan, 60.5], sex=["female", "", "male"], device="x"
    )
    table.to_csv(tmp_path / "rows.csv", index=False)

    pd.testing.assert_frame_equal(
        manifests.read(tmp_path / "rows.csv"), table, check_dtype=False, check_column_type=False
    )


def test_describe_counts_each_split_in_the_order_train_val_test(make_table):
    table = make_table(
        6,
        label=[1, 0, np.nan, 1, 0, 0],
        split=["test", "train", "train", "train", "val", "test"],
        mask=["m", "", "m", "", "", ""],
        patient_id=["p", "q", "q", "", "r", "p"],
        lesion_id=["a", "b", "c", "", "d", "e"],
    )

    lines = [line.split() for line in manifests.describe(table).splitlines()]

    assert lines == [
        "split source images melanoma other unknown masks patients lesions".split(),
        "train folder 3 1 1 1 1 1 2".split(),
        "val folder 1 0 1 0 0 1 1".split(),
        "test folder 2 1 1 0 1 1 2".split(),
    ]


def test_columns_that_evaluation_adds_are_refused_by_name(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("image_id,image,score,dice\na,a.png,0.5,0.9\n")
    with pytest.raises(ValueError, match="Received: score, dice"):
        manifests.read(path)


@pytest.mark.parametrize("column", prediction_columns.RESERVED)
def test_a_column_that_evaluation_adds_is_refused_by_its_name(make_table, column):
    with pytest.raises(ValueError, match=f"Received: {column}; rename"):
        manifests.check(make_table(2, **{column: 1.0}))


@pytest.mark.parametrize("column", ["flagged", "prediction_set", "calibrated_score", "place"])
def test_a_column_that_evaluation_does_not_add_stays(make_table, column):
    table = manifests.check(make_table(2, **{column: 1.0}))

    assert table[column].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("column", ["patient_id", "lesion_id", "duplicate_group", "sex", "site"])
@pytest.mark.parametrize("word", ["unknown", "NA", "n/a", "None", "NaN", " null ", ""])
def test_an_identity_that_says_unknown_is_empty(column, word):
    table = pd.DataFrame({"image_id": ["a", "b"], "image": ["a", "b"], column: [word, "P1"]})

    assert manifests.complete(table, "folder")[column].tolist() == ["", "P1"]


def test_an_image_may_be_called_na():
    table = pd.DataFrame({"image_id": ["NA"], "image": ["NA.png"], "diagnosis": ["unknown"]})

    row = manifests.complete(table, "folder").iloc[0]

    assert row["image_id"] == "NA" and row["diagnosis"] == "unknown"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("name,image\na,a.png\n", id="a column is missing"),
        pytest.param("image_id,image,label\na,a.png,mel\n", id="a word for a label"),
        pytest.param("image_id,image,label\na,a.png,2\n", id="another label"),
        pytest.param("image_id,image\na,a.png\na,b.png\n", id="an id twice"),
        pytest.param("image_id,image,score\na,a.png,1\n", id="a reserved column"),
        pytest.param("image_id,image\n", id="no rows"),
        pytest.param("", id="nothing"),
    ],
)
def test_an_error_of_read_carries_the_path_of_the_file(tmp_path, text):
    path = _csv(tmp_path, text)

    with pytest.raises(ValueError) as error:
        manifests.read(path)

    assert str(error.value).startswith(f"{path}: ")


def test_read_refuses_rows_with_a_field_too_many_instead_of_shifting_columns(tmp_path):
    # pandas would take the first field of each row for an index.
    path = _csv(tmp_path, "image_id,image,mask\na,a.png,a_mask.png,x\n")

    with pytest.raises(ValueError) as error:
        manifests.read(path)

    assert str(path) in str(error.value)


def test_files_that_are_all_there_pass(tmp_path, make_table, write_image, write_mask):
    image, mask = write_image(tmp_path / "a.png"), write_mask(tmp_path / "b.png")
    table = make_table(2, image=str(image), mask=[str(mask), ""])

    assert manifests.check_files_exist(table) is table


@pytest.mark.parametrize("column", ["image", "mask"])
def test_a_file_that_is_gone_is_an_error_with_image_row_file_and_count(
    tmp_path, make_table, write_image, column
):
    there, gone = str(write_image(tmp_path / "a.png")), str(tmp_path / "gone.png")
    table = make_table(3, image=there, mask=there)
    table.loc[1:, column] = gone

    with pytest.raises(ValueError, match=f"every {column} of the run's manifest") as error:
        manifests.check_files_exist(table)

    message = str(error.value)
    assert "2 of 3 are gone" in message and "'i0001', row 2" in message and gone in message


@pytest.mark.parametrize(
    "name", ["a.png", "b/a.png", "./a.png", "b//a.png", "b/./a.png", "../a.png", "/a.png", "b/"]
)
def test_a_path_is_the_one_that_pathlib_makes_of_folder_and_name(tmp_path, name):
    (tmp_path / "m.csv").write_text(f"image_id,image,mask\na,{name},\n")

    table = manifests.read(tmp_path / "m.csv")

    assert table.loc[0, "image"] == str(tmp_path / name)
    assert table.loc[0, "mask"] == ""


@pytest.mark.parametrize("mark", [" ", "\t", "\xa0", "\ufeff", "\u200b", "\u3000", "\u202a"])
@pytest.mark.parametrize(
    "column",
    ["image_id", "patient_id", "lesion_id", "duplicate_group", "source", "split", "sex", "site"],
)
def test_ids_and_words_are_stripped(tmp_path, column, mark):
    path = _csv(tmp_path, f"image_id,image,{column}x\na,a.png,\n".replace(f"{column}x", "note"))
    header = "image,image_id" if column == "image_id" else f"image_id,image,{column}"
    row = f"a.png,{mark}val{mark}" if column == "image_id" else f"a,a.png,{mark}val{mark}"
    path.write_text(f"{header}\n{row}\n")

    assert manifests.read(path)[column].tolist() == ["val"]


def test_ids_of_two_forms_of_unicode_are_one_patient(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("image_id,image,patient_id\na,a.png,Jos\u00e9\nb,b.png,Jose\u0301\n", "utf-8")

    assert manifests.read(path)["patient_id"].nunique() == 1


def test_image_ids_of_two_forms_of_unicode_are_one_and_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("image_id,image\n\u00e9,a.png\ne\u0301,b.png\n", "utf-8")

    with pytest.raises(ValueError, match="image_id must be unique.*a.png.*b.png"):
        manifests.read(path)


def test_ids_that_differ_in_capitals_stay_two(make_table):
    table = make_table(2, image_id=["IMG_1", "img_1"])

    assert manifests.check(table)["image_id"].tolist() == ["IMG_1", "img_1"]


@pytest.mark.parametrize("column", ["image_id", "patient_id", "lesion_id", "image", "mask"])
@pytest.mark.parametrize("value", ["a\0b", "a\nb", "a\rb", "a\x1bb", "a\x85b", "caf\udce9"])
def test_a_value_that_no_table_holds_is_refused_by_column_and_row(make_table, column, value):
    table = make_table(3).astype({column: object})
    table.loc[1, column] = value

    with pytest.raises(ValueError, match=f"{column} must be UTF-8 .*row 2 ") as error:
        manifests.check(table)

    assert repr(value) in str(error.value) and value not in str(error.value)


@pytest.mark.parametrize("word", ["-", "?", "...", "#N/A", "<NA>", "Anonymous", "missing"])
def test_an_id_that_names_no_one_is_empty_and_counted(caplog, word):
    table = pd.DataFrame({"image_id": ["a", "b"], "image": ["a", "b"], "patient_id": [word, "P-1"]})

    with caplog.at_level("INFO", "absl"):
        completed = manifests.complete(table, "folder")

    assert completed["patient_id"].tolist() == ["", "P-1"]
    assert f"patient_id of source folder: 1 of 2 say {word!r}" in caplog.text


@pytest.mark.parametrize("count, is_warned", [(20, True), (10, False)])
def test_one_patient_of_most_images_is_said_aloud(make_table, caplog, count, is_warned):
    patients = ["0"] * (count * 6 // 10) + [f"p{number}" for number in range(count * 4 // 10)]

    with caplog.at_level("WARNING", "absl"):
        manifests.warn_of_one_patient(make_table(count, patient_id=patients))

    assert ("patient_id '0' is the value for 12 of 20 images" in caplog.text) == is_warned


def test_an_id_that_looks_like_a_number_is_read_as_it_is_written(tmp_path):
    path = _csv(tmp_path, "image_id,image,patient_id\n007,a.png,12\n7,b.png,12.0\n8,c.png,\n")

    table = manifests.read(path)

    assert table["image_id"].tolist() == ["007", "7", "8"]
    assert table["patient_id"].tolist() == ["12", "12.0", ""]


def test_columns_of_other_spelling_are_ours_and_said(tmp_path, caplog):
    path = tmp_path / "m.csv"
    path.write_text("image_id,image,Label,Patient ID,lesionId,Split\na,a.jpg,1,p1,l1,test\n")

    table = manifests.read(path)

    found = table[["label", "patient_id", "lesion_id", "split"]].iloc[0].tolist()
    assert found == [1, "p1", "l1", "test"]
    assert "Patient ID as patient_id" in caplog.text


def test_a_column_of_ours_wins_over_one_of_other_spelling(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("image_id,image,Split,split\na,a.jpg,nonsense,val\n")

    assert manifests.read(path)["split"].tolist() == ["val"]


def test_a_comma_in_quotes_separates_nothing(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text('image_id;image;"age, in years"\na;a.jpg;40\n')

    assert manifests.read(path)["age, in years"].tolist() == ["40"]


def test_a_carriage_return_within_a_cell_is_read_back(tmp_path, make_table):
    table = manifests.complete(make_table(3).assign(notes="one\rtwo"), "manifest")
    whole_files.write_table(tmp_path / "m.csv", table)

    found = manifests.read(tmp_path / "m.csv")

    assert found["notes"].tolist() == table["notes"].tolist()
    assert found["image_id"].tolist() == table["image_id"].tolist()


def test_a_label_against_its_diagnosis_is_said(make_table, caplog):
    table = make_table(3)
    table = table.assign(label=[1.0] + [0.0] * (len(table) - 1), diagnosis="nevus")

    manifests.warn_of_contradictions(table)
    assert f"1 of {len(table)} images have a label that their diagnosis contradicts" in caplog.text
    caplog.clear()
    manifests.warn_of_contradictions(table.assign(diagnosis="malignant"))
    assert caplog.text == ""


def test_columns_of_other_spelling_whose_values_are_no_ours_stay(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("image_id,image,Label,Split,Age\na,a.jpg,benign,fold1,50-55\n")

    table = manifests.read(path)

    assert table[["Label", "Split", "Age"]].iloc[0].tolist() == ["benign", "fold1", "50-55"]
    assert table["split"].tolist() == [""] and table["label"].isna().all()


def test_signs_in_quotes_separate_nothing(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text('image_id,image,"site; side; view; note"\na,a.jpg,x\n')

    assert manifests.read(path)["site; side; view; note"].tolist() == ["x"]


def test_a_manifest_with_quoted_names_is_known_as_prepared(tmp_path, make_table):
    table = make_table(2).assign(content_hash="c", notes="one\rtwo")
    whole_files.write_table(tmp_path / "m.csv", table)

    assert manifests.is_prepared(tmp_path / "m.csv")
