"""A network of classes without masks, from training to TF Serving."""

import re

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import lbunet_tf
from lbunet_tf import evaluate
from lbunet_tf import export
from lbunet_tf import predict
from lbunet_tf import pseudo_label
from lbunet_tf import train
from lbunet_tf.data import preparation
from lbunet_tf.serving import postprocessing
from lbunet_tf.settings import config
from lbunet_tf.storage import whole_files

pytestmark = pytest.mark.slow

CLASSES = ["benign", "malignant"]


def make_settings(folder, name="run", **changes):
    """Flags of a run of classes on drawn images."""
    flags = {
        "run": str(folder / name),
        "source": ("synthetic",),
        "data_dir": (str(folder / "drawn"),),
        "synthetic_count": 60,
        "image_size": 32,
        "encoder": "tiny",
        "heads": ("diagnosis",),
        "classes": "clinical",
        "monitor": "balanced_accuracy",
        "epochs": 1,
        "learning_rate": 1e-2,
    }
    return config.check(config.make(**{**flags, **changes}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("diagnosis")


@pytest.fixture(scope="module")
def run(folder):
    return train.train(make_settings(folder))


@pytest.fixture(scope="module")
def image(run, folder):
    return folder / "drawn" / "images" / "DRAWN_000003.png"


@pytest.fixture(scope="module")
def prediction(run, image):
    return lbunet_tf.load(run).predict(image)


@pytest.fixture(scope="module")
def metrics(run, folder):
    return evaluate.evaluate(make_settings(folder))


def test_training_watches_the_balanced_accuracy(run):
    history = pd.read_csv(run / "history.csv")

    assert whole_files.read_json(run / "training.json")["monitor"] == "val_balanced_accuracy"
    assert 0 <= history["val_balanced_accuracy"].iloc[0] <= 1


def test_a_prediction_has_classes_and_neither_score_nor_mask(prediction):
    assert list(prediction.class_probabilities) == CLASSES
    assert sum(prediction.class_probabilities.values()) == pytest.approx(1)
    assert prediction.predicted_class in CLASSES
    assert (prediction.score, prediction.mask, prediction.lesion_fraction) == (None, None, None)


def test_the_table_has_the_classes_of_each_image(metrics, run):
    table = pd.read_csv(run / "predictions.csv", keep_default_na=False)

    probabilities = table[[f"p_{name}" for name in CLASSES]].to_numpy(float)
    assert table["predicted"].tolist() == [CLASSES[n] for n in probabilities.argmax(1)]
    expected = table["diagnosis"].map({"nevus": "benign", "melanoma": "malignant"})
    assert table["true_class"].tolist() == expected.tolist()
    assert not [
        name for name in table if "mask_" in name and name not in ("mask_hash", "mask_share")
    ]
    assert not (run / "pixel_histograms.npz").exists()


def test_balanced_accuracy_is_that_of_the_table(metrics, run):
    table = pd.read_csv(run / "predictions.csv", keep_default_na=False)
    test = table[table["split"] == "test"]
    recalls = [(test["predicted"] == name)[test["true_class"] == name].mean() for name in CLASSES]

    assert metrics["test"]["diagnosis"]["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_predict_writes_the_classes_and_no_picture(run, folder, image, prediction):
    output = folder / "predicted"
    predict.predict(make_settings(folder, output=str(output)), [str(image)])

    row = pd.read_csv(output / "scores.csv").iloc[0]
    assert row["predicted"] == prediction.predicted_class
    assert row["p_malignant"] == pytest.approx(
        prediction.class_probabilities["malignant"], abs=1e-6
    )
    assert not (output / "masks").exists() and not (output / "overlays").exists()


def test_the_saved_model_says_the_same_classes(run, folder, image, prediction):
    path = export.export(make_settings(folder))
    served = tf.saved_model.load(path).signatures["serving_default"]

    found = served(image_bytes=tf.constant([image.read_bytes(), b"no image"]))

    assert found["class_names"].numpy().tolist() == [[name.encode() for name in CLASSES]] * 2
    np.testing.assert_allclose(
        found["class_probabilities"][0].numpy(),
        list(prediction.class_probabilities.values()),
        atol=1e-5,
    )
    assert np.isnan(found["class_probabilities"][1].numpy()).all()
    assert set(found) == {"class_names", "class_probabilities", "error"}


def test_classes_that_no_training_image_has_are_refused_before_training(folder):
    settings = make_settings(
        folder, "ham", classes="ham10000", heads=("mask", "diagnosis"), monitor="auc"
    )
    with pytest.raises(ValueError, match="Missing: akiec, bcc, bkl, df, vasc"):
        train.train(settings)
    assert not (folder / "ham" / "model.keras").exists()


def test_a_split_without_any_known_class_is_refused(folder):
    settings = make_settings(folder, "empty")
    manifest = pd.read_csv(folder / "run" / "manifest.csv")
    manifest.loc[manifest["split"] == "val", "diagnosis"] = ""

    with pytest.raises(ValueError, match='"--classes=clinical" needs .* val has none'):
        preparation.check_targets(settings.outputs, "none", "balanced_accuracy", manifest)


def test_a_killed_run_of_classes_ends_as_one_that_was_not(run, folder, train_until_killed):
    settings = make_settings(folder, "killed", epochs=2)
    whole = train.train(make_settings(folder, "whole", epochs=2))

    train_until_killed(settings)
    train.train(settings)

    histories = [pd.read_csv(path / "history.csv") for path in (whole, folder / "killed")]
    columns = [name for name in histories[0] if name != "seconds"]
    pd.testing.assert_frame_equal(histories[0][columns], histories[1][columns])


def test_labels_of_images_are_predicted_by_a_run_without_a_mask_head(folder):
    settings = make_settings(
        folder, "melanoma", heads=("melanoma",), classes="ham10000", monitor="auc"
    )
    run = train.train(settings)
    asked = settings.replace(
        targets=("melanoma",), confidence=0.5, output=str(folder / "pseudo"), run=str(run)
    )

    pseudo_label.pseudo_label(asked)

    table = pd.read_csv(folder / "pseudo" / "manifest.csv")
    assert table["label"].isin([0, 1]).all()
    assert not (folder / "pseudo" / "masks").exists()


def test_runs_of_other_classes_have_no_mean(run, folder):
    other = train.train(make_settings(folder, "other", classes="nv_vs_rest"))

    with pytest.raises(ValueError, match=re.escape('"classes" is clinical in run=')):
        lbunet_tf.load(run, other)


def test_a_student_learns_the_classes_of_its_teacher(run, folder):
    student = train.train(make_settings(folder, "student", teacher=(str(run),), teacher_weight=1))

    assert (student / "training.json").is_file()


def test_the_mean_over_flips_is_that_of_probabilities(run, image):
    found = lbunet_tf.load(run, tta="flips").predict(image).class_probabilities
    model = lbunet_tf.load(run).keras_model
    pixels = np.asarray(tf.io.decode_png(image.read_bytes()), "float32")[None]
    flipped = [pixels, pixels[:, ::-1], pixels[:, :, ::-1], pixels[:, ::-1, ::-1]]

    each = [
        postprocessing.class_probabilities(model.predict_on_batch(one)["diagnosis"])
        for one in flipped
    ]
    np.testing.assert_allclose(list(found.values()), np.mean(each, axis=0)[0], rtol=1e-4)


def test_an_export_without_a_score_cannot_be_calibrated(folder, run):
    with pytest.raises(ValueError, match='"--calibrated" needs'):
        export.export(make_settings(folder).replace(calibrated=True))
