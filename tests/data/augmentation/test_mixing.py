"""Tests of `lbunet_tf.data.augmentation.mixing` and the keras_cv layers that it calls."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from lbunet_tf.data import pipeline
from lbunet_tf.data.augmentation import mixing
from lbunet_tf.data.augmentation import rand_augment
from lbunet_tf.settings import config
from lbunet_tf.settings import fields

NUM_IMAGES, SIZE_PX = 6, 124
SEEDS = [tf.constant((2, number), tf.int64) for number in range(40)]
every = pytest.mark.parametrize("name", mixing.BATCH_AUGMENTATIONS)


def _make_batch():
    """Images with a bright lesion like an L; images 0 and 3 know no mask, image 1 no label."""
    mask = np.zeros((SIZE_PX, SIZE_PX, 1), "float32")
    mask[20:100, 30:60] = mask[70:100, 30:110] = 1
    masks = tf.constant(np.stack([np.roll(mask, 2 * n, axis=0) for n in range(NUM_IMAGES)]))
    known = tf.constant([0.0, 1, 1, 0, 1, 1])[:, None, None] * tf.ones_like(masks[..., 0])
    images = 40 + 180 * tf.repeat(masks, 3, axis=-1)
    labels = tf.constant([0.0, 1, 0, 1, 1, 0])[:, None]
    targets = {"mask": masks, "mask_s2": masks, "melanoma": labels}
    weights = {"mask": known, "mask_s2": known, "melanoma": tf.constant([1.0, 0, 1, 1, 1, 1])}
    return images, targets, weights


@pytest.fixture(scope="module")
def batch():
    return _make_batch()


@functools.cache
def _versions(name):
    """Returns 12 versions of the batch, made by parallel calls in tf.data."""
    batch = _make_batch()
    augment = mixing.BATCH_AUGMENTATIONS[name]
    seeds = tf.data.Dataset.from_tensor_slices(tf.stack(SEEDS[:12]))
    return list(seeds.map(lambda seed: augment(*batch, seed), num_parallel_calls=3))


def _constant_batch(values, masks, labels, mask_known, label_known):
    """Returns a batch of 4 px images that are the same everywhere, each argument one an image."""

    def spread(numbers, channels):
        numbers = tf.constant(numbers, tf.float32)[:, None, None, None]
        return numbers * tf.ones((1, 4, 4, channels))

    targets = {"mask": spread(masks, 1), "melanoma": tf.constant(labels, tf.float32)[:, None]}
    weights = {
        "mask": spread(mask_known, 1)[..., 0],
        "melanoma": tf.constant(label_known, tf.float32),
    }
    return spread(values, 3), targets, weights


def _assert_same(first, second):
    for ours, theirs in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
@every
def test_a_batch_keeps_names_shapes_and_types_and_lies_in_its_range(batch, name):
    for result in _versions(name):
        tf.nest.assert_same_structure(result, batch)
        for after, before in zip(tf.nest.flatten(result), tf.nest.flatten(batch), strict=True):
            assert (after.shape, after.dtype) == (before.shape, before.dtype)
        assert 0 <= np.min(result[0]) and np.max(result[0]) <= 255
        for target in result[1].values():
            assert 0 <= np.min(target) and np.max(target) <= 1


@every
def test_one_seed_gives_the_same_batch_eagerly_and_inside_tf_data(batch, name):
    for seed, result in list(zip(SEEDS, _versions(name), strict=False))[::4]:
        _assert_same(result, mixing.BATCH_AUGMENTATIONS[name](*batch, seed))


@every
def test_another_seed_gives_another_batch(name):
    assert len({images.numpy().tobytes() for images, _, _ in _versions(name)}) == 12


@every
def test_a_batch_is_augmented_in_a_step_that_xla_compiles(batch, name):
    augment = mixing.BATCH_AUGMENTATIONS[name]

    step = tf.function(augment, jit_compile=True)

    first, second = step(*batch, SEEDS[0]), step(*batch, SEEDS[0])
    _assert_same(first, second)
    assert not np.array_equal(first[0], step(*batch, SEEDS[1])[0])


@every
def test_the_last_batch_may_hold_one_image(batch, name):
    single = tf.nest.map_structure(lambda values: values[:1], batch)

    images, targets, _ = mixing.BATCH_AUGMENTATIONS[name](*single, SEEDS[0])

    assert images.shape[0] == targets["mask"].shape[0] == 1


@every
def test_image_and_mask_move_together_where_nothing_is_mixed(name):
    num_compared = 0
    for images, targets, _ in _versions(name):
        for image, mask in zip(images.numpy(), targets["mask"].numpy()[..., 0], strict=True):
            # A part mixed by a box or not at all has masks of 0 and 1; a sum of two has not.
            if set(np.unique(mask)) <= {0.0, 1.0}:
                bright = image.mean(axis=-1) > 130
                assert (bright & (mask == 1)).sum() / (bright | (mask == 1)).sum() >= 0.99
                num_compared += 1
    assert num_compared > 12


@every
def test_masks_of_all_strides_and_their_weights_stay_equal(name):
    for _, targets, weights in _versions(name):
        np.testing.assert_array_equal(targets["mask"], targets["mask_s2"])
        np.testing.assert_array_equal(weights["mask"], weights["mask_s2"])


@every
def test_what_nobody_knows_stays_unknown(batch, name):
    images, targets, weights = batch
    unknown = tf.nest.map_structure(tf.zeros_like, weights)

    for seed in SEEDS[:2]:
        _, _, result = mixing.BATCH_AUGMENTATIONS[name](images, targets, unknown, seed)
        assert not any(np.any(weight) for weight in result.values())


def test_a_mixed_pixel_is_the_mean_by_shares_of_image_mask_and_label():
    batch = _constant_batch([200, 100], [1, 0], [1, 0], [1, 1], [1, 1])
    fractions = tf.fill((2, 4, 4, 1), 0.75)

    images, targets, weights = mixing.mix(*batch, fractions, tf.constant([1, 0]))

    assert images[:, 0, 0, 0].numpy().tolist() == [175, 125]
    assert targets["mask"][:, 0, 0, 0].numpy().tolist() == [0.75, 0.25]
    assert targets["melanoma"][:, 0].numpy().tolist() == [0.75, 0.25]
    assert np.all(weights["mask"] == 1) and np.all(weights["melanoma"] == 1)


def test_a_pasted_box_brings_its_own_pixels_masks_and_weights_and_its_area_of_the_label():
    batch = _constant_batch([200, 100], [1, 0], [1, 0], [1, 0], [1, 1])
    # A quarter of the first image is the second's; the second stays.
    fractions = np.ones((2, 4, 4, 1), "float32")
    fractions[0, :2, :2] = 0

    images, targets, weights = mixing.mix(*batch, fractions, tf.constant([1, 0]))

    quarter = np.pad(np.ones((2, 2)), ((0, 2), (0, 2)))
    np.testing.assert_array_equal(images[0, ..., 0], 200 - 100 * quarter)
    np.testing.assert_array_equal(targets["mask"][0, ..., 0], 1 - quarter)
    np.testing.assert_array_equal(weights["mask"][0], 1 - quarter)
    assert targets["melanoma"][:, 0].numpy().tolist() == [0.75, 0]
    assert not np.any(weights["mask"][1])


@pytest.mark.parametrize(
    "own, other, share, weight",
    [
        (1, 1, 0.75, 1),
        (1, 0, 0.75, 0),
        (0, 1, 0.75, 0),
        (1, 0, 1, 1),
        (0, 1, 1, 0),
        (0, 1, 0, 1),
        (1, 0, 0, 0),
        (2, 4, 0.5, 3),
    ],
)
def test_a_mix_is_known_where_all_that_take_part_are(own, other, share, weight):
    batch = _constant_batch([0, 0], [0, 0], [0, 0], [own, other], [own, other])
    fractions = tf.fill((2, 4, 4, 1), float(share))

    _, _, weights = mixing.mix(*batch, fractions, tf.constant([1, 0]))

    assert np.all(weights["mask"][0] == weight) and float(weights["melanoma"][0]) == weight


def test_shares_are_whole_even_or_a_box_as_often_as_drawn():
    fractions = mixing.draw_fractions(400, 16, SEEDS[0]).numpy()[..., 0]

    low, high = fractions.min(axis=(1, 2)), fractions.max(axis=(1, 2))
    is_even = (low == high) & (low < 1)
    is_box = (low == 0) & (high == 1)
    # 100 of each expected, standard deviation 8.7. A box may miss every pixel, or take all.
    assert 70 < is_even.sum() < 130 and 70 < is_box.sum() < 130
    assert is_even.sum() + is_box.sum() + (low == 1).sum() == 400


def test_a_box_is_whole_rows_of_whole_columns():
    fractions = mixing.draw_fractions(100, 16, SEEDS[0]).numpy()[..., 0]

    for share in fractions[(fractions.min(axis=(1, 2)) == 0) & (fractions.max(axis=(1, 2)) == 1)]:
        down, right = np.nonzero(share == 0)
        assert (share == 0).sum() == len(set(down)) * len(set(right))


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_partner_is_another_image_and_each_is_one_once(count):
    for seed in SEEDS[:20]:
        partners = mixing.draw_partners(count, seed).numpy()
        assert sorted(partners) == list(range(count)) and np.all(partners != np.arange(count))


def test_mixing_is_what_the_mixup_of_keras_cv_does(batch):
    from keras_cv import layers

    images, targets, weights = batch
    # Labels that name the images turn into the fractions of images.
    mixed = layers.MixUp(alpha=1.0)(
        {"images": images, "labels": tf.eye(NUM_IMAGES), "segmentation_masks": targets["mask"]}
    )
    of_images = mixed["labels"].numpy()
    fractions = tf.constant(of_images.diagonal().copy())[:, None, None, None]
    np.fill_diagonal(of_images, 0)

    ours, masks, _ = mixing.mix(
        images,
        targets,
        weights,
        fractions * tf.ones_like(targets["mask"]),
        tf.constant(of_images.argmax(axis=1)),
    )

    is_mixed = of_images.max(axis=1) > 0
    np.testing.assert_allclose(ours[is_mixed], mixed["images"][is_mixed], atol=1e-3)
    np.testing.assert_allclose(
        masks["mask"][is_mixed], mixed["segmentation_masks"][is_mixed], atol=1e-5
    )


def test_pasting_is_what_the_cutmix_of_keras_cv_does(batch):
    from keras_cv import layers

    images, targets, weights = batch
    numbers = tf.range(NUM_IMAGES, dtype=tf.float32)[:, None, None, None]
    maps = tf.concat([targets["mask"], numbers * tf.ones_like(targets["mask"])], axis=-1)
    cut = layers.CutMix()({"images": images, "segmentation_masks": maps})
    sources = cut["segmentation_masks"][..., 1:]
    is_own = sources == numbers
    partners = tf.cast(tf.reduce_max(tf.where(is_own, 0.0, sources), axis=(1, 2, 3)), tf.int32)

    ours, masks, _ = mixing.mix(images, targets, weights, tf.cast(is_own, tf.float32), partners)

    np.testing.assert_array_equal(ours, cut["images"])
    np.testing.assert_array_equal(masks["mask"], cut["segmentation_masks"][..., :1])


def test_recolouring_changes_each_image_and_leaves_grey_images_grey():
    images = tf.random.stateless_uniform((16, 32, 32, 1), SEEDS[0], 60, 200)
    images = tf.repeat(images, 3, axis=-1)

    result = rand_augment.recolour(images, SEEDS[1]).numpy()

    assert np.ptp(result, axis=-1).max() < 0.01
    # Two of four operations, of which one does nothing to grey.
    assert not any(np.array_equal(*pair) for pair in zip(result, images.numpy(), strict=True))


def test_flips_of_a_batch_are_drawn_for_each_image(batch):
    images, targets, _ = batch

    flipped, masks = rand_augment.flip(images, targets["mask"], SEEDS[0])

    kinds = set()
    for before, after in zip(images.numpy(), flipped.numpy(), strict=True):
        ways = {"none": before, "x": before[:, ::-1], "y": before[::-1]}
        ways["both"] = before[::-1, ::-1]
        kinds |= {name for name, pixels in ways.items() if np.array_equal(pixels, after)}
    assert len(kinds) >= 3
    np.testing.assert_array_equal(masks[..., 0], flipped[..., 0] > 130)


def test_the_largest_seed_augments_a_batch():
    settings = config.make(augment="keras_cv", seed=fields.MAX_SEED)
    images = tf.random.stateless_uniform((2, 32, 32, 3), (1, 2), maxval=255)
    masks = tf.ones((2, 32, 32, 1))

    augment = pipeline.make_batch_augmentation(settings.augmentation.augment, settings.source.seed)
    augmented, _, _ = augment((images, {"mask": masks}, {"mask": masks[..., 0]}), step=3)

    assert augmented.shape == images.shape and np.isfinite(augmented).all()


def test_classes_mix_like_labels_and_an_unknown_partner_leaves_the_mix_unknown():
    images = tf.zeros((3, 4, 4, 3))
    targets = {"diagnosis": tf.constant([[1.0, 0], [0, 1], [0, 0]])}
    weights = {"diagnosis": tf.constant([1.0, 1, 0])}
    fractions = tf.fill((3, 4, 4, 1), 0.75)

    _, mixed, known = mixing.mix(images, targets, weights, fractions, tf.constant([1, 2, 0]))

    np.testing.assert_allclose(mixed["diagnosis"][0], [0.75, 0.25])
    assert known["diagnosis"].numpy().tolist() == [1, 0, 0]


def test_a_batch_without_masks_is_flipped_recoloured_and_mixed():
    images = tf.random.stateless_uniform((4, 16, 16, 3), (0, 1), 0.0, 255.0)
    targets = {"diagnosis": tf.eye(4, 7), "melanoma": tf.constant([[1.0], [0], [0], [1]])}
    weights = {name: tf.ones(4) for name in targets}

    changed, mixed, known = mixing.by_keras_cv(images, targets, weights, tf.constant([3, 4]))

    assert changed.shape == images.shape and not np.allclose(changed, images)
    np.testing.assert_allclose(tf.reduce_sum(mixed["diagnosis"], axis=1), 1, rtol=1e-6)
    assert set(mixed) == set(known) == set(targets)


def test_a_filler_takes_no_images_target():
    images = tf.random.stateless_uniform((4, 8, 8, 3), (0, 1), 0, 255)
    targets = {"melanoma": tf.constant([[1.0], [0.0], [1.0], [0.0]])}
    # The last one fills a short batch up.
    weights = {"melanoma": tf.constant([1.0, 1.0, 1.0, 0.0])}

    found = [
        mixing.by_keras_cv(images, targets, weights, tf.constant((0, seed)))[2]["melanoma"]
        for seed in range(30)
    ]

    assert (tf.stack(found)[:, :3] == 1).numpy().all()
