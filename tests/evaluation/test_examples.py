"""Which images a reader is shown because of their score."""

import numpy as np
import pytest

from lbunet_tf.evaluation import examples


@pytest.fixture
def table(make_predictions):
    labels = [1, 1, 1, 0, 0, 0, np.nan, 0]
    scores = [0.02, 0.30, 0.90, 0.01, 0.28, 0.95, 0.31, np.nan]
    return make_predictions(label=labels, score=scores, image_id=list("abcdefgh"))


def ids(rows, rank):
    return rows[rows["rank"] == rank]["image_id"].tolist()


def test_the_nearest_to_the_threshold_are_so_on_the_logit_scale(make_predictions):
    # 0.001 is 0.049 away and 0.12 is 0.07, but by logit 3.96 and 0.95.
    table = make_predictions(score=[0.001, 0.12], label=[0.0, 0.0], image_id=["far", "near"])

    assert ids(examples.choose(table, 0.05, count=1), examples.NEAREST) == ["near"]


def test_each_kind_has_its_images_the_most_telling_first(table):
    rows = examples.choose(table, 0.3, count=2)

    assert ids(rows, examples.NEAREST) == ["b", "g"]
    assert ids(rows, examples.MISSED) == ["a", "b"]
    assert ids(rows, examples.FLAGGED) == ["f", "e"]


def test_labels_are_in_words_also_where_they_are_not_known(table):
    rows = examples.choose(table, 0.3, count=2)

    assert rows["truth"].tolist() == [
        *("melanoma", "unknown"),
        *("melanoma", "melanoma"),
        *("not melanoma", "not melanoma"),
    ]


def test_an_image_without_a_score_is_never_shown(table):
    assert "h" not in set(examples.choose(table, 0.3, count=8)["image_id"])


def test_one_class_leaves_out_the_kind_that_needs_the_other(make_predictions):
    table = make_predictions(score=[0.1, 0.2], label=[0.0, 0.0])

    rows = examples.choose(table, 0.5)

    assert list(dict.fromkeys(rows["rank"])) == [examples.NEAREST, examples.FLAGGED]


@pytest.mark.parametrize("threshold", [0.0, 1.0, np.nextafter(1, 2)])
def test_scores_and_thresholds_of_0_and_1_have_a_distance(make_predictions, threshold):
    table = make_predictions(score=[0.0, 1.0], label=[0.0, 1.0], image_id=["zero", "one"])

    rows = examples.choose(table, threshold, count=1)

    expected = "zero" if threshold == 0 else "one"
    assert ids(rows, examples.NEAREST) == [expected]


def test_logits_of_the_table_tell_apart_what_rounds_to_the_same_score(make_predictions):
    table = make_predictions(score=[1.0, 1.0], label=[0.0, 0.0], image_id=["a", "b"])

    rows = examples.choose(table.assign(score_logit=[40.0, 60.0]), 0.5, count=1)

    assert (ids(rows, examples.NEAREST), ids(rows, examples.FLAGGED)) == (["a"], ["b"])
