"""Evaluation of symmetries, of several runs, and of images of another source."""

import json
import pathlib
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from lbunet_tf import evaluate
from lbunet_tf.runs import run_directory

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parent.parent
LEFT_BY_EVALUATION = ("evaluation", "predictions.csv", "pixel_histograms.npz", "tensorboard")


@pytest.fixture
def copy_run(evaluated, tmp_path):
    """A function: name, change of the manifest -> Config of a copy of the trained run."""
    settings, run, _ = evaluated

    def copy(name, change=lambda manifest: manifest):
        folder = tmp_path / name
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns(*LEFT_BY_EVALUATION))
        manifest = pd.read_csv(folder / run_directory.MANIFEST, dtype=str, keep_default_na=False)
        change(manifest).to_csv(folder / run_directory.MANIFEST, index=False)
        return settings.replace(run=str(folder))

    return copy


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_with_its_twin_has_the_scores_of_the_run(evaluated, copy_run, tmp_path):
    _, _, expected = evaluated
    settings, twin = copy_run("run"), copy_run("twin")
    before = files_in(tmp_path / "run"), files_in(tmp_path / "twin")
    both = settings.replace(other_runs=(twin.paths.run,), output=str(tmp_path / "both"))

    metrics = evaluate.evaluate(both)

    for split in ("val", "test"):
        assert (metrics[split]["runs"], metrics[split]["tta"]) == (2, "none")
        for name in ("auc", "dice", "pixel_auc", "accuracy"):
            assert metrics[split][name] == pytest.approx(expected[split][name], abs=1e-4)
    assert (files_in(tmp_path / "run"), files_in(tmp_path / "twin")) == before
    written = files_in(tmp_path / "both")
    names = ["manifest.csv", "checks.json", "skipped.csv", "predictions.csv"]
    names += ["pixel_histograms.npz", "evaluation/metrics.json", "evaluation/report.html"]
    names += ["evaluation/figures/roc.png", "evaluation/figures/mask_sheet.png"]
    assert [name for name in names if name not in written] == []
    report = (tmp_path / "both" / run_directory.REPORT).read_text()
    assert "2 forward passes per image" in report and "Training of twin" in report


def test_a_mean_whose_second_run_has_learnt_from_test_images_is_refused(copy_run, tmp_path):
    sides = {"train": "test", "val": "val", "test": "train"}
    other = copy_run("other", lambda table: table.assign(split=table["split"].map(sides)))
    settings = copy_run("run").replace(other_runs=(other.paths.run,), output=str(tmp_path / "both"))

    with pytest.raises(ValueError, match=f"in train of {other.paths.run}; the first is image"):
        evaluate.evaluate(settings)

    assert not (tmp_path / "both").exists()


def test_symmetries_are_named_where_scores_are(copy_run, tmp_path):
    settings = copy_run("run").replace(tta="flips", output=str(tmp_path / "flips"))

    evaluate.evaluate(settings)

    stored = json.loads((tmp_path / "flips" / run_directory.METRICS).read_text())
    assert {(part["tta"], part["runs"]) for part in stored.values()} == {("flips", 1)}
    report = (tmp_path / "flips" / run_directory.REPORT).read_text()
    assert "4 symmetries of the image (--tta=flips), 4 forward passes per image" in report

    with pytest.raises(
        ValueError, match="made with other flags .*--tta flips, now none.* Give --output"
    ):
        evaluate.evaluate(settings.replace(tta="none"))


def test_symmetries_of_a_run_without_a_mask_threshold_say_that_none_was_chosen(
    copy_run, tmp_path, caplog
):
    settings = copy_run("run").replace(tta="flips", output=str(tmp_path / "flips"))
    (tmp_path / "run" / run_directory.MASK_THRESHOLD).unlink()

    metrics = evaluate.evaluate(settings)

    assert metrics["test"]["mask_threshold_chosen_on"] == "none"
    assert f"evaluate --run={settings.paths.run} chooses the threshold on val" in caplog.text
    report = (tmp_path / "flips" / run_directory.REPORT).read_text()
    assert "at probability 0.50, not chosen" in report


def test_a_folder_of_other_files_is_no_output(copy_run, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "manifest.csv").write_text("image_id,image\n")

    with pytest.raises(ValueError, match='"--output" must be a new or empty folder'):
        evaluate.evaluate(copy_run("run").replace(output=str(tmp_path / "photos")))


def test_another_source_is_scored_by_the_command_line_without_known_images(copy_run, evaluated):
    _, _, expected = evaluated
    settings = copy_run("run")
    run = pathlib.Path(settings.paths.run)

    # The run's own images as another source: its test images alone are new to it.
    flags = [f"--run={run}", "--source=manifest", f"--data_dir={run / 'manifest.csv'}"]
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.tiny_encoder",
            "lbunet_tf.evaluate",
            *flags,
            "--max_images=1000",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr[-2000:]
    manifest = pd.read_csv(run / "manifest.csv", dtype=str)
    num_test = int((manifest["split"] == "test").sum())
    assert f"left out {48 - num_test} of 48 images" in result.stderr
    output = run / "on_manifest"
    found = json.loads((output / run_directory.METRICS).read_text())
    # Of another source nothing is promised.
    own = {**expected["test"]}
    for name in ("prediction_sets", "mask_contours"):
        measured = found["test"].pop(name)
        assert measured.pop("is_promised") is False
        assert measured.items() <= own.pop(name).items()
    assert found == {"val": expected["val"], "test": own}
    skipped = pd.read_csv(output / run_directory.SKIPPED)
    known = manifest[manifest["split"] != "test"]
    assert set(skipped["image_id"]) == set(known["image_id"])
    scored = pd.read_csv(output / run_directory.MANIFEST)
    assert set(scored["split"]) == {"val", "test"} and len(scored) + 48 - num_test > num_test
    report = (output / run_directory.REPORT).read_text()
    assert f"test: {num_test} images of manifest" in report
    assert not (run / run_directory.PREDICTIONS).exists()


def test_a_flag_about_another_source_without_its_name_ends_with_one_clear_line(copy_run):
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.tiny_encoder",
            "lbunet_tf.evaluate",
            f"--run={copy_run('r').paths.run}",
            "--seed=3",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    error = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert error.startswith('ERROR: "--source" must name another source')
    assert error.endswith("Received: --seed without --source")
