"""The predictions table: one row an image, written once; every number comes from it.

The only module of `evaluation` that runs a model.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import diagnoses
from lbunet_tf.data import pipeline
from lbunet_tf.data import prediction_columns
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import pixel_histograms
from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation import skin_tone
from lbunet_tf.runs import held_out
from lbunet_tf.runs import image_progress
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import outlines
from lbunet_tf.serving import postprocessing
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import output_group
from lbunet_tf.settings import training_groups
from lbunet_tf.storage import spreadsheets
from lbunet_tf.storage import whole_files

EVALUATED_SPLITS = held_out.SCORED
# Probabilities from which the threshold of outlines is chosen.
THRESHOLDS = tuple(step / 20 for step in range(2, 19))


def predict_run(
    preprocessing: image_groups.Preprocessing,
    run_outputs: output_group.Outputs,
    device: training_groups.Device,
    output: pathlib.Path,
    model: keras.Model,
    manifest: pd.DataFrame,
    mask_rule: outlines.MaskRule = outlines.PLAIN,
    chooses_threshold: bool = True,
    has_skin_tone: bool = False,
) -> tuple[pd.DataFrame, outlines.MaskRule]:
    """Returns the predictions of val, calibration and test, and the rule that made outlines.

    Writes the table and the pixel histograms. The table has the manifest's columns, `score`
    (melanoma probability, NaN where no output gives one), `score_logit` (its logit, which tells
    apart what rounds to a probability of 1), and of the outline at the network's
    size, in pixels: `mask_tp`, `mask_fp`, `mask_fn`, `mask_tn`; `predicted_share`, the predicted
    mask's share of the image; `dice`, `iou`, `thresholded_jaccard`, with label_as_mask_ in front
    where the label is painted. Where masks are cleaned up, also `uncleaned_mask_tp` and its likes,
    of all pixels of probability 0.5 or more. NaN where the image has no target. One batch is in
    memory at a time; the histograms have a fixed size, (2, 65,536) a split: pixels of target 0 and
    1 by logit.

    With a diagnosis head the table has `true_class`, "" where unknown, `p_CLASS`, the probability
    of each, and `predicted`, the likeliest. Without a mask head it has nothing of masks, and there
    is no histogram.

    Of outlines it also writes `mask_histograms.npz`: `image_id` (N,) of the images with a mask, and
    `counts` (N, 2, 128), each image's pixels outside and inside its mask, by logit.

    Where `mask_rule` cleans masks up, its threshold is replaced by one of `THRESHOLDS`, chosen on
    val: that of the largest mean Dice, of several the one nearest to 0.5. Without masks in val, or
    `chooses_threshold`, it stays. With `has_skin_tone` the table has `skin_tone.COLUMNS` too.
    """
    parts, histograms, of_masks = [], {}, []
    rules = [mask_rule]
    if mask_rule.cleanup != "none" and chooses_threshold and _has_masks(manifest):
        rules = [dataclasses.replace(mask_rule, threshold=threshold) for threshold in THRESHOLDS]
    # Each image is seen once.
    device = dataclasses.replace(device, cache=False)
    for split in EVALUATED_SPLITS:
        rows = manifest[manifest["split"] == split].reset_index(drop=True)
        histograms[split] = np.zeros((2, pixel_histograms.NUM_BINS), "int64")
        if rows.empty:
            # A released run comes without the images of its val.
            continue
        logging.info("scoring %d images of %s", len(rows), split)
        dataset = pipeline.make_evaluation_dataset(preprocessing, run_outputs, device, rows)
        measures, counts = _predict_rows(
            dataset,
            run_outputs,
            model,
            rows,
            histograms[split],
            rules,
            of_masks,
            has_skin_tone,
        )
        columns = [rows, *_class_columns(rows, measures, run_outputs)]
        if run_outputs.has_mask:
            # Chosen on val, which comes first; test is counted by that rule alone.
            number = _best_rule(counts, rules)
            rules = [rules[number]]
            columns.append(_as_table(counts[:, number]))
        parts.append(pd.concat(columns, axis=1))
    table = pd.concat(parts, ignore_index=True)
    if run_outputs.has_mask:
        measures = scores.image_mask_scores(table).drop(columns="image_id")
        table = table.join(measures.add_prefix(scores.name_prefix(run_outputs.mask_source)))
    quoted = spreadsheets.quoted_table(table)
    whole_files.write_table(output / run_directory.PREDICTIONS, quoted)
    pixel_histograms.write(output, histograms, of_masks, run_outputs)
    return table, rules[0]


def _class_columns(rows, measures, run_outputs):
    """Returns the measures as tables; where there are classes, with the true and the likeliest."""
    names = run_outputs.class_names
    if not names:
        return [measures]
    likeliest = measures[[contract.PROBABILITY + name for name in names]].to_numpy().argmax(1)
    words = {
        contract.CLASS: diagnoses.classes_of(rows["diagnosis"], run_outputs.classes),
        contract.PREDICTED: np.array(names, dtype=object)[likeliest],
    }
    return [measures, pd.DataFrame(words)]


def _has_masks(manifest):
    return (manifest["mask"][manifest["split"] == "val"] != "").any()


def _best_rule(counts, rules):
    """Returns the number of the rule of the largest mean Dice, of several nearest to 0.5.

    Args:
        counts: (N, rules, 5), as `_predict_rows` gives them.
        rules: In their order.
    """
    tp, fp, fn = (counts[~np.isnan(counts[:, 0, 0]), :, column] for column in range(3))
    union = tp + fp + fn
    dice = np.where(union > 0, 2 * tp / np.maximum(2 * tp + fp + fn, 1), 1.0)
    mean = dice.mean(axis=0) if len(dice) else np.zeros(len(rules))
    distance = [abs(rule.threshold - 0.5) for rule in rules]
    return int(np.lexsort((distance, -mean))[0])


def _as_table(counts):
    """Returns the (N, 5) of one rule as columns of the predictions table."""
    return pd.DataFrame(counts, columns=[*contract.MASK_COUNTS, prediction_columns.PREDICTED_SHARE])


def _predict_rows(dataset, run_outputs, model, rows, histogram, rules, of_masks, has_skin_tone):
    """Returns (table of scores, (N, rules, 5): pixel counts and share of the mask by each rule).

    Without a mask head the second is None.

    Where rules clean masks up, the table has the counts without it too. Adds to `histogram`, and
    to `of_masks` (image_id, histogram) of each image with a mask.
    """
    parts, counts = [], []
    progress = image_progress.ImageProgress(len(rows))
    for images, targets, weights in dataset:
        logits = {
            name: np.asarray(value, "float64")
            for name, value in model.predict_on_batch(np.asarray(images)).items()
        }
        first = sum(map(len, parts))
        names = rows["image_id"].iloc[first : first + len(images)]
        refuse_not_finite(logits, names)
        measures = _image_measures(logits, run_outputs)
        if run_outputs.has_mask:
            mask = np.asarray(targets["mask"])
            known = np.asarray(weights["mask"])[:, 0, 0] > 0
            pixel_histograms.add(histogram, logits["mask"][known], mask[known])
            of_masks += pixel_histograms.of_masks(names, logits["mask"], mask, known)
            if rules[0].cleanup != "none":
                plain = confusion_counts(mask, logits["mask"] >= 0, known)
                measures |= {f"{scores.UNCLEANED}{name}": count for name, count in plain.items()}
            if has_skin_tone:
                measures |= skin_tone.estimate_batch(
                    np.asarray(images), mask, known, logits["mask"]
                )
            counts.append(np.stack([_counts(rule, logits, mask, known) for rule in rules], axis=1))
        # As one array: a table of a small batch takes ten times the memory of its numbers.
        parts.append(np.column_stack(list(measures.values())))
        progress.add(len(images))
    table = pd.DataFrame(np.concatenate(parts), columns=list(measures))
    return table, np.concatenate(counts) if counts else None


def _image_measures(logits, run_outputs):
    """Returns what is said of each image as a whole, (B,) by column."""
    rule = (run_outputs.score_rule, run_outputs.class_names)
    score = postprocessing.image_scores(logits, *rule)
    measures = {
        "score": score,
        "score_logit": postprocessing.score_logits(logits, score, *rule),
    }
    if run_outputs.class_names:
        probabilities = postprocessing.class_probabilities(logits["diagnosis"])
        columns = zip(run_outputs.class_names, probabilities.T, strict=True)
        measures |= {contract.PROBABILITY + name: values for name, values in columns}
    return measures


def _counts(rule, logits, mask, known):
    """Returns (B, 5): pixel counts of the masks that a rule makes, and their share of the image."""
    predicted = np.stack([rule.clean(one) >= rule.logit for one in logits["mask"]])
    counts = confusion_counts(mask, predicted, known)
    return np.column_stack(
        [*(counts[name] for name in contract.MASK_COUNTS), predicted.mean((1, 2, 3))]
    )


def refuse_not_finite(logits: dict[str, np.ndarray], image_ids: Sequence[str]) -> None:
    """Raises a ValueError that names the images for which the network gives no numbers.

    NaN is neither above nor below a threshold: it would be "no lesion" without a word.
    """
    are_good = postprocessing.are_finite(logits)
    bad = [repr(name) for name, good in zip(image_ids, are_good, strict=True) if not good]
    if bad:
        raise ValueError(
            f"the network gives NaN or infinity for {len(bad)} of {len(image_ids)} images, the "
            f"first is {bad[0]}. Look at the image; if all images are like this, use another run"
        )


def confusion_counts(
    true: np.ndarray, predicted: np.ndarray, known: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns pixel counts of each image, (B,) float: NaN where its target is not known.

    Args:
        true: (B, H, W, 1), 0 or 1.
        predicted: (B, H, W, 1) bool.
        known: (B,) bool.
    """
    true = true > 0.5
    axes = (1, 2, 3)
    counts = {
        "mask_tp": (true & predicted).sum(axes),
        "mask_fp": (~true & predicted).sum(axes),
        "mask_fn": (true & ~predicted).sum(axes),
        "mask_tn": (~true & ~predicted).sum(axes),
    }
    return {name: np.where(known, count, np.nan) for name, count in counts.items()}


def predict_sheet(
    preprocessing: image_groups.Preprocessing,
    run_outputs: output_group.Outputs,
    model: keras.Model,
    rows: pd.DataFrame,
    mask_rule: outlines.MaskRule,
) -> Sequence[dict[str, np.ndarray]]:
    """Returns image (S, S, 3) uint8, true mask and predicted (S, S) of a few rows.

    That is 0.5 on the outline that `mask_rule` makes; of label-as-mask, the probability. Without a
    mask head the image alone.
    """
    sheet = []
    one_by_one = training_groups.Device(batch_size=1, cache=False)
    dataset = pipeline.make_evaluation_dataset(preprocessing, run_outputs, one_by_one, rows)
    for images, targets, _ in dataset:
        sheet.append({"image": np.asarray(images[0]).astype("uint8")})
        if not run_outputs.has_mask:
            continue
        logits = np.asarray(model.predict_on_batch(np.asarray(images))["mask"], "float64")
        logits = mask_rule.clean(logits[0]) - mask_rule.logit
        sheet[-1] |= {
            "true": np.asarray(targets["mask"])[0, ..., 0],
            "predicted": postprocessing.sigmoid(logits)[..., 0],
        }
    return sheet
