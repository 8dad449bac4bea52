"""Makes targets out of what a finished run sees in images: a manifest to train on.

    python -m lbunet_tf.pseudo_label --run=runs/lesion --source=isic2020 --data_dir=$DATA/isic2020

True targets are kept; what the run must not learn from, its val and test, is left out. Train on
it, scored where the run was scored, with --split_by=official --source=manifest,manifest and
  --data_dir=RUN/manifest.csv,RUN/pseudo/manifest.csv    the run's own images and these
  --data_dir=RUN/pseudo/held_out.csv,RUN/pseudo/manifest.csv    these alone

The network of the package comes without its images, so it has no held_out.csv, and its results go
to runs/released_NAME/pseudo.
"""

import concurrent.futures
import functools
import json
import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd
from absl import logging

from lbunet_tf.data import manifests
from lbunet_tf.data import unchanged
from lbunet_tf.data.pixels import preprocessing
from lbunet_tf.evaluation import agreement
from lbunet_tf.evaluation import predictions
from lbunet_tf.evaluation import weak_masks
from lbunet_tf.models import activation_map
from lbunet_tf.models import combined
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import held_out
from lbunet_tf.runs import image_progress
from lbunet_tf.runs import networks
from lbunet_tf.runs import predictor
from lbunet_tf.runs import pseudo_labels
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import postprocessing
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.settings import released_runs
from lbunet_tf.storage import failed_files
from lbunet_tf.storage import file_names
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import pictures as storage_pictures
from lbunet_tf.storage import spreadsheets
from lbunet_tf.storage import whole_files

TARGETS = "targets.csv"
HELD_OUT = "held_out.csv"
AGREEMENT = "agreement.json"
# The marker of a folder of pseudo-labels, and what is written there next to the masks.
WORK = "pseudo_label"
OWN = (
    run_directory.MANIFEST,
    run_directory.SKIPPED,
    TARGETS,
    HELD_OUT,
    AGREEMENT,
    failed_files.FILE,
    f".*.{whole_files.PARTIAL}*",
)


def main(settings: config.Config) -> None:
    """Makes the targets that the flags ask for; images that cannot be read are named last."""
    pseudo_label(settings)
    output = _output(settings)
    failed_files.raise_for(
        failed_files.read(output),
        output / failed_files.FILE,
        "Replace these files with good ones and give the same command again with --overwrite, or "
        "give --on_bad_image=skip to leave them out",
    )


def pseudo_label(settings: config.Config) -> dict[str, dict]:
    """Returns how far the weak targets agree with the true ones that are known.

    Writes to --output (RUN/pseudo by default): `manifest.csv`, all rows train, with the
    columns `pseudo_mask` and `pseudo_label`, 1 where that target is the network's own;
    `masks/ID.png` at the size of the image; `held_out.csv`, the run's val, calibration and test;
    `targets.csv`, what decided for each image; `agreement.json`; `skipped.csv`; and
    `failures.txt`, which images could not be read (not with --on_bad_image=skip) and which masks
    could not be written.
    """
    _check(settings)
    of_run = manifests.read(pathlib.Path(settings.paths.run) / run_directory.MANIFEST)
    # Its images are told from new ones by their content. Those that are gone are not looked at.
    unchanged.check(
        of_run, settings.paths.run, settings.reading.verify_images == "whole", needs_all=False
    )
    predict = _make_predict(settings)
    output = _output(settings)
    with whole_files.locked(output, WORK):
        _check_output(settings, output)
        return _pseudo_label(settings, predict, of_run, output)


def _pseudo_label(settings, predict, of_run, output):
    rows, skipped, failures = pseudo_labels.list_images(settings, of_run)
    _begin(settings, rows, output)
    rows, table, true_masks, unread, unwritten = _predict_all(settings, predict, rows, output)
    skipped = pd.concat([skipped, unread], ignore_index=True)
    if settings.source.on_bad_image == "error":
        unwritten = [*failures, *unread["reason"], *unwritten]
    elif len(unread):
        logging.warning(
            "%d images could not be used and were left out (%s), the first: %s",
            *(len(unread), run_directory.SKIPPED, unread["reason"].iloc[0]),
        )
    manifest = pseudo_labels.fill(settings.pseudo_labels, settings.paths.run, rows, table)
    found = agreement.compare(table, true_masks)
    whole_files.write_json(output / AGREEMENT, found)
    whole_files.write_table(output / TARGETS, spreadsheets.quoted_table(table))
    whole_files.write_table(output / run_directory.SKIPPED, spreadsheets.quoted_table(skipped))
    failed_files.write(output, unwritten)
    _write_held_out(settings.paths.run, of_run, output)
    agreement.log(found, settings.pseudo_labels.targets)
    _log_targets(output, manifest)
    if manifest.empty:
        raise ValueError(
            f"at least one image must get a target. None of {len(rows)} did, see "
            f"{output / TARGETS}; lower --confidence or --mask_confidence, or give more images, "
            "with --overwrite"
        )
    # Last: where it is, the rest is whole.
    whole_files.write_table(output / run_directory.MANIFEST, manifest)
    return found


def _write_held_out(run, of_run, output):
    if released_runs.is_released(run):
        logging.info("no %s: the network of the package comes without its images", HELD_OUT)
        return
    rows = of_run[of_run["split"].isin(held_out.SCORED)]
    whole_files.write_table(output / HELD_OUT, pseudo_labels.with_absolute_paths(rows))


def _check(settings):
    """Raises a ValueError where the flags do not fit together or ask for more than the run has."""
    if not settings.pseudo_labels.targets or set(settings.pseudo_labels.targets) - {
        "mask",
        "melanoma",
    }:
        raise ValueError(
            '"--targets" must be mask, melanoma, or both. '
            f"Received: --targets={','.join(settings.pseudo_labels.targets)}"
        )
    for name in ("confidence", "mask_confidence"):
        if settings.values()[name] > 1:
            raise ValueError(f'"--{name}" must be at most 1. Received: {settings.values()[name]}')
    if "melanoma" in settings.pseudo_labels.targets and settings.outputs.score_rule == "none":
        raise ValueError(
            f'"--targets=melanoma" needs a run that scores melanoma, and {settings.paths.run} has '
            "no such head. Give --targets=mask, or a run with melanoma in its --heads"
        )
    if "mask" not in settings.pseudo_labels.targets:
        if settings.pseudo_labels.ignore_true_masks:
            raise ValueError(
                '"--ignore_true_masks" needs new masks to replace them: add mask to --targets. '
                f"Received: --targets={','.join(settings.pseudo_labels.targets)}"
            )
        return
    is_of_mask = settings.pseudo_labels.weak_targets != "activation"
    if is_of_mask and not settings.outputs.has_mask:
        raise ValueError(
            f'"--weak_targets={settings.pseudo_labels.weak_targets}" needs a run with a mask head, '
            f"and {settings.paths.run} has --heads={','.join(settings.outputs.heads)}. Give "
            "--targets=melanoma, or --weak_targets=activation"
        )
    needed = {"prediction": "lesion", "label_map": "label"}.get(settings.pseudo_labels.weak_targets)
    if needed not in (None, settings.outputs.mask_source):
        other = {"lesion": "label_map", "label": "prediction"}[needed]
        raise ValueError(
            f'"--weak_targets={settings.pseudo_labels.weak_targets}" needs a run of '
            f"--mask_source={needed} for its masks. Received: {settings.paths.run} with "
            f"--mask_source={settings.outputs.mask_source}; give "
            f"--weak_targets={other}, or --targets=melanoma"
        )


def _output(settings):
    return ensemble.output_folder(settings.paths, "pseudo")


def _check_output(settings, output):
    """Refuses a folder of other files; replacing what was written before needs --overwrite."""
    for path in settings.source.data_dir if settings.paths.overwrite else ():
        if output_folder.holds(output, path):
            raise ValueError(
                f'"--data_dir" must not lie in the folder that --overwrite empties: a kill would '
                f"lose it. Give --output=DIR for the next round. Received: --data_dir={path}"
            )
    output_folder.check(output, WORK, (*OWN, pseudo_labels.MASKS), "--output")
    if settings.paths.overwrite or output_folder.is_new(output):
        return
    if (output / run_directory.MANIFEST).is_file():
        raise ValueError(
            f"{output} holds targets already. Name another --output, or give --overwrite"
        )
    if output_folder.read_marker(output).get("asked") != _asked(settings):
        raise ValueError(
            f"{output} holds what an unfinished command with other flags left. Give "
            "the same flags, name another --output, or give --overwrite"
        )


def _asked(settings):
    """Returns what decides the targets, by flag, as JSON gives it back."""
    fields = config.fields_of("pseudo_label")
    asked = {field.name: settings.values()[field.name] for field in fields}
    return json.loads(json.dumps({**asked, "overwrite": False, "output": ""}))


def _begin(settings, rows, output):
    """Makes the folder ours, with --overwrite without what it held."""
    output_folder.refuse_files_of_others(output, list(rows["mask_to_write"]))
    if settings.paths.overwrite and not output_folder.is_new(output):
        output_folder.delete_own(output, OWN)
    output_folder.mark(output, WORK, list(rows["mask_to_write"]), asked=_asked(settings))


def _make_predict(settings) -> Callable:
    """Returns a function: list of (S, S, 3) uint8 -> (maps, scores, whether all are finite).

    Maps are (B, S, S, 1) logits, scores (B,), the last (B,) bool.

    An activation map is that of the class that the head predicts: most lesions are no
    melanoma, and in them the evidence against it lies in the lesion.
    """
    by_activation = (
        settings.pseudo_labels.weak_targets == "activation"
        and "mask" in settings.pseudo_labels.targets
    )
    model = ensemble.load_best(pathlib.Path(settings.paths.run))
    if by_activation:
        model = activation_map.build_activation_model(
            model, settings.outputs.heads, settings.model.melanoma_pool
        )
    model = combined.build_mean([model], settings.score.tta)
    logits_of = networks.make_network(model, networks.KERAS, "float32")

    def predict(squares):
        logits = logits_of(squares)
        # Without a mask head and an activation map, no masks are asked for.
        maps = logits.get("mask", np.zeros((*np.shape(squares)[:3], 1)))
        if by_activation:
            sign = np.where(logits["melanoma"] >= 0, 1, -1)
            maps = sign[:, :, None, None] * logits[activation_map.OUTPUT]
        scores = postprocessing.image_scores(
            logits, settings.outputs.score_rule, settings.outputs.class_names
        )
        return maps, scores, postprocessing.are_finite({**logits, "map": maps})

    return predict


def _predict_all(settings, predict, rows, output):
    """Returns (rows, the table of what decides for each, their true masks, what is left out, why).

    What is left out is a table like skipped.csv; last comes why masks were not written. The masks
    that are kept are written. True masks are at the network's size, as `evaluate` compares them:
    bool, (S, S) each, None where unknown.
    """
    tables, true_masks, reasons, unwritten = [], [], [], []
    is_read = np.ones(len(rows), bool)
    progress = image_progress.ImageProgress(len(rows))
    with concurrent.futures.ThreadPoolExecutor() as threads:
        for start in range(0, len(rows), settings.device.batch_size):
            part = rows.iloc[start : start + settings.device.batch_size]
            read = list(
                threads.map(functools.partial(_read, settings), part["image"], part["mask"])
            )
            progress.add(len(part))
            read = _predicted(predict, part, read)
            good = np.array([not isinstance(result, str) for result in read])
            is_read[start : start + len(part)] = good
            reasons += [result for result in read if isinstance(result, str)]
            if not good.any():
                continue
            part, read = part[good], [result for result in read if not isinstance(result, str)]
            sizes, _, true, maps, scores = zip(*read, strict=True)
            table = _decide(settings, part, np.stack(maps), np.array(scores), true)
            unwritten += _write_masks(settings, part, table, maps, sizes, output)
            tables.append(table)
            true_masks += true
    if not tables:
        raise ValueError(f"at least one image must be readable. Received: none; {reasons[0]}")
    table = pd.concat(tables, ignore_index=True)
    unread = rows.loc[~is_read, ["image_id", "image", "source"]].assign(reason=reasons)
    return rows[is_read].reset_index(drop=True), table, true_masks, unread, unwritten


def _predicted(predict, rows, read):
    """Returns what was read, map and score of each image, or in words why there are none."""
    good = [number for number, result in enumerate(read) if not isinstance(result, str)]
    results = list(read)
    if good:
        found = predict([read[number][1] for number in good])
        for number, logits, score, is_finite in zip(good, *found, strict=True):
            name = file_names.printable(rows["image"].iloc[number])
            words = f"{name}: {postprocessing.NOT_FINITE}"
            results[number] = (*read[number], logits, score) if is_finite else words
    return results


def _read(settings, image_path, mask_path):
    """Returns (its size, the square that the network sees, true mask), or why there are none."""
    limit = settings.reading.max_megapixels

    def read():
        image, square = predictor.read(image_path, settings.preprocessing, limit)
        # Its pixels would fill memory, a batch of them.
        size = image.shape[:2]
        return size, square, _true_mask(mask_path, settings.preprocessing.image_size, limit)

    return failed_files.tried(image_path, read)


def _true_mask(path, size, max_megapixels):
    """Returns (size, size) bool, None without a path."""
    if not path:
        return None
    mask = preprocessing.decode_file(path, preprocessing.decode_mask, max_megapixels)[1]
    return preprocessing.resize_mask(mask, size).numpy()[..., 0] > 0


def _decide(settings, rows, maps, scores, true):
    """Returns the table of a batch: what decides, and where the true mask is known, the pixels."""
    rule = settings.pseudo_labels.mask_threshold
    if rule == "auto":
        rule = "otsu" if settings.pseudo_labels.weak_targets == "activation" else "half"
    thresholds = [weak_masks.mask_threshold(logits, rule) for logits in maps]
    masks = maps >= np.reshape(thresholds, (-1, 1, 1, 1))
    table = pd.DataFrame(
        {
            "image_id": rows["image_id"].to_numpy(),
            "split_in_run": rows["split_in_run"].to_numpy(),
            "label": rows["label"].to_numpy(),
            "score": scores,
            "sure_label": weak_masks.sure_labels(scores, settings.pseudo_labels.confidence),
        }
    )
    if "mask" not in settings.pseudo_labels.targets:
        return table.assign(is_sure_mask=False)
    confidence = np.full(len(rows), np.nan)
    table["mask_threshold"] = thresholds
    table["weak_share"] = masks.mean((1, 2, 3))
    table["is_sure_mask"] = masks.any((1, 2, 3))
    if settings.pseudo_labels.weak_targets == "prediction":
        confidence = weak_masks.mean_inside(postprocessing.sigmoid(maps), masks)
        table["is_sure_mask"] &= confidence >= settings.pseudo_labels.mask_confidence
    table["mask_confidence"] = confidence
    known = np.array([mask is not None for mask in true])
    nothing = np.zeros(maps.shape[1:3], bool)
    stacked = np.stack([nothing if mask is None else mask for mask in true])[..., None]
    counts = predictions.confusion_counts(stacked, masks, known)
    return table.assign(**counts)


def _write_masks(settings, rows, table, maps, sizes, output):
    """Writes the masks that become targets, each at the size of its image; returns failures.

    One that is empty there, of an image smaller than the network's, is no longer sure: as a
    target it would say that there is no lesion. Neither is one that cannot be written.
    """

    def write(number):
        size = sizes[number]
        threshold = table["mask_threshold"].iloc[number]
        mask = postprocessing.mask_at_size(maps[number], size, threshold).numpy()[..., 0]
        if mask.any():
            storage_pictures.write_mask(output / rows["mask_to_write"].iloc[number], mask)
        return bool(mask.any())

    failures = []
    wanted = table["is_sure_mask"].to_numpy() & pseudo_labels.lacks_mask(
        settings.pseudo_labels, rows
    )
    for number in np.flatnonzero(wanted):
        result = failed_files.tried(rows["image"].iloc[number], write, number)
        if isinstance(result, str):
            failures.append(result)
        if result is not True:
            table.loc[number, "is_sure_mask"] = False
    return failures


def _log_targets(output, manifest):
    own_masks, own_labels = (manifest[name] == 1 for name in ("pseudo_mask", "pseudo_label"))
    logging.info(
        "%d images have a target; the network's own are %d of %d masks and %d of %d labels (%d "
        "melanoma): %s",
        len(manifest),
        own_masks.sum(),
        (manifest["mask"] != "").sum(),
        own_labels.sum(),
        manifest["label"].notna().sum(),
        (own_labels & (manifest["label"] == 1)).sum(),
        output,
    )


if __name__ == "__main__":
    entry.run(main, "pseudo_label")
