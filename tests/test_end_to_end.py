"""Whole runs on drawn images: every file is there, resumable, refused or explained."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

from lbunet_tf import evaluate
from lbunet_tf import train
from lbunet_tf.data.sources import synthetic
from lbunet_tf.evaluation import assessment
from lbunet_tf.evaluation import choices
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import predictions
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import outlines
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parent.parent


def run_entry(entry, *arguments, **keywords):
    return subprocess.run(
        [sys.executable, "-m", "tests.tiny_encoder", f"lbunet_tf.{entry}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **keywords,
    )


def tensorboard_tags(folder):
    return set(event_accumulator.EventAccumulator(str(folder)).Reload().Tags()["tensors"])


def test_a_run_leaves_every_file_of_the_contract(evaluated):
    _, run, _ = evaluated
    names = ["flags.cfg", "manifest.csv", "skipped.csv", "model.keras", "history.csv"]
    names += ["predictions.csv", "pixel_histograms.npz", "evaluation/metrics.json"]
    names += ["evaluation/report.html", "evaluation/model_card.md", "training.json", "checks.json"]
    names += [
        f"evaluation/figures/{name}.png"
        for name in ("class_balance", "roc", "training_curves", "confusion_matrix")
    ]
    names += ["evaluation/figures/threshold_curves.png", "evaluation/figures/mask_sheet.png"]
    names += ["evaluation/figures/example_sheet.png"]
    assert [name for name in names if not (run / name).is_file()] == []


def test_a_finished_run_keeps_neither_backup_nor_partial_files(evaluated):
    _, run, _ = evaluated
    left = [path.name for path in run.rglob("*") if "partial" in path.name or path.name == "backup"]
    assert left == []


def test_metrics_json_holds_val_and_test_with_plain_names(evaluated):
    _, run, metrics = evaluated
    stored = json.loads((run / "evaluation/metrics.json").read_text())
    assert stored == metrics
    assert {"auc", "accuracy", "dice", "iou", "thresholded_jaccard", "pixel_auc"} <= set(
        stored["test"]
    )


def test_every_number_is_recomputed_from_the_predictions_table(evaluated):
    settings, run, metrics = evaluated
    table = contract.read(run / "predictions.csv")
    rule = outlines.MaskRule(metrics["val"]["mask_threshold"], "one_region")
    again, _ = assessment.assess(
        table, run, settings.outputs, settings.score, rule, choices.Target()
    )
    what = {"tta": "none", "runs": 1, "mask_cleanup": "one_region"}
    what["mask_threshold"] = metrics["val"]["mask_threshold"]
    what["mask_threshold_chosen_on"] = "val"
    scored = {split: {**values, **what} for split, values in again.items()}
    assert json.dumps(scored) == json.dumps(metrics)


def test_predictions_keep_the_manifests_rows_and_columns(evaluated):
    _, run, _ = evaluated
    manifest = pd.read_csv(run / "manifest.csv")
    table = pd.read_csv(run / "predictions.csv")
    evaluated_rows = manifest[manifest["split"].isin(predictions.EVALUATED_SPLITS)]
    assert set(table["image_id"]) == set(evaluated_rows["image_id"])
    assert set(manifest.columns) < set(table.columns)


def test_checks_json_counts_images_crossings_and_what_is_known(evaluated):
    _, run, _ = evaluated
    manifest = pd.read_csv(run / "manifest.csv")
    checks = json.loads((run / "checks.json").read_text())
    assert (checks["images"], checks["skipped"]) == (len(manifest), 0)
    assert set(checks["crossings"].values()) == {0}
    assert checks["known"]["patient_id"] == len(manifest)


def test_the_tensorboard_holds_scalars_overlays_and_flags(evaluated):
    _, run, _ = evaluated
    tags = {part: tensorboard_tags(run / "tensorboard" / part) for part in ("train", "validation")}
    assert {"epoch_loss", "epoch_melanoma_auc", "epoch_melanoma_accuracy", "flags"} <= tags["train"]
    assert {"epoch_loss", "epoch_melanoma_auc", "masks: true green, predicted magenta"} <= tags[
        "validation"
    ]


def test_training_a_finished_run_again_is_refused(evaluated):
    settings, _, _ = evaluated
    with pytest.raises(ValueError, match="holds a finished run"):
        train.train(settings)


def test_evaluating_twice_gives_the_same_numbers(evaluated):
    settings, _, metrics = evaluated
    assert json.dumps(evaluate.evaluate(settings)) == json.dumps(metrics)


def test_label_masks_at_124_px_from_a_folder_carry_their_name(tmp_path):
    rng = np.random.default_rng(0)
    for name, level in (("melanoma", 60), ("nevus", 180)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(level, level + 40, (140, 130, 3)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{name}{number}.jpg")
    settings = config.make(
        run=str(tmp_path / "run"),
        source=("folder",),
        data_dir=(str(tmp_path / "images"),),
        mask_source="label",
        split_by="image",
        split_percent=(50, 25, 25),
        balance="subset",
        benign_count=10,
        image_size=124,
        encoder="tiny",
        epochs=1,
        cache=False,
    )
    train.train(settings)
    metrics = evaluate.evaluate(settings)
    names = {"dice", "iou", "pixel_accuracy", "pixel_auc"}
    assert {f"label_as_mask_{name}" for name in names} <= set(metrics["test"])
    assert not names & set(metrics["test"])
    assert len(pd.read_csv(tmp_path / "run" / "manifest.csv")) == 22
    assert "label-as-mask: image, predicted probability (white 1)" in tensorboard_tags(
        tmp_path / "run" / "tensorboard" / "validation"
    )


def test_an_encoder_without_imagenet_weights_learns_at_batch_8(tmp_path):
    """Batch norm of momentum 0.9: val_loss is finite and falls by epoch 3 (docs/paper.md#g18)."""
    settings = config.make(
        run=str(tmp_path / "run"),
        source=("synthetic",),
        data_dir=(str(tmp_path / "drawn"),),
        synthetic_count=120,
        image_size=32,
        encoder="resnet34",
        encoder_weights="none",
        epochs=3,
        split_by="image",
    )
    train.train(settings)
    val_loss = pd.read_csv(tmp_path / "run" / "history.csv")["val_loss"]
    assert np.isfinite(val_loss).all() and val_loss.iloc[2] < min(val_loss.iloc[0], 0.69)


def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(tmp_path, drawn_folder, caplog):
    fields = {
        "source": ("synthetic",),
        "data_dir": (str(drawn_folder),),
        "synthetic_count": 40,
        "image_size": 64,
        "encoder": "tiny",
        "epochs": 3,
        "augment": "flips",
    }
    undisturbed, killed = (
        config.make(run=str(tmp_path / name), **fields) for name in ("undisturbed", "killed")
    )
    train.train(undisturbed)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.tiny_encoder", "lbunet_tf.train"),
            *flagfiles.flag_lines(killed),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    backups = tmp_path / "killed" / run_directory.BACKUP
    while process.poll() is None and not list(backups.glob("0*.weights.h5")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / run_directory.FINISHED).is_file()

    train.train(killed)

    assert re.search(r"continuing from epoch \d", caplog.text)
    histories = [
        pd.read_csv(tmp_path / run / "history.csv").drop(columns="seconds")
        for run in ("undisturbed", "killed")
    ]
    assert list(histories[1]["epoch"]) == [1, 2, 3]
    pd.testing.assert_frame_equal(*histories, rtol=1e-3, atol=1e-4)


def test_a_truncated_image_ends_prepare_with_one_clear_line(tmp_path):
    drawn = tmp_path / "drawn"
    synthetic.draw_folder(str(drawn), 20, 128, 0)
    victim = drawn / "images" / "DRAWN_000003.png"
    victim.write_bytes(victim.read_bytes()[:500])
    result = run_entry(
        "prepare", "--source=synthetic", f"--data_dir={drawn}", "--synthetic_count=20"
    )
    error = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert error.startswith("ERROR: ") and f"cannot decode {victim}" in error
    assert "--on_bad_image=skip" in error
