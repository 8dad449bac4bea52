"""The numbers of a diagnosis: by hand, as scikit-learn and as ISIC's own code give them."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from lbunet_tf.evaluation import class_scores
from lbunet_tf.evaluation import intervals
from tests.evaluation import diagnoses

# Ten images of four classes; no image is of the fifth, which one image is taken for.
TRUE = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
PROBABILITIES = [
    [0.7, 0.1, 0.1, 0.1, 0.0],
    [0.6, 0.2, 0.1, 0.1, 0.0],
    [0.2, 0.5, 0.2, 0.1, 0.0],
    [0.1, 0.2, 0.3, 0.0, 0.4],
    [0.1, 0.8, 0.05, 0.05, 0.0],
    [0.3, 0.4, 0.2, 0.1, 0.0],
    [0.5, 0.3, 0.1, 0.1, 0.0],
    [0.1, 0.1, 0.7, 0.1, 0.0],
    [0.4, 0.1, 0.3, 0.2, 0.0],
    [0.2, 0.2, 0.2, 0.4, 0.0],
]
CODES = ["mel", "nv", "bcc", "bkl", "df"]


def table_of(true, probabilities, codes=CODES, **columns):
    ids = [f"i{number}" for number in range(len(true))]
    return diagnoses.with_probabilities(
        pd.DataFrame({"image_id": ids, **columns}), codes, true, probabilities
    )


@pytest.fixture
def random_table():
    return diagnoses.add(pd.DataFrame({"image_id": [f"i{number}" for number in range(400)]}))


def numbers_of(table, codes=diagnoses.HAM10000):
    """Returns (true classes as numbers, (N, K) probabilities)."""
    true = table["true_class"].map({code: number for number, code in enumerate(codes)})
    return true.to_numpy(), table[[f"p_{code}" for code in codes]].to_numpy()


def test_the_numbers_of_ten_images_are_those_by_hand():
    found = class_scores.measure(table_of(TRUE, PROBABILITIES))

    # Right are 2 of 4, 2 of 3, 1 of 2 and 1 of 1.
    assert found["balanced_accuracy"] == pytest.approx((2 / 4 + 2 / 3 + 1 / 2 + 1) / 4)
    assert found["accuracy"] == 0.6
    right = [0.7, 0.6, 0.2, 0.1, 0.8, 0.4, 0.3, 0.7, 0.3, 0.4]
    assert found["log_loss"] == pytest.approx(-np.log(right).mean())
    assert (found["num_with_class"], found["absent"]) == (10, ["df"])
    assert found["confusion"] == [
        [2, 1, 0, 0, 1],
        [1, 2, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
    ]


def test_the_numbers_of_each_class_are_those_by_hand():
    found = class_scores.measure(table_of(TRUE, PROBABILITIES))["per_class"]

    # Of 24 pairs: .7 and .6 are above all six others, .2 above two and equal to one, .1 equal to
    # two.
    assert found["mel"].pop("auc") == pytest.approx((6 + 6 + 2.5 + 1) / 24)
    assert found["mel"] == {
        "num_images": 4,
        "num_predicted": 4,
        "recall": 0.5,
        "precision": 0.5,
        "f1": 0.5,
    }
    # Of 9 pairs the one image of the class is first in all.
    assert found["bkl"]["auc"] == 1
    assert found["bcc"]["precision"] == 1 and found["bcc"]["f1"] == pytest.approx(2 / 3)


def test_macro_auc_is_the_mean_over_classes_with_images_on_both_sides():
    found = class_scores.measure(table_of(TRUE, PROBABILITIES))

    known = [found["per_class"][code]["auc"] for code in CODES[:4]]
    assert found["macro_auc"] == pytest.approx(np.mean(known))
    assert found["per_class"]["df"]["auc"] is None


def test_a_class_without_an_image_has_no_recall_and_one_never_predicted_no_precision():
    found = class_scores.measure(table_of([0, 0, 1], np.eye(3)[[0, 0, 0]], CODES[:3]))

    assert found["per_class"]["bcc"] == {
        "num_images": 0,
        "num_predicted": 0,
        "recall": None,
        "precision": None,
        "f1": None,
        "auc": None,
    }
    assert found["per_class"]["nv"]["recall"] == 0
    assert found["per_class"]["nv"]["precision"] is None


def test_equal_probabilities_are_of_the_first_class():
    found = class_scores.measure(table_of([1], [[0.0, 0.5, 0.5]], CODES[:3]))

    assert found["confusion"][1] == [0, 1, 0]


def test_images_of_an_unknown_class_do_not_count(random_table):
    unknown = random_table.assign(image_id=lambda table: table["image_id"] + "u", true_class="")
    empty = unknown.assign(true_class=np.nan)

    found = class_scores.measure(pd.concat([random_table, unknown, empty], ignore_index=True))

    assert found == class_scores.measure(random_table)


def test_without_a_known_class_there_are_counts_alone(random_table):
    found = class_scores.measure(random_table.assign(true_class=""))

    assert found == {"classes": list(diagnoses.HAM10000), "num_with_class": 0}
    assert class_scores.of_group(random_table.assign(true_class="")) == {}


def test_a_table_without_a_diagnosis_has_no_numbers_of_it():
    table = pd.DataFrame({"image_id": ["a"], "true_class": ["mel"]})

    assert class_scores.measure(table) == {} and class_scores.of_group(table) == {}


def test_numbers_agree_with_scikit_learn(random_table):
    true, probabilities = numbers_of(random_table)
    predicted = probabilities.argmax(axis=1)

    found = class_scores.measure(random_table)

    expected = {
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(true, predicted),
        "macro_auc": sklearn_metrics.roc_auc_score(true, probabilities, multi_class="ovr"),
        "log_loss": sklearn_metrics.log_loss(true, probabilities),
        "accuracy": sklearn_metrics.accuracy_score(true, predicted),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    rows = sklearn_metrics.precision_recall_fscore_support(true, predicted, zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1", "num_images"), rows, strict=True):
        ours = [found["per_class"][code][name] for code in diagnoses.HAM10000]
        np.testing.assert_allclose(ours, values, atol=1e-12)


def test_the_log_loss_does_not_take_classes_for_sorted():
    table = table_of([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["nv", "mel"])

    found = class_scores.measure(table)

    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.8]).mean())


def test_probabilities_of_a_softmax_in_float32_give_no_warning(random_table):
    true, probabilities = numbers_of(random_table)
    table = table_of(true, probabilities.astype("float32"), diagnoses.HAM10000)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        class_scores.measure(table)
        class_scores.measure(table_of(TRUE, PROBABILITIES))


# What isic-challenge-scoring 5.6.0, metrics.balanced_multiclass_accuracy, gives for the ten images.
ISIC_BALANCED_ACCURACY = 0.6666666666666666


def test_balanced_accuracy_is_what_isic_challenge_scoring_gave():
    found = class_scores.measure(table_of(TRUE, PROBABILITIES))

    assert found["balanced_accuracy"] == pytest.approx(ISIC_BALANCED_ACCURACY, abs=1e-12)


def test_balanced_accuracy_agrees_with_isic_challenge_scoring(random_table):
    isic = pytest.importorskip("isic_challenge_scoring.metrics")
    ten = table_of(TRUE, PROBABILITIES)

    for table, codes in ((ten, CODES), (random_table, diagnoses.HAM10000)):
        true, probabilities = numbers_of(table, codes)
        truth = pd.DataFrame(np.eye(len(codes))[true], columns=codes)
        predicted = pd.DataFrame(probabilities, columns=codes)
        weights = pd.Series(1.0, index=truth.index)
        expected = isic.balanced_multiclass_accuracy(truth, predicted, weights)
        found = class_scores.measure(table)["balanced_accuracy"]
        assert found == pytest.approx(expected, abs=1e-12)


def test_equal_probabilities_are_wrong_for_isic_challenge_scoring_and_not_here():
    isic = pytest.importorskip("isic_challenge_scoring.metrics")
    truth = pd.DataFrame([[1.0, 0.0]], columns=["mel", "nv"])
    equal = pd.DataFrame([[0.5, 0.5]], columns=["mel", "nv"])

    theirs = isic.balanced_multiclass_accuracy(truth, equal, pd.Series([1.0]))

    assert theirs == 0
    assert class_scores.measure(table_of([0], [[0.5, 0.5]], ["mel", "nv"]))["accuracy"] == 1


def test_intervals_hold_their_numbers(random_table):
    found = class_scores.measure(random_table)

    for name in class_scores.WITH_INTERVAL:
        interval = found["intervals"][name]
        assert interval["value"] == pytest.approx(found[name])
        assert interval["low"] < found[name] < interval["high"]
        assert interval["method"] == "bootstrap of 400 patients, 2000 draws"
    recall = found["intervals"]["recall_nv"]
    assert recall["low"] < found["per_class"]["nv"]["recall"] < recall["high"]


def test_intervals_agree_with_a_bootstrap_of_scikit_learns_numbers(random_table):
    true, probabilities = numbers_of(random_table)
    rng = np.random.default_rng(3)
    draws = []
    for _ in range(200):
        rows = rng.integers(0, len(true), len(true))
        draws.append(
            (
                sklearn_metrics.balanced_accuracy_score(
                    true[rows], probabilities[rows].argmax(axis=1)
                ),
                sklearn_metrics.roc_auc_score(true[rows], probabilities[rows], multi_class="ovr"),
            )
        )
    expected = np.quantile(draws, [0.025, 0.975], axis=0).T

    found = class_scores.measure(random_table)["intervals"]

    ours = [[found[name]["low"], found[name]["high"]] for name in class_scores.WITH_INTERVAL]
    np.testing.assert_allclose(ours, expected, atol=0.02)


def test_images_of_one_patient_are_drawn_together(random_table):
    # Each image four times, as one patient: as many images more, and no wider knowledge.
    parts = [
        random_table.assign(
            patient_id=random_table["image_id"],
            image_id=lambda t, n=number: t["image_id"] + f"_{n}",
        )
        for number in range(4)
    ]
    repeated = class_scores.measure(pd.concat(parts, ignore_index=True))["intervals"]

    once = class_scores.measure(random_table)["intervals"]

    for name in class_scores.WITH_INTERVAL:
        assert repeated[name]["low"] == pytest.approx(once[name]["low"], abs=1e-9)
        assert repeated[name]["high"] == pytest.approx(once[name]["high"], abs=1e-9)


def test_a_difference_is_of_both_on_the_same_draws_of_patients(random_table):
    true, probabilities = numbers_of(random_table)
    table = random_table.assign(patient_id=[f"p{number // 2}" for number in range(400)])
    # Nine of ten images as before: of drawn patients both rise and fall together.
    changed = np.where(np.arange(400)[:, None] % 10, probabilities, np.eye(7)[true] * 0.9 + 0.1 / 7)
    better = diagnoses.with_probabilities(table, list(diagnoses.HAM10000), true, changed)
    rng = np.random.default_rng(3)
    draws = []
    for _ in range(400):
        rows = np.repeat(rng.integers(0, 200, 200) * 2, 2) + np.tile([0, 1], 200)
        both = (
            sklearn_metrics.balanced_accuracy_score(true[rows], one[rows].argmax(axis=1))
            for one in (changed, probabilities)
        )
        draws.append(next(both) - next(both))

    found = class_scores.balanced_accuracy_difference(better.sample(frac=1, random_state=0), table)

    expected = class_scores.measure(better)["balanced_accuracy"]
    expected -= class_scores.measure(table)["balanced_accuracy"]
    assert found.value == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(
        (found.low, found.high), np.quantile(draws, [0.025, 0.975]), atol=0.008
    )
    alone = class_scores.balanced_accuracy(table)
    assert found.high - found.low < 0.7 * (alone.high - alone.low)


def test_a_difference_needs_a_diagnosis_of_both_and_the_same_classes(random_table):
    without = random_table[["image_id"]]
    assert class_scores.balanced_accuracy_difference(without, random_table) is None
    assert class_scores.balanced_accuracy_difference(random_table, without) is None
    same = class_scores.balanced_accuracy_difference(random_table, random_table)
    assert (same.value, same.low) == (0, None)
    assert same.method == "both name the same class of every image"
    other = random_table.assign(true_class=random_table["true_class"].replace("nv", "bkl"))
    with pytest.raises(ValueError, match="image i0, nv and bkl"):
        class_scores.balanced_accuracy_difference(random_table, other)
    with pytest.raises(ValueError, match="only if both have the same classes"):
        class_scores.balanced_accuracy_difference(random_table.drop(columns="p_df"), random_table)


def test_too_few_patients_of_a_class_give_no_interval_and_are_counted():
    found = class_scores.measure(table_of(TRUE, PROBABILITIES))["intervals"]

    for name in class_scores.WITH_INTERVAL:
        assert found[name]["low"] is None and found[name]["value"] is not None
        assert found[name]["method"] == (
            f"patients with images of the class mel 4, nv 3, bcc 2, bkl 1; {intervals.LEAST} needed"
        )


def test_a_faultless_diagnosis_has_no_interval():
    true = np.arange(60) % 3
    found = class_scores.measure(table_of(true, np.eye(3)[true], CODES[:3]))["intervals"]

    assert found["balanced_accuracy"]["low"] is None
    assert found["balanced_accuracy"]["method"] == "all 60 patients are alike"
    assert found["macro_auc"]["method"] == "all 60 patients are alike"


def test_images_of_one_class_have_no_auc():
    found = class_scores.measure(table_of([0] * 3, PROBABILITIES[:3]))

    assert found["macro_auc"] is None
    assert found["intervals"]["macro_auc"]["method"] == "all images are of the class mel"


def test_an_interval_says_which_part_of_the_classes_it_is_of():
    true = np.arange(60) % 2
    probabilities = np.random.default_rng(2).dirichlet(np.ones(3), 60)
    found = class_scores.measure(table_of(true, probabilities, CODES[:3]))["intervals"]

    assert found["balanced_accuracy"]["method"].endswith(", 2 of 3 classes")


@pytest.mark.slow
def test_intervals_of_balanced_accuracy_hold_the_true_value_in_most_studies():
    # Seven classes of the fewest patients that have an interval.
    rng = np.random.default_rng(0)
    recalls = np.array([0.5, 0.6, 0.7, 0.6, 0.7, 0.8, 0.9])
    true = np.repeat(np.arange(7), intervals.LEAST)
    holds = []
    for _ in range(300):
        is_right = rng.random(len(true)) < recalls[true]
        probabilities = np.eye(7)[np.where(is_right, true, (true + 1) % 7)]
        found = class_scores.balanced_accuracy(
            table_of(true, probabilities, [*CODES, "vasc", "akiec"])
        )
        holds.append(found.low <= recalls.mean() <= found.high)

    assert 0.89 < np.mean(holds) < 0.98
