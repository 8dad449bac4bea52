"""The network of the package, by every door: predict, load, export, evaluate, fine-tuning."""

import csv
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lbunet_tf
from lbunet_tf import evaluate
from lbunet_tf import export
from lbunet_tf import models
from lbunet_tf import pseudo_label
from lbunet_tf import train
from lbunet_tf.models import saved_models
from lbunet_tf.runs import held_out
from lbunet_tf.runs import networks
from lbunet_tf.serving import prediction_sets
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import released_runs
from lbunet_tf.storage import whole_files

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = ROOT / "docs/pictures/examples"


@pytest.fixture(scope="module")
def network():
    return lbunet_tf.load("isic2017")


@pytest.fixture
def settings():
    return flagfiles.read(released_runs.folder_of("isic2017"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.jpg")), ids=lambda path: path.stem)
def test_an_example_of_the_docs_has_one_outline_in_the_middle(network, path):
    found = network.predict(path)

    assert 0 < found.score < 1 and 0.01 < found.lesion_fraction < 0.9
    height, width = found.size
    assert found.mask[height // 2 - 10 : height // 2 + 10, width // 2 - 10 : width // 2 + 10].any()


def run_in(folder, environment, *command):
    """What became of a command in a folder, once it succeeded."""
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended


CONNECT = """
import sys
sys.stderr.write("CONNECTIONS ARE WATCHED\\n")
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        sys.stderr.write(f"TRIED THE NETWORK: {arguments}\\n")
sys.addaudithook(refuse)
"""


# Another runtime is converted for, as `export` does.
@pytest.mark.parametrize("runtime", networks.RUNTIMES)
def test_nothing_needs_or_tries_the_network_or_leaves_anything_at_home(runtime, tmp_path):
    home, output = tmp_path / "home", tmp_path / "output"
    home.mkdir()
    # Python runs it at its start.
    (tmp_path / "sitecustomize.py").write_text(CONNECT)
    command = [sys.executable, "-m", "lbunet_tf.predict", f"--runtime={runtime}"]
    command += [f"--output={output}", str(next(EXAMPLES.glob("*.jpg")))]
    # A network of no machines, where this one allows it.
    alone = ["unshare", "--map-root-user", "--net"]
    allowed = shutil.which("unshare") and subprocess.run([*alone, "true"], check=False)
    apart = alone if allowed and allowed.returncode == 0 else []
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment |= {"PYTHONPATH": f"{tmp_path}:{ROOT}", "HOME": str(home)}

    ended = run_in(tmp_path, environment, *apart, *command)

    assert "CONNECTIONS ARE WATCHED" in ended.stderr
    assert "TRIED THE NETWORK" not in ended.stderr
    assert any(output.rglob("*"))
    # Keras keeps its own settings there.
    left = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert left <= {".keras/keras.json"}


def test_predict_without_a_run_works_from_anywhere_and_writes_there(tmp_path, network):
    image = next(EXAMPLES.glob("*.jpg"))
    # Matplotlib and Keras keep files of their own there.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "home")}

    ended = run_in(tmp_path, environment, sys.executable, "-m", "lbunet_tf.predict", str(image))

    assert "taking the network of the package, --run=isic2017" in ended.stderr
    folder = tmp_path / "runs/released_isic2017/predicted"
    with open(folder / "scores.csv", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    found = network.predict(image)
    assert float(row["score"]) == pytest.approx(found.score, abs=1e-5)
    assert row["flagged"] == str(int(found.flagged))
    assert row["prediction_set"] == found.prediction_set in prediction_sets.SETS
    mask = np.asarray(Image.open(folder / row["mask"]))
    assert (mask != found.mask).mean() < 1e-4
    assert {path.name for path in tmp_path.iterdir()} == {"home", "runs"}


def test_it_has_all_that_evaluate_chooses_on_val():
    scores = whole_files.read_json(released_runs.FOLDER / "isic2017/scores.json")["test"]

    found = lbunet_tf.load("isic2017", calibrated=True)

    assert found.threshold == scores["operating_point"]["threshold"]
    assert found.calibration.kind == scores["calibrated"]["kind"]
    contours = scores["mask_contours"]
    assert (found.contours.outer, found.contours.inner) == (contours["outer"], contours["inner"])
    assert found.contours.outer < found.mask_rule.threshold < found.contours.inner
    # A melanoma is in the set of most of them.
    assert found.sets.melanoma < found.threshold < found.sets.benign


def test_the_card_has_the_numbers_of_its_scores():
    folder = released_runs.FOLDER / "isic2017"
    scores = whole_files.read_json(folder / "scores.json")["test"]
    card = (folder / "model_card.md").read_text(encoding="utf-8")

    found = [scores["intervals"][name] for name in ("auc", "dice", "iou", "thresholded_jaccard")]
    cells = [f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for one in found]
    assert f"| {scores['num_scored']} (30) | {' | '.join(cells)} |" in card
    at = scores["at_val_threshold"]
    assert f"score at least {at['threshold']:.3f}" in card
    assert f"{at['tp']} of 30 melanomas" in card and f"{at['fp']} of 120 others" in card
    sets, contours = scores["prediction_sets"], scores["mask_contours"]
    assert f"{sets['coverage_melanoma']:.3f} of melanomas" in card
    assert f"misses {contours['missed_fraction']:.1%}".replace("%", " %") in card
    assert sets["is_promised"] is contours["is_promised"] is False


def test_a_damaged_file_of_the_package_is_named(tmp_path, monkeypatch):
    shutil.copytree(released_runs.FOLDER, tmp_path / "released")
    monkeypatch.setattr(released_runs, "FOLDER", tmp_path / "released")
    with open(tmp_path / "released/isic2017/model.keras", "r+b") as file:
        file.truncate(10**6)

    with pytest.raises(ValueError, match="model.keras must be the file that was released, of SHA"):
        lbunet_tf.load("isic2017")


def test_it_is_exported_to_the_working_directory(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    folder = export.export(settings)

    assert folder == pathlib.Path("runs/released_isic2017/export/1")
    assert (folder / "saved_model.pb").is_file()


def test_its_pseudo_labels_go_to_the_working_directory(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = released_runs.FOLDER / "isic2017"
    before = sorted(path.name for path in folder.iterdir())
    asked = settings.replace(
        source=("synthetic",),
        data_dir=("drawn",),
        synthetic_count=12,
        confidence=0.5,
        mask_confidence=0.0,
        ignore_true_masks=True,
    )

    pseudo_label.pseudo_label(asked)

    output = pathlib.Path("runs/released_isic2017/pseudo")
    assert len(whole_files.read_table(output / "manifest.csv", ())) == 12
    # Its val images, of which the package has none.
    assert not (output / "held_out.csv").exists()
    assert sorted(path.name for path in folder.iterdir()) == before


def test_it_teaches_by_its_name(settings):
    student = config.make(teacher=("isic2017",), image_size=64)

    with pytest.raises(ValueError, match="must share the student.s --image_size. .*isic2017 has"):
        train._load_teachers(student)
    folder = released_runs.folder_of("isic2017")
    assert held_out._parents(("isic2017",), "none", pd.DataFrame()) == [folder]


def test_its_encoder_starts_a_training(settings):
    ours = saved_models.load(pathlib.Path(settings.paths.run) / "model.keras")

    fresh = models.build_model(
        config.make(
            encoder="efficientnet_lite0",
            encoder_weights="isic2017",
            image_size=64,
            heads=("mask", "melanoma"),
        )
    )

    for weight, expected in zip(
        fresh.get_layer("encoder").get_weights(),
        ours.get_layer("encoder").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(weight, expected)


def test_it_is_evaluated_on_another_source_and_not_on_its_own(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match='"--source" must name images to score: the network of the'
    ):
        evaluate.evaluate(settings)
    metrics = evaluate.evaluate(
        settings, {"source": ("synthetic",), "data_dir": ("drawn",), "synthetic_count": 12}
    )

    assert metrics["test"]["num_images"] == 12 and metrics["val"]["num_images"] == 0
    threshold = metrics["test"]["mask_threshold"]
    assert threshold == lbunet_tf.load("isic2017").mask_rule.threshold
    # What was chosen on images that are not here, and no promise of these.
    chosen = whole_files.read_json(released_runs.FOLDER / "isic2017/calibration.json")
    assert metrics["test"]["calibrated"]["kind"] == chosen["kind"]
    assert metrics["test"]["operating_point"]["chosen_on"] == "val"
    assert metrics["test"]["prediction_sets"]["is_promised"] is False
    assert metrics["test"]["mask_contours"]["is_promised"] is False
    assert (tmp_path / "runs/released_isic2017/on_synthetic/evaluation/report.html").is_file()
