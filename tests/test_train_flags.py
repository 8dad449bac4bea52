"""Trainings by flags of the optimisation, the losses and a teacher, on drawn images."""

import json
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest

from lbunet_tf import models
from lbunet_tf import train
from lbunet_tf.data import manifests
from lbunet_tf.data.sources import synthetic
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config
from lbunet_tf.storage import output_folder
from lbunet_tf.training import compilation

pytestmark = pytest.mark.slow

ALL = {
    "augment": "keras_cv",
    "mask_loss": "bce_dice",
    "melanoma_loss": "focal",
    "label_smoothing": 0.1,
    "class_weights": ("melanoma",),
    "head_weights": (1.0, 0.5),
    "schedule": "cosine",
    "warmup_epochs": 1,
    "weight_decay": 0.01,
    "encoder_learning_rate": 1e-4,
    "freeze_batch_norm": True,
    "clip_norm": 1.0,
    "average_weights": 0.9,
    "deep_supervision": True,
    "monitor": "dice",
    "epochs": 3,
}


@pytest.fixture(scope="module")
def all_at_once(tmp_path_factory, drawn_folder):
    """(Config, run directory) of a training that uses nearly every flag."""
    settings = config.make(
        run=str(tmp_path_factory.mktemp("all") / "run"),
        source=("synthetic",),
        data_dir=(str(drawn_folder),),
        synthetic_count=40,
        image_size=64,
        encoder="tiny",
        heads=("mask", "melanoma"),
        learning_rate=1e-2,
        patience=5,
    ).replace(**ALL)
    return settings, train.train(settings)


def test_all_flags_at_once_train(all_at_once):
    _, run = all_at_once
    history = pd.read_csv(run / run_directory.HISTORY)

    assert len(history) == 3
    assert np.isfinite(history.to_numpy()).all()
    assert history["loss"].iloc[-1] < 0.95 * history["loss"].iloc[0]


def test_the_best_epoch_is_the_one_of_the_best_dice(all_at_once):
    _, run = all_at_once
    history = pd.read_csv(run / run_directory.HISTORY)
    finished = json.loads((run / run_directory.FINISHED).read_text())

    assert finished["monitor"] == "val_mask_dice"
    assert finished["best_epoch"] == history["val_mask_dice"].argmax() + 1


def test_the_saved_model_has_the_heads_alone_and_no_optimizer(all_at_once):
    _, run = all_at_once
    model = keras.models.load_model(run / run_directory.MODEL)

    assert model.output_names == ["mask", "melanoma"]
    assert not model.compiled


def test_frozen_batch_norm_keeps_its_pretrained_statistics(all_at_once):
    settings, run = all_at_once
    encoder = keras.models.load_model(run / run_directory.MODEL, compile=False).get_layer("encoder")
    fresh = models.build_model(settings).get_layer("encoder")

    for name in ("bn1", "bn5"):
        for ours, theirs in zip(
            encoder.get_layer(name).get_weights(), fresh.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_a_killed_run_of_all_flags_ends_as_an_undisturbed_one(
    all_at_once, tmp_path, train_until_killed
):
    settings, undisturbed = all_at_once
    settings = settings.replace(run=str(tmp_path / "run"))
    train_until_killed(settings)

    run = train.train(settings)

    ours, theirs = (
        pd.read_csv(folder / run_directory.HISTORY).drop(columns="seconds")
        for folder in (run, undisturbed)
    )
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3)


def test_a_student_learns_from_a_teacher_whose_targets_are_its_only_ones(all_at_once, tmp_path):
    settings, teacher = all_at_once
    student = config.make(
        **{
            name: settings.values()[name]
            for name in ("source", "data_dir", "synthetic_count", "image_size", "encoder", "heads")
        },
        run=str(tmp_path / "student"),
        learning_rate=1e-3,
        epochs=2,
        teacher=(str(teacher),),
        teacher_weight=1.0,
    )

    history = pd.read_csv(train.train(student) / run_directory.HISTORY)

    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image_size": 32}, '"--teacher" must share the student\'s --image_size'),
        ({"remove_hair": True}, '"--teacher" must share the student\'s --remove_hair'),
        ({"mask_source": "label", "monitor": "loss"}, "must share the student's --mask_source"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_training(
    all_at_once, tmp_path, changes, message
):
    settings, teacher = all_at_once
    student = settings.replace(
        run=str(tmp_path / "student"), teacher=(str(teacher),), augment="none", **changes
    )

    with pytest.raises(ValueError, match=message):
        train.train(student)


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": ("melanoma",), "model": "classifier", "mask_source": "label"},
        {"heads": ("mask",), "classes": "isic2019"},
    ],
)
def test_a_teacher_need_not_share_what_the_student_does_not_learn(all_at_once, changes):
    settings, teacher = all_at_once
    student = config.make(
        image_size=settings.preprocessing.image_size, teacher=(str(teacher),), **changes
    )

    (loaded,) = train._load_teachers(student)

    assert set(loaded.output) >= set(student.outputs.heads)


def test_a_teacher_that_is_no_finished_run_is_refused(all_at_once, tmp_path):
    settings, _ = all_at_once
    student = settings.replace(run=str(tmp_path / "student"), teacher=(str(tmp_path),))

    with pytest.raises(ValueError, match='"--teacher" must name finished runs'):
        train.train(student)


def test_a_teacher_that_has_learnt_from_a_test_image_is_refused(all_at_once, tmp_path):
    settings, teacher = all_at_once
    student = settings.replace(
        run=str(tmp_path / "student"), teacher=(str(teacher),), split_percent=(20, 20, 60)
    )

    with pytest.raises(ValueError, match="images of .* must be new to"):
        train.train(student)


def test_initial_weights_that_have_learnt_from_a_test_image_are_refused(all_at_once, tmp_path):
    settings, first = all_at_once
    second = settings.replace(
        run=str(tmp_path / "second"),
        encoder_weights=str(first / run_directory.MODEL),
        split_percent=(20, 20, 60),
    )

    with pytest.raises(ValueError, match="images of .* must be new to"):
        train.train(second)


def test_weights_of_the_masks_classes_survive_the_restart_of_a_run(all_at_once):
    _, run = all_at_once
    manifest = manifests.read(run / run_directory.MANIFEST)

    weights = compilation.class_weights(("mask",), config.make().outputs, manifest)

    share = float(pd.read_csv(run / run_directory.MANIFEST)["mask_share"].mean())
    assert weights["mask"] == pytest.approx((0.5 / (1 - share), 0.5 / share))


@pytest.fixture
def earlier_run(tmp_path):
    """A folder that train wrote: its marker, flags and a model of hours."""
    run = tmp_path / "run"
    output_folder.mark(run, run_directory.WORK)
    (run / run_directory.FLAGS).write_text("--epochs=3\n")
    (run / run_directory.MODEL).write_text("of hours")
    return run


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_weights": "/nowhere.pth"},
        {"source": ("folder",), "data_dir": ("/nowhere",)},
        {"teacher": ("/nowhere",)},
        {"synthetic_count": 41},
    ],
)
def test_overwrite_deletes_nothing_before_flags_model_and_data_are_right(
    small_config, earlier_run, drawn_folder, changes
):
    synthetic.draw_folder(str(drawn_folder), 40, 64, 0)
    settings = small_config.replace(run=str(earlier_run), overwrite=True, **changes)
    with pytest.raises(ValueError, match="/nowhere|other drawings"):
        train.train(settings)
    assert (earlier_run / run_directory.MODEL).read_text() == "of hours"


def test_overwrite_deletes_nothing_where_a_teacher_has_seen_a_test_image(
    all_at_once, earlier_run, tmp_path
):
    settings, teacher = all_at_once
    student = settings.replace(teacher=(str(teacher),), split_percent=(20, 20, 60))

    with pytest.raises(ValueError, match="images of .* must be new to"):
        train.train(student.replace(run=str(earlier_run), overwrite=True))
    assert (earlier_run / run_directory.MODEL).read_text() == "of hours"

    # A new run leaves nothing behind, so that the corrected command may begin.
    with pytest.raises(ValueError, match="images of .* must be new to"):
        train.train(student.replace(run=str(tmp_path / "new")))
    assert not (tmp_path / "new").exists()
    weighted = settings.replace(
        run=str(tmp_path / "new"), source_weights=(1.0,), class_weights=(), split_by="official"
    )
    with pytest.raises(ValueError, match='"--source_weights" needs training images of each'):
        train.train(
            weighted.replace(source=("manifest",), data_dir=(str(teacher / "manifest.csv"),))
        )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("flag", ["encoder_weights", "data_dir", "teacher"])
def test_overwrite_does_not_delete_what_the_training_starts_from(small_config, earlier_run, flag):
    path = str(earlier_run / run_directory.MODEL)
    value = path if flag == "encoder_weights" else (path,)
    settings = small_config.replace(run=str(earlier_run), overwrite=True, **{flag: value})
    with pytest.raises(ValueError, match=f'"--{flag}" must not lie in the run that --overwrite'):
        train.train(settings)
    assert (earlier_run / run_directory.MODEL).read_text() == "of hours"


def test_a_training_that_cannot_begin_leaves_no_folder(small_config):
    with pytest.raises(ValueError, match="/nowhere.pth"):
        train.train(small_config.replace(encoder_weights="/nowhere.pth"))
    assert not pathlib.Path(small_config.paths.run).exists()
