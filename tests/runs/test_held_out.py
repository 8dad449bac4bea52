"""Which images an evaluation scores: none that one of its runs has learnt from."""

import hashlib
import logging
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf.data import manifests
from lbunet_tf.data import near_duplicates
from lbunet_tf.runs import held_out
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import whole_files


def make_manifest(**columns):
    """Train, val and two test images; a column is given as "a b - c", with - for unknown."""
    table = pd.DataFrame({"image_id": list("abcd"), "split": ["train", "val", "test", "test"]})
    for column, text in columns.items():
        table[column] = ["" if word == "-" else word for word in text.split()]
    return manifests.complete(table.assign(image="x.png"), "folder")


def refuse(own, other, scored=("val", "test")):
    held_out.refuse_learnt({"runs/own": own, "runs/other": other}, scored)


def test_runs_of_one_split_are_accepted():
    refuse(make_manifest(patient_id="p q r s"), make_manifest(patient_id="p q r s"))


def test_runs_of_other_images_are_accepted():
    refuse(make_manifest(), make_manifest(image_id="e f g h"))


@pytest.mark.parametrize(
    ("split", "error"),
    [
        ("test val train test", "1 of 2 are, by their image_id, in train of"),
        ("train test val test", "1 of 2 are, by their image_id, in val of"),
        ("val train test test", "1 of 1 are, by their image_id, in train of"),
    ],
    ids=["test in train", "test in val", "val in train"],
)
def test_an_image_from_which_another_run_has_learnt_is_refused(split, error):
    with pytest.raises(ValueError, match=re.escape(f"{error} runs/other")):
        refuse(make_manifest(), make_manifest(split=split))


def test_the_refusal_names_image_and_value():
    own = make_manifest(patient_id="- - p q")
    other = make_manifest(image_id="e f g h", patient_id="q - - -")

    with pytest.raises(ValueError, match="the first is image 'd', patient_id 'q'"):
        refuse(own, other)


def test_the_smaller_copy_of_isic_2019_is_the_image_itself():
    other = make_manifest(image_id="c_downsampled f g h")

    with pytest.raises(
        ValueError, match="by their image_id, in train .* the first is image 'c'[.]"
    ):
        refuse(make_manifest(), other)


@pytest.mark.parametrize("column", ["patient_id", "lesion_id", "duplicate_group", "content_hash"])
def test_what_shares_a_value_with_a_training_image_is_refused(column):
    own = make_manifest(**{column: "- - same -"})
    other = make_manifest(image_id="e f g h", **{column: "same - - -"})

    with pytest.raises(ValueError, match=f"by their {column}, in train"):
        refuse(own, other)


def test_unknown_values_are_shared_with_none():
    refuse(make_manifest(), make_manifest(image_id="e f g h", patient_id="- p p p"))


def test_val_images_may_be_val_of_both():
    refuse(make_manifest(), make_manifest(image_id="e b g h"))


def test_what_crosses_the_first_runs_own_split_is_no_reason_to_refuse():
    # --split_by=image, the paper's: its own checks say how many patients cross.
    own = make_manifest(patient_id="p q p -")

    refuse(own, make_manifest(patient_id="p q p -"))


def test_what_crosses_from_val_only_does_not_excuse_train():
    own = make_manifest(patient_id="- p p -")
    other = make_manifest(image_id="e f g h", patient_id="p - - -")

    with pytest.raises(ValueError, match="by their patient_id, in train"):
        refuse(own, other)


def test_test_images_that_are_not_scored_are_not_looked_at():
    refuse(make_manifest(), make_manifest(split="test val train test"), scored=("val",))


@pytest.fixture
def make_run(tmp_path, write_image):
    """A function of columns: a run directory of 4 images (train, val, test, test) and flags."""

    def make(name="run", teacher=(), **columns):
        table = make_manifest(**columns)
        for number, image_id in enumerate(table["image_id"]):
            path = write_image(tmp_path / name / f"{image_id}.png", colour=(number, 50, 50))
            table.loc[number, "image"] = str(path)
            table.loc[number, "content_hash"] = hashlib.sha1(path.read_bytes()).hexdigest()
        table.to_csv(tmp_path / name / "manifest.csv", index=False)
        settings = config.make(
            run=str(tmp_path / name),
            heads=("mask", "melanoma"),
            source=("folder",),
            teacher=tuple(str(tmp_path / each) for each in teacher),
        )
        (tmp_path / name / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(settings)))
        return settings

    return make


@pytest.fixture
def make_source(tmp_path, write_image):
    """A function: colours of images by id, columns -> the group `source` of these images."""

    def make(colours, max_images=0, **columns):
        table = pd.DataFrame({"image_id": list(colours), "label": 1})
        for column, text in columns.items():
            table[column] = ["" if word == "-" else word for word in text.split()]
        table["image"] = [
            str(write_image(tmp_path / "other" / f"{name}.png", colour=colour))
            for name, colour in colours.items()
        ]
        table.to_csv(tmp_path / "other.csv", index=False)
        return config.make(
            source=("manifest",), data_dir=(str(tmp_path / "other.csv"),), max_images=max_images
        ).source

    return make


def make_checked_run(make_run):
    settings = make_run()
    checks = {"images": 4, "skipped": 0, "crossings": {}, "known": {}}
    whole_files.write_json(pathlib.Path(settings.paths.run) / "checks.json", checks)
    return settings


def test_a_training_image_that_is_gone_is_not_needed_for_a_runs_own_images(make_run):
    settings = make_checked_run(make_run)
    (pathlib.Path(settings.paths.run) / "a.png").unlink()

    assert held_out.own_images(settings.paths.runs, settings.reading.verify_images).manifest[
        "image_id"
    ].tolist() == list("abcd")


@pytest.mark.parametrize(("name", "row"), [("b", 2), ("d", 4)])
def test_a_val_or_test_image_that_is_gone_is_named(make_run, name, row):
    settings = make_checked_run(make_run)
    (pathlib.Path(settings.paths.run) / f"{name}.png").unlink()

    with pytest.raises(ValueError, match=f"1 of 3 are gone. The first is .* '{name}', row {row}:"):
        held_out.own_images(settings.paths.runs, settings.reading.verify_images)


def test_all_images_of_another_source_are_test_and_val_is_the_runs_own(make_run, make_source):
    source = make_source({"x": "red", "y": "blue"}, split="train val")

    scored = held_out.other_images(make_run(), source)

    rows = scored.manifest.set_index("image_id")["split"]
    assert rows.to_dict() == {"b": "val", "x": "test", "y": "test"}


def test_known_images_are_left_out_and_listed_with_the_reason(make_run, make_source):
    colours = {"a": "red", "x": "green", "y": "blue", "z": "white", "copy": (0, 50, 50)}
    source = make_source(colours, patient_id="- p - q -", lesion_id="- - l m -")
    settings = make_run(patient_id="- p q -", lesion_id="l - - m")

    scored = held_out.other_images(settings, source)

    assert scored.manifest["image_id"].tolist() == ["b", "z"]
    reasons = dict(zip(scored.skipped["image_id"], scored.skipped["reason"], strict=True))
    by = {"a": "image_id", "x": "patient_id", "y": "lesion_id", "copy": "content_hash"}
    assert reasons == {
        name: f"is in train, val or calibration of a run, by {column}; left out"
        for name, column in by.items()
    }
    assert (scored.checks["images"], scored.checks["left_out"]) == (1, 4)
    assert set(scored.checks["crossings"].values()) == {0}


def test_a_further_image_of_the_lesion_of_a_known_image_is_left_out(make_run, make_source):
    # The run does not know lesions, the other source does: "x" is another image of "a"'s.
    source = make_source({"a": "red", "x": "green", "y": "blue"}, lesion_id="l l m")

    scored = held_out.other_images(make_run(), source)

    assert scored.manifest["image_id"].tolist() == ["b", "y"]
    assert "a further image of its group" in scored.skipped["reason"].iloc[1]


def test_images_that_any_of_several_runs_knows_are_left_out(make_run, make_source):
    settings, other = make_run(), make_run("other_run", image_id="e f g h")
    source = make_source({"a": "red", "e": "green", "y": "blue"})

    scored = held_out.other_images(settings.replace(other_runs=(other.paths.run,)), source)

    assert scored.manifest["image_id"].tolist() == ["b", "y"]


def test_what_is_left_out_is_counted_aloud(make_run, make_source, caplog):
    caplog.set_level(logging.INFO, logger="absl")

    held_out.other_images(make_run(), make_source({"a": "red", "y": "blue"}))

    assert "left out 1 of 2 images that are in train, val or calibration of" in caplog.text


def test_a_draw_is_of_the_images_that_are_new(make_run, make_source):
    colours = {name: (200, number, 0) for number, name in enumerate("abcdefgh")}

    scored = held_out.other_images(make_run(), make_source(colours, max_images=6))

    # "a" and "b" are known, six are left.
    assert scored.manifest["image_id"].tolist() == ["b", *"cdefgh"]


def test_a_source_of_known_images_only_is_refused(make_run, make_source):
    with pytest.raises(ValueError, match='"--source" must have images that are new to the run'):
        held_out.other_images(make_run(), make_source({"a": "red", "b": "blue"}))


def test_a_source_without_anything_to_score_against_is_refused(make_run, make_source):
    settings = make_run().replace(heads=("mask",))

    with pytest.raises(ValueError, match='"--source" must have something to score .* lesion masks'):
        held_out.other_images(settings, make_source({"x": "red"}))


def test_a_val_image_from_which_another_run_has_learnt_is_refused(make_run, make_source):
    other = make_run("other_run", split="val train test test")
    settings = make_run().replace(other_runs=(other.paths.run,))

    with pytest.raises(ValueError, match="the val images of .* must be new"):
        held_out.other_images(settings, make_source({"x": "red"}))


def test_what_the_teacher_of_another_run_has_learnt_is_refused(make_run, make_source):
    make_run("teacher", split="val train test test")
    other = make_run("other_run", image_id="e f g h", teacher=("teacher",))
    settings = make_checked_run(make_run).replace(other_runs=(other.paths.run,))

    with pytest.raises(ValueError, match="the val images of .* must be new to .*teacher"):
        held_out.own_images(settings.paths.runs, "quick")
    with pytest.raises(ValueError, match="the val images of .* must be new to .*teacher"):
        held_out.other_images(settings, make_source({"x": "red"}))


def test_what_a_runs_teacher_has_seen_is_left_out_too(make_run, make_source):
    make_run("teacher", image_id="e f g h")
    settings = make_run(teacher=("teacher",))

    scored = held_out.other_images(settings, make_source({"e": "red", "g": "green", "y": "blue"}))

    # Image e is in the teacher's train; its test image g is new to both.
    assert scored.manifest["image_id"].tolist() == ["b", "g", "y"]


def test_what_the_run_that_made_pseudo_labels_has_seen_is_left_out_too(
    make_run, make_source, tmp_path
):
    make_run("maker", image_id="e f g h")
    settings = make_run(pseudo_run=f"{tmp_path / 'maker'} - - -")

    scored = held_out.other_images(settings, make_source({"e": "red", "g": "green", "y": "blue"}))

    assert scored.manifest["image_id"].tolist() == ["b", "g", "y"]


def test_a_teacher_that_is_gone_is_said_to_be(make_run, make_source, caplog):
    settings = make_run(teacher=("gone",))

    with caplog.at_level(logging.WARNING):
        held_out.other_images(settings, make_source({"y": "blue"}))

    assert "which is no longer there" in caplog.text


def test_a_near_duplicate_of_what_the_run_has_learnt_from_is_left_out(make_run, make_source):
    rng = np.random.default_rng(0)
    seen, new = (
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), "uint8")).resize((64, 64)) for _ in "ab"
    )
    settings = make_run().replace(near_duplicates=2)
    table = manifests.read(f"{settings.paths.run}/manifest.csv")
    hashes = [near_duplicates.perceptual_hash(np.asarray(seen)), "0" * 16, "", ""]
    table.assign(perceptual_hash=hashes).to_csv(f"{settings.paths.run}/manifest.csv", index=False)
    source = make_source({"x": "red", "y": "blue"})
    folder = pathlib.Path(source.data_dir[0]).parent / "other"
    seen.save(folder / "x.png")
    new.save(folder / "y.png")

    scored = held_out.other_images(settings, source)

    assert scored.manifest["image_id"].tolist() == ["b", "y"]
    assert scored.skipped["reason"].tolist() == [
        "is in train, val or calibration of a run, by near_duplicate_group; left out"
    ]
