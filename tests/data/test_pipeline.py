"""Tests of `lbunet_tf.data.pipeline`: manifest rows -> batches."""

import logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lbunet_tf.data import memory
from lbunet_tf.data import pipeline

NUM_ROWS = 10
LABELS = [0, 0, 1, 0, 1, 0, 0, 0, 1, 0]


@pytest.fixture
def rows(tmp_path, make_table):
    """Ten images of 16 px with masks.

    The red of image n is 20 n everywhere, its green grows to the right and down, and its
    mask covers the pixels where green is at most 3 n + 1. So each mask fits one image only.
    """
    y, x = np.mgrid[:16, :16]
    for number in range(NUM_ROWS):
        pixels = np.stack([np.full_like(x, 20 * number), x + 2 * y, 0 * x], axis=-1)
        Image.fromarray(pixels.astype("uint8")).save(tmp_path / f"image{number}.png")
        mask = np.uint8(x + 2 * y <= 3 * number + 1) * np.uint8(255)
        # Names sort against the images', so that a pairing by order would show.
        Image.fromarray(mask).save(tmp_path / f"mask{NUM_ROWS - number:02d}.png")
    return make_table(
        NUM_ROWS,
        image=[str(tmp_path / f"image{number}.png") for number in range(NUM_ROWS)],
        mask=[str(tmp_path / f"mask{NUM_ROWS - number:02d}.png") for number in range(NUM_ROWS)],
        label=LABELS,
    )


@pytest.fixture
def training(make_config):
    """Returns a function that makes a training dataset of two epochs of batches of four."""

    def make(rows, start_epoch=0, **fields):
        fields = {"batch_size": 4, "epochs": 2, "seed": 3, **fields}
        return pipeline.make_training_dataset(make_config(**fields), rows, start_epoch)

    return make


@pytest.fixture
def evaluation(make_config):
    """Returns a function that makes an evaluation dataset of batches of four."""

    def make(rows, **fields):
        settings = make_config(batch_size=4, **fields)
        return pipeline.make_evaluation_dataset(
            settings.preprocessing, settings.outputs, settings.device, rows
        )

    return make


def _arrays(dataset):
    """Returns the images, masks and mask weights of all batches, each in one array."""
    batches = [
        (images.numpy(), targets["mask"].numpy(), weights["mask"].numpy())
        for images, targets, weights in dataset
    ]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _numbers(dataset):
    """Returns the number of the image in each place of the dataset, read from its red."""
    return (_arrays(dataset)[0][:, 0, 0, 0] / 20).astype(int).tolist()


def _assert_same(first, second):
    for ours, theirs in zip(_arrays(first), _arrays(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_batch_holds_float_images_in_0_to_255_and_a_target_and_weight_for_each_head(
    rows, training
):
    images, targets, weights = next(iter(training(rows, heads=("mask", "melanoma"))))

    assert images.shape == (4, 16, 16, 3) and images.dtype == tf.float32
    assert float(tf.reduce_max(images)) > 100
    assert {name: tuple(value.shape) for name, value in targets.items()} == {
        "mask": (4, 16, 16, 1),
        "melanoma": (4, 1),
    }
    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        "mask": (4, 16, 16),
        "melanoma": (4,),
    }


@pytest.mark.parametrize("heads", [("mask",), ("mask", "melanoma")])
def test_targets_and_weights_have_the_heads_names_and_no_other(rows, evaluation, heads):
    _, targets, weights = next(iter(evaluation(rows, heads=heads)))

    assert set(targets) == set(weights) == set(heads)


def test_an_epoch_shows_each_row_once(rows, training):
    numbers = _numbers(training(rows, epochs=2))

    assert sorted(numbers[:NUM_ROWS]) == sorted(numbers[NUM_ROWS:]) == list(range(NUM_ROWS))


def test_a_training_epoch_keeps_its_short_last_batch(rows, training, make_config):
    sizes = [len(images) for images, _, _ in training(rows)]

    assert sizes == [4, 4, 2, 4, 4, 2]
    assert make_config(batch_size=4).device.steps_per_epoch(NUM_ROWS) == 3


@pytest.mark.parametrize("count, steps", [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_steps_per_epoch_count_the_short_last_batch(make_config, count, steps):
    assert make_config(batch_size=4).device.steps_per_epoch(count) == steps


def test_training_shuffles(rows, training):
    assert _numbers(training(rows, epochs=1)) != list(range(NUM_ROWS))


def test_the_order_of_an_epoch_is_the_pinned_one_on_any_machine():
    labels = np.zeros(8)

    assert pipeline.epoch_order(labels, "none", 0, 0).tolist() == [2, 4, 3, 6, 5, 0, 1, 7]
    assert pipeline.epoch_order(labels, "none", 0, 1).tolist() == [1, 3, 7, 6, 0, 4, 2, 5]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_batches(rows, training):
    fields = {"augment": "flips", "balance": "resample"}

    _assert_same(training(rows, **fields), training(rows, **fields))


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["dermoscopy", "albumentations", "keras_cv"])
def test_every_augmentation_goes_on_after_a_resume_as_it_would_have(
    rows, training, augment, monkeypatch
):
    monkeypatch.setattr(pipeline, "augments_in_step", lambda: False)
    full = training(rows, epochs=2, augment=augment)

    _assert_same(training(rows, start_epoch=1, epochs=2, augment=augment), full.skip(3))


def test_augmented_batches_have_the_form_of_others(rows, training, monkeypatch):
    monkeypatch.setattr(pipeline, "augments_in_step", lambda: False)
    fields = {"heads": ("mask", "melanoma"), "deep_supervision": True}
    plain, mixed = (training(rows, augment=name, **fields) for name in ("none", "keras_cv"))

    assert mixed.element_spec == plain.element_spec
    assert [len(images) for images, _, _ in mixed] == [4, 4, 2, 4, 4, 2]


def test_another_seed_gives_another_order(rows, training):
    assert _numbers(training(rows, seed=3)) != _numbers(training(rows, seed=4))


def test_another_epoch_has_another_order(rows, training):
    numbers = _numbers(training(rows, epochs=2))

    assert numbers[:NUM_ROWS] != numbers[NUM_ROWS:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "start_epoch, fields", [(1, {}), (2, {"augment": "flips", "balance": "resample"})]
)
def test_a_resumed_epoch_is_that_epoch_of_a_full_run(rows, training, start_epoch, fields):
    full = training(rows, epochs=3, **fields).skip(3 * start_epoch)

    _assert_same(training(rows, start_epoch=start_epoch, epochs=3, **fields), full)


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"augment": "flips", "balance": "resample"}])
def test_batches_are_the_same_with_and_without_the_cache(rows, training, fields):
    _assert_same(training(rows, cache=True, **fields), training(rows, cache=False, **fields))


def test_evaluation_batches_are_the_same_with_and_without_the_cache(rows, evaluation):
    _assert_same(evaluation(rows, cache=True), evaluation(rows, cache=False))


@pytest.mark.parametrize("cache", [True, False])
def test_evaluation_keeps_order_and_the_short_last_batch_in_every_pass(rows, evaluation, cache):
    dataset = evaluation(rows, cache=cache, augment="flips", balance="resample")

    for _ in range(2):
        assert _numbers(dataset) == list(range(NUM_ROWS))
        assert [len(images) for images, _, _ in dataset] == [4, 4, 2]


@pytest.mark.parametrize("augment", ["none", "flips"])
def test_every_image_keeps_its_own_mask_through_shuffle_and_augmentation(rows, training, augment):
    images, masks, _ = _arrays(training(rows, augment=augment))

    # Red names the image, green its places: see the fixture `rows`.
    fitting = images[..., 1] <= 3 * (images[..., 0] / 20) + 1
    np.testing.assert_array_equal(masks[..., 0], fitting)


def test_evaluation_pairs_image_and_mask_of_a_row_whatever_the_order_of_rows(rows, evaluation):
    images, masks, _ = _arrays(evaluation(rows.iloc[::-1].reset_index(drop=True)))

    np.testing.assert_array_equal(masks[..., 0], images[..., 1] <= 3 * (images[..., 0] / 20) + 1)


def test_flips_turn_some_images_and_leave_others(rows, training):
    images, _, _ = _arrays(training(rows, augment="flips"))

    turned = images[:, 0, 0, 1] != 0
    assert turned.any() and not turned.all()


def test_flips_of_an_image_in_the_same_place_differ_between_epochs(rows, training):
    images, _, _ = _arrays(training(rows.iloc[[5]], augment="flips", epochs=16))

    # The top left corner tells the four flips apart.
    assert len(set(images[:, 0, 0, 1])) == 4


def test_augmentation_leaves_order_alone(rows, training):
    assert _numbers(training(rows, augment="flips")) == _numbers(training(rows, augment="none"))


@pytest.mark.parametrize("labels", [[0] * 9 + [1], [0, 1, 1, 1, 1, 1, 1, 1], [0] * 5 + [1] * 5])
def test_resampling_draws_both_classes_equally_often(labels):
    labels = np.array(labels, float)

    for epoch in range(3):
        order = pipeline.epoch_order(labels, "resample", 0, epoch)
        assert len(order) == len(labels)
        assert labels[order].sum() == len(labels) / 2


def test_resampling_an_odd_number_of_rows_is_off_by_one_at_most():
    labels = np.array([0, 0, 0, 0, 0, 1, 1])

    drawn = labels[pipeline.epoch_order(labels, "resample", 0, 0)]

    assert len(drawn) == 7 and drawn.sum() in (3, 4)


def test_resampling_shows_every_image_of_a_class_before_any_of_it_again():
    labels = np.array([0] * 12 + [1] * 4)

    order = pipeline.epoch_order(labels, "resample", 0, 0)

    assert sorted(order[labels[order] == 1]) == [12, 12, 13, 13, 14, 14, 15, 15]
    benign = order[labels[order] == 0]
    assert len(set(benign)) == len(benign) == 8


def test_resampled_batches_hold_both_classes_equally(rows, training):
    batches = training(rows, balance="resample", heads=("mask", "melanoma"), epochs=1)

    assert [float(tf.reduce_sum(targets["melanoma"])) for _, targets, _ in batches] == [2, 2, 1]


def test_a_missing_mask_has_weight_0_everywhere_and_others_weight_1(rows, evaluation):
    rows.loc[[1, 6], "mask"] = ""

    _, _, weights = _arrays(evaluation(rows))

    known = np.ones(NUM_ROWS)
    known[[1, 6]] = 0
    np.testing.assert_array_equal(weights, np.broadcast_to(known[:, None, None], (10, 16, 16)))


def test_a_missing_mask_does_not_change_the_masks_of_other_images(rows, evaluation):
    _, whole, _ = _arrays(evaluation(rows))
    rows.loc[1, "mask"] = ""

    _, masks, _ = _arrays(evaluation(rows))

    np.testing.assert_array_equal(np.delete(masks, 1, axis=0), np.delete(whole, 1, axis=0))


def test_a_missing_label_has_weight_0_in_the_melanoma_head_and_a_finite_target(rows, evaluation):
    rows.loc[[0, 8], "label"] = np.nan

    batches = list(evaluation(rows, heads=("mask", "melanoma")))

    weights = np.concatenate([weights["melanoma"] for _, _, weights in batches])
    targets = np.concatenate([targets["melanoma"] for _, targets, _ in batches])
    assert weights.tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 0, 1]
    assert set(targets.ravel()) == {0.0, 1.0}


def test_a_missing_label_leaves_the_lesion_masks_weight_at_1(rows, evaluation):
    rows["label"] = np.nan

    _, _, weights = _arrays(evaluation(rows, mask_source="lesion"))

    assert (weights == 1).all()


def test_labels_are_the_targets_of_the_melanoma_head(rows, evaluation):
    batches = evaluation(rows, heads=("mask", "melanoma"))

    targets = np.concatenate([targets["melanoma"] for _, targets, _ in batches])
    assert targets[:, 0].tolist() == LABELS


def test_label_masks_paint_the_label_on_every_pixel(rows, evaluation):
    _, masks, weights = _arrays(evaluation(rows, mask_source="label"))

    painted = np.broadcast_to(np.reshape(LABELS, (-1, 1, 1, 1)), (NUM_ROWS, 16, 16, 1))
    np.testing.assert_array_equal(masks, painted)
    assert (weights == 1).all()


def test_label_masks_need_no_mask_file(rows, evaluation):
    rows["mask"] = ""

    _, _, weights = _arrays(evaluation(rows, mask_source="label"))

    assert (weights == 1).all()


def test_a_label_mask_of_an_unknown_label_has_weight_0(rows, evaluation):
    rows.loc[4, "label"] = np.nan

    _, _, weights = _arrays(evaluation(rows, mask_source="label"))

    assert weights.mean(axis=(1, 2)).tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]


def test_rows_of_any_index_are_taken(rows, training):
    part = rows.iloc[[7, 2, 5]]

    assert sorted(_numbers(training(part, epochs=1))) == [2, 5, 7]


@pytest.mark.parametrize("size_px", [31, 124])
def test_images_and_masks_come_out_in_any_asked_size(rows, training, size_px):
    images, targets, weights = next(iter(training(rows, image_size=size_px, augment="flips")))

    assert images.shape == (4, size_px, size_px, 3)
    assert targets["mask"].shape == (4, size_px, size_px, 1)
    assert weights["mask"].shape == (4, size_px, size_px)
    assert set(np.unique(targets["mask"])) == {0.0, 1.0}


def test_images_of_every_format_mode_and_shape_stand_in_one_batch(tmp_path, make_table, evaluation):
    pictures = {
        "a.jpg": Image.new("RGB", (20, 30), (120, 120, 120)),
        "b.png": Image.new("L", (17, 16), 120),
        "c.bmp": Image.new("L", (40, 24), 120).quantize(4),
        "d.png": Image.new("RGBA", (16, 16), (120, 120, 120, 10)),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    table = make_table(4, image=[str(tmp_path / name) for name in pictures])

    images, _, _ = _arrays(evaluation(table))

    # JPEG's colour transform may move a flat colour by a level.
    np.testing.assert_allclose(images, np.full((4, 16, 16, 3), 120), atol=1)


@pytest.mark.slow
def test_a_cache_that_does_not_fit_is_not_kept_and_batches_are_the_same(
    rows, training, evaluation, monkeypatch, caplog
):
    kept = training(rows, cache=True), evaluation(rows, cache=True)
    expected = [_arrays(dataset) for dataset in kept]
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)

    with caplog.at_level(logging.WARNING):
        read = training(rows, cache=True), evaluation(rows, cache=True)

    assert caplog.text.count("they are NOT kept") == 2
    for ours, theirs in zip(map(_arrays, read), expected, strict=True):
        for left, right in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(left, right)


CLINICAL = {"heads": ("diagnosis",), "classes": "clinical"}
DIAGNOSES = ["nevus" if label == 0 else "melanoma" for label in LABELS]


def test_classes_are_one_hot_targets_and_unknown_ones_have_weight_0(rows, evaluation):
    rows["diagnosis"] = DIAGNOSES
    rows.loc[[0, 8], "diagnosis"] = ["", "unknown"]

    batches = list(evaluation(rows, **CLINICAL))

    targets = np.concatenate([targets["diagnosis"] for _, targets, _ in batches])
    weights = np.concatenate([weights["diagnosis"] for _, _, weights in batches])
    assert weights.tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 0, 1]
    assert targets[1:8, 1].tolist() == LABELS[1:8] and targets[[0, 8]].sum() == 0


def test_without_a_mask_head_no_mask_file_is_read(rows, evaluation):
    rows["diagnosis"], rows["mask"] = DIAGNOSES, "no such file.png"

    batches = list(evaluation(rows, **CLINICAL))

    assert [list(targets) for _, targets, _ in batches] == [["diagnosis"]] * 3


@pytest.mark.parametrize("augment", ["none", "flips", "keras_cv"])
def test_classes_are_trained_on_with_every_augmentation(rows, training, augment):
    rows["diagnosis"] = DIAGNOSES

    batches = list(training(rows, augment=augment, **CLINICAL))

    targets = np.concatenate([targets["diagnosis"] for _, targets, _ in batches])
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    assert targets.shape == (20, 2)


def test_resampling_shows_each_class_equally_often(rows, training):
    rows["diagnosis"] = ["bcc"] + ["nevus"] * 8 + ["melanoma"]

    batches = training(rows, balance="resample", heads=("diagnosis",), classes="nv_vs_rest")

    targets = np.concatenate([targets["diagnosis"] for _, targets, _ in batches])
    assert targets.sum(0).tolist() == [10, 10]
