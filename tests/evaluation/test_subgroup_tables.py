"""Flags of a table reach the images that they are about, or the table is refused by name."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import subgroup_tables
from lbunet_tf.evaluation import subgroups
from lbunet_tf.serving import chosen
from lbunet_tf.settings import config

DEFAULT = subgroups.COLUMNS


@pytest.fixture
def rows():
    return pd.DataFrame(
        {"image_id": ["ISIC_0000000", "ISIC_0000001_downsampled", "x", "y"], "sex": ["f", "m"] * 2}
    )


@pytest.fixture
def write(tmp_path):
    """A function of lines that writes them to a CSV file and returns its path."""

    def _write(*lines, name="flags.csv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(tmp_path / name)

    return _write


def test_columns_of_0_and_1_are_attributes_and_what_is_not_known_is_empty(rows, write):
    path = write(
        "image_name,year,target,hair,ruler,label_string",
        "y,2020,1,1,0.0,benign",
        "ISIC_0000000.JPG,2020,0,0,,benign",
        "ISIC_0000001,2018,0,1,1.0,malignant",
        "another,2018,0,1,1,malignant",
    )

    found = subgroup_tables.read([path], rows, DEFAULT)

    assert found.index.tolist() == rows["image_id"].tolist()
    # `target` is the class, `year` is no flag, `label_string` is text.
    assert found.to_dict("list") == {
        "hair": ["no", "yes", "", "yes"],
        "ruler": ["", "yes", "", "no"],
    }


@pytest.fixture
def labelled(rows):
    return rows.assign(label=[1.0, 0.0, 0.0, np.nan])


@pytest.mark.parametrize("name", ["MEL", "is_melanoma", "benign_malignant", "Target"])
@pytest.mark.parametrize("values", [(1, 0, 0, 1), (0, 1, 1, 1), ("1.0", "", "0", "")])
def test_the_class_by_another_name_makes_no_groups_and_that_is_said(
    labelled, write, caplog, name, values
):
    pairs = zip(["ISIC_0000000", "ISIC_0000001", "x", "y"], values, [0, 1, 0, 1], strict=True)
    path = write(f"image_id,{name},hair", *(f"{one},{value},{hair}" for one, value, hair in pairs))

    found = subgroup_tables.read([path], labelled, DEFAULT)

    assert list(found) == ["hair"]
    assert (
        name == "Target" or f"flags.csv: no groups by {name}, which says the class" in caplog.text
    )
    assert list(subgroup_tables.read([path], labelled, (name,))) == [name]


@pytest.mark.parametrize(
    "lines",
    [
        # Other than the class of one image; of one class only.
        ["ISIC_0000000,1", "ISIC_0000001,0", "x,1"],
        ["ISIC_0000001,0", "x,0", "y,1", "another,1"],
    ],
)
def test_a_flag_that_is_not_the_class_of_all_images_makes_groups(labelled, write, lines):
    found = subgroup_tables.read([write("image_id,hair", *lines)], labelled, DEFAULT)

    assert list(found) == ["hair"]


def test_a_table_of_the_class_alone_is_refused(labelled, write):
    path = write("image_id,MEL", "ISIC_0000000,1", "x,0")

    with pytest.raises(ValueError, match="flags.csv must have a column of 0 and 1, except the cl"):
        subgroup_tables.read([path], labelled, DEFAULT)


def test_ids_with_folders_match_by_their_base_name(rows, write):
    path = write(
        "image_id,hair",
        "train/x.jpg,1",
        r"C:\photos\y.png,0",
        "/data/ISIC_0000001_downsampled.JPG,1",
    )

    found = subgroup_tables.read([path], rows, DEFAULT)

    assert found["hair"].tolist() == ["", "yes", "yes", "no"]


def test_folders_tell_images_apart_where_the_run_does_and_among_those_of_others(write):
    rows = pd.DataFrame({"image_id": ["nevus/x", "melanoma/x", "y"]})
    path = write("image_id,hair", "nevus/x.jpg,1", "melanoma/x.jpg,0", "a/z,1", "b/z,0", "y,1")

    assert subgroup_tables.read([path], rows, DEFAULT)["hair"].tolist() == ["yes", "no", "yes"]


def test_rows_of_one_image_complete_one_another(rows, write):
    path = write("image_id,hair,ruler", "x,1,", "x,,0", "y,0,1")

    found = subgroup_tables.read([path], rows, DEFAULT)

    known = found.loc[found["hair"] != "", ["hair", "ruler"]]
    assert known.values.tolist() == [["yes", "no"], ["no", "yes"]]


def test_two_folders_that_disagree_on_one_image_are_refused(rows, write):
    path = write("image_id,hair", "a/x.jpg,1", "b/x.jpg,0")

    with pytest.raises(ValueError, match="flags.csv must say one thing of each image.*'x'"):
        subgroup_tables.read([path], rows, DEFAULT)


def test_what_subgroups_names_is_taken_instead_flags_or_not(rows, write):
    path = write("image,hair,camera", "x,1,A", "y,0,B")

    found = subgroup_tables.read([path], rows, ("camera", "age"))

    assert found.to_dict("list") == {"camera": ["", "", "A", "B"]}


def test_the_default_is_that_of_the_flag():
    assert config.Config().score.subgroups == DEFAULT


def test_an_attribute_of_two_tables_is_one_of_each(rows, write):
    first = write("image_id,ruler,hair", "x,1,0", name="first.csv")
    second = write("isic_id;ruler", "x;0", name="second.csv")

    found = subgroup_tables.read([first, second], rows, DEFAULT)

    assert found.loc["x"].to_dict() == {
        "ruler (first)": "yes",
        "hair": "no",
        "ruler (second)": "no",
    }
    with pytest.raises(ValueError, match='"--subgroup_table" must name each file once'):
        subgroup_tables.read([first, first], rows, DEFAULT)


def test_no_table_gives_no_attributes(rows):
    found = subgroup_tables.read([], rows, DEFAULT)

    assert found.shape == (4, 0)


def test_an_image_that_is_named_twice_alike_is_one(rows, write):
    path = write("image_id,hair", "x,1", "x.png,1.0")

    assert subgroup_tables.read([path], rows, DEFAULT)["hair"].tolist() == ["", "", "yes", ""]


@pytest.mark.parametrize(
    "lines, asked, words",
    [
        (["name,hair", "x,1"], DEFAULT, "a column of image ids: image_id, .* Received: name, hair"),
        (["image_id,hair", "x,1", "x.jpg,0"], DEFAULT, "one thing.*'x': hair 'yes', 'no'"),
        (["image_id,hair", "z,1"], DEFAULT, "ids such as 'z', and images such as 'ISIC_0000000'"),
        (["image_id,year,target", "x,2020,1"], DEFAULT, "a column of 0 and 1, except the class"),
        (["image_id,hair", "x,"], DEFAULT, "a column of 0 and 1"),
        (["image_id,hair", "x,1"], ("ruler",), "one of the columns of --subgroups=ruler"),
        (["image_id,sex", "x,1"], DEFAULT, "columns that the run's own .* Received: sex"),
        (["image_id,sex", "x,f"], ("sex",), "columns that the run's own .* Received: sex"),
        (["image_id,dice", "x,1"], DEFAULT, "columns that the run's own .* Received: dice"),
        (["image_id,score_logit", "x,1"], DEFAULT, "the run's own .* Received: score_logit"),
        (["image_id,ita_estimate", "x,1"], DEFAULT, "the run's own .* Received: ita_estimate"),
        (["image_id,hair", "x,1,2"], DEFAULT, "as many cells as the first"),
        ([""], DEFAULT, "must be a CSV table"),
    ],
)
def test_a_table_that_says_nothing_or_too_much_is_refused_by_name(rows, write, lines, asked, words):
    path = write(*lines, name="artefacts.csv")

    with pytest.raises(ValueError, match=rf"artefacts\.csv.*{words}"):
        subgroup_tables.read([path], rows, asked)


def test_a_column_of_many_values_has_no_groups(write):
    rows = pd.DataFrame({"image_id": [f"i{number}" for number in range(30)]})
    path = write("image_id,width", *(f"i{number},{number}" for number in range(30)))

    with pytest.raises(ValueError, match="flags.csv must have at most 20 values.*width with 30"):
        subgroup_tables.read([path], rows, ("width",))


def test_a_file_that_is_not_there_is_named(rows, tmp_path):
    with pytest.raises(ValueError, match='"--subgroup_table" must name CSV files.*nowhere.csv'):
        subgroup_tables.read([str(tmp_path / "nowhere.csv")], rows, DEFAULT)


def test_flags_make_groups_of_the_predictions_they_are_joined_to(rows, write):
    path = write("image_id,hair", "x,1", "ISIC_0000000,0")
    table = rows.assign(label=[0.0, 1.0, 0.0, 1.0], score=0.5, score_logit=0.0)

    joined = table.join(subgroup_tables.read([path], rows, DEFAULT), on="image_id")

    found = subgroups.measure(joined, chosen.Chosen(), ["hair"])
    assert found["group"].tolist() == ["no", "yes", "unknown"]
    assert found["num_images"].tolist() == [1, 1, 2]
