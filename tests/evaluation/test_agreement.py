import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import agreement


def table_of(true, weak, **columns):
    """A table of weak masks with counts; true and weak: lists of (S, S) bool."""
    pairs = list(zip(true, weak, strict=True))
    return pd.DataFrame(
        {
            "image_id": [f"image_{number}" for number in range(len(pairs))],
            "split_in_run": "new",
            "label": np.nan,
            "sure_label": np.nan,
            "is_sure_mask": True,
            "mask_tp": [(left & right).sum() for left, right in pairs],
            "mask_fp": [(~left & right).sum() for left, right in pairs],
            "mask_fn": [(left & ~right).sum() for left, right in pairs],
            **columns,
        }
    )


def half(size=4):
    mask = np.zeros((size, size), bool)
    mask[:, : size // 2] = True
    return mask


def test_weak_and_trivial_masks_of_a_hand_made_case():
    # The weak mask: 8 of 8 true pixels and 4 others: Dice 16/20, IoU 8/12.
    weak = half()
    weak[:, 2] = True

    result = agreement.compare_masks(table_of([half()], [weak]), [half()])

    assert result["weak"]["dice"] == pytest.approx(16 / 20)
    assert result["weak"]["iou"] == pytest.approx(8 / 12)
    assert result["weak"]["share_below_iou_0.65"] == 0
    # The whole image: 8 true pixels of 16: Dice 16/24, IoU 8/16.
    assert result["whole_image"]["dice"] == pytest.approx(16 / 24)
    assert result["whole_image"]["iou"] == pytest.approx(0.5)
    assert result["whole_image"]["share_below_iou_0.65"] == 1
    # The disc of radius 0.4 takes the 12 pixels that are no corners, 6 of them true.
    assert result["centred_ellipse"]["share"] == 0.5
    assert result["centred_ellipse"]["dice"] == pytest.approx(12 / 20)


def test_every_kind_of_mask_is_compared_on_the_same_images():
    true = [half(), half().T]

    result = agreement.compare_masks(table_of(true, true), true)

    assert {values["num_masks"] for values in result.values()} == {2}


def test_agreement_is_told_apart_by_where_images_stand_and_by_sureness():
    true = [half(), half(), half()]
    weak = [half(), ~half(), half()]
    table = table_of(
        true, weak, split_in_run=["new", "new", "train"], is_sure_mask=[True, False, True]
    )

    masks = agreement.compare(table, true)["masks"]

    assert masks["new"]["all"]["weak"]["dice"] == 0.5
    assert masks["new"]["sure"]["weak"]["dice"] == 1
    assert masks["train"]["all"]["weak"]["num_masks"] == 1


def test_nothing_known_gives_no_agreement():
    table = table_of([half()], [half()], mask_tp=[np.nan])

    assert agreement.compare(table, [None]) == {"masks": {}, "labels": {}}


def test_sure_labels_are_compared_where_the_true_one_is_known():
    labels = np.array([1, 1, 0, 0, 0, np.nan, 1])
    sure = np.array([1, 0, 0, 0, 1, 1, np.nan])

    result = agreement.compare_labels(labels, sure)

    assert (result["num_labels"], result["num_sure"]) == (6, 5)
    assert (result["tp"], result["fp"], result["fn"], result["tn"]) == (1, 1, 1, 2)
    assert result["accuracy"] == pytest.approx(3 / 5)
    assert (result["ppv"], result["npv"]) == (1 / 2, 2 / 3)
    assert result["accuracy_of_majority"] == pytest.approx(3 / 5)


def test_no_sure_label_is_counted_and_claims_nothing():
    assert agreement.compare_labels(np.array([1.0, 0.0]), np.array([np.nan, np.nan])) == {
        "num_labels": 2,
        "num_sure": 0,
    }
