"""A part of the split that training never sees, on which what is frozen is chosen."""

import pandas as pd
import pytest

from lbunet_tf import evaluate
from lbunet_tf import train
from lbunet_tf.runs import held_out
from lbunet_tf.settings import config
from lbunet_tf.storage import whole_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """(run, metrics) of a run with such a part."""
    folder = tmp_path_factory.mktemp("parts")
    settings = config.make(
        run=str(folder / "run"),
        source=("synthetic",),
        data_dir=(str(folder / "drawn"),),
        synthetic_count=240,
        split_percent=(30, 10, 10, 50),
        image_size=32,
        encoder="tiny",
        heads=("mask", "melanoma"),
        epochs=1,
        learning_rate=1e-3,
    )
    train.train(settings)
    return folder / "run", evaluate.evaluate(settings)


def test_the_part_has_its_share_and_is_scored(evaluated):
    run, _ = evaluated
    manifest = pd.read_csv(run / "manifest.csv")
    counts = manifest["split"].value_counts()

    assert counts["calibration"] == pytest.approx(120, abs=6) and set(counts.index) == {
        "train",
        "val",
        "test",
        "calibration",
    }
    table = pd.read_csv(run / "predictions.csv")
    assert table["split"].value_counts().to_dict() == {
        name: count for name, count in counts.items() if name != "train"
    }
    assert table["score"].notna().all()


def test_what_is_frozen_was_chosen_there(evaluated):
    run, metrics = evaluated
    table = pd.read_csv(run / "predictions.csv")
    part = table[table["split"] == "calibration"]

    point = whole_files.read_json(run / "operating_point.json")
    assert point["chosen_on"] == "calibration"
    assert point["num_melanoma"] == part["label"].sum()
    for name in ("calibration.json", "conformal.json"):
        assert whole_files.read_json(run / name)["chosen_on"] == "calibration"
    assert metrics["test"]["calibrated"]["chosen_on"] == "calibration"
    report = (run / "evaluation/report.html").read_text()
    assert "Chosen on calibration" in report and "also chosen the epoch" not in report


def test_training_sees_none_of_it(evaluated):
    run, _ = evaluated
    training = whole_files.read_json(run / "training.json")
    manifest = pd.read_csv(run / "manifest.csv")
    history = pd.read_csv(run / "history.csv")

    assert len(history) == training["epochs"] == 1
    known = manifest[manifest["split"] == "calibration"]["image_id"]
    assert "calibration" not in held_out.LEARNT
    assert not set(known) & set(manifest[manifest["split"].isin(held_out.LEARNT)]["image_id"])


@pytest.mark.parametrize("percents", [(70, 30), (50, 20, 20, 5), (50, 20, 20, 10, 0)])
def test_percents_that_are_no_split_are_refused(percents):
    with pytest.raises(
        ValueError, match="three or four whole numbers .*train,val,test,calibration"
    ):
        config.make().replace(split_percent=percents)
