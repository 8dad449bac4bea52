"""A group has the numbers of its images, and none where it has too few patients."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import subgroups


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    count = 400
    labels = rng.integers(0, 2, count)
    sex = rng.choice(["female", "male", ""], count, p=[0.5, 0.45, 0.05])
    # For men the score knows nothing.
    signal = np.where(sex == "male", 0.0, 2.0) * labels
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(count)],
            "patient_id": [f"p{number // 2}" for number in range(count)],
            "label": labels.astype(float),
            "score": 1 / (1 + np.exp(-(signal + rng.normal(size=count) - 1))),
            "sex": sex,
            "age": rng.choice([20.0, 29.9, 30.0, 55.0, 70.0, 90.0, np.nan], count),
            "site": "back",
            "dice": rng.random(count),
        }
    )


def test_each_group_has_the_numbers_of_its_rows(table):
    found = subgroups.measure(table, 0.5).set_index(["attribute", "group"])

    female = table[table["sex"] == "female"]
    row = found.loc[("sex", "female")]
    expected = auc_intervals.auc(
        female["label"].to_numpy(int),
        female["score"].to_numpy(),
        female["patient_id"].to_numpy(),
    )
    assert (row["auc"], row["auc_low"], row["auc_high"]) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    flagged = female["score"] >= 0.5
    assert row["sensitivity"] == pytest.approx(flagged[female["label"] == 1].mean())
    assert row["dice"] == pytest.approx(female["dice"].mean())
    assert row["num_images"] == len(female) and row["num_melanoma"] == female["label"].sum()


def test_groups_are_in_order_and_what_is_missing_is_one(table):
    found = subgroups.measure(table, None)

    assert found[found["attribute"] == "sex"]["group"].tolist() == ["female", "male", "unknown"]
    ages = found[found["attribute"] == "age"]
    assert ages["group"].tolist() == [*subgroups.AGE_NAMES, "unknown"]
    assert ages["num_images"].sum() == len(table)
    below = table["age"].isin([20.0, 29.9]).sum()
    assert ages["num_images"].iloc[0] == below
    # One value is no group.
    assert "site" not in set(found["attribute"]) and "sensitivity" not in found


def test_a_group_without_melanoma_is_not_estimable_and_not_0(table):
    table.loc[table["sex"] == "", "label"] = 0.0
    row = subgroups.measure(table, 0.5).set_index("group").loc["unknown"].iloc[0]

    assert row["num_melanoma"] == 0
    assert np.isnan(row["auc"]) and np.isnan(row["sensitivity"])
    assert row["sensitivity_note"] == "n = 0"


def test_a_difference_is_seen_where_there_is_one_and_is_wider_for_more_groups(table):
    found = subgroups.measure(table, None, ["sex"]).set_index("group")

    assert found.loc["male", "auc_difference"] < -0.2
    assert found.loc["male", "auc_difference_high"] < 0
    halves = table.assign(sex=np.where(table["sex"] == "male", "male", "female"))
    two = subgroups.measure(halves, None, ["sex"]).set_index("group").loc["male"]
    many = subgroups.measure(table, None, ["age"]).set_index("group")
    assert (
        two["auc_difference_high"] - two["auc_difference_low"]
        < (many["auc_difference_high"] - many["auc_difference_low"]).min()
    )


def test_a_group_of_perfect_separation_has_a_difference_without_an_interval(table):
    women = table["sex"] == "female"
    table.loc[women, "score"] = 0.1 + 0.8 * table.loc[women, "label"]

    row = subgroups.measure(table, None, ["sex"]).set_index("group").loc["female"]

    assert row["auc"] == 1 and row["auc_difference"] > 0.2
    assert np.isnan(row["auc_low"]) and np.isnan(row["auc_difference_low"])


def test_any_column_makes_groups_and_one_that_is_missing_is_left_out(table):
    found = subgroups.measure(table.assign(camera=["a", "b"] * 200), None, ["camera", "clinic"])

    assert found["group"].tolist() == ["a", "b"]
    assert subgroups.measure(table, None, ["clinic"]).empty
