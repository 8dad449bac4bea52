import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from lbunet_tf.evaluation import predictions
from lbunet_tf.evaluation import scores


def _random_masks(count=30, size=12):
    """(true, predicted) (N, S, S, 1) bool, overlaps from poor to good, some of them empty."""
    rng = np.random.default_rng(21)
    true = rng.random((count, size, size, 1)) < 0.4
    flips = rng.random(true.shape) < np.linspace(0, 0.5, count)[:, None, None, None]
    predicted = true ^ flips
    true[3], predicted[3] = False, False
    true[4] = False
    predicted[5] = False
    return true, predicted


def _table_of(true, predicted):
    counts = predictions.confusion_counts(true, predicted, np.ones(len(true), bool))
    ids = [f"image_{number:02d}" for number in range(len(true))]
    return pd.DataFrame({"image_id": ids, "split": "test", **counts})


def test_mask_scores_of_hand_made_counts(make_predictions):
    # IoU 8/10, 1/4 and 13/20: exactly 0.65 is no failure.
    table = make_predictions(mask_tp=[8, 1, 13], mask_fp=[1, 2, 3], mask_fn=[1, 1, 4])

    result = scores.mask_scores(table, "lesion")

    assert result == pytest.approx(
        {
            "num_masks": 3,
            "dice": (16 / 18 + 2 / 5 + 26 / 33) / 3,
            "iou": (0.8 + 0.25 + 0.65) / 3,
            "thresholded_jaccard": (0.8 + 0 + 0.65) / 3,
            "share_below_iou_0.65": 1 / 3,
            "pooled_dice": 44 / 56,
            "pooled_iou": 22 / 34,
        }
    )


def test_dice_and_iou_agree_with_scikit_learn():
    true, predicted = _random_masks()
    table = _table_of(true, predicted)

    ours = scores.image_mask_scores(table)

    pairs = list(zip(true.reshape(len(true), -1), predicted.reshape(len(true), -1), strict=True))
    dice = [sklearn_metrics.f1_score(*pair, zero_division=1.0) for pair in pairs]
    iou = [sklearn_metrics.jaccard_score(*pair, zero_division=0.0) for pair in pairs]
    # scikit-learn's Jaccard has no 1 for empty against empty.
    iou[3] = 1.0
    np.testing.assert_allclose(ours["dice"], dice, atol=1e-12)
    np.testing.assert_allclose(ours["iou"], iou, atol=1e-12)


def test_mask_scores_agree_with_isic_challenge_scoring():
    confusion = pytest.importorskip("isic_challenge_scoring.confusion")
    isic = pytest.importorskip("isic_challenge_scoring.metrics")
    true, predicted = _random_masks()

    ours = scores.image_mask_scores(_table_of(true, predicted))

    matrices = [
        confusion.create_binary_confusion_matrix(one, other)
        for one, other in zip(true, predicted, strict=True)
    ]
    expected = {
        "dice": isic.binary_dice,
        "iou": isic.binary_jaccard,
        "thresholded_jaccard": isic.binary_threshold_jaccard,
    }
    for name, function in expected.items():
        np.testing.assert_allclose(ours[name], [function(one) for one in matrices], atol=1e-6)


@pytest.mark.parametrize(
    "counts, expected",
    [((0, 0, 0), 1.0), ((0, 5, 0), 0.0), ((0, 0, 5), 0.0), ((5, 0, 0), 1.0)],
    ids=["empty on empty", "something on empty", "nothing on a lesion", "all right"],
)
@pytest.mark.parametrize("name", ["dice", "iou", "thresholded_jaccard"])
def test_empty_masks_are_decided(make_predictions, counts, expected, name):
    tp, fp, fn = counts
    table = make_predictions(mask_tp=[tp], mask_fp=[fp], mask_fn=[fn])

    assert scores.image_mask_scores(table)[name].item() == expected


def test_empty_masks_only_count_one_when_pooled(make_predictions):
    result = scores.mask_scores(make_predictions(mask_tp=[0], mask_fp=[0], mask_fn=[0]), "lesion")

    assert (result["pooled_dice"], result["pooled_iou"]) == (1.0, 1.0)


def test_rows_without_a_mask_are_not_scored(make_predictions):
    table = make_predictions(mask_tp=[8, np.nan], mask_fp=[1, np.nan], mask_fn=[1, np.nan])

    result = scores.mask_scores(table, "lesion")

    assert (result["num_masks"], result["iou"]) == (1, pytest.approx(0.8))


def test_a_table_without_masks_has_no_mask_scores(make_predictions):
    assert scores.mask_scores(make_predictions(label=[1.0]), "lesion") == {}


def test_label_masks_are_scored_under_their_own_names_only(make_predictions):
    table = make_predictions(mask_tp=[8], mask_fp=[1], mask_fn=[1])

    result = scores.mask_scores(table, "label")

    assert all(name.startswith("label_as_mask_") for name in result if name != "num_masks")
    assert result["label_as_mask_iou"] == pytest.approx(0.8)


def test_the_sheet_shows_best_median_and_worst(make_predictions):
    # Dice rises with the number in the name.
    count = 15
    table = make_predictions(
        image_id=[f"image_{number:02d}" for number in range(count)],
        mask_tp=np.arange(count),
        mask_fp=np.full(count, 2),
        mask_fn=np.zeros(count),
    )

    rows = scores.best_median_worst(table, count=1)

    expected = {"best": "image_14", "median": "image_07", "worst": "image_00"}
    assert dict(zip(rows["rank"], rows["image_id"], strict=True)) == expected


def test_the_sheet_ranks_a_table_that_has_each_images_dice_already(make_predictions):
    table = make_predictions(mask_tp=[1, 5, 9], mask_fp=[1, 1, 1], mask_fn=[0, 0, 0])
    measures = scores.image_mask_scores(table).drop(columns="image_id")

    rows = scores.best_median_worst(table.join(measures), count=1)

    assert list(rows["image_id"]) == ["image_2", "image_1", "image_0"]
    assert list(rows["dice"]) == list(measures["dice"][::-1])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12, 40])
def test_the_sheet_has_as_many_best_as_median_and_worst(make_predictions, count):
    table = make_predictions(
        mask_tp=np.arange(count), mask_fp=np.ones(count), mask_fn=np.ones(count)
    )

    rows = scores.best_median_worst(table)

    assert set(rows["rank"].value_counts()) == {min(4, max(1, count // 3))}
    assert set(rows["rank"]) == {"best", "median", "worst"}


def test_the_sheet_leaves_out_images_without_a_mask(make_predictions):
    table = make_predictions(mask_tp=[1, np.nan], mask_fp=[1, np.nan], mask_fn=[1, np.nan])

    assert set(scores.best_median_worst(table)["image_id"]) == {"image_0"}
