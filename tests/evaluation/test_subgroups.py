"""A group has the numbers of its images, and none where it has too few patients."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import conformal
from lbunet_tf.evaluation import skin_tone
from lbunet_tf.evaluation import subgroups
from lbunet_tf.serving import calibrated
from lbunet_tf.serving import chosen
from lbunet_tf.serving import prediction_sets


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    count = 400
    labels = rng.integers(0, 2, count)
    sex = rng.choice(["female", "male", ""], count, p=[0.5, 0.45, 0.05])
    # For men the score knows nothing.
    signal = np.where(sex == "male", 0.0, 2.0) * labels
    logits = signal + rng.normal(size=count) - 1
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(count)],
            "patient_id": [f"p{number // 2}" for number in range(count)],
            "label": labels.astype(float),
            "score": 1 / (1 + np.exp(-logits)),
            "score_logit": logits,
            "sex": sex,
            "age": rng.choice([20.0, 29.9, 30.0, 55.0, 70.0, 90.0, np.nan], count),
            "site": "back",
            "dice": rng.random(count),
        }
    )


def test_each_group_has_the_numbers_of_its_rows(table):
    found = subgroups.measure(table, chosen.Chosen(0.5)).set_index(["attribute", "group"])

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
    found = subgroups.measure(table, chosen.Chosen())

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
    row = subgroups.measure(table, chosen.Chosen(0.5)).set_index("group").loc["unknown"].iloc[0]

    assert row["num_melanoma"] == 0
    assert np.isnan(row["auc"]) and np.isnan(row["sensitivity"])
    assert row["sensitivity_note"] == "n = 0"


def test_a_difference_is_seen_where_there_is_one_and_is_wider_for_more_groups(table):
    found = subgroups.measure(table, chosen.Chosen(), ["sex"]).set_index("group")

    assert found.loc["male", "auc_difference"] < -0.2
    assert found.loc["male", "auc_difference_high"] < 0
    halves = table.assign(sex=np.where(table["sex"] == "male", "male", "female"))
    two = subgroups.measure(halves, chosen.Chosen(), ["sex"]).set_index("group").loc["male"]
    many = subgroups.measure(table, chosen.Chosen(), ["age"]).set_index("group")
    assert (
        two["auc_difference_high"] - two["auc_difference_low"]
        < (many["auc_difference_high"] - many["auc_difference_low"]).min()
    )


def test_groups_differ_from_those_that_are_known_and_the_unknown_from_all(table):
    # Of the unknown the score says the opposite of the truth.
    table["hair"] = np.tile(["no", "yes", "", ""], 100)
    unknown = table["hair"] == ""
    table.loc[unknown, "score"] = 1 - table.loc[unknown, "score"]

    found = subgroups.measure(table, chosen.Chosen(), ["hair"]).set_index("group")

    auc = found["auc"]
    assert found.loc["yes", "auc_difference"] == pytest.approx(auc["yes"] - auc["no"])
    assert found.loc["no", "auc_difference"] == pytest.approx(auc["no"] - auc["yes"])
    assert found.loc["unknown", "auc_difference"] < -0.3
    # With one group that is known, the unknown are all there is to compare it with.
    table.loc[~unknown, "hair"] = "yes"
    one = subgroups.measure(table, chosen.Chosen(), ["hair"]).set_index("group")
    assert one.loc["yes", "auc_difference"] == pytest.approx(-one.loc["unknown", "auc_difference"])


def test_a_group_of_perfect_separation_has_a_difference_without_an_interval(table):
    women = table["sex"] == "female"
    table.loc[women, "score"] = 0.1 + 0.8 * table.loc[women, "label"]

    row = subgroups.measure(table, chosen.Chosen(), ["sex"]).set_index("group").loc["female"]

    assert row["auc"] == 1 and row["auc_difference"] > 0.2
    assert pd.isna(row["auc_low"]) and pd.isna(row["auc_difference_low"])
    assert row["auc_difference_note"].startswith("this group: perfect separation")


def test_each_difference_has_its_method_or_why_there_is_none(table):
    table.loc[table["sex"] == "", "label"] = 0.0

    found = subgroups.measure(table, chosen.Chosen(0.5), ["sex"]).set_index("group")

    for name in ("auc", "sensitivity", "specificity", "dice"):
        assert "patients" in found.loc["male", f"{name}_difference_note"]
        ends = [f"{name}_difference{end}" for end in ("_low", "", "_high")]
        assert found.loc["male", ends].is_monotonic_increasing
    unknown = found.loc["unknown"]
    assert pd.isna(unknown["auc_difference"]) and pd.isna(unknown["sensitivity_difference"])
    assert unknown["auc_difference_note"].startswith("this group: n = 0 melanomas of ")
    reason = "this group: n = 0 patients with melanoma images, 10 needed"
    assert unknown["sensitivity_difference_note"] == reason
    # The others whose group is known have no part in that.
    assert not pd.isna(found.loc["female", "sensitivity_difference_low"])


def test_any_column_makes_groups_and_one_that_is_missing_is_left_out(table):
    found = subgroups.measure(
        table.assign(camera=["a", "b"] * 200), chosen.Chosen(), ["camera", "clinic"]
    )

    assert found["group"].tolist() == ["a", "b"]
    assert subgroups.measure(table, chosen.Chosen(), ["clinic"]).empty


def test_each_group_has_observed_to_expected_melanomas_of_calibrated_probabilities(table):
    shift = calibrated.Calibration("platt", (1.0, 0.7))

    found = subgroups.measure(table, chosen.Chosen(calibration=shift), ["sex"])

    female = table[table["sex"] == "female"]
    said = shift.apply(female["score_logit"].to_numpy())
    row = found.set_index("group").loc["female"]
    assert row["observed_to_expected"] == pytest.approx(female["label"].sum() / said.sum())
    assert row["observed_to_expected_low"] < row["observed_to_expected"]
    assert row["observed_to_expected"] < row["observed_to_expected_high"]
    assert row["observed_to_expected_note"].endswith("calibrated (platt)")


def test_without_a_calibration_probabilities_are_taken_as_they_are(table):
    row = subgroups.measure(table, chosen.Chosen(), ["sex"]).set_index("group").loc["male"]

    male = table[table["sex"] == "male"]
    expected = male["label"].sum() / male["score"].sum()
    assert row["observed_to_expected"] == pytest.approx(expected)
    assert row["observed_to_expected_note"].endswith("as they are")


def test_each_group_has_the_coverage_and_the_size_of_its_sets(table):
    sets = prediction_sets.BinarySets(benign=0.4, melanoma=0.3)

    found = subgroups.measure(table, chosen.Chosen(sets=sets), ["sex"])

    male = table[table["sex"] == "male"]
    row = found.set_index("group").loc["male"]
    melanoma = male["label"] == 1
    assert row["coverage_melanoma"] == pytest.approx((male["score"][melanoma] >= 0.3).mean())
    assert row["coverage_benign"] == pytest.approx((male["score"][~melanoma] <= 0.4).mean())
    size = (male["score"] >= 0.3).astype(int) + (male["score"] <= 0.4)
    assert row["set_size"] == pytest.approx(size.mean())
    assert 0 < row["set_size_low"] < row["set_size"] < row["set_size_high"] < 2
    assert row["coverage_melanoma_low"] < row["coverage_melanoma"]


def test_sets_cover_what_their_names_say():
    sets = prediction_sets.BinarySets(benign=0.3, melanoma=0.4)
    scores = np.array([0.1, 0.1, 0.35, 0.9])

    assert sets.names(scores).tolist() == ["benign", "benign", "neither", "melanoma"]
    assert conformal.covered(sets, np.array([0, 1, 1, 1]), scores).tolist() == [1, 0, 0, 1]
    assert conformal.sizes(sets, scores).tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("size, expected", [(1, None), (2, 2)])
def test_sets_that_are_all_alike_have_no_interval_below_what_is_known(table, size, expected):
    # All sets hold one class, or all both.
    table["score"] = 0.2
    sets = prediction_sets.BinarySets(benign=0.3, melanoma=0.1 if size == 2 else 0.4)

    found = subgroups.measure(table, chosen.Chosen(sets=sets), ["sex"])

    row = found.set_index("group").loc["female"]
    assert row["set_size"] == size
    high = row["set_size_high"]
    assert high == expected if expected else pd.isna(high)


def test_a_group_of_too_few_melanomas_has_no_calibration_and_not_0(table):
    table.loc[table["sex"] == "", "label"] = 0.0
    sets = prediction_sets.BinarySets(benign=0.4, melanoma=0.3)

    row = subgroups.measure(table, chosen.Chosen(sets=sets), ["sex"]).set_index("group")
    row = row.loc["unknown"]

    assert np.isnan(row["observed_to_expected"]) and np.isnan(row["coverage_melanoma"])
    assert "patients with melanoma images, 10 needed" in row["observed_to_expected_note"]
    assert row["coverage_melanoma_note"] == "n = 0"


def test_an_estimate_of_skin_tone_makes_groups_by_its_categories_when_asked(table):
    angles = np.tile([80.0, 55.0, 45.0, 30.0, 11.0, -10.0, -50.0, np.nan], 50)
    table[skin_tone.COLUMNS[0]] = angles

    found = subgroups.measure(table, chosen.Chosen(), [skin_tone.COLUMNS[0]])

    assert found["group"].tolist() == [*skin_tone.CATEGORIES, "unknown"]
    # 55 itself is light.
    assert found["num_images"].tolist() == [50, 100, 50, 50, 50, 50, 50]
    assert skin_tone.COLUMNS[0] not in subgroups.COLUMNS


def test_an_empty_table_has_no_groups(table):
    assert subgroups.measure(table.iloc[:0], chosen.Chosen(0.5)).empty
