"""What a comparison says of two experiments is the paired test by patient, of one seed."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import auc_intervals
from lbunet_tf.evaluation import class_scores
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import differences
from lbunet_tf.evaluation import intervals
from tests.evaluation import diagnoses


def table(seed, shift, images=80):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, images)
    noise = np.random.default_rng(seed + 1).normal(size=images)
    score = 1 / (1 + np.exp(-(shift * labels + noise)))
    return pd.DataFrame(
        {
            "image_id": [f"{seed}-{number}" for number in range(images)],
            "patient_id": [f"p{number // 2}" for number in range(images)],
            "label": labels.astype(float),
            "score": score,
            "dice": 0.7 + shift / 20 + shift * noise / 100,
        }
    )


@pytest.fixture
def tables():
    return {
        ("a", 0): table(0, 1.0),
        ("a", 1): table(1, 1.0),
        ("b", 0): table(0, 2.0),
        ("b", 1): table(1, 2.0),
        ("c", 0): table(0, 1.1),
    }


def test_each_experiment_is_compared_with_the_first_of_its_seed(tables):
    found = differences.of_runs(tables)

    assert found[["seed", "experiment", "compared_with"]].values.tolist() == [
        [0, "b", "a"],
        [0, "c", "a"],
        [1, "b", "a"],
    ]
    first = tables["a", 0]
    expected = auc_intervals.auc_difference(
        first["label"].to_numpy(int),
        tables["b", 0]["score"].to_numpy(),
        first["score"].to_numpy(),
        first["patient_id"].to_numpy(),
    )
    row = found.iloc[0]
    assert row["auc_difference"] == pytest.approx(expected.interval.value)
    assert (row["auc_low"], row["auc_high"]) == pytest.approx(
        (expected.interval.low, expected.interval.high)
    )
    assert row["auc_p"] == pytest.approx(expected.p)
    # Two tests of seed 0, one of seed 1.
    assert found["auc_p_holm"][:2].tolist() == pytest.approx(
        intervals.holm(found["auc_p"][:2].tolist())
    )
    assert found["auc_p_holm"][2] == found["auc_p"][2]
    assert (found["dice_low"] > 0).all()


def test_images_are_matched_by_their_ids_and_not_by_their_place(tables):
    shuffled = tables | {("b", 0): tables["b", 0].sample(frac=1, random_state=0)}

    pd.testing.assert_frame_equal(differences.of_runs(shuffled), differences.of_runs(tables))


def test_ids_of_digits_are_not_numbers(tables, tmp_path):
    # As `compare` reads them.
    first = tables["a", 0].assign(image_id=[f"{number:03}" for number in range(80)])
    first["patient_id"] = [f"1234567890123456{number:02}" for number in range(80)]
    first.loc[0, "patient_id"] = ""
    first.to_csv(tmp_path / "predictions.csv", index=False)

    read = contract.read(tmp_path / "predictions.csv")

    assert read["image_id"].tolist() == first["image_id"].tolist()
    assert len(set(contract.patients(read)[0])) == 80


def test_one_experiment_has_nothing_to_differ_from(tables):
    found = differences.of_runs({("a", 0): tables["a", 0], ("a", 1): tables["a", 1]})

    assert found.empty and differences.in_words(found) == {}


def test_without_labels_or_masks_there_are_no_numbers(tables):
    bare = {key: one.assign(label=np.nan).drop(columns="dice") for key, one in tables.items()}

    found = differences.of_runs(bare)

    numbers = [name for name in found if name.startswith(("auc", "dice"))]
    assert found[numbers].isna().all(axis=None) and differences.in_words(found) == {}


def test_words_say_what_minus_what_and_of_how_many(tables):
    words = differences.in_words(differences.of_runs(tables))

    assert list(words) == ["b minus a, seed 0", "c minus a, seed 0", "b minus a, seed 1"]
    text = words["b minus a, seed 0"]
    assert text.startswith("AUC +0.") and "by Holm; Dice +0.0" in text and "80 images" in text


def one_image_each(table):
    return table.assign(patient_id=[f"p{number}" for number in range(len(table))])


def decided(num_melanoma, num_other, missed, alarms):
    """A table of images with a patient each, decided at 0.5 rightly but for some of each class."""
    labels = np.repeat([1.0, 0.0], [num_melanoma, num_other])
    is_wrong = np.zeros(len(labels), bool)
    is_wrong[[*missed, *(num_melanoma + number for number in alarms)]] = True
    names = [f"i{number}" for number in range(len(labels))]
    return pd.DataFrame(
        {
            "image_id": names,
            "patient_id": names,
            "label": labels,
            "score": np.where(is_wrong == (labels == 1), 0.1, 0.7),
        }
    )


def test_decisions_are_compared_on_melanomas_and_on_others_apart():
    # Of melanomas the first misses ten that the other flags, and the other two: p = .038574. Of
    # others the first flags three, which the other does not: p = .25.
    tables = {
        ("a", 0): decided(20, 30, range(10), range(3)),
        ("b", 0): decided(20, 30, (10, 11), ()),
    }
    # Each is cut at its own threshold.
    tables["b", 0]["score"] += 0.25

    found = differences.of_runs(tables, {("a", 0): 0.5, ("b", 0): 0.9})

    row = found.iloc[0]
    assert (row["melanomas_only_this"], row["melanomas_only_other"]) == (10, 2)
    assert row["mcnemar_sensitivity_p"] == pytest.approx(0.038574, abs=1e-6)
    assert (row["others_only_this"], row["others_only_other"]) == (3, 0)
    assert row["mcnemar_specificity_p"] == pytest.approx(0.25)
    assert row["mcnemar_sensitivity_p_holm"] == row["mcnemar_sensitivity_p"]
    assert row["mcnemar_note"] == "exact, n = 20 melanomas and 30 others"
    text = differences.in_words(found)["b minus a, seed 0"]
    assert "10 melanomas are flagged by this one alone, 2 by the other alone" in text
    assert "(sensitivity: McNemar's exact p = 0.039 by Holm)" in text
    assert "3 others are not flagged by this one alone, 0 by the other alone" in text
    assert "(specificity: McNemar's exact p = 0.250 by Holm)" in text


def test_decisions_at_points_of_different_rules_are_not_compared():
    tables = {("a", 0): decided(20, 30, (0,), ()), ("b", 0): decided(20, 30, (), (1,))}
    rules = {("a", 0): "Youden", ("b", 0): "sensitivity of at least 0.95"}

    found = differences.of_runs(tables, dict.fromkeys(tables, 0.5), rules)

    row = found.iloc[0]
    expected = "not estimable: operating points by rules sensitivity of at least 0.95 and Youden"
    assert row["mcnemar_note"] == expected
    assert row[["melanomas_only_this", "mcnemar_sensitivity_p"]].isna().all()
    same = differences.of_runs(tables, dict.fromkeys(tables, 0.5), dict.fromkeys(tables, "Youden"))
    assert same.iloc[0]["mcnemar_note"].startswith("exact")


def test_one_melanoma_is_no_melanomas():
    tables = {("a", 0): decided(20, 30, (0,), ()), ("b", 0): decided(20, 30, (), (1,))}

    text = differences.in_words(differences.of_runs(tables, dict.fromkeys(tables, 0.5)))

    assert "1 melanoma is flagged by this one alone" in text["b minus a, seed 0"]
    assert "0 others are not flagged by this one alone" in text["b minus a, seed 0"]


def test_fewer_false_alarms_do_not_outweigh_missed_melanomas():
    # Of 1,000 images 20 are melanomas; the second misses ten of them and saves thirty alarms.
    tables = {
        ("a", 0): decided(20, 980, (), range(30)),
        ("b", 0): decided(20, 980, range(10), ()),
    }

    row = differences.of_runs(tables, dict.fromkeys(tables, 0.5)).iloc[0]

    assert (row["melanomas_only_this"], row["melanomas_only_other"]) == (0, 10)
    # Two-sided: 2 / 2 ** 10 and 2 / 2 ** 30.
    assert row["mcnemar_sensitivity_p"] == pytest.approx(2**-9)
    assert row["mcnemar_specificity_p"] == pytest.approx(2**-29)


def test_a_class_without_images_has_no_test_of_decisions():
    tables = {("a", 0): decided(0, 30, (), range(3)), ("b", 0): decided(0, 30, (), ())}

    found = differences.of_runs(tables, dict.fromkeys(tables, 0.5))

    row = found.iloc[0]
    of_melanomas = ["melanomas_only_this", "mcnemar_sensitivity_p", "mcnemar_sensitivity_p_holm"]
    assert row[of_melanomas].isna().all()
    assert row["mcnemar_specificity_p_holm"] == pytest.approx(0.25)
    assert row["mcnemar_note"] == "exact, n = 0 melanomas and 30 others"
    text = differences.in_words(found)["b minus a, seed 0"]
    assert "3 others are not flagged" in text and "melanomas" not in text


@pytest.mark.parametrize("test", ["mcnemar_sensitivity_p", "mcnemar_specificity_p"])
def test_the_p_of_several_decisions_is_adjusted_by_holm(tables, test):
    each = {key: one_image_each(one) for key, one in tables.items()}
    cuts = {key: 0.6 if key[0] == "b" else 0.8 for key in each}

    found = differences.of_runs(each, cuts)

    assert found[f"{test}_holm"][:2].tolist() == pytest.approx(
        intervals.holm(found[test][:2].tolist())
    )
    assert found[f"{test}_holm"][:2].tolist() != found[test][:2].tolist()


def test_decisions_are_not_compared_where_patients_repeat(tables):
    found = differences.of_runs(tables, dict.fromkeys(tables, 0.5))

    assert found[[*differences.TESTS[1:], "melanomas_only_this"]].isna().all(axis=None)
    assert set(found["mcnemar_note"]) == {"not estimable: patients repeat"}
    assert "not estimable: patients repeat" in differences.in_words(found)["b minus a, seed 0"]


def test_decisions_are_not_compared_without_an_operating_point(tables):
    each = {key: one_image_each(one) for key, one in tables.items()}

    found = differences.of_runs(each, {("a", 0): 0.5, ("b", 0): None})

    assert found[["mcnemar_sensitivity_p", "mcnemar_specificity_p"]].isna().all(axis=None)
    assert found["mcnemar_note"].str.contains("no operating point").all()


def test_two_runs_that_are_one_differ_by_nothing_and_have_no_interval(tables):
    found = differences.of_runs({("a", 0): tables["a", 0], ("copy", 0): tables["a", 0]})

    row = found.iloc[0]
    # 0 is a difference here and no fraction of images, whose interval would begin there.
    assert row["dice_difference"] == row["auc_difference"] == 0
    assert pd.isna(row["dice_low"]) and pd.isna(row["dice_high"]) and pd.isna(row["auc_low"])


def test_the_balanced_accuracies_of_classes_are_compared(tables):
    ids = pd.DataFrame({"image_id": [f"i{number}" for number in range(400)]})
    one, other = diagnoses.add(ids), diagnoses.add(ids, seed=1)
    other["true_class"] = one["true_class"]

    found = differences.of_runs({("a", 0): one, ("b", 0): other})

    expected = class_scores.balanced_accuracy_difference(other, one)
    ends = [f"balanced_accuracy_{end}" for end in differences.ENDS]
    assert found.loc[0, ends].tolist() == [expected.value, expected.low, expected.high]
    text = differences.in_words(found)["b minus a, seed 0"]
    assert text.startswith(f"balanced accuracy of classes {expected.value:+.3f} (")
