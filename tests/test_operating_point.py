"""The operating point is chosen once, on val, and used by all that score an image."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import lbunet_tf
from lbunet_tf import evaluate
from lbunet_tf import export
from lbunet_tf import predict
from lbunet_tf.evaluation import operating_point
from lbunet_tf.runs import frozen
from lbunet_tf.serving import chosen
from lbunet_tf.serving import prediction_sets
from lbunet_tf.serving import signature
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import whole_files

pytestmark = pytest.mark.slow
FILE = "operating_point.json"


@pytest.fixture
def run(evaluated, tmp_path):
    """A finished, evaluated run that may be changed."""
    return pathlib.Path(shutil.copytree(evaluated[1], tmp_path / "run"))


@pytest.fixture
def settings(run):
    return flagfiles.read(str(run))


@pytest.fixture
def images(run):
    table = pd.read_csv(run / "predictions.csv")
    return table[table["split"] == "test"]["image"].tolist()


def rows_of(output):
    with open(pathlib.Path(output) / "scores.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_youdens_is_frozen_where_none_is_asked_for(run):
    point = whole_files.read_json(run / FILE)
    metrics = whole_files.read_json(run / "evaluation/metrics.json")

    assert point["threshold"] == metrics["test"]["at_val_threshold"]["threshold"]
    assert "Youden" in point["rule"] and point["chosen_on"] == "val"
    table = pd.read_csv(run / "predictions.csv")
    val = table[(table["split"] == "val") & table["label"].notna()]
    assert point["num_melanoma"] == val["label"].sum()
    assert point["num_melanoma"] + point["num_other"] == len(val)
    assert metrics["test"]["operating_point"]["rule"] == point["rule"]


def test_a_target_replaces_it_and_is_kept_by_a_later_evaluation(run, settings):
    asked = evaluate.evaluate(settings.replace(target_sensitivity=0.8))
    assert asked["val"]["at_val_threshold"]["sensitivity"] >= 0.8
    point = whole_files.read_json(run / FILE)
    assert point["rule"] == "sensitivity of at least 0.8 on these images"

    again = evaluate.evaluate(settings)

    assert whole_files.read_json(run / FILE) == point
    assert again["test"]["at_val_threshold"]["threshold"] == point["threshold"]


def test_a_report_elsewhere_says_that_its_choice_is_not_the_runs(run, settings, tmp_path):
    evaluate.evaluate(settings.replace(output=str(tmp_path / "other"), target_sensitivity=0.8))

    card = (tmp_path / "other/evaluation/model_card.md").read_text()
    assert card.count("do not use it; they use another, which the run has") == 1
    assert "whether the image is flagged" in card


def test_contours_of_every_pixel_are_not_said_to_be_kept_by_another_evaluation(run, settings):
    (run / "conformal.json").unlink()

    evaluate.evaluate(settings.replace(mask_cleanup="none"))

    card = (run / "evaluation/model_card.md").read_text()
    assert "Contours are kept of outlines of one region only" in card


def test_a_guarantee_without_enough_patients_leaves_all_as_it_was(run, settings):
    before = (run / FILE).read_bytes()

    with pytest.raises(ValueError, match="59 needed"):
        evaluate.evaluate(settings.replace(target_sensitivity=0.95, guarantee=0.95))

    assert (run / FILE).read_bytes() == before


def test_a_rule_that_cannot_be_followed_is_refused_before_anything_is_scored(
    run, settings, monkeypatch
):
    asked = settings.replace(target_sensitivity=0.9)
    monkeypatch.setattr(evaluate, "_predict", None)

    with pytest.raises(ValueError, match="needs a melanoma score.*sensitivity of at least 0.9"):
        evaluate.evaluate(asked.replace(heads=("mask",)))
    manifest = pd.read_csv(run / "manifest.csv")
    manifest.loc[manifest["split"] == "val", "label"] = 0.0
    manifest.to_csv(run / "manifest.csv", index=False)
    with pytest.raises(ValueError, match="val images with and without melanoma. Received: 0 mel"):
        evaluate.evaluate(asked)


def test_a_threshold_near_1_flags_a_certain_score_in_64_bits_everywhere(run, images, tmp_path):
    point = whole_files.read_json(run / FILE)
    whole_files.write_json(run / FILE, {**point, "threshold": 1 - 1e-9})
    logits = np.array([[18.0], [25.0]], "float32")

    class Certain:
        input_shape = (None, 64, 64, 3)

        def __call__(self, pictures, training):
            return {"melanoma": tf.constant(logits[: len(pictures)])}

    serve = signature.make_serving_function(
        Certain(),
        lambda contents: tf.constant(""),
        lambda contents: (tf.zeros((64, 64, 3), tf.uint8), tf.constant("")),
        lambda image: image,
        "melanoma",
        None,
        chosen.Chosen(1 - 1e-9, sets=prediction_sets.BinarySets(1 - 1e-9, 1.0)),
    )
    # Both are 1 in 32 bits; of 64 the first is 1 - 1.5e-8.
    found = serve(tf.constant([b"\xff\xd8\xff\xe0"] * 2))
    assert found["probability"].numpy().tolist() == [1, 1]
    assert found["flagged"].numpy().tolist() == [0, 1]
    assert found["prediction_set"].numpy().tolist() == [b"benign", b"neither"]


def test_predict_load_and_exports_flag_alike(run, settings, images, tmp_path):
    threshold = whole_files.read_json(run / FILE)["threshold"]
    predict.predict(settings.replace(output=str(tmp_path / "out")), images)
    rows = rows_of(tmp_path / "out")
    flagged = [row["flagged"] for row in rows]
    assert set(flagged) == {"0", "1"}
    scores = np.array([float(row["score"]) for row in rows])
    assert [str(int(score >= threshold)) for score in scores] == flagged

    found = lbunet_tf.load(run).predict(images)
    assert [str(int(one.flagged)) for one in found] == flagged

    folder = export.export(settings.replace(output=str(tmp_path / "saved")))
    model = tf.saved_model.load(str(folder))
    contents = [pathlib.Path(path).read_bytes() for path in images]
    contents.append(b"no image")
    served = model.signatures["serving_default"](image_bytes=tf.constant(contents))
    sets = [row["prediction_set"].encode() for row in rows]
    assert served["prediction_set"].numpy().tolist() == [*sets, b""]
    served = served["flagged"].numpy()
    assert [str(int(one)) for one in served[:-1]] == flagged and np.isnan(served[-1])
    identity = json.loads(model.signatures["identity"]()["identity"].numpy())
    assert identity["flagged_from_probability"] == threshold
    frozen_sets = frozen.read_sets(run)
    ends = {name: frozen_sets[name] for name in ("benign", "melanoma")}
    assert identity["prediction_sets"] == ends

    folder = export.export(settings.replace(output=str(tmp_path / "xml"), format="openvino"))
    identity = whole_files.read_json(folder / "identity.json")
    assert identity["flagged_from_probability"] == threshold


def test_a_mean_has_no_operating_point(run, settings, images, tmp_path):
    predict.predict(settings.replace(output=str(tmp_path / "out"), tta="flips"), images[:3])

    assert "flagged" not in rows_of(tmp_path / "out")[0]
    assert frozen.threshold_of([str(run), str(run)], "none") is None
    assert lbunet_tf.load(run, tta="flips").predict(images[0]).flagged is None


def test_that_of_another_model_is_not_used(run, images, caplog):
    point = whole_files.read_json(run / FILE)
    whole_files.write_json(run / FILE, {**point, "model_crc32": 1})

    assert lbunet_tf.load(run).predict(images[0]).flagged is None
    assert "of another model" in caplog.text


def test_nothing_is_chosen_for_a_model_that_a_training_replaced(run, settings, monkeypatch):
    metrics = "evaluation/metrics.json"
    files = (FILE, "calibration.json", "conformal.json", "mask_threshold.json", metrics)
    before = {name: (run / name).read_bytes() for name in files if (run / name).is_file()}
    predict_run = evaluate.predictions.predict_run

    def replace_model(*given):
        with open(run / "model.keras", "ab") as file:
            file.write(b"a better epoch")
        return predict_run(*given)

    monkeypatch.setattr(evaluate.predictions, "predict_run", replace_model)

    with pytest.raises(ValueError, match="model.keras must stay as it is.*the same command again"):
        evaluate.evaluate(settings.replace(target_sensitivity=0.8))
    assert {name: (run / name).read_bytes() for name in before} == before


def test_without_labels_of_test_the_point_is_stated_and_no_curve_is_left_of_before(run, settings):
    curves = [run / f"evaluation/{name}.csv" for name in ("threshold_curves", "decision_curve")]
    assert curves[0].is_file()
    manifest = pd.read_csv(run / "manifest.csv")
    manifest["label"] = manifest["label"].where(manifest["split"] != "test")
    manifest.to_csv(run / "manifest.csv", index=False)

    metrics = evaluate.evaluate(settings)

    threshold = whole_files.read_json(run / FILE)["threshold"]
    assert metrics["test"]["operating_point"]["threshold"] == threshold
    report = (run / "evaluation/report.html").read_text()
    assert "chosen on val, never on test" in report and "none chosen" not in report
    assert not any(path.exists() for path in curves)


def test_contours_are_drawn_where_they_are_asked_for(run, settings, images, tmp_path):
    plain, asked = (settings.replace(output=str(tmp_path / name)) for name in ("plain", "asked"))
    predict.predict(plain.replace(write=("overlays",)), images[:3])

    predict.predict(asked.replace(write=("overlays",), contours=True), images[:3])

    found = lbunet_tf.load(run).predict(images[:3])
    assert all((one.outer_mask >= one.mask).all() for one in found)
    assert all((one.inner_mask <= one.outer_mask).all() for one in found)
    without, with_them = (
        sorted((tmp_path / name / "overlays").iterdir()) for name in ("plain", "asked")
    )
    assert len(with_them) == 3
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(without, with_them, strict=True))


def test_contours_of_a_mean_are_refused(run, settings, images):
    with pytest.raises(ValueError, match='"--contours" are of one run as it is.*--tta=flips'):
        predict.predict(settings.replace(contours=True, tta="flips"), images)


def test_contours_of_no_overlays_are_refused(settings):
    with pytest.raises(ValueError, match='"--contours" are drawn on overlays.*--write=scores'):
        settings.replace(contours=True, write=("scores",))


@pytest.mark.parametrize("contours", [{"outer": "0.5", "inner": 0.9}, {"outer": 0.5}, 7, []])
def test_damaged_contours_are_named(run, contours):
    content = whole_files.read_json(run / "conformal.json")
    whole_files.write_json(run / "conformal.json", {**content, "mask_contours": contours})

    with pytest.raises(ValueError, match="conformal.json must hold two probabilities of mask"):
        frozen.contours_of([str(run)], "none")


def test_sets_and_contours_do_without_each_other(run):
    content = whole_files.read_json(run / "conformal.json")
    contours = content.pop("mask_contours")
    crc = {"model_crc32": content["model_crc32"]}

    whole_files.write_json(run / "conformal.json", content)
    assert frozen.contours_of([str(run)], "none") is None
    assert frozen.sets_of([str(run)], "none") is not None
    whole_files.write_json(run / "conformal.json", {"mask_contours": contours, **crc})
    assert frozen.contours_of([str(run)], "none") is not None
    assert frozen.sets_of([str(run)], "none") is None


def test_a_damaged_one_is_named(run):
    point = whole_files.read_json(run / FILE)
    whole_files.write_json(run / FILE, {**point, "threshold": 2.0})

    with pytest.raises(ValueError, match="operating_point.json must hold a threshold between 0"):
        lbunet_tf.load(run)


def test_predict_load_and_exports_calibrate_alike(run, settings, images, tmp_path):
    # The offset is what --clinic_prevalence adds.
    kept = {"kind": "platt", "parameters": [0.7, -0.4], "offset": -1.5}
    frozen.write(run, "calibration.json", kept)
    asked = settings.replace(calibrated=True, output=str(tmp_path / "out"))
    predict.predict(asked, images)
    rows = rows_of(tmp_path / "out")
    found = np.array([float(row["calibrated_score"]) for row in rows])

    scores = np.array([float(row["score"]) for row in rows])
    logits = np.log(scores / (1 - scores))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(1.9 - 0.7 * logits)), atol=1e-4)
    loaded = lbunet_tf.load(run, calibrated=True).predict(images)
    np.testing.assert_allclose([one.calibrated_score for one in loaded], found, atol=1e-5)
    folder = export.export(asked.replace(output=str(tmp_path / "saved")))
    model = tf.saved_model.load(str(folder))
    contents = [pathlib.Path(path).read_bytes() for path in images]
    served = model.signatures["serving_default"](image_bytes=tf.constant(contents))
    np.testing.assert_allclose(served["calibrated_probability"].numpy(), found, atol=1e-5)
    assert lbunet_tf.load(run).predict(images[0]).calibrated_score is None


def test_predictions_of_another_clinic_are_not_continued(run, settings, images, tmp_path):
    asked = settings.replace(calibrated=True, output=str(tmp_path / "out"))
    kept = {"kind": "platt", "parameters": [0.7, -0.4]}
    frozen.write(run, "calibration.json", kept)
    predict.predict(asked, images[:2])
    frozen.write(run, "calibration.json", {**kept, "offset": -1.5})

    with pytest.raises(ValueError, match="calibrated"):
        predict.predict(asked, images[:2])


@pytest.mark.parametrize(
    "changes, words",
    [({"tta": "flips"}, "is of one run as it is.*--tta=flips"), ({}, "needs .*calibration.json")],
)
def test_without_a_calibration_of_the_run_as_it_is_none_is_made_up(
    run, settings, images, changes, words
):
    (run / "calibration.json").unlink(missing_ok=True)

    with pytest.raises(ValueError, match=f'"--calibrated" {words}'):
        predict.predict(settings.replace(calibrated=True, **changes), images)


@pytest.mark.parametrize(
    "content", [{"kind": "magic", "parameters": []}, {"kind": "platt", "parameters": [1.0]}]
)
def test_a_damaged_calibration_is_named(run, content):
    frozen.write(run, "calibration.json", content)

    with pytest.raises(ValueError, match="calibration.json must hold a kind and its parameters"):
        lbunet_tf.load(run, calibrated=True)


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"target_sensitivity": 0.9, "cost_ratio": 2.0}, "only one of --target_sensitivity"),
        ({"guarantee": 0.95}, '"--guarantee" is about --target_sensitivity'),
        ({"guarantee": 0.95, "cost_ratio": 2.0}, '"--guarantee" is about --target_sensitivity'),
        ({"target_specificity": 1.0}, '"--target_specificity" must be'),
    ],
)
def test_flags_that_do_not_belong_together_are_refused(settings, flags, words):
    with pytest.raises(ValueError, match=words):
        evaluate.evaluate(settings.replace(**flags))


def test_the_rule_is_said_in_words():
    rule = operating_point.Rule(target_sensitivity=0.9, guarantee=0.95)
    assert str(rule) == "sensitivity of at least 0.9, with confidence 0.95"
    assert str(operating_point.Rule(cost_ratio=20)).endswith("weighs 20 false alarms")
