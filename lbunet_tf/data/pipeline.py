"""tf.data pipelines: manifest rows -> batches of (images, targets, weights)."""

from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from absl import logging

from lbunet_tf.data import diagnoses
from lbunet_tf.data import loading
from lbunet_tf.data import memory
from lbunet_tf.data import portions
from lbunet_tf.data.augmentation import mixing
from lbunet_tf.data.augmentation import recipes
from lbunet_tf.data.records import reader
from lbunet_tf.data.records import record_path
from lbunet_tf.settings import config
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import output_group
from lbunet_tf.settings import training_groups

KEPT_AT_ONCE = 32
LOADED_AT_ONCE = 8


def make_training_dataset(
    settings: config.Config,
    rows: pd.DataFrame,
    start_epoch: int = 0,
    portion: portions.Portion = portions.WHOLE,
) -> tf.data.Dataset:
    """Returns the batches of epochs `start_epoch`, `start_epoch` + 1, ... up to --epochs.

    An epoch is `Device.steps_per_epoch` batches. Order and augmentation of an epoch depend on
    the seed and the epoch's number alone, so a resumed run sees what it would have seen.
    Each batch: images (B, S, S, 3) float32 in 0..255; targets and weights keyed by output.
    `portion`: what this process reads of each batch.
    """
    load_batches = _batch_loader(
        settings.preprocessing, settings.outputs, settings.device, rows, portion
    )
    labels = _balanced_labels(settings.outputs, rows)
    sources = rows["source"].to_numpy()
    weights = settings.augmentation.source_weights
    source_fractions = _source_fractions(settings.source.source, weights, sources)
    balance, seed, augment = (
        settings.split.balance,
        settings.source.seed,
        settings.augmentation.augment,
    )
    positions = portion.positions(len(rows), settings.device.batch_size)
    batch_size = portion.local_size(settings.device.batch_size)

    def order_of(epoch):
        order = epoch_order(labels, balance, seed, int(epoch), sources, source_fractions)
        return order[np.maximum(positions, ~positions)]

    def one_epoch(epoch):
        order = tf.ensure_shape(tf.numpy_function(order_of, (epoch,), tf.int64), (len(positions),))
        batches = load_batches(tf.data.Dataset.from_tensor_slices(order), batch_size)
        of_positions = tf.data.Dataset.from_tensor_slices(positions).batch(batch_size)
        batches = tf.data.Dataset.zip(of_positions, batches)
        batches = _augmented(augment, seed, batches, epoch, batch_size)
        batches = _finished(settings.outputs, batches)
        return _batches_augmented(augment, seed, batches, epoch, portion)

    epochs = tf.data.Dataset.range(start_epoch, settings.budget.epochs)
    return epochs.flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)


def check_reading(
    sources: Sequence[str],
    source_weights: Sequence[float],
    preprocessing: image_groups.Preprocessing,
    rows: pd.DataFrame,
) -> None:
    """Checks that rows of train and val go with the flags, reading no image.

    Raises:
        ValueError: --source_weights names other sources than those of the rows; or records were
            made with other flags of preprocessing.
    """
    of_train = rows["source"][rows["split"] == "train"].to_numpy()
    _source_fractions(sources, source_weights, of_train)
    reader.check_folders(preprocessing, rows["image"])


def _balanced_labels(outputs, rows):
    """Returns (N,) what --balance=resample balances: numbers of classes, NaN where unknown."""
    if not outputs.class_names:
        return rows["label"].to_numpy()
    targets = diagnoses.targets_of(rows["diagnosis"], outputs.classes)
    return np.where(targets.any(1), targets.argmax(1), np.nan)


def _source_fractions(names_given, weights_given, sources):
    """Returns source -> fraction of an epoch; {} where --source_weights is not given.

    The sources of a manifest that was read (`manifest`) have the names that it gives.
    """
    if not weights_given:
        return {}
    weights = dict(zip(names_given, weights_given, strict=True))
    names = set(sources)
    if names != set(weights):
        raise ValueError(
            '"--source_weights" needs training images of each --source, by that name; give the '
            "sources themselves, not a manifest of them. Received: "
            f"--source={','.join(names_given)}, training images of {', '.join(sorted(names))}"
        )
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def epoch_order(
    labels: np.ndarray,
    balance: str,
    seed: int,
    epoch: int,
    sources: np.ndarray | None = None,
    source_fractions: dict[str, float] | None = None,
) -> np.ndarray:
    """Returns (N,) int64: the rows that epoch number `epoch` shows, in order.

    Every row once. With balance="resample" or `source_fractions` the rows are drawn by
    stratum, each gone through in a new order until it has its fraction of N, and evenly
    interleaved, so that every batch has about the same mixture.

    Args:
        labels: (N,) numbers of classes, such as 0 and 1; NaN where unknown.
        balance: "resample" gives the known classes of a source equal fractions.
        seed: With `epoch` all that chance depends on.
        epoch: From 0.
        sources: (N,) names.
        source_fractions: Source -> fraction of the epoch, adding up to 1; empty: as they are.
    """
    rng = np.random.default_rng((seed, epoch))
    if balance != "resample" and not source_fractions:
        return rng.permutation(len(labels))
    if sources is None:
        sources = np.zeros(len(labels), int)
    strata = _strata(labels, balance, sources, source_fractions or {})
    counts = _whole_counts([fraction for _, fraction in strata], len(labels))
    drawn = [_drawn(rows, count, rng) for (rows, _), count in zip(strata, counts, strict=True)]
    positions = [(np.arange(count) + 0.5) / max(count, 1) for count in counts]
    return np.concatenate(drawn)[np.argsort(np.concatenate(positions), kind="stable")]


def _strata(labels, balance, sources, source_fractions):
    """Returns [(rows, fraction of the epoch)], source by source, in the order of the labels."""
    strata = []
    for source in sorted(set(sources)):
        of_source = sources == source
        fraction = source_fractions.get(source, of_source.mean())
        if balance != "resample":
            strata.append((np.flatnonzero(of_source), fraction))
            continue
        known = np.unique(labels[of_source & ~np.isnan(labels)])
        parts = [np.flatnonzero(of_source & (labels == label)) for label in known]
        unknown = np.flatnonzero(of_source & np.isnan(labels))
        known_fraction = fraction * (1 - len(unknown) / of_source.sum())
        strata += [(rows, known_fraction / len(parts)) for rows in parts]
        if len(unknown):
            strata.append((unknown, fraction - known_fraction if parts else fraction))
    return strata


def _whole_counts(fractions, total):
    """Returns whole counts that add up to `total`, by largest remainder."""
    exact = np.array(fractions) / sum(fractions) * total
    counts = np.floor(exact + 1e-9).astype(int)
    largest_first = np.argsort(-(exact - counts), kind="stable")
    counts[largest_first[: total - counts.sum()]] += 1
    return counts


def _drawn(rows, count, rng):
    rounds = -(-count // len(rows))
    return np.concatenate([rows[:0], *(rng.permutation(rows) for _ in range(rounds))])[:count]


def make_evaluation_dataset(
    preprocessing: image_groups.Preprocessing,
    outputs: output_group.Outputs,
    device: training_groups.Device,
    rows: pd.DataFrame,
    portion: portions.Portion = portions.WHOLE,
) -> tf.data.Dataset:
    """Returns the batches of `rows` in their order, the short last batch included."""
    rows = portion.rows(rows, device.batch_size)
    load = _make_loader(preprocessing, outputs, rows)
    batches = load(tf.data.Dataset.range(len(rows)), portion.local_size(device.batch_size))
    if device.cache and memory.fits(len(rows), preprocessing.image_size):
        batches = batches.cache()
    return _finished(outputs, batches).prefetch(tf.data.AUTOTUNE)


def make_examples(preprocessing: image_groups.Preprocessing, rows: pd.DataFrame) -> tf.data.Dataset:
    """Returns `rows` in their order, each a dict of `image`, `mask`, `has_mask`, `label`."""
    load = loading.make_loader(preprocessing, rows)
    return load(tf.data.Dataset.range(len(rows)), LOADED_AT_ONCE).unbatch()


def _make_loader(preprocessing, outputs, rows):
    """Returns the loader of what the outputs learn: a mask that none learns is not read."""
    if not outputs.has_outlines:
        rows = rows.assign(mask="")
    return loading.make_loader(preprocessing, rows, outputs.classes if outputs.class_names else "")


def _batch_loader(preprocessing, outputs, device, rows, portion):
    """Returns a function: dataset of row numbers, each once, B -> batches of B examples.

    With --cache, where it fits, each file is decoded once, in parallel, and kept as bytes of
    the network's size; a cache inside tf.data could only be read in its own order. One of
    several processes keeps none: it reads its portion of each epoch, not all rows.
    """
    load = _make_loader(preprocessing, outputs, rows)
    is_kept = device.cache and portion.num_processes == 1
    if device.cache and not is_kept and not record_path.are_records(rows["image"]).all():
        logging.warning(
            "--cache: of several hosts each reads its portion of every epoch again. Records are "
            "read fastest: python -m lbunet_tf.prepare --records=DIR"
        )
    if not (is_kept and memory.fits(len(rows), preprocessing.image_size)):
        return load
    # Piece by piece: a stop is noticed between two.
    pieces = list(load(tf.data.Dataset.range(len(rows)), KEPT_AT_ONCE))
    # Where tf.data runs: the memory of a GPU is for the network.
    with tf.device("CPU:0"):
        kept = {name: tf.concat([piece[name] for piece in pieces], 0) for name in pieces[0]}
    return lambda numbers, batch_size: numbers.batch(batch_size).map(
        lambda batch: {name: tf.gather(column, batch) for name, column in kept.items()},
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _augmented(name, seed, batches, epoch, batch_size):
    """Returns batches of (positions in the epoch, examples); fillers lose their targets."""
    parallel = {"num_parallel_calls": tf.data.AUTOTUNE}
    augment = recipes.AUGMENTATIONS.get(name, recipes.none)

    def without_fillers(positions, examples):
        is_filler = positions < 0
        has_mask = examples["has_mask"] & ~is_filler
        changed = {"has_mask": has_mask, "label": tf.where(is_filler, -1.0, examples["label"])}
        if "diagnosis" in examples:
            changed["diagnosis"] = tf.where(is_filler[:, None], 0.0, examples["diagnosis"])
        return positions, {**examples, **changed}

    def augmented(position, example):
        return augment(example, _seed(seed, epoch, tf.maximum(position, ~position)))

    batches = batches.map(without_fillers, **parallel)
    if augment is recipes.none:
        return batches.map(lambda _, examples: examples)
    changed = batches.unbatch().map(augmented, **parallel).batch(batch_size)
    # What was taken apart has no known length, and steps are numbered by it.
    return changed.apply(tf.data.experimental.assert_cardinality(batches.cardinality()))


def _batches_augmented(name, seed, batches, epoch, portion):
    augment = make_batch_augmentation(name, seed)
    if augment is None or augments_in_step():
        return batches
    first = epoch * batches.cardinality()
    return batches.enumerate().map(
        # No two processes draw the same.
        lambda number, batch: augment(
            batch, (first + number) * portion.num_processes + portion.process
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def augments_in_step() -> bool:
    """Returns whether batches are augmented in the training step, on the accelerator.

    The augmentation is of TensorFlow ops; other backends have them in tf.data only.
    """
    return keras.backend.backend() == "tensorflow"


def make_batch_augmentation(name: str, seed: int) -> Callable | None:
    """Returns (batch, number of the training step) -> batch; None where --augment has none."""
    augment = mixing.BATCH_AUGMENTATIONS.get(name)
    if augment is None:
        return None
    # 64 bits: a seed may be as large as 2**32 - 1.
    seed = tf.constant(seed, tf.int64)
    return lambda batch, step: augment(*batch, tf.stack([seed, tf.cast(step, tf.int64)]))


def _seed(seed, epoch, number):
    """Returns the (2,) seed of the example or batch of this number in this epoch."""
    return tf.stack([tf.cast(seed, tf.int64) + 7919 * epoch, number])


def _finished(outputs, batches):
    return batches.map(
        lambda examples: as_batch(examples, outputs.mask_source, outputs.in_training),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def as_batch(examples: dict, mask_source: str, outputs: tuple[str, ...]) -> tuple:
    """Returns (images, targets, weights) of stacked examples.

    Weights are 1 where the target is known and 0 elsewhere: (B, S, S) for masks,
    (B,) for `melanoma` and `diagnosis`. A missing target never becomes a value that counts.
    """
    images = tf.cast(examples["image"], tf.float32)
    label = examples["label"]
    known = tf.cast(label >= 0, tf.float32)
    label = tf.maximum(label, 0.0)
    if mask_source == "label":
        # The paper paints the image's label on every pixel (IV.A).
        mask = tf.ones_like(images[..., :1]) * label[:, None, None, None]
        mask_known = known
    else:
        mask = tf.cast(examples["mask"], tf.float32)
        mask_known = tf.cast(examples["has_mask"], tf.float32)
    of_kind = {
        output_group.MASK: (mask, tf.ones_like(mask[..., 0]) * mask_known[:, None, None]),
        output_group.BINARY: (label[:, None], known),
    }
    if "diagnosis" in examples:
        classes = examples["diagnosis"]
        of_kind[output_group.CLASSES] = (classes, tf.reduce_max(tf.sign(classes), axis=1))
    chosen = {name: of_kind[output_group.kind_of(name)] for name in outputs}
    return (
        images,
        {name: target for name, (target, _) in chosen.items()},
        {name: weight for name, (_, weight) in chosen.items()},
    )
