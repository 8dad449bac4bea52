"""Runs whose images were moved, whose test images are of one class, or that have no labels."""

import json
import pathlib
import re
import shutil

import pandas as pd
import pytest

from lbunet_tf import evaluate
from lbunet_tf import train
from lbunet_tf.data.sources import synthetic
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles

pytestmark = pytest.mark.slow


def _copy_run(evaluated, folder, change):
    """Returns the Config of a copy of the run whose manifest is changed."""
    settings, run, _ = evaluated
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("evaluation", "predictions.csv"))
    manifest = pd.read_csv(folder / run_directory.MANIFEST, keep_default_na=False, dtype=str)
    change(manifest).to_csv(folder / run_directory.MANIFEST, index=False)
    return settings.replace(run=str(folder))


def _moved(column, row):
    """Returns a change of a manifest: the file of one row (from 1) stands elsewhere."""

    def change(manifest):
        path = pathlib.Path(manifest.loc[row - 1, column])
        manifest.loc[row - 1, column] = str(path.parent / "old" / path.name)
        return manifest

    return change


def _without_test_melanomas(manifest):
    label = manifest["label"].astype(float)
    return manifest[(manifest["split"] != "test") | (label == 0)]


@pytest.fixture(scope="module")
def one_class(evaluated, tmp_path_factory):
    """(run directory, metrics) of a run none of whose test images is a melanoma."""
    folder = tmp_path_factory.mktemp("one_class") / "run"
    settings = _copy_run(evaluated, folder, _without_test_melanomas)
    return folder, evaluate.evaluate(settings)


@pytest.fixture(scope="module")
def masks_only(tmp_path_factory):
    """(run directory, metrics) of an epoch on 24 drawn images whose manifest has no labels.

    It replaces what a training with another seed leaves that is killed in its first epoch.
    """
    folder = tmp_path_factory.mktemp("masks_only")
    table = synthetic.draw_folder(str(folder / "drawn"), count=24, size_px=32, seed=5)
    table[["image_id", "image", "mask"]].to_csv(folder / "masks.csv", index=False)
    settings = config.make(
        run=str(folder / "run"),
        source=("manifest",),
        data_dir=(str(folder / "masks.csv"),),
        split_by="image",
        mask_source="lesion",
        heads=("mask",),
        image_size=32,
        encoder="tiny",
        encoder_weights="none",
        epochs=1,
    )
    _leave_unfinished(settings.replace(seed=settings.source.seed + 1))
    return train.train(settings.replace(overwrite=True)), evaluate.evaluate(settings)


def _leave_unfinished(settings):
    lines = flagfiles.flag_lines(settings)
    run = run_directory.begin_training(settings.paths.run, lines, overwrite=False)
    (run / run_directory.MANIFEST).write_text("image_id,image\nimage_of_other_flags,other.png\n")
    (run / run_directory.BACKUP).mkdir()


def _report(run):
    return (run / run_directory.REPORT).read_text()


@pytest.mark.parametrize("column", ["image", "mask"])
def test_evaluating_a_run_whose_files_were_moved_names_file_and_row(evaluated, tmp_path, column):
    settings = _copy_run(evaluated, tmp_path / "run", _moved(column, row=7))
    manifest = pd.read_csv(tmp_path / "run" / run_directory.MANIFEST)

    with pytest.raises(ValueError, match=re.escape(manifest[column][6])) as error:
        evaluate.evaluate(settings)

    assert f"of image '{manifest['image_id'][6]}', row 7: looked for" in str(error.value)


def test_resuming_a_run_whose_images_were_moved_names_file_and_row(evaluated, tmp_path):
    settings = _copy_run(evaluated, tmp_path / "run", _moved("image", row=7))
    (tmp_path / "run" / run_directory.FINISHED).unlink()
    manifest = pd.read_csv(tmp_path / "run" / run_directory.MANIFEST)

    with pytest.raises(ValueError, match=re.escape(manifest["image"][6])) as error:
        train.train(settings)

    assert f"of image '{manifest['image_id'][6]}', row 7: looked for" in str(error.value)


def test_one_class_of_test_images_has_no_auc(one_class):
    run, metrics = one_class

    stored = json.loads((run / run_directory.METRICS).read_text())

    assert stored == metrics
    assert (metrics["test"]["auc"], metrics["test"]["num_melanoma"]) == (None, 0)


def test_one_class_of_test_images_has_a_confusion_matrix(one_class):
    run, _ = one_class

    assert (run / run_directory.FIGURES / "confusion_matrix.png").is_file()


def test_one_class_of_test_images_has_examples_and_a_model_card(one_class):
    run, metrics = one_class

    assert (run / run_directory.FIGURES / "example_sheet.png").is_file()
    card = (run / run_directory.MODEL_CARD).read_text()
    assert f"of {metrics['test']['num_scored']} scored test images 0 are melanomas" in card


def test_one_class_of_test_images_is_given_as_the_reason_in_the_report(one_class):
    run, metrics = one_class

    count = metrics["test"]["num_scored"]
    reason = f"AUC is not defined: of {count} scored test images 0 are melanomas"
    assert reason in _report(run)


def test_a_manifest_without_labels_has_mask_scores_and_no_classification(masks_only):
    _, metrics = masks_only

    assert {"dice", "iou", "pixel_auc"} <= set(metrics["test"])
    assert not {"num_scored", "accuracy", "auc", "at_0.5"} & set(metrics["test"])


def test_a_manifest_without_labels_draws_no_classification(masks_only):
    run, _ = masks_only

    drawn = {path.stem for path in (run / run_directory.FIGURES).iterdir()}

    assert drawn == {"class_balance", "training_curves", "mask_sheet"}


def test_a_manifest_without_labels_gives_a_report_of_outlines_only(masks_only):
    run, _ = masks_only

    assert "No output of this network scores melanoma; it finds outlines only." in _report(run)
    assert "Test images at a threshold" not in _report(run)


def test_overwrite_replaces_a_run_of_other_flags_without_a_finished_epoch(masks_only):
    run, _ = masks_only

    manifest = pd.read_csv(run / run_directory.MANIFEST)

    assert len(manifest) == 24 and "image_of_other_flags" not in set(manifest["image_id"])
    assert flagfiles.read(str(run)).source.seed == config.make().source.seed
