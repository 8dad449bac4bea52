"""Where an evaluation may be written, by what decided the one that lies there."""

import dataclasses
import json
import pathlib

import pytest

from lbunet_tf.runs import evaluation_folder
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config


def settings_of(tmp_path):
    return config.make(run=str(tmp_path / "run"), heads=("mask", "melanoma"))


def asked_of(settings, source):
    return evaluation_folder.asked_of(
        settings.paths.runs, settings.score, settings.mask_cleanup, source
    )


def folder_of(settings, source):
    return evaluation_folder.folder_of(settings.paths, source, asked_of(settings, source))


def test_an_earlier_evaluation_of_painted_labels_is_of_the_same_flags(tmp_path):
    # No mask of theirs is cleaned up, now as then; the flag was not kept.
    settings = settings_of(tmp_path).replace(mask_source="label", output=str(tmp_path / "out"))
    asked = asked_of(settings, None)
    del asked["mask_cleanup"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / run_directory.CHECKS).write_text(json.dumps({"asked": asked}))

    folder = folder_of(settings, None)

    assert folder == tmp_path / "out"


def write_asked(folder, settings, source=None, **changes):
    folder.mkdir(parents=True)
    asked = asked_of(settings, source) | changes
    (folder / run_directory.CHECKS).write_text(json.dumps({"asked": asked}))


def test_an_evaluation_of_other_choices_is_not_replaced(tmp_path):
    settings = settings_of(tmp_path).replace(output=str(tmp_path / "out"), subgroups=("sex",))
    write_asked(tmp_path / "out", settings)

    assert folder_of(settings, None) == tmp_path / "out"
    with pytest.raises(ValueError, match="other flags .--target_sensitivity 0.0, now 0.9"):
        folder_of(settings.replace(target_sensitivity=0.9), None)


def test_an_evaluation_of_a_version_that_noted_no_choices_is_of_the_same_flags(tmp_path):
    settings = settings_of(tmp_path).replace(output=str(tmp_path / "out"))
    asked = asked_of(settings, None)
    (tmp_path / "out").mkdir()
    earlier = {name: asked[name] for name in asked if name not in evaluation_folder.CHOICES}
    (tmp_path / "out" / run_directory.CHECKS).write_text(json.dumps({"asked": earlier}))

    later = settings.replace(target_sensitivity=0.9)
    assert folder_of(later, None) == tmp_path / "out"


def test_a_run_that_was_moved_keeps_its_evaluations_and_bad_images_may_be_skipped(tmp_path):
    settings = settings_of(tmp_path)
    source = config.make(source=("manifest",), data_dir=("x.csv",)).source
    folder = pathlib.Path(settings.paths.run) / "on_manifest"
    earlier = {"run": ["/elsewhere/runs/run"], "on_bad_image": "error"}
    write_asked(folder, settings, source, **earlier)

    skip = dataclasses.replace(source, on_bad_image="skip")
    assert folder_of(settings, skip) == folder
    drawn = dataclasses.replace(source, seed=3)
    with pytest.raises(ValueError, match="--seed 0, now 3"):
        folder_of(settings, drawn)


def test_a_mean_does_not_replace_the_evaluation_of_its_first_run(tmp_path):
    settings = settings_of(tmp_path)
    write_asked(tmp_path / "run" / "on", settings)
    settings = settings.replace(output=str(tmp_path / "run" / "on"))

    assert folder_of(settings, None) == tmp_path / "run" / "on"
    with pytest.raises(ValueError, match="other flags .--run "):
        folder_of(settings.replace(other_runs=(str(tmp_path / "other"),)), None)
