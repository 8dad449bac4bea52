"""A predictions table of which numbers would be wrong is refused by name and row."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import contract


@pytest.fixture
def table():
    return pd.DataFrame(
        {"image_id": list("abcd"), "label": [1, 0, np.nan, 1], "score": [0.5, np.nan, 0.1, 1.0]}
    )


def test_a_good_table_passes(table):
    contract.check(table, "predictions.csv")


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("image_id", "a", "image_id each image once"),
        ("label", 2, "label 0, 1 or empty"),
        ("label", 0.5, "label 0, 1 or empty"),
        ("score", 1.7, "score in 0..1 or empty"),
        ("score", -0.1, "score in 0..1 or empty"),
        ("score", np.inf, "score in 0..1 or empty"),
        ("score", "high", "score in 0..1 or empty"),
    ],
)
def test_a_bad_row_is_named(table, column, value, words):
    table[column] = table[column].astype(object)
    table.loc[2, column] = value

    with pytest.raises(ValueError, match=f"x.csv must have a {words}.*row 3, image '[ac]'"):
        contract.check(table, "x.csv")


def test_a_patient_is_the_first_that_is_known_within_a_source():
    table = pd.DataFrame(
        {
            "image_id": ["a", "b", "c", "d", "e"],
            "patient_id": ["p", "p", "", None, "p"],
            "lesion_id": ["l", "m", "n", "", "l"],
            "source": ["x", "x", "x", "x", "y"],
        }
    )

    key, words = contract.patients(table)

    assert key[0] == key[1] and len(set(key)) == 4
    assert words == "patient, else lesion, else image"


def test_without_patients_every_image_is_one(table):
    key, words = contract.patients(table)

    assert len(set(key)) == 4 and words == "image"
