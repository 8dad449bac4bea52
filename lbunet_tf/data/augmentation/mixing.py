"""Training augmentation of whole batches: images are mixed with one another.

TensorFlow ops that XLA compiles too, so that a batch can be changed in tf.data or in the
training step, on the accelerator. The seed alone decides; compiled by XLA, TensorFlow draws
other numbers from the same seed.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from lbunet_tf.data.augmentation import rand_augment
from lbunet_tf.settings import output_group

MIXUP, CUTMIX = 0.25, 0.25


def by_keras_cv(images: tf.Tensor, targets: dict, weights: dict, seed: tf.Tensor) -> tuple:
    """Returns the batch flipped and recoloured by keras_cv's layers, then MixUp and CutMix.

    keras_cv's own MixUp and CutMix are not called. They know no weights; their numbers
    cannot be seeded, nor compiled by XLA; and CutMix counts the part of its box that lies
    outside the image to a label's fraction. On what they do right, tests hold `mix` to them.

    Args:
        images: (B, S, S, 3) float32 in 0..255.
        targets: Masks (B, S, S, 1), `melanoma` (B, 1) and `diagnosis` (B, K), in 0..1.
        weights: Of the same names: (B,) and (B, S, S). 0 where the target is not known.
        seed: (2,) integers.

    Returns:
        (images, targets, weights) of the same shapes; targets may lie between 0 and 1.
    """
    seeds = tf.unstack(tf.random.split(seed, 4))
    masks = [name for name in targets if output_group.kind_of(name) == output_group.MASK]
    maps = [targets[name] for name in masks] + [weights[name][..., None] for name in masks]
    # Without a mask something is flipped for it: no layer takes a map of no channels.
    maps = tf.concat(maps, axis=-1) if maps else tf.zeros_like(images[..., :1])
    images, maps = rand_augment.flip(images, maps, seeds[0])
    maps = tf.split(maps, 2 * len(masks), axis=-1) if masks else []
    targets = targets | dict(zip(masks, maps[: len(masks)], strict=True))
    flipped_weights = [weight[..., 0] for weight in maps[len(masks) :]]
    weights = weights | dict(zip(masks, flipped_weights, strict=True))
    images = rand_augment.recolour(images, seeds[1])
    fractions = draw_fractions(tf.shape(images)[0], tf.shape(images)[1], seeds[2])
    partners = draw_partners(tf.shape(images)[0], seeds[3])
    # With what has no target, as the fillers of a short batch, an image would lose its own.
    has_target = tf.stack(
        [
            tf.reduce_max(tf.reshape(weight, (tf.shape(weight)[0], -1)), axis=1) > 0
            for weight in weights.values()
        ]
    )
    is_worth_it = tf.gather(tf.reduce_any(has_target, axis=0), partners)
    fractions = tf.where(is_worth_it[:, None, None, None], fractions, 1.0)
    return mix(images, targets, weights, fractions, partners)


def draw_fractions(count: tf.Tensor, size_px: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns (B, S, S, 1) float32: how much of each pixel stays, the rest is the partner's.

    MixUp: the same everywhere, from Beta(1/2, 1/2). CutMix: 0 in a box and 1 outside; its
    area is uniform before the image's edges cut it. Else 1.
    """
    numbers = tf.random.stateless_uniform((5, count), seed)[..., None, None, None]
    kind, fraction, area, right, down = tf.unstack(numbers)
    # Beta(1/2, 1/2) in closed form: XLA cannot draw from a gamma distribution.
    mixup = tf.sin(fraction * (math.pi / 2)) ** 2
    positions = (tf.range(size_px, dtype=tf.float32) + 0.5) / tf.cast(size_px, tf.float32)
    half = tf.sqrt(area) / 2
    is_inside = (tf.abs(positions[None, :, None, None] - down) < half) & (
        tf.abs(positions[None, None, :, None] - right) < half
    )
    cutmix = tf.cast(~is_inside, tf.float32)
    return tf.where(kind < MIXUP, mixup, tf.where(kind < MIXUP + CUTMIX, cutmix, 1.0))


def draw_partners(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns (B,) int32: for each image of a batch another one, at one random distance."""
    number = tf.random.stateless_uniform((), seed) * tf.cast(count - 1, tf.float32)
    return (tf.range(count) + 1 + tf.cast(number, tf.int32)) % count


def mix(
    images: tf.Tensor, targets: dict, weights: dict, fractions: tf.Tensor, partners: tf.Tensor
) -> tuple:
    """Returns the batch in which each pixel is a mean of an image and its partner.

    A mask and its weight are mixed pixel by pixel, a label by the image's mean fraction. What
    takes part in a mix and is not known leaves the mix unknown: weight 0.

    Args:
        images: As in `by_keras_cv`.
        targets: As there.
        weights: As there.
        fractions: (B, S, S, 1) in 0..1: how much of a pixel stays.
        partners: (B,) numbers of images.
    """

    def mixed(values, fraction):
        return fraction * values + (1 - fraction) * tf.gather(values, partners)

    def mixed_weight(weight, fraction, is_own_used, is_other_used):
        is_known = weight > 0
        is_whole = (is_known | ~is_own_used) & (tf.gather(is_known, partners) | ~is_other_used)
        return tf.where(is_whole, mixed(weight, fraction), 0.0)

    fraction = tf.reduce_mean(fractions, axis=(1, 2))
    # Not from the mean: rounding may leave a mean of ones just below 1.
    is_own_used = tf.reduce_max(fractions, axis=(1, 2, 3)) > 0
    is_other_used = tf.reduce_min(fractions, axis=(1, 2, 3)) < 1
    new_targets, new_weights = {}, {}
    for name, target in targets.items():
        if output_group.kind_of(name) != output_group.MASK:
            using = (fraction[:, 0], is_own_used, is_other_used)
            new_targets[name] = mixed(target, fraction)
        else:
            using = (fractions[..., 0], fractions[..., 0] > 0, fractions[..., 0] < 1)
            new_targets[name] = mixed(target, fractions)
        new_weights[name] = mixed_weight(weights[name], *using)
    return mixed(images, fractions), new_targets, new_weights


BATCH_AUGMENTATIONS: dict[str, Callable[..., tuple]] = {"keras_cv": by_keras_cv}
