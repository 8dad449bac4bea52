"""Tests of `lbunet_tf.data.sources.synthetic`: drawn dermoscopy."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics

from lbunet_tf.data.pixels import file_check
from lbunet_tf.data.sources import synthetic

COUNT, SIZE_PX, SEED = 40, 32, 5


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A manifest of forty drawings, which no test may change."""
    folder = tmp_path_factory.mktemp("drawings") / "drawn"
    return synthetic.draw_folder(str(folder), COUNT, SIZE_PX, SEED)


def _pixels(paths):
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def _without_paths(table):
    return table.drop(columns=["image", "mask"]).fillna(-1).to_dict("records")


def test_a_seed_draws_the_same_pixels_and_the_same_rows(drawn, tmp_path):
    again = synthetic.draw_folder(str(tmp_path / "again"), COUNT, SIZE_PX, SEED)

    np.testing.assert_array_equal(_pixels(again["image"]), _pixels(drawn["image"]))
    np.testing.assert_array_equal(_pixels(again["mask"]), _pixels(drawn["mask"]))
    assert _without_paths(again) == _without_paths(drawn)


def test_another_seed_draws_other_images(drawn, tmp_path):
    other = synthetic.draw_folder(str(tmp_path / "other"), 12, SIZE_PX, SEED + 1)

    same = (_pixels(other["image"]) == _pixels(drawn["image"][:12])).all(axis=(1, 2, 3))
    assert not same.any()


def test_there_are_as_many_images_as_asked_all_of_the_asked_size(drawn):
    assert _pixels(drawn["image"]).shape == (COUNT, SIZE_PX, SIZE_PX, 3)
    assert drawn["image_id"].is_unique


def test_every_image_has_a_readable_mask_of_its_size(drawn):
    checked, skipped = file_check.check_files(drawn, "error")

    assert len(checked) == COUNT and skipped.empty
    assert (drawn["mask"] != "").all()


def test_masks_are_0_and_255_and_hold_a_lesion_and_skin_around_it(drawn):
    masks = _pixels(drawn["mask"])

    assert set(np.unique(masks)) == {0, 255}
    share = (masks > 0).mean(axis=(1, 2))
    assert 0.01 < share.min() and share.max() < 0.75


def test_the_mask_lies_on_the_darker_pixels(drawn):
    gray = _pixels(drawn["image"]).mean(axis=-1)
    inside = _pixels(drawn["mask"]) > 0
    inner = (gray * inside).sum(axis=(1, 2)) / inside.sum(axis=(1, 2))
    # Without the corners, which may be drawn dark.
    ring = ~inside & (np.hypot(*(np.mgrid[:SIZE_PX, :SIZE_PX] - SIZE_PX / 2)) < SIZE_PX / 2)
    outer = (gray * ring).sum(axis=(1, 2)) / ring.sum(axis=(1, 2))

    # A light lesion under white bubbles may be an exception.
    assert (inner < outer).mean() >= 0.9


def test_both_classes_are_drawn_and_named_by_their_diagnosis(drawn):
    assert 0.2 < (drawn["label"] == 1).mean() < 0.8
    assert ((drawn["diagnosis"] == "melanoma") == (drawn["label"] == 1)).all()


def test_patients_have_several_lesions_and_a_lesion_one_patient(drawn):
    lesions = drawn.groupby("patient_id")["lesion_id"].nunique()

    assert lesions.max() > 1 and lesions.max() <= 6
    assert len(lesions) >= 5
    assert (drawn.groupby("lesion_id")["patient_id"].nunique() == 1).all()


def test_a_patient_has_one_age_one_sex_and_one_skin_type(drawn):
    assert (drawn.groupby("patient_id")[["age", "sex", "skin_type"]].nunique() == 1).all(axis=None)


def test_ages_sexes_sites_and_skin_types_lie_in_their_ranges(drawn):
    assert drawn["age"].between(15, 85).all() and drawn["age"].nunique() > 3
    assert set(drawn["sex"]) == {"female", "male"}
    assert set(drawn["site"]) <= set(synthetic.SITES) and drawn["site"].nunique() > 1
    assert drawn["skin_type"].isin(range(1, 7)).all() and drawn["skin_type"].nunique() > 2


@pytest.mark.parametrize("trait", ["radius", "asymmetry", "border", "num_colours"])
def test_every_trait_tells_the_classes_apart_only_in_part(trait):
    rng = np.random.default_rng(0)
    melanoma = np.arange(1000) % 2 == 1

    traits = [getattr(synthetic.draw_traits(bool(each), rng), trait) for each in melanoma]

    assert 0.6 < metrics.roc_auc_score(melanoma, traits) < 0.999


@pytest.mark.parametrize("skin_type", range(1, 7))
def test_darker_skin_types_are_drawn_darker(skin_type):
    lesion = synthetic.Lesion(False, 0.2, 0.2, 1, 0.2)
    means = [
        synthetic.draw(lesion, each, SIZE_PX, np.random.default_rng(0))[0].mean()
        for each in (skin_type, min(skin_type + 1, 6))
    ]

    assert means[0] > means[1] or skin_type == 6


@pytest.mark.parametrize("size_px", [16, 31, 124])
def test_images_of_any_size_are_drawn_with_masks_of_0_and_1(size_px):
    lesion = synthetic.Lesion(True, 0.9, 0.9, 5, 0.3)

    # Several streams, so that each artefact is drawn at least once.
    for seed in range(8):
        image, mask = synthetic.draw(lesion, 3, size_px, np.random.default_rng(seed))
        assert image.shape == (size_px, size_px, 3) and image.dtype == np.uint8
        assert mask.shape == (size_px, size_px) and set(np.unique(mask)) == {0, 1}


def test_a_finished_folder_is_read_and_not_drawn_again(tmp_path):
    first = synthetic.draw_folder(str(tmp_path / "drawn"), 6, 16, 0)
    marked = pathlib.Path(first["image"][0])
    marked.write_bytes(b"not drawn again")

    second = synthetic.draw_folder(str(tmp_path / "drawn"), 6, 16, 0)

    assert marked.read_bytes() == b"not drawn again"
    assert second.fillna(-1).to_dict("records") == first.fillna(-1).to_dict("records")


def test_an_unfinished_drawing_is_finished_as_if_never_stopped(tmp_path):
    whole = synthetic.draw_folder(str(tmp_path / "whole"), 8, 16, 0)
    synthetic.draw_folder(str(tmp_path / "stopped"), 8, 16, 0)
    (tmp_path / "stopped" / "drawn.json").unlink()
    (tmp_path / "stopped" / "manifest.csv").unlink()
    image = tmp_path / "stopped" / "images" / "DRAWN_000003.png"
    image.write_bytes(image.read_bytes()[:50])
    (tmp_path / "stopped" / "masks" / "DRAWN_000005_segmentation.png").unlink()

    resumed = synthetic.draw_folder(str(tmp_path / "stopped"), 8, 16, 0)

    np.testing.assert_array_equal(_pixels(resumed["image"]), _pixels(whole["image"]))
    np.testing.assert_array_equal(_pixels(resumed["mask"]), _pixels(whole["mask"]))
    assert _without_paths(resumed) == _without_paths(whole)


def test_a_finished_folder_says_what_it_holds(tmp_path):
    table = synthetic.draw_folder(str(tmp_path / "drawn"), 6, 16, 7)

    kept = json.loads((tmp_path / "drawn" / "drawn.json").read_text())
    assert kept == {"drawing": 1, "count": 6, "size_px": 16, "seed": 7}
    assert len(pd.read_csv(tmp_path / "drawn" / "manifest.csv")) == len(table) == 6


@pytest.mark.parametrize("count, size_px, seed", [(7, 16, 0), (6, 17, 0), (6, 16, 1)])
def test_a_folder_of_other_drawings_is_refused_with_folder_and_flag(tmp_path, count, size_px, seed):
    synthetic.draw_folder(str(tmp_path / "drawn"), 6, 16, 0)

    with pytest.raises(ValueError) as error:
        synthetic.draw_folder(str(tmp_path / "drawn"), count, size_px, seed)

    assert str(tmp_path / "drawn") in str(error.value)
    assert "--data_dir" in str(error.value)


@pytest.mark.parametrize("name", ["notes.txt", "images/ISIC_0000001.jpg", "masks/ISIC_1.png"])
def test_a_folder_with_files_of_a_person_is_refused_and_left_as_it_is(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")

    with pytest.raises(ValueError, match='"--data_dir" must be a new or empty folder'):
        synthetic.draw_folder(str(tmp_path), 6, 16, 0)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_a_folder_that_was_moved_is_still_read(tmp_path):
    synthetic.draw_folder(str(tmp_path / "here"), 6, 16, 0)
    (tmp_path / "here").rename(tmp_path / "there")

    table = synthetic.draw_folder(str(tmp_path / "there"), 6, 16, 0)

    assert all(pathlib.Path(path).is_file() for path in [*table["image"], *table["mask"]])


def test_another_seed_draws_other_images_of_other_patients(tmp_path):
    first, second = (synthetic.draw_folder(str(tmp_path / f"{n}"), 12, 16, n) for n in (0, 1))

    for column in ("image_id", "patient_id", "lesion_id"):
        assert set(first[column]).isdisjoint(second[column])
    assert first["image_id"].iloc[0] == "DRAWN_000000"
