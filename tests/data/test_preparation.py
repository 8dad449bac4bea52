"""Tests of `lbunet_tf.data.preparation`: from flags to a checked manifest with splits."""

import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf.data import preparation
from lbunet_tf.settings import config


@pytest.fixture
def clinic(tmp_path):
    """Forty images with masks of twenty patients, as a CSV; every fourth is melanoma."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        name = f"c{number:02d}"
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), "uint8")).save(tmp_path / f"{name}.png")
        Image.fromarray(np.eye(16, dtype="uint8") * 255).save(tmp_path / f"{name}_mask.png")
        rows.append(
            {
                "image_id": name,
                "image": f"{name}.png",
                "mask": f"{name}_mask.png",
                "label": int(number % 4 == 0),
                "patient_id": f"p{number // 2}",
            }
        )
    path = tmp_path / "clinic.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture
def prepare(clinic, make_config):
    """Returns a function that prepares the clinic's images with some flags."""

    def run(**fields):
        settings = make_config(source=("manifest",), data_dir=(str(clinic),), **fields)
        result = preparation.prepare(settings)
        preparation.check_targets(
            settings.outputs, settings.split.balance, settings.score.monitor, result.manifest
        )
        return result

    return run


def _rewrite(clinic, **columns):
    pd.read_csv(clinic).assign(**columns).to_csv(clinic, index=False)


def test_every_image_gets_a_split_and_no_patient_crosses(prepare):
    result = prepare()

    assert set(result.manifest["split"]) == {"train", "val", "test"}
    assert len(result.manifest) == 40 and result.skipped.empty
    assert not any(result.crossings.values())


def test_two_copies_of_an_image_stand_on_one_side(prepare, clinic):
    folder = clinic.parent
    for number in range(0, 40, 4):
        copy = folder / f"c{(number + 15) % 40:02d}.png"
        copy.write_bytes((folder / f"c{number:02d}.png").read_bytes())

    table = prepare().manifest

    assert table["content_hash"].nunique() == 30
    assert (table.groupby("content_hash")["split"].nunique() == 1).all()


def test_an_image_split_says_how_many_patients_cross(prepare):
    result = prepare(split_by="image")

    sides = result.manifest.groupby("patient_id")["split"].nunique()
    assert result.crossings["patient_id"] == (sides > 1).sum() > 0


def test_missing_and_bad_images_are_listed_together_with_their_reasons(prepare, clinic):
    (clinic.parent / "c03.png").unlink()
    (clinic.parent / "c11.png").write_bytes(b"\x89PNG broken")

    result = prepare(allow_missing_images=True, on_bad_image="skip")

    assert result.skipped["image_id"].tolist() == ["c03", "c11"]
    assert result.skipped["reason"][0] == "image is missing; left out"
    assert "cannot decode" in result.skipped["reason"][1]
    assert len(result.manifest) == 38


def test_a_subset_holds_all_melanomas_and_the_asked_number_of_others(prepare):
    table = prepare(balance="subset", benign_count=12).manifest

    assert table["label"].value_counts().to_dict() == {0: 12, 1: 10}


def test_max_images_bounds_the_number_of_images(prepare):
    assert len(prepare(max_images=30).manifest) == 30


def test_the_same_flags_prepare_the_same_manifest(prepare):
    pd.testing.assert_frame_equal(prepare(seed=4).manifest, prepare(seed=4).manifest)


def test_a_prepared_manifest_is_kept_as_it_is_by_an_official_split(prepare, clinic):
    first = prepare().manifest
    first.to_csv(clinic, index=False)

    again = prepare(split_by="official").manifest

    assert again["split"].tolist() == first["split"].tolist()


def test_a_split_without_images_is_refused_by_its_name(prepare, clinic):
    _rewrite(clinic, split="train")

    with pytest.raises(ValueError, match="every split needs images; val has none of the 40"):
        prepare(split_by="official")


def test_lesion_masks_are_asked_for_by_their_flag_where_there_are_none(prepare, clinic):
    _rewrite(clinic, mask="")

    with pytest.raises(ValueError, match='"--mask_source=lesion" needs lesion masks'):
        prepare(mask_source="lesion")


def test_images_without_masks_can_be_prepared_for_label_masks(prepare, clinic):
    _rewrite(clinic, mask="")

    assert len(prepare(mask_source="label").manifest) == 40


@pytest.mark.parametrize("fields", [{"mask_source": "label"}, {"heads": ("mask", "melanoma")}])
def test_labels_are_asked_for_where_there_are_none(prepare, clinic, fields):
    _rewrite(clinic, label="")

    with pytest.raises(ValueError, match="need labels, and no train image has one"):
        prepare(**fields)


def test_images_without_labels_can_be_prepared_for_lesion_masks(prepare, clinic):
    _rewrite(clinic, label="")

    assert prepare(mask_source="lesion").manifest["label"].isna().all()


@pytest.mark.parametrize("label", [0, 1])
def test_resampling_needs_both_classes(prepare, clinic, label):
    _rewrite(clinic, label=label)

    with pytest.raises(ValueError, match='"--balance=resample" needs .* both classes'):
        prepare(balance="resample")


def test_an_image_without_its_mask_is_kept_and_listed(prepare, clinic):
    (clinic.parent / "c05_mask.png").unlink()

    result = prepare(allow_missing_images=True)

    assert result.skipped["reason"].tolist() == ["mask is missing; image kept without"]
    assert (result.manifest["mask"] == "").sum() == 1 and len(result.manifest) == 40


def test_what_is_known_of_groups_is_returned(prepare):
    assert prepare().known == {
        "patient_id": 40,
        "lesion_id": 0,
        "duplicate_group": 0,
        "content_hash": 40,
    }


@pytest.fixture
def one_class_test_split(clinic):
    """Gives the clinic splits, the test split of benign images only."""
    number = np.arange(40)
    split = np.select([number < 24, number < 32], ["train", "val"], "test")
    _rewrite(clinic, split=split, label=((number % 4 == 0) & (number < 32)).astype(int))


@pytest.mark.parametrize("fields", [{"mask_source": "label"}, {"heads": ("mask", "melanoma")}])
def test_a_split_of_one_class_is_warned_of_by_its_name(
    prepare, one_class_test_split, caplog, fields
):
    with caplog.at_level(logging.WARNING):
        prepare(split_by="official", **fields)

    assert "test has images of only one class" in caplog.text
    assert "train has" not in caplog.text and "val has" not in caplog.text


def test_a_split_of_one_class_is_not_warned_of_where_labels_are_not_used(
    prepare, one_class_test_split, caplog
):
    with caplog.at_level(logging.WARNING):
        prepare(split_by="official", mask_source="lesion", heads=("mask",))

    assert "only one class" not in caplog.text


@pytest.fixture
def recompressed(clinic):
    """Gives each fifth image of the clinic a compressed copy, as an image of another patient."""
    rows = pd.read_csv(clinic)
    for number in range(0, 40, 5):
        small = np.random.default_rng(number).integers(0, 256, (9, 9, 3), "uint8")
        picture = Image.fromarray(small).resize((64, 64))
        picture.save(clinic.parent / f"c{number:02d}.png")
        picture.save(clinic.parent / f"copy{number:02d}.jpg", quality=90)
    copies = rows.iloc[::5].copy()
    copies["image_id"] = copies["image_id"] + "_copy"
    copies["image"] = [f"copy{number:02d}.jpg" for number in range(0, 40, 5)]
    copies["patient_id"] = copies["patient_id"] + "_other"
    pd.concat([rows, copies]).assign(mask="").to_csv(clinic, index=False)


@pytest.mark.usefixtures("recompressed")
def test_near_duplicates_stand_on_one_side_and_are_counted(prepare):
    result = prepare(near_duplicates=4, mask_source="label")

    table = result.manifest.set_index("image_id")
    copies = table[table.index.str.endswith("_copy")]
    originals = table.loc[copies.index.str.removesuffix("_copy")]
    assert copies["near_duplicate_group"].tolist() == originals.index.tolist()
    assert copies["split"].tolist() == originals["split"].tolist()
    assert result.known["near_duplicate_group"] >= 16
    assert result.crossings["near_duplicate_group"] == 0


@pytest.mark.usefixtures("recompressed")
def test_near_duplicates_across_an_image_split_are_counted(prepare):
    result = prepare(near_duplicates=4, mask_source="label", split_by="image")

    assert result.crossings["near_duplicate_group"] > 0


@pytest.mark.usefixtures("recompressed")
def test_near_duplicates_are_not_looked_for_unless_asked_for(prepare):
    result = prepare(mask_source="label")

    assert "perceptual_hash" not in result.manifest
    assert "near_duplicate_group" not in result.crossings


def test_a_run_without_a_mask_head_has_the_splits_of_one_with_it(prepare, clinic):
    # Every third image lacks a mask, and masks are among the strata.
    _rewrite(clinic, mask=[f"c{n:02d}_mask.png" if n % 3 else "" for n in range(40)])
    splits = [
        prepare(heads=heads).manifest.set_index("image_id")["split"]
        for heads in (("mask",), ("melanoma",))
    ]

    assert splits[0].to_dict() == splits[1].to_dict()


def test_a_diagnosis_gives_the_label_where_a_table_has_none(clinic, prepare):
    _rewrite(clinic, diagnosis=["melanoma", "nevus", "benign", ""] * 10, label=np.nan)

    manifest = prepare(heads=("mask", "melanoma"), monitor="auc").manifest

    found = dict(zip(manifest["diagnosis"], manifest["label"], strict=True))
    assert (found["melanoma"], found["nevus"]) == (1, 0)
    assert np.isnan([found["benign"], found[""]]).all()


def test_a_label_that_is_lacking_among_others_stays_unknown(clinic, prepare):
    labels = [1, 0, np.nan, 0] * 10
    _rewrite(clinic, diagnosis=["melanoma", "nevus"] * 20, label=labels)

    manifest = prepare().manifest

    assert manifest["label"].isna().sum() == 10


def test_the_auc_of_a_diagnosis_needs_its_classes_in_val(clinic, prepare):
    # As labels there are both; of its own classes the diagnosis has one in val.
    _rewrite(clinic, diagnosis=["benign", "nevus", "melanoma", "basal cell carcinoma"] * 10)
    fields = {"heads": ("diagnosis",), "classes": "nv_vs_rest"}
    prepare(**fields)
    outputs = config.make(heads=("diagnosis",), classes="ham10000").outputs
    rows = pd.DataFrame({"diagnosis": ["nevus", "benign"], "label": [0.0, 1.0]})

    assert preparation.scored_labels(outputs, rows) == {0.0}
    rows["diagnosis"] = ["nevus", "melanoma"]
    assert preparation.scored_labels(outputs, rows) == {0.0, 1.0}
