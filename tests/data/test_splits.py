"""Tests of `lbunet_tf.data.splits`: subset, split and the leak check."""

import itertools
import logging
import time

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.data import splits

PERCENTS = (70, 15, 15)
# Pinned: written once, must come out on any machine and with any allowed version of pandas.
PINNED = {
    (
        "patient",
        0,
    ): "train train train test test train train train train train test train train val",
    (
        "patient",
        1,
    ): "train train train test test train train train train train train train test val",
    ("image", 0): "train train train test train val train train train train test train train val",
    ("image", 1): "train test train val train train train train train val train train test train",
}


@pytest.fixture
def fourteen(make_table):
    """Fourteen images, six of melanoma, of eleven patients."""
    return make_table(
        14,
        image_id=[f"ISIC_{number:07d}" for number in range(1, 15)],
        label=[0] * 8 + [1] * 6,
        patient_id=list("aabccdefgghijk"),
    ).assign(source="isic2020")


@pytest.fixture
def thousand(make_table):
    """A thousand images, 180 of melanoma, of patients with one to six images."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 7, 1000)
    return make_table(
        1000,
        label=(rng.random(1000) < 0.18).astype(float),
        patient_id=[f"p{number}" for number in np.repeat(np.arange(1000), sizes)[:1000]],
    )


def _shares(table):
    return table["split"].value_counts(normalize=True).reindex(["train", "val", "test"]).tolist()


@pytest.mark.parametrize("split_by, seed", PINNED)
def test_the_split_of_a_seed_is_the_pinned_one_on_any_machine(fourteen, split_by, seed):
    table = splits.assign(fourteen, split_by, PERCENTS, seed)

    assert " ".join(table["split"]) == PINNED[split_by, seed]


@pytest.mark.parametrize("split_by", ["patient", "image"])
def test_the_split_of_an_image_does_not_depend_on_the_order_of_rows(thousand, split_by):
    shuffled = thousand.iloc[np.random.default_rng(1).permutation(1000)].reset_index(drop=True)

    first = splits.assign(thousand, split_by, PERCENTS, 3).set_index("image_id")["split"]
    second = splits.assign(shuffled, split_by, PERCENTS, 3).set_index("image_id")["split"]

    assert first.to_dict() == second.to_dict()


@pytest.mark.parametrize("split_by", ["patient", "image"])
def test_another_seed_gives_another_split(thousand, split_by):
    first, second = (splits.assign(thousand, split_by, PERCENTS, seed)["split"] for seed in (0, 1))

    # Two independent splits of 70/15/15 agree on 53 % of the images.
    assert 0.40 < (first == second).mean() < 0.66


def test_assign_changes_nothing_but_the_split(thousand):
    before = thousand.copy()

    table = splits.assign(thousand, "patient", PERCENTS, 0)

    assert thousand.equals(before)
    assert table.drop(columns="split").equals(before.drop(columns="split"))


@pytest.mark.parametrize("percents", [(70, 15, 15), (80, 10, 10), (34, 33, 33)])
@pytest.mark.parametrize("split_by", ["patient", "image"])
def test_the_parts_have_the_asked_sizes_within_one_percent(thousand, split_by, percents):
    table = splits.assign(thousand, split_by, percents, 0)

    np.testing.assert_allclose(_shares(table), np.divide(percents, 100), atol=0.01)


def test_an_image_split_has_the_same_share_of_melanoma_in_every_part(thousand):
    table = splits.assign(thousand, "image", PERCENTS, 0)

    shares = table.groupby("split")["label"].mean()
    # One image of 150 is 0.7 %.
    np.testing.assert_allclose(shares, thousand["label"].mean(), atol=0.007)


def test_a_patient_split_has_nearly_the_same_share_of_melanoma_in_every_part(thousand):
    table = splits.assign(thousand, "patient", PERCENTS, 0)

    # Strata are patients with and without melanoma, so the share of images may be off by what
    # patients differ in: two standard deviations of 150 images are 6 %.
    shares = table.groupby("split")["label"].mean()
    np.testing.assert_allclose(shares, thousand["label"].mean(), atol=0.06)


@pytest.mark.parametrize("column", ["mask", "source"])
def test_images_with_and_without_masks_and_of_each_source_are_divided_alike(make_table, column):
    table = make_table(400, label=[0, 1] * 200)
    table[column] = ["x"] * 100 + [""] * 300

    result = splits.assign(table, "image", PERCENTS, 0)

    for _, part in result.groupby(column):
        np.testing.assert_allclose(_shares(part), (0.70, 0.15, 0.15), atol=0.011)


@pytest.mark.parametrize("column", splits.GROUP_COLUMNS)
def test_a_group_stands_whole_on_one_side(make_table, column):
    table = make_table(300, label=[0, 1, 0] * 100)
    table[column] = [f"g{number % 90}" for number in range(300)]

    result = splits.assign(table, "patient", PERCENTS, 0)

    assert (result.groupby(column)["split"].nunique() == 1).all()
    assert set(result["split"]) == {"train", "val", "test"}


def test_images_joined_by_a_chain_of_patient_lesion_duplicate_and_content_stay_together(make_table):
    table = make_table(
        6,
        patient_id=["p", "p", "", "", "", "q"],
        lesion_id=["", "l", "l", "", "", "m"],
        duplicate_group=["", "", "d", "d", "", ""],
    ).assign(content_hash=["1", "2", "3", "4", "4", "5"])

    groups = splits.group_numbers(table)

    assert len(set(groups[:5])) == 1
    assert groups[5] != groups[0]


def test_unknown_patients_and_lesions_do_not_join_images(make_table):
    assert len(set(splits.group_numbers(make_table(5)))) == 5


def test_a_value_in_two_columns_does_not_join_images(make_table):
    table = make_table(2, patient_id=["x", ""], lesion_id=["", "x"])

    assert len(set(splits.group_numbers(table))) == 2


def test_an_image_split_lets_patients_cross(thousand):
    table = splits.assign(thousand, "image", PERCENTS, 0)

    assert (table.groupby("patient_id")["split"].nunique() > 1).any()


def test_an_official_split_keeps_the_parts_of_the_download(make_table):
    parts = ["train"] * 5 + ["val"] * 3 + ["test"] * 2

    table = splits.assign(make_table(10, official_part=parts), "official", PERCENTS, 0)

    assert table["split"].tolist() == parts


def test_an_official_split_divides_the_training_part_for_a_missing_validation_part(make_table):
    table = make_table(340, official_part=["train"] * 170 + ["test"] * 170)

    result = splits.assign(table, "official", PERCENTS, 0)

    # Of the training part 15 / (70 + 15): 30 of 170 images.
    assert result["split"][:170].value_counts().to_dict() == {"train": 140, "val": 30}
    assert set(result["split"][170:]) == {"test"}


def test_an_official_split_of_a_training_part_alone_divides_it_in_three(make_table):
    result = splits.assign(make_table(200, official_part="train"), "official", PERCENTS, 0)

    assert result["split"].value_counts().to_dict() == {"train": 140, "val": 30, "test": 30}


def test_an_official_split_keeps_patients_whole_when_it_divides_the_training_part(thousand):
    table = splits.assign(thousand.assign(official_part="train"), "official", PERCENTS, 0)

    assert (table.groupby("patient_id")["split"].nunique() == 1).all()


def test_an_official_split_keeps_a_filled_split_column(make_table):
    given = ["val", "train", "test", "train"]

    assert (
        splits.assign(make_table(4, split=given), "official", PERCENTS, 0)["split"].tolist()
        == given
    )


def test_an_official_split_without_parts_names_the_flag_and_the_first_image(make_table):
    table = make_table(3, official_part=["train", "", ""])

    with pytest.raises(ValueError, match="\"--split_by=official\".*2 images without.*'i0001'"):
        splits.assign(table, "official", PERCENTS, 0)


def test_an_official_part_of_another_name_is_refused_and_not_dropped(make_table):
    table = make_table(30, official_part=["Training"] * 10 + ["train"] * 20)

    with pytest.raises(ValueError, match="Training"):
        splits.assign(table, "official", PERCENTS, 0)


@pytest.mark.parametrize("split_by", ["patient", "image"])
def test_a_filled_split_column_is_not_overwritten(make_table, split_by):
    table = make_table(4, split=["train", "val", "test", ""])

    with pytest.raises(ValueError, match=f'"--split_by" must be "official".*the 3 .*{split_by}'):
        splits.assign(table, split_by, PERCENTS, 0)


def test_a_subset_holds_every_melanoma_and_the_asked_number_of_others(thousand):
    subset = splits.balanced_subset(thousand, 100, 0)

    assert (subset["label"] == 0).sum() == 100
    assert (subset["label"] == 1).sum() == (thousand["label"] == 1).sum()


def test_a_subset_keeps_the_order_of_rows_and_numbers_them_anew(thousand):
    subset = splits.balanced_subset(thousand, 100, 0)

    assert subset["image_id"].is_monotonic_increasing
    assert subset.index.tolist() == list(range(len(subset)))


def test_a_subset_depends_on_the_seed_alone(thousand):
    first, again, other = (
        set(splits.balanced_subset(thousand, 100, seed)["image_id"]) for seed in (0, 0, 1)
    )

    assert first == again != other


def test_a_subset_is_the_pinned_one_on_any_machine(fourteen):
    subset = splits.balanced_subset(fourteen, 3, 0)

    assert subset["image_id"].tolist()[:3] == ["ISIC_0000003", "ISIC_0000007", "ISIC_0000008"]


def test_a_subset_of_more_benign_images_than_there_are_names_the_flag_and_counts(fourteen):
    with pytest.raises(ValueError, match="--benign_count=9, 8 benign, 6 melanoma"):
        splits.balanced_subset(fourteen, 9, 0)


def test_a_subset_may_take_every_benign_image(fourteen):
    assert len(splits.balanced_subset(fourteen, 8, 0)) == 14


def test_a_subset_without_melanoma_is_refused(make_table):
    with pytest.raises(ValueError, match="3 benign, 0 melanoma"):
        splits.balanced_subset(make_table(3, label=0), 2, 0)


def test_a_subset_needs_every_label_and_names_the_first_image_without(make_table):
    with pytest.raises(ValueError, match=r'"--balance=subset".*1 without, the first is \'i0002\''):
        splits.balanced_subset(make_table(3, label=[0, 1, np.nan]), 1, 0)


def test_a_draw_holds_at_most_the_asked_number_in_the_order_of_rows(thousand):
    drawn = splits.draw_at_most(thousand, 50, 0)

    assert len(drawn) == 50
    assert drawn["image_id"].is_unique and drawn["image_id"].is_monotonic_increasing


def test_a_draw_of_more_than_there_are_takes_all(fourteen):
    assert splits.draw_at_most(fourteen, 100, 0).equals(fourteen)


def test_a_draw_depends_on_the_seed_alone(thousand):
    first, again, other = (
        set(splits.draw_at_most(thousand, 50, seed)["image_id"]) for seed in (0, 0, 1)
    )

    assert first == again != other


def test_crossings_count_each_kind_of_group_on_more_than_one_side(make_table):
    table = make_table(
        6,
        split=["train", "val", "train", "test", "train", "train"],
        patient_id=["p", "p", "q", "q", "r", "r"],
        lesion_id=["a", "b", "c", "c", "d", "e"],
        duplicate_group=["", "", "", "", "x", "x"],
    ).assign(content_hash=["1", "2", "3", "3", "4", "4"])

    assert splits.crossings(table) == {
        "image_id": 0,
        "patient_id": 2,
        "lesion_id": 1,
        "duplicate_group": 0,
        "content_hash": 1,
    }


def test_unknown_patients_on_every_side_are_no_crossing(make_table):
    found = splits.crossings(make_table(3, split=["train", "val", "test"]))

    assert not any(found.values())


@pytest.mark.parametrize(
    "split_by, column", itertools.product(["image", "official"], splits.GROUP_COLUMNS)
)
def test_a_crossing_of_another_split_is_said_aloud_and_returned(
    make_table, caplog, split_by, column
):
    table = make_table(3, split=["train", "val", "test"])
    table[column] = ["x", "x", "y"]

    with caplog.at_level(logging.WARNING):
        found = splits.report_crossings(table, split_by)

    assert found[column] == 1
    assert f"1 {column}" in caplog.text and f"--split_by={split_by}" in caplog.text


def test_a_crossing_of_a_patient_split_is_an_error(make_table):
    table = make_table(2, split=["train", "test"], patient_id="p")

    with pytest.raises(ValueError, match="may cross a split. Found: .*1 patient_id"):
        splits.report_crossings(table, "patient")


def test_nothing_crosses_a_patient_split(thousand):
    table = splits.assign(thousand, "patient", PERCENTS, 0)

    assert not any(splits.report_crossings(table, "patient").values())


def test_a_smaller_copy_stands_on_the_side_of_its_image(make_table):
    names = [f"ISIC_{number:07d}" for number in range(50)]
    table = make_table(100, image_id=[*names, *(f"{name}_downsampled" for name in names)])

    side = splits.assign(table, "patient", (50, 20, 30), seed=0)["split"].to_numpy()

    assert (side[:50] == side[50:]).all()
    crossing = table.assign(split=["train"] * 50 + ["test"] * 50)
    assert splits.crossings(crossing)["image_id"] == 50


def test_known_groups_count_the_images_of_which_each_kind_is_known(make_table):
    table = make_table(4, patient_id=["p", "p", "q", ""], lesion_id=["", "", "", "l"])

    assert splits.known_groups(table.assign(content_hash="c")) == {
        "patient_id": 3,
        "lesion_id": 1,
        "duplicate_group": 0,
        "content_hash": 4,
    }


def test_known_groups_leave_out_a_kind_that_the_manifest_has_no_column_for(make_table):
    assert "content_hash" not in splits.known_groups(make_table(2))


def test_a_patient_split_without_patients_and_lesions_is_warned_of(make_table, caplog):
    table = make_table(3, split=["train", "val", "test"], duplicate_group=["d", "", ""])

    with caplog.at_level(logging.WARNING):
        splits.report_crossings(table, "patient")

    assert "no patient and no lesion is known" in caplog.text


@pytest.mark.parametrize("column", ["patient_id", "lesion_id"])
def test_a_patient_split_with_patients_or_lesions_is_not_warned_of(make_table, caplog, column):
    table = make_table(3, split=["train", "val", "test"], **{column: ["a", "b", ""]})

    with caplog.at_level(logging.WARNING):
        splits.report_crossings(table, "patient")

    assert caplog.text == ""


def test_an_image_split_without_patients_and_lesions_is_not_warned_of(make_table, caplog):
    table = make_table(3, split=["train", "val", "test"])

    with caplog.at_level(logging.WARNING):
        splits.report_crossings(table, "image")

    assert caplog.text == ""


def test_an_official_split_of_a_test_part_alone_stays_a_test_part(make_table):
    table = splits.assign(make_table(3, official_part="test"), "official", PERCENTS, 0)

    assert table["split"].tolist() == ["test"] * 3


def test_equal_values_have_one_number_in_every_column_and_unknown_ones_none():
    first, second = splits.number_values(pd.Series(["b", "", "a"]), pd.Series(["a", "c", "b"]))

    assert first.tolist() == [0, -1, 1]
    assert second.tolist() == [1, 2, 0]


def test_the_split_of_two_hundred_thousand_images_is_a_matter_of_seconds(make_table):
    numbers = np.arange(200_000)
    table = make_table(
        len(numbers),
        label=(numbers % 50 == 0).astype(float),
        patient_id=np.char.add("p", (numbers // 15).astype(str)),
    )

    start = time.process_time()
    result = splits.assign(table, "patient", PERCENTS, 0)
    splits.report_crossings(result, "patient")

    # 0.5 s measured; quadratic steps would take hours.
    assert time.process_time() - start < 10
