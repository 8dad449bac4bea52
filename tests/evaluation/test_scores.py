import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from lbunet_tf.evaluation import pixel_histograms
from lbunet_tf.evaluation import scores

# At 0.5: two true positives, one false negative, one false positive, three true negatives.
LABELS = np.array([1, 1, 1, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.5, 0.4, 0.8, 0.3, 0.2, 0.1])
EMPTY = {split: np.zeros((2, pixel_histograms.NUM_BINS), "int64") for split in ("val", "test")}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("tp", 2),
        ("fp", 1),
        ("fn", 1),
        ("tn", 3),
        ("accuracy", 5 / 7),
        ("precision", 2 / 3),
        ("recall", 2 / 3),
        ("f1", 4 / 6),
        ("sensitivity", 2 / 3),
        ("specificity", 3 / 4),
        ("ppv", 2 / 3),
        ("npv", 3 / 4),
    ],
)
def test_scores_at_a_threshold_are_the_fractions_of_its_counts(name, expected):
    result = scores.threshold_scores(LABELS, SCORES, 0.5, 0.018)

    assert result[name] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.81, 1.0])
def test_scores_at_a_threshold_agree_with_scikit_learn(random_table, threshold):
    labels, values = random_table["label"].to_numpy(int), random_table["score"].to_numpy()

    ours = scores.threshold_scores(labels, values, threshold, 0.018)

    flagged = values >= threshold
    tn, fp, fn, tp = sklearn_metrics.confusion_matrix(labels, flagged).ravel()
    assert (ours["tn"], ours["fp"], ours["fn"], ours["tp"]) == (tn, fp, fn, tp)
    assert ours["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, flagged))
    assert ours["f1"] == pytest.approx(sklearn_metrics.f1_score(labels, flagged))


def test_ratios_of_nothing_are_none_and_not_zero():
    result = scores.threshold_scores(np.array([0, 0]), np.array([0.1, 0.2]), 0.5, 0.018)

    names = ("precision", "recall", "f1", "sensitivity", "ppv", "ppv_at_prevalence")
    assert {name: result[name] for name in names} == dict.fromkeys(names)


def test_predictive_values_at_a_prevalence_are_bayes_by_hand():
    # Of 1,000 lesions 20 are melanomas: 18 found; of 980 others 98 flagged wrongly.
    result = scores.predictive_values(sensitivity=0.9, specificity=0.9, prevalence=0.02)

    assert result["ppv_at_prevalence"] == pytest.approx(18 / (18 + 98))
    assert result["npv_at_prevalence"] == pytest.approx(882 / (882 + 2))


def test_predictive_values_at_the_tables_own_prevalence_are_its_ppv_and_npv():
    result = scores.threshold_scores(LABELS, SCORES, 0.5, prevalence=3 / 7)

    assert result["ppv_at_prevalence"] == pytest.approx(result["ppv"])
    assert result["npv_at_prevalence"] == pytest.approx(result["npv"])


def test_auc_and_average_precision_agree_with_scikit_learn(random_table):
    test = random_table[random_table["split"] == "test"]

    ours = scores.evaluate_table(random_table, EMPTY, "lesion", 0.018)["test"]

    expected = sklearn_metrics.roc_auc_score(test["label"], test["score"])
    assert ours["auc"] == pytest.approx(expected, abs=1e-12)
    expected = sklearn_metrics.average_precision_score(test["label"], test["score"])
    assert ours["average_precision"] == pytest.approx(expected, abs=1e-12)


def test_the_roc_curve_encloses_the_auc(random_table):
    test = random_table[random_table["split"] == "test"]

    fpr, tpr = scores.roc_points(test)

    expected = sklearn_metrics.roc_auc_score(test["label"], test["score"])
    assert np.trapezoid(tpr, fpr) == pytest.approx(expected, abs=1e-12)


def test_the_chosen_threshold_has_the_largest_youden_index(random_table):
    labels, values = random_table["label"].to_numpy(int), random_table["score"].to_numpy()

    threshold = scores.choose_threshold(labels, values)

    def youden(at):
        flagged = values >= at
        return flagged[labels == 1].mean() - flagged[labels == 0].mean()

    assert youden(threshold) == pytest.approx(max(youden(value) for value in values))


def test_the_chosen_threshold_lies_midway_between_two_scores():
    threshold = scores.choose_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9]))

    assert threshold == pytest.approx(0.4)


@pytest.mark.parametrize("values", [[0.3, 0.3, 0.3], [1.0, 0.0, 0.0], [0.1, 0.8, 0.9]])
def test_the_chosen_threshold_of_odd_scores_is_a_number_between_0_and_1(values):
    threshold = scores.choose_threshold(np.array([1, 0, 0]), np.array(values))

    assert 0 <= threshold <= 1


def test_the_threshold_is_not_moved_by_test_scores(random_table):
    before = scores.evaluate_table(random_table, EMPTY, "lesion", 0.018)
    changed = random_table.copy()
    is_test = changed["split"] == "test"
    changed.loc[is_test, "score"] = 1 - changed.loc[is_test, "score"]

    after = scores.evaluate_table(changed, EMPTY, "lesion", 0.018)

    assert before["test"]["auc"] != after["test"]["auc"]
    assert (
        before["test"]["at_val_threshold"]["threshold"]
        == after["test"]["at_val_threshold"]["threshold"]
        == before["val"]["at_val_threshold"]["threshold"]
    )


def test_the_threshold_is_moved_by_val_scores(random_table):
    before = scores.evaluate_table(random_table, EMPTY, "lesion", 0.018)
    random_table.loc[random_table["split"] == "val", "score"] /= 2

    after = scores.evaluate_table(random_table, EMPTY, "lesion", 0.018)

    ratio = (
        after["test"]["at_val_threshold"]["threshold"]
        / before["test"]["at_val_threshold"]["threshold"]
    )
    assert ratio == pytest.approx(0.5)


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_of_one_class_has_no_auc(random_table, split, label):
    random_table.loc[random_table["split"] == split, "label"] = label

    result = scores.evaluate_table(random_table, EMPTY, "lesion", 0.018)

    assert (result[split]["auc"], result[split]["average_precision"]) == (None, None)


def test_a_val_split_of_one_class_chooses_no_threshold(random_table):
    random_table.loc[random_table["split"] == "val", "label"] = 0.0

    result = scores.evaluate_table(random_table, EMPTY, "lesion", 0.018)

    assert "at_val_threshold" not in result["test"]
    assert result["test"]["auc"] is not None


def test_a_table_without_scores_has_no_classification(make_predictions):
    table = make_predictions(label=[0.0, 1.0], mask_tp=[1, 2], mask_fp=[0, 0], mask_fn=[1, 0])

    result = scores.evaluate_table(table, EMPTY, "lesion", 0.018)["test"]

    assert not {"auc", "accuracy", "at_0.5"} & set(result)


def test_rows_without_a_label_are_ignored(random_table):
    expected = scores.evaluate_table(random_table, EMPTY, "lesion", 0.018)["test"]
    unknown = random_table.tail(10).assign(label=np.nan, score=0.99)

    result = scores.evaluate_table(
        pd.concat([random_table, unknown], ignore_index=True), EMPTY, "lesion", 0.018
    )["test"]

    assert result == {**expected, "num_images": 70}


def test_curves_have_the_scores_of_each_hundredth(random_table):
    curves = scores.threshold_curves(random_table, 0.018)

    labels, values = random_table["label"].to_numpy(int), random_table["score"].to_numpy()
    assert len(curves) == 101
    assert curves.loc[37].to_dict() == scores.threshold_scores(labels, values, 0.37, 0.018)


def test_pixel_auc_agrees_with_scikit_learn(make_histogram):
    rng = np.random.default_rng(22)
    targets = rng.integers(0, 2, 50_000)
    logits = rng.normal(targets, 2)

    result = scores.pixel_scores(make_histogram(logits, targets), "lesion")

    expected = sklearn_metrics.roc_auc_score(targets, logits)
    assert result["pixel_auc"] == pytest.approx(expected, abs=1e-4)


def test_pixel_auc_of_a_confident_network_is_not_flattened_by_ties(make_histogram):
    # A fifth of the lesion's pixels lie just above the rest: equal bins of the probability
    # would tie them with it, and the AUC would be 0.92 and not 0.98.
    rng = np.random.default_rng(23)
    negative, missed = rng.normal(-14, 1, 20_000), rng.normal(-12, 1, 4_000)
    logits = np.concatenate([negative, rng.normal(14, 1, 16_000), missed])
    targets = np.repeat([0, 1], 20_000)

    result = scores.pixel_scores(make_histogram(logits, targets), "lesion")

    expected = sklearn_metrics.roc_auc_score(targets, logits)
    assert result["pixel_auc"] == pytest.approx(expected, abs=1e-3)
    assert expected == pytest.approx(0.98, abs=0.01)


def test_pixel_auc_counts_ties_half(make_histogram):
    result = scores.pixel_scores(make_histogram([-1, -1, -1, 1], [0, 1, 0, 1]), "lesion")

    # Pairs: -1 against -1 twice (half each), 1 above -1 twice.
    assert result["pixel_auc"] == pytest.approx(3 / 4)


def test_pixel_accuracy_is_the_share_of_pixels_on_the_right_side_of_a_half(make_histogram):
    histogram = make_histogram([-2.0, 0.4, 3.0, -0.4, 1.0], [0, 0, 1, 1, 1])

    result = scores.pixel_scores(histogram, "lesion")

    assert result["pixel_accuracy"] == pytest.approx(3 / 5)


@pytest.mark.parametrize("target", [0, 1])
def test_pixels_of_one_class_have_no_auc(make_histogram, target):
    result = scores.pixel_scores(make_histogram([-1.0, 1.0], [target, target]), "lesion")

    assert result == {"pixel_accuracy": 0.5, "pixel_auc": None}


def test_no_pixels_have_no_scores():
    result = scores.pixel_scores(EMPTY["test"], "lesion")

    assert result == {"pixel_accuracy": None, "pixel_auc": None}


def test_pixels_of_label_masks_are_scored_under_their_own_names_only(make_histogram):
    result = scores.pixel_scores(make_histogram([-1.0, 1.0], [0, 1]), "label")

    assert result == {"label_as_mask_pixel_accuracy": 1.0, "label_as_mask_pixel_auc": 1.0}


def test_metrics_name_their_mask_source(random_table):
    result = scores.evaluate_table(random_table, EMPTY, "label", 0.018)

    assert [result[split]["mask_source"] for split in ("val", "test")] == ["label", "label"]


def _of_sources(sources):
    labels = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    return pd.DataFrame(
        {
            "image_id": list("uvwxyz"),
            "source": sources,
            "split": "test",
            "label": labels,
            # Within each source the melanoma scores lower; pooled, the source decides.
            "score": [0.1, 0.2, 0.05, 0.9, 0.8, 0.7],
            **{name: np.nan for name in ("mask_tp", "mask_fp", "mask_fn", "mask_tn")},
        }
    )


def test_several_sources_are_scored_one_by_one():
    found = scores._by_source(_of_sources(["a"] * 3 + ["b"] * 3), "lesion")["by_source"]

    assert {name: part["auc"] for name, part in found.items()} == {"a": 0.0, "b": 0.0}
    assert (found["a"]["num_scored"], found["b"]["num_melanoma"]) == (3, 2)


def test_one_source_is_not_scored_twice():
    assert scores._by_source(_of_sources(["a"] * 6), "lesion") == {}


def test_a_calibration_part_that_could_choose_no_threshold_leaves_it_to_nobody(random_table):
    calibration = random_table[random_table["split"] == "val"].assign(split="calibration", label=0)
    table = pd.concat([random_table, calibration], ignore_index=True)

    test = scores.evaluate_table(table, EMPTY, "lesion", 0.018)["test"]

    assert "at_val_threshold" not in test and "at_0.5" in test
