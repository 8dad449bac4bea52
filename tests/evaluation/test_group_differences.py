"""A group differs from the others by what its images differ by, and patients may be in both."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import group_differences
from lbunet_tf.evaluation import intervals

CUT = 0.5
MEANS = tuple(group_differences.MEANS)


def make_table(rng, num_patients, per_patient=4):
    """A table of patients with images of both classes, which resemble each other."""
    patients = np.repeat(np.arange(num_patients), per_patient)
    labels = np.tile([1.0, 0.0], len(patients) // 2)
    shared = rng.normal(size=num_patients)[patients]
    logits = 1.5 * labels - 0.75 + 0.8 * shared + 0.6 * rng.normal(size=len(patients))
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(len(patients))],
            "patient_id": [f"p{number}" for number in patients],
            "label": labels,
            "score": 1 / (1 + np.exp(-logits)),
            "dice": 1 / (1 + np.exp(-1 - shared / 2 - rng.normal(size=len(patients)) / 2)),
        }
    )


@pytest.fixture
def table():
    return make_table(np.random.default_rng(0), 100)


@pytest.fixture
def group():
    return np.random.default_rng(1).choice(["a", "b", "c", "unknown"], 400)


def differences(table, group, threshold=CUT):
    return group_differences.of_groups(table, group, sorted(set(group)), threshold)


def rates(rows):
    flagged = rows["score"] >= CUT
    return {
        "sensitivity": flagged[rows["label"] == 1].mean(),
        "specificity": (~flagged[rows["label"] == 0]).mean(),
        "dice": rows["dice"].mean(),
    }


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("one, compared", [("a", ["b", "c"]), ("unknown", ["a", "b", "c"])])
def test_a_group_has_its_rates_minus_those_of_the_others(table, group, name, one, compared):
    found = differences(table, group)[one][name]

    expected = rates(table[group == one])[name] - rates(table[np.isin(group, compared)])[name]
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high


def test_an_interval_is_of_the_patient_bootstrap_and_holds_for_all_groups_at_once(table, group):
    found = differences(table, group)["a"]["sensitivity"]

    is_melanoma, is_own = table["label"] == 1, group == "a"
    is_other = np.isin(group, ["b", "c"])
    flagged = (table["score"] >= CUT).to_numpy()

    def of_weights(weights):
        own, other = (weights[:, is_melanoma & side] for side in (is_own, is_other))
        own_rate = own @ flagged[is_melanoma & is_own] / own.sum(axis=1)
        return own_rate - other @ flagged[is_melanoma & is_other] / other.sum(axis=1)

    draws = intervals.bootstrap(of_weights, table["patient_id"].to_numpy(str))
    # Four groups: 5 % / 4 in both tails together.
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [1 / 160, 159 / 160])))


def test_a_patient_on_both_sides_is_drawn_on_both(table):
    # Each patient's first two images are in one group; the next two are nearly the same again.
    is_first = np.arange(400) % 4 < 2
    table.loc[~is_first, "dice"] = table.loc[is_first, "dice"].to_numpy()
    group = np.where(is_first, "a", "b")
    same = differences(table, group)["a"]["dice"]
    table.loc[is_first, "dice"] += np.random.default_rng(2).normal(size=200) / 100

    found = differences(table, group)["a"]["dice"]
    apart = differences(table.assign(patient_id=table["patient_id"] + group), group)["a"]["dice"]

    assert found.high - found.low < 0.2 * (apart.high - apart.low)
    assert (same.value, same.low) == (pytest.approx(0), None)
    assert same.method == "every patient is alike on both sides"


@pytest.mark.parametrize(
    "name, change, side, reason",
    [
        ("sensitivity", {"label": 0.0}, "this group", "n = 0 patients with melanoma images"),
        ("specificity", {"label": 1.0}, "this group", "n = 0 patients with other images"),
        ("dice", {"dice": np.nan}, "this group", "n = 0 patients with masks"),
        ("dice", {"patient_id": "p"}, "this group", "n = 1 patients with masks, 10 needed"),
        ("sensitivity", {"score": 0.9}, "this group", "patients are alike"),
    ],
)
def test_a_difference_of_too_little_is_not_estimable(table, name, change, side, reason):
    group = np.repeat(["a", "b"], 200)
    for column, value in change.items():
        table.loc[group == "a", column] = value

    found = differences(table, group)

    assert (found["a"][name].low, found["a"][name].high) == (None, None)
    assert found["a"][name].method.startswith(side) and reason in found["a"][name].method
    # From the other side it is the same.
    assert found["b"][name].method == found["a"][name].method.replace(side, "the others")
    has_value = name != "dice" or "patient_id" in change
    has_value &= "label" not in change
    assert (found["a"][name].value is not None) == has_value


def test_nine_patients_are_too_few_and_ten_are_enough(table):
    for count in (9, 10):
        group = np.where(np.arange(400) < 4 * count, "a", "b")

        found = differences(table, group)

        for name in ("auc", *MEANS):
            assert (found["a"][name].low is None) == (count == 9)


def test_without_a_threshold_masks_or_scores_there_is_no_such_difference(table, group):
    assert set(differences(table, group, None)["a"]) == {"auc", "dice"}
    assert set(differences(table.drop(columns="dice"), group)["a"]) == {
        *("auc", "sensitivity", "specificity"),
    }
    assert set(differences(table.assign(score=np.nan), group)["a"]) == {"dice"}
    assert differences(table.assign(score=np.nan, dice=np.nan), group)["a"] == {}


def test_intervals_hold_0_for_all_groups_at_once_where_patients_are_in_several(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    rng = np.random.default_rng(0)
    draws, held = 150, dict.fromkeys(("auc", *MEANS), 0)
    for _ in range(draws):
        table = make_table(rng, 120)
        found = differences(table, rng.choice(["a", "b", "c"], len(table)))
        for name in held:
            held[name] += all(one[name].low <= 0 <= one[name].high for one in found.values())

    for count in held.values():
        assert 0.9 <= count / draws <= 0.99
