import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics as sklearn_metrics
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.plugins.hparams import plugin_data_pb2

from lbunet_tf.drawing import overlays
from lbunet_tf.training import metrics
from lbunet_tf.training import tensorboard


def test_outline_of_a_square_is_its_border():
    mask = np.zeros((1, 6, 6), bool)
    mask[0, 1:5, 1:5] = True

    border = overlays.outline(mask)

    expected = mask.copy()
    expected[0, 2:4, 2:4] = False
    np.testing.assert_array_equal(border, expected)


def test_outline_of_a_full_mask_is_the_edge_of_the_image():
    border = overlays.outline(np.ones((1, 4, 5), bool))

    expected = np.ones((1, 4, 5), bool)
    expected[0, 1:3, 1:4] = False
    np.testing.assert_array_equal(border, expected)


def test_outline_of_an_empty_mask_is_empty():
    assert not overlays.outline(np.zeros((2, 4, 4), bool)).any()


def test_overlay_draws_true_green_and_predicted_magenta_on_the_image():
    images = np.full((1, 5, 5, 3), 100.0, "float32")
    true = np.zeros((1, 5, 5, 1))
    true[0, 0, 0] = 1
    predicted = np.zeros((1, 5, 5, 1), bool)
    predicted[0, 4, 4] = True

    drawn = overlays.draw(images, true, predicted)

    expected = np.full((1, 5, 5, 3), 100, "uint8")
    expected[0, 0, 0] = (0, 255, 0)
    expected[0, 4, 4] = (255, 0, 255)
    np.testing.assert_array_equal(drawn, expected)


def test_overlay_leaves_the_images_as_they_are():
    images = np.full((1, 5, 5, 3), 100, "uint8")

    overlays.draw(images, np.ones((1, 5, 5, 1)), np.ones((1, 5, 5, 1), bool))

    assert (images == 100).all()


def _counts(metric):
    names = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    return {name: keras.ops.convert_to_numpy(getattr(metric, name)) for name in names}


def _tensors(folder):
    events = event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: [tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def test_each_epoch_writes_a_precision_recall_curve_of_the_validation_images(
    make_model, batch, tmp_path
):
    images, targets, weights = batch
    model = make_model()
    metric = metrics.PixelAUC(name="auc")
    model.compile("adam", "mse", weighted_metrics={"mask": [metric]})
    validation = (images[:3], {"mask": targets["mask"][:3]}, {"mask": weights["mask"][:3]})
    curves = tensorboard.PrecisionRecallCurves(tmp_path)

    model.fit(images, targets, epochs=2, validation_data=validation, callbacks=[curves], verbose=0)

    written = _tensors(tmp_path / "tensorboard" / "validation")["pr curve: mask, pixels/pr_curves"]
    assert len(written) == 2
    tp, fp, tn, fn, precision, recall = written[1]
    counts = _counts(metric)
    np.testing.assert_allclose(tp, counts["true_positives"])
    np.testing.assert_allclose(fn, counts["false_negatives"])
    assert (tp + fp + tn + fn == 3 * 16 * 16).all()
    expected = sklearn_metrics.precision_score(
        targets["mask"][:3].ravel() > 0.5,
        1 / (1 + np.exp(-model.predict(images[:3], verbose=0)["mask"].ravel())) > 100 / 199,
    )
    assert precision[100] == pytest.approx(expected, abs=1e-6)
    assert recall[0] == 1 and (precision[-1], recall[-1]) == (1, 0)


def test_a_curve_of_images_has_the_counts_at_the_thresholds_that_tensorboard_names():
    generator = np.random.default_rng(0)
    labels = (generator.random(400) < 0.3).astype("float32")
    logits = (generator.normal(-1, 1.5, 400) + 2 * labels).astype("float32")
    metric = metrics.MelanomaAUC()
    metric.update_state(labels[:, None], logits[:, None])

    curve = tensorboard._pr_curve("melanoma", metric)

    tp, _, _, fn, _, recall = tf.make_ndarray(curve.value[0].tensor)
    probabilities = 1 / (1 + np.exp(-logits))
    for position in (20, 100, 180):
        expected = (probabilities[labels == 1] > position / 199).sum()
        assert abs(tp[position] - expected) <= 2
        assert recall[position] == pytest.approx(tp[position] / labels.sum())
    assert tp[0] == labels.sum() and tp[-1] == 0 and (tp + fn == labels.sum()).all()


@pytest.mark.parametrize("mask_source", ["lesion", "label"])
def test_every_auc_of_a_model_gets_a_curve_of_its_own_name(mask_source):
    made = metrics.make_metrics(("mask", "melanoma"), mask_source)
    types = [
        type(m) for m in (*made["mask"], *made["melanoma"]) if isinstance(m, keras.metrics.AUC)
    ]

    assert len(types) == 2 and len({tensorboard.PrecisionRecallCurves.NAMES[t] for t in types}) == 2


def _steps(folder, tag):
    events = event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    return [event.step for event in events.Reload().Tensors(tag)]


def test_an_epoch_that_is_trained_again_has_its_points_once(make_model, tmp_path):
    model = make_model()
    for epoch, loss in ((0, 3.0), (1, 2.0), (1, 1.0), (2, 0.5)):
        scalars = tensorboard.Scalars(tmp_path)
        scalars.set_model(model)
        scalars.on_epoch_end(epoch, {"loss": loss, "val_loss": 2 * loss})

    for part, factor in (("train", 1), ("validation", 2)):
        folder = tmp_path / "tensorboard" / part
        # In the order of their files, which two epochs of one second do not have.
        assert sorted(_steps(folder, "epoch_loss")) == [0, 1, 2]
        losses = sorted(_tensors(folder)["epoch_loss"], reverse=True)
        np.testing.assert_array_equal(losses, [3.0 * factor, 1.0 * factor, 0.5 * factor])


def test_a_file_of_events_does_not_name_the_host(tmp_path):
    with tensorboard.writing(tmp_path, "scalars"):
        tf.summary.scalar("loss", 0.5, step=0)
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(r"events\.out\.tfevents\.\d+\.\d+\.\d+\.scalars", path.name)


def test_a_host_may_have_a_name_of_several_parts():
    name = "events.out.tfevents.17.node1.example.org.123.4.epoch-0001-scalars"
    assert tensorboard._without_host(name, "epoch-0001-scalars") == (
        "events.out.tfevents.17.123.4.epoch-0001-scalars"
    )


def test_the_learning_rate_stands_beside_the_scalars_of_training(make_model, tmp_path):
    scalars = tensorboard.Scalars(tmp_path)
    scalars.set_model(make_model(0.25))

    scalars.on_epoch_end(0, {"loss": 1.0})

    assert _tensors(tmp_path / "tensorboard" / "train")["epoch_learning_rate"] == [0.25]


@pytest.mark.parametrize("num_bytes", [0, 10, 5000])
def test_points_that_the_disk_has_no_room_for_are_not_lost_in_silence(tmp_path, room, num_bytes):
    with pytest.raises(OSError, match="there must be room for .*flags"):
        with room(num_bytes):
            tensorboard.write_flags(tmp_path, ["--seed=0"] * 1000, {"train": 3})


def test_hparams_hold_each_trial_with_its_scores(tmp_path):
    trials = {
        "a-seed-0": ({"encoder": "resnet34", "seed": 0}, {"val auc": 0.75}),
        "b-seed-0": ({"encoder": "resnet101", "seed": 0}, {"val auc": 0.875, "val dice": 0.5}),
    }

    tensorboard.write_hparams(tmp_path, trials)

    for name, (hyperparameters, scores) in trials.items():
        (session,) = _hparams(tmp_path / name, "session_start_info")
        assert session.hparams["encoder"].string_value == hyperparameters["encoder"]
        assert _tensors(tmp_path / name)["compare/val auc"] == [scores["val auc"]]
    (experiment,) = _hparams(tmp_path, "experiment")
    assert [info.name for info in experiment.hparam_infos] == ["encoder", "seed"]
    assert [info.name.tag for info in experiment.metric_infos] == [
        "compare/val auc",
        "compare/val dice",
    ]


def _hparams(folder, kind):
    """Returns what the files of one folder, not those below it, say to the HParams plugin."""
    found = []
    for path in folder.glob("events.*"):
        for event in event_file_loader.EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    content = plugin_data_pb2.HParamsPluginData.FromString(
                        value.metadata.plugin_data.content
                    )
                    found += [getattr(content, kind)] if content.HasField(kind) else []
    return found
