"""A training from sets that know different things, on drawn images, killed and gone on with."""

import keras
import numpy as np
import pandas as pd
import pytest

from lbunet_tf import train
from lbunet_tf.data import manifests
from lbunet_tf.data import pipeline
from lbunet_tf.data.sources import synthetic
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory, drawn_folder):
    """One source knows masks and no labels, the other labels and few masks."""
    folder = tmp_path_factory.mktemp("labelled")
    labelled = synthetic.draw_folder(folder / "images", 32, 64, seed=7)
    labelled["image_id"] = "labelled_" + labelled["image_id"]
    labelled["patient_id"] = "labelled_" + labelled["patient_id"]
    labelled.loc[labelled.index % 4 > 0, "mask"] = ""
    labelled.assign(source="labelled").to_csv(folder / "labelled.csv", index=False)
    outlined = synthetic.draw_folder(drawn_folder, 40, 64, seed=0)
    outlined = outlined.assign(label=np.nan, diagnosis="")
    outlined.assign(source="outlined").to_csv(folder / "outlined.csv", index=False)
    return config.make(
        run=str(tmp_path_factory.mktemp("several") / "run"),
        source=("manifest", "manifest"),
        data_dir=(str(folder / "labelled.csv"), str(folder / "outlined.csv")),
        balance="resample",
        split_by="image",
        split_percent=(50, 30, 20),
        image_size=64,
        encoder="tiny",
        heads=("mask", "melanoma"),
        head_weights=(1.0, 0.5),
        deep_supervision=True,
        learning_rate=1e-3,
        epochs=2,
        patience=5,
        batch_size=4,
    )


@pytest.fixture(scope="module")
def history(settings):
    """What the epochs of the training logged."""
    return pd.read_csv(train.train(settings) / run_directory.HISTORY)


def test_the_logged_loss_is_the_mean_over_the_images_whose_target_is_known(settings, history):
    model = keras.models.load_model(f"{settings.paths.run}/{run_directory.MODEL}", compile=False)
    manifest = manifests.read(f"{settings.paths.run}/{run_directory.MANIFEST}")
    val = manifest[manifest["split"] == "val"]
    has_mask, has_label = (val["mask"] != "").to_numpy(), val["label"].notna().to_numpy()
    assert 0 < has_mask.sum() < len(val) and 0 < has_label.sum() < len(val)
    images, truths, masks = [], [], []
    for example in pipeline.make_examples(settings.preprocessing, val).as_numpy_iterator():
        images.append(example["image"])
        masks.append(example["mask"])
        truths.append(example["label"])

    outputs = model.predict(np.stack(images).astype("float32"), verbose=0)

    def cross_entropy(logits, targets):
        return np.logaddexp(0, logits) - targets * logits

    of_masks = cross_entropy(outputs["mask"], np.stack(masks).astype(float))[has_mask].mean()
    labels = np.reshape(truths, (-1, 1))
    of_labels = cross_entropy(outputs["melanoma"], labels)[has_label].mean()
    best = history.iloc[history["val_loss"].argmin()]
    assert best["val_mask_loss"] == pytest.approx(of_masks, rel=1e-4)
    assert best["val_melanoma_loss"] == pytest.approx(of_labels, rel=1e-4)


def test_it_goes_on_after_a_kill_as_it_would_have(settings, history, tmp_path, train_until_killed):
    settings = settings.replace(run=str(tmp_path / "run"))
    train_until_killed(settings)

    resumed = pd.read_csv(train.train(settings) / run_directory.HISTORY)

    pd.testing.assert_frame_equal(
        resumed.drop(columns="seconds"), history.drop(columns="seconds"), rtol=1e-3
    )
