import numpy as np
import pandas as pd
import pytest

from lbunet_tf.data import manifests
from lbunet_tf.data import splits
from lbunet_tf.runs import pseudo_labels
from lbunet_tf.settings import config


def rows_of(*names, **columns):
    table = pd.DataFrame({"image_id": names, "image": [f"/d/{name}.png" for name in names]})
    return manifests.complete(table.assign(content_hash="", **columns), "folder")


@pytest.fixture
def of_run():
    """A run's manifest: one image each of train, val and test, everything known."""
    return rows_of(
        "a",
        "b",
        "c",
        split=["train", "val", "test"],
        patient_id=["p1", "p2", "p3"],
        lesion_id=["l1", "l2", "l3"],
        duplicate_group=["d1", "d2", "d3"],
    ).assign(content_hash=["h1", "h2", "h3"], near_duplicate_group=["n1", "n2", "n3"])


@pytest.mark.parametrize("column", ["image_id", *splits.GROUP_COLUMNS])
def test_an_image_stands_where_its_id_patient_lesion_duplicate_or_content_does(of_run, column):
    rows = rows_of("w", "x", "y", "z")
    rows[column] = [*of_run[column], "other"]

    assert list(pseudo_labels.split_in_run(rows, of_run)) == ["train", "val", "test", "new"]


def test_what_is_not_known_links_no_images(of_run):
    of_run["patient_id"] = ""

    assert list(pseudo_labels.split_in_run(rows_of("x", "y"), of_run)) == ["new", "new"]


def test_images_are_linked_by_way_of_other_new_images(of_run):
    rows = rows_of("x", "y", patient_id=["q", "q"], lesion_id=["m", "l3"])

    assert list(pseudo_labels.split_in_run(rows, of_run)) == ["test", "test"]


def test_test_comes_before_val_and_val_before_train(of_run):
    rows = rows_of("x", "y", patient_id=["p1", "p1"], lesion_id=["l2", ""])

    assert list(pseudo_labels.split_in_run(rows, of_run)) == ["val", "val"]


def test_a_run_without_content_hashes_is_compared_by_the_rest(of_run):
    rows = rows_of("c", "x")

    result = pseudo_labels.split_in_run(rows, of_run.drop(columns="content_hash"))

    assert list(result) == ["test", "new"]


def fill(rows, sure_mask, sure_label, **flags):
    table = pd.DataFrame({"is_sure_mask": sure_mask, "sure_label": sure_label})
    split_in_run = rows["split_in_run"] if "split_in_run" in rows else "new"
    settings = config.make().replace(**flags)
    return pseudo_labels.fill(
        settings.pseudo_labels,
        settings.paths.run,
        rows.assign(split_in_run=split_in_run, mask_to_write="masks/" + rows["image_id"] + ".png"),
        table,
    )


def test_true_targets_are_never_replaced():
    rows = rows_of("a", mask="/d/a_mask.png", label=0.0)

    result = fill(rows, [True], [1.0])

    assert (result["mask"][0], result["label"][0]) == ("/d/a_mask.png", 0.0)
    assert (result["pseudo_mask"][0], result["pseudo_label"][0]) == (0, 0)


def test_sure_targets_are_filled_and_marked_and_unsure_ones_stay_empty():
    result = fill(rows_of("a", "b", "c"), [True, False, True], [np.nan, 1.0, 0.0])

    assert list(result["mask"]) == ["masks/a.png", "", "masks/c.png"]
    np.testing.assert_array_equal(result["label"], [np.nan, 1, 0])
    assert list(result["pseudo_mask"]) == [1, 0, 1]
    assert list(result["pseudo_label"]) == [0, 1, 1]


def test_a_row_without_any_target_and_a_row_of_val_are_dropped():
    rows = rows_of("a", "b", "c").assign(split_in_run=["new", "val", "train"])

    result = fill(rows, [False, True, True], [np.nan, 1.0, np.nan])

    assert list(result["image_id"]) == ["c"]
    assert list(result["split"]) == ["train"]


def test_only_the_targets_that_are_asked_for_are_filled():
    masks = fill(rows_of("a"), [True], [1.0], targets=("mask",))
    labels = fill(rows_of("a"), [False], [1.0], targets=("melanoma",))

    assert (masks["mask"][0], masks["label"].isna()[0]) == ("masks/a.png", True)
    assert (labels["mask"][0], labels["label"][0]) == ("", 1)


def test_true_masks_can_be_ignored_on_demand_and_true_labels_stay():
    rows = rows_of("a", "b", mask=["/d/a.png", "/d/b.png"], label=[1.0, 0.0])

    result = fill(rows, [True, False], [0.0, 1.0], ignore_true_masks=True)

    # Unsure: neither the weak mask nor the true one.
    assert list(result["mask"]) == ["masks/a.png", ""]
    assert list(result["label"]) == [1, 0]


def test_what_a_network_made_before_is_no_true_target(tmp_path, drawn_folder):
    drawn = config.make(
        source=("synthetic",), data_dir=(str(drawn_folder),), synthetic_count=40, image_size=64
    )
    rows = pseudo_labels.list_images(drawn, rows_of("x", split="test"))[0]
    rows["pseudo_mask"], rows["pseudo_label"] = 0, 0
    rows.loc[0, ["pseudo_mask", "pseudo_label"]] = 1
    rows.drop(columns="split_in_run").to_csv(tmp_path / "first.csv", index=False)
    settings = config.make(source=("manifest",), data_dir=(str(tmp_path / "first.csv"),))

    again, *_ = pseudo_labels.list_images(settings, rows_of("x", split="test"))

    assert again["mask"][0] == "" and np.isnan(again["label"][0])
    assert (again["mask"][1:] != "").all() and again["label"][1:].notna().all()


def test_a_smaller_copy_of_a_test_image_is_left_out(of_run):
    of_run["image_id"] = ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"]

    assert list(pseudo_labels.split_in_run(rows_of("ISIC_0000003_downsampled"), of_run)) == ["test"]


def test_images_that_are_new_to_the_run_are_drawn_first(drawn_folder):
    drawn = config.make(
        source=("synthetic",), data_dir=(str(drawn_folder),), synthetic_count=40, image_size=64
    )
    every = pseudo_labels.list_images(drawn, rows_of("x", split="test"))[0]
    # As a run with --max_images=20 and the same seed has drawn.
    of_run = splits.draw_at_most(every, 20, seed=0).assign(split="train")
    # By patient, fewer than 20 of the other 20 are new.
    num_new = int((pseudo_labels.split_in_run(every, of_run) == "new").sum())

    few, *_ = pseudo_labels.list_images(drawn.replace(max_images=num_new - 1), of_run)
    many, *_ = pseudo_labels.list_images(drawn.replace(max_images=25), of_run)

    assert num_new > 2 and set(few["split_in_run"]) == {"new"}
    counts = many["split_in_run"].value_counts().to_dict()
    assert counts == {"new": num_new, "train": 25 - num_new}


def test_targets_name_the_run_that_made_them():
    result = fill(rows_of("a", "b", label=[np.nan, 1.0]), [False] * 2, [1.0, 0.0], run="/runs/a")

    assert list(result["pseudo_run"]) == ["/runs/a", ""]


def test_images_that_are_all_held_out_are_refused(drawn_folder):
    settings = config.make(
        source=("synthetic",), data_dir=(str(drawn_folder),), synthetic_count=40, image_size=64
    )
    rows = pseudo_labels.list_images(settings, rows_of("x", split="test"))[0]

    with pytest.raises(ValueError, match="must be in neither val nor test"):
        pseudo_labels.list_images(settings, rows.assign(split="val"))
