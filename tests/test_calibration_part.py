"""A part of the split that training never sees, on which what is frozen is chosen."""

import pandas as pd
import pytest

from lbunet_tf import evaluate
from lbunet_tf import train
from lbunet_tf.data import pipeline
from lbunet_tf.runs import held_out
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import whole_files

pytestmark = pytest.mark.slow


def make_settings(folder, **changes):
    """Flags of a run on drawn images that keeps a part for calibration."""
    return config.make(
        run=str(folder / "run"),
        source=("synthetic",),
        data_dir=(str(folder / "drawn"),),
        image_size=32,
        encoder="tiny",
        heads=("mask", "melanoma"),
        **changes,
    )


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """(run, metrics, ids of the images that training and its val passes were given)."""
    folder = tmp_path_factory.mktemp("parts")
    settings = make_settings(
        folder, synthetic_count=240, split_percent=(30, 10, 10, 50), epochs=1, learning_rate=1e-3
    )
    given = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("make_training_dataset", "make_evaluation_dataset"):
            patch.setattr(pipeline, name, _recording(getattr(pipeline, name), given))
        train.train(settings)
    return folder / "run", evaluate.evaluate(settings), set(given)


def _recording(make, given):
    def recorded(*arguments):
        tables = [one for one in arguments if isinstance(one, pd.DataFrame)]
        given.extend(name for table in tables for name in table["image_id"])
        return make(*arguments)

    return recorded


def test_the_part_has_its_share_and_is_scored(evaluated):
    run, *_ = evaluated
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
    run, metrics, _ = evaluated
    table = pd.read_csv(run / "predictions.csv")
    part = table[table["split"] == "calibration"]

    point = whole_files.read_json(run / "operating_point.json")
    assert point["chosen_on"] == "calibration"
    assert point["num_melanoma"] == part["label"].sum()
    for name in ("calibration.json", "conformal.json"):
        assert whole_files.read_json(run / name)["chosen_on"] == "calibration"
    contours = whole_files.read_json(run / "conformal.json")["mask_contours"]
    assert contours["chosen_on"] == "calibration"
    assert contours["num_masks"] + contours["num_empty"] == part["mask_tp"].notna().sum()
    assert metrics["test"]["calibrated"]["chosen_on"] == "calibration"
    report = (run / "evaluation/report.html").read_text()
    assert "Chosen on calibration" in report and "also chosen the epoch" not in report
    # Of the mask's threshold alone.
    assert report.lower().count("chosen on val") == 1 and "validation images" not in report


def test_training_sees_none_of_it(evaluated):
    run, _, given = evaluated
    manifest = pd.read_csv(run / "manifest.csv")

    learnt = set(manifest[manifest["split"].isin(held_out.LEARNT)]["image_id"])
    assert given == learnt and len(learnt) > 80
    assert not given & set(manifest[manifest["split"] == "calibration"]["image_id"])


def test_sets_that_a_run_has_are_kept_until_another_coverage_is_asked_for(evaluated):
    run, *_ = evaluated
    settings = flagfiles.read(str(run))

    evaluate.evaluate(settings.replace(set_coverage=0.8, contour_coverage=0.7))
    asked = whole_files.read_json(run / "conformal.json")
    found = evaluate.evaluate(settings)

    assert asked["coverage"] == 0.8 == found["test"]["prediction_sets"]["asked"]
    assert asked["mask_contours"]["coverage"] == 0.7 == found["test"]["mask_contours"]["asked"]
    assert whole_files.read_json(run / "conformal.json") == asked


def test_a_clinics_prevalence_is_frozen_until_an_evaluation_without_it(evaluated):
    run, *_ = evaluated
    settings = flagfiles.read(str(run))

    metrics = evaluate.evaluate(settings.replace(clinic_prevalence=0.02))
    kept = whole_files.read_json(run / "calibration.json")
    evaluate.evaluate(settings)

    assert kept["clinic_prevalence"] == 0.02 and kept["offset"] < 0
    found = metrics["test"]["calibrated"]["clinic_prevalence"]
    assert found["prevalence"] == 0.02 and found["of_calibration"] == kept["prevalence"]
    at = metrics["test"]["at_val_threshold"]
    flagged = at["sensitivity"] * 0.02, (1 - at["specificity"]) * 0.98
    assert found["ppv"] == pytest.approx(flagged[0] / sum(flagged))
    assert "offset" not in whole_files.read_json(run / "calibration.json")


def test_a_clinics_prevalence_is_refused_for_a_mean_before_anything_is_predicted(
    evaluated, monkeypatch, tmp_path
):
    settings = flagfiles.read(str(evaluated[0])).replace(clinic_prevalence=0.02)
    monkeypatch.setattr(evaluate, "_predict", None)

    with pytest.raises(ValueError, match='"--clinic_prevalence" is kept in calibration.json'):
        evaluate.evaluate(settings.replace(output=str(tmp_path / "flips"), tta="flips"))


def test_a_part_of_one_class_is_refused_before_training(tmp_path):
    settings = make_settings(tmp_path, synthetic_count=24, split_percent=(40, 28, 28, 4))

    with pytest.raises(ValueError, match="calibration(, which|.* need both classes)"):
        train.train(settings)
    assert not (tmp_path / "run" / "history.csv").exists()


@pytest.mark.parametrize("percents", [(70, 30), (50, 20, 20, 5), (50, 20, 20, 10, 0)])
def test_percents_that_are_no_split_are_refused(percents):
    with pytest.raises(
        ValueError, match="three or four whole numbers .*train,val,test,calibration"
    ):
        config.make().replace(split_percent=percents)
