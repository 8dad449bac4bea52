"""The parts of a report: sentences, cards and tables, each as HTML of `metrics.json`.

`test` is its part on the test images.
"""

import html

import pandas as pd

from lbunet_tf.evaluation import scores

# Below this many images of a class a ratio moves by more than 0.05 with one image.
FEW = 20
PREFIXES = {
    scores.LABEL_AS_MASK: "label-as-mask: ",
    scores.UNCLEANED: "uncleaned masks at 0.5: ",
}
WORDS = {
    "num_images": "images",
    "runs": "runs whose mean is scored",
    "num_scored": "images with label and score",
    "num_melanoma": "melanomas among them",
    "num_masks": "images with a target mask",
    "accuracy": "accuracy at 0.5",
    "auc": "AUC",
    "average_precision": "average precision",
    "pixel_accuracy": "pixel accuracy at 0.5",
    "pixel_auc": "pixel AUC",
    "dice": "Dice, mean over images",
    "iou": "IoU, mean over images",
    "thresholded_jaccard": "thresholded Jaccard (0 below 0.65), mean over images",
    "share_below_iou_0.65": "fraction of images with IoU below 0.65",
    "pooled_dice": "Dice, pooled over pixels",
    "pooled_iou": "IoU, pooled over pixels",
    "num_patients": "patients (or lesions, or images)",
    "num_unscored": "images without a score",
    "auc_sens_80": "AUC above 80 % sensitivity, ISIC's auc_sens_80 (1 at most)",
    "kaggle_2024_pauc": "partial AUC of Kaggle's ISIC 2024 (0.2 at most)",
    "expected_calibration_error": "expected calibration error, 10 bins (0 is best)",
    "brier": "Brier score: miscalibration - discrimination + uncertainty",
    "slope": "slope (1 is best; below, scores are too extreme)",
    "intercept": "intercept with that slope (0 is best)",
    "in_the_large": "calibration in the large (above 0: more melanomas than said)",
    "asked": "coverage that is asked for",
    "coverage": "true class in the set",
    "coverage_melanoma": "of melanomas",
    "coverage_benign": "of others",
    "fraction_neither": "sets with neither class",
    "fraction_benign": "sets of benign alone",
    "fraction_melanoma": "sets of melanoma alone",
    "fraction_refer": "sets of both: refer",
    "mask_threshold": "threshold of the mask's probability",
    "f1": "F1",
    "ppv": "PPV here",
    "npv": "NPV here",
    "ppv_at_prevalence": "PPV at the stated prevalence",
    "npv_at_prevalence": "NPV at the stated prevalence",
    "tp": "melanomas found (TP)",
    "fn": "melanomas missed (FN)",
    "fp": "others flagged (FP)",
    "tn": "others passed (TN)",
}


def headline(test: dict) -> str:
    """Returns a sentence in plain words and a few numbers as cards."""
    sentences, cards = [], []
    if test.get("auc") is not None:
        at = test.get("at_val_threshold", test["at_0.5"])
        chosen = f", chosen on {_chosen_on(test)}" if "at_val_threshold" in test else ""
        sentences.append(
            f"On {test['num_scored']} test images, {test['num_melanoma']} of them melanomas, the "
            f"score ranks a melanoma above another lesion in {test['auc']:.0%} of pairs (AUC). At "
            f"the threshold {at['threshold']:.2f}{chosen}, it flags "
            f"{at['tp']} of {at['tp'] + at['fn']} melanomas and wrongly flags {at['fp']} of "
            f"{at['fp'] + at['tn']} others. Where {at['stated_prevalence']:.1%} of lesions are "
            f"melanomas, {_percent(at['ppv_at_prevalence'])} of flagged lesions would be."
        )
        fewest = min(test["num_melanoma"], test["num_scored"] - test["num_melanoma"])
        if fewest < FEW:
            sentences.append(
                f"With {fewest} images in one of the classes these numbers mean little: one image "
                "changes them."
            )
        cards += [("AUC", test["auc"], "auc"), ("sensitivity", at["sensitivity"], "sensitivity")]
        cards += [("specificity", at["specificity"], "specificity")]
    elif "num_scored" not in test:
        sentences.append("No output of this network scores melanoma; it finds outlines only.")
    else:
        sentences.append(
            f"AUC is not defined: of {test['num_scored']} scored test images "
            f"{test['num_melanoma']} are melanomas, and it needs both classes."
        )
    if "dice" in test:
        sentences.append(
            f"The outline of the lesion overlaps the true one with a mean Dice of "
            f"{test['dice']:.3f} over {test['num_masks']} test images; "
            f"{test['share_below_iou_0.65']:.0%} of outlines are poor (IoU below 0.65)."
        )
        cards += [("lesion Dice", test["dice"], "dice"), ("lesion IoU", test["iou"], "iou")]
    boxes = "".join(
        f'<div class="card">{words}<b>{value:.3f}</b>{html.escape(_interval(test, name))}</div>'
        for words, value, name in cards
        if value is not None
    )
    return f"<p>{html.escape(' '.join(sentences))}</p><div class='cards'>{boxes}</div>"


def _interval(test, name):
    """Returns the interval of a number of the test split in words, "" of one that has none."""
    found = test.get("intervals", {}).get(name)
    if not found:
        return ""
    if found["low"] is None:
        return "not estimable"
    return f"{found['low']:.3f} to {found['high']:.3f}"


def interval_note(test: dict) -> str:
    """Returns what the intervals are of, and why some are missing."""
    found = test.get("intervals", {})
    if not found:
        return ""
    missing = sorted({one["method"] for one in found.values() if one["low"] is None})
    sentences = [
        "Of 100 intervals made like these, 95 hold the number that all patients of the same kind "
        f"would give. {_who_counts(test)}"
    ]
    if missing:
        sentences.append(f"Not estimable: {'; '.join(missing)}.")
    if test.get("num_unscored") and "num_scored" in test:
        sentences.append(f"{test['num_unscored']} images have no score and do not count.")
    if "operating_point" in test:
        point = test["operating_point"]
        sentences.append(
            f"Operating point: images of a probability of {point['threshold']:.4f} or more are "
            f"flagged. Chosen on {point['chosen_on']} ({point['num_melanoma']} melanomas, "
            f"{point['num_other']} others): {point['rule']}."
        )
        if point["chosen_on"] == "val":
            sentences.append(
                "Val has also chosen the epoch that was kept, so what is chosen or calibrated "
                "on it promises a little too much."
            )
    return f"<p>{html.escape(' '.join(sentences))}</p>"


def _who_counts(test):
    count, key = test["num_patients"], test["patient_key"]
    if key == "image":
        return f"No patients are known: each of the {count} images counts as one."
    return f"Images of one {key} count as one of the {count} patients of test."


def _percent(fraction):
    return "an unknown fraction" if fraction is None else f"{fraction:.1%}"


def label_note(test: dict) -> str:
    """Returns what label-as-mask scores measure, "" where masks are outlines."""
    if test["mask_source"] != "label":
        return ""
    return (
        '<p class="note">Label-as-mask: the network was trained with the image\'s class painted on '
        "every pixel, as in the paper. What is computed from such masks measures the class, not "
        "where the lesion is, and carries that name below. Where a prediction is the same on all "
        "pixels of an image, pixel accuracy is image accuracy, pooled Dice is the F1 score of the "
        "class, and the mean Dice is again the accuracy.</p>"
    )


def numbers_table(metrics: dict[str, dict]) -> str:
    """Returns the numbers of val and test, and the intervals of test."""
    metrics = {split: _with_uncleaned(values) for split, values in metrics.items()}
    names = [name for name, value in metrics["test"].items() if not isinstance(value, dict | str)]
    rows = [
        [
            _title(name),
            *(_number(metrics[split].get(name)) for split in ("val", "test")),
            _interval(metrics["test"], name),
        ]
        for name in names
    ]
    return html_table(["", "val", "test", "95 % interval of test"], rows)


def _with_uncleaned(values):
    uncleaned = values.get("uncleaned", {})
    return values | {f"{scores.UNCLEANED}{name}": value for name, value in uncleaned.items()}


def source_table(test: dict) -> str:
    """Returns the test split's scores of each source, where there are several."""
    parts = test.get("by_source")
    if not parts:
        return ""
    names = list(dict.fromkeys(name for part in parts.values() for name in part))
    rows = [[_title(name), *(_number(part.get(name)) for part in parts.values())] for name in names]
    return (
        "<h2>Test images by source</h2><p>The sources contain melanoma in different proportions, "
        "so the pooled AUC partly measures how well the sources are told apart. The scores below "
        "do not.</p>" + html_table(["", *parts], rows)
    )


def _chosen_on(test):
    return test.get("operating_point", {}).get("chosen_on", "val")


def threshold_tables(test: dict) -> str:
    """Returns the test split's ratios at 0.5 and at the chosen threshold, side by side."""
    chosen = {"0.5": test.get("at_0.5")}
    chosen[f"chosen on {_chosen_on(test)}"] = test.get("at_val_threshold")
    chosen = {name: at for name, at in chosen.items() if at}
    if not chosen:
        return ""
    first = next(iter(chosen.values()))
    rows = [
        [
            key if key == "accuracy" else _title(key),
            *(_number(at[key]) for at in chosen.values()),
            _interval(test, key) if key in ("sensitivity", "specificity") else "",
        ]
        for key in first
    ]
    header = ["", *chosen, "95 % interval of the last"]
    return "<h2>Test images at a threshold</h2>" + html_table(header, rows)


def calibration_table(test: dict) -> str:
    """Returns how calibrated the scores of test are, as they are and by what was fitted on val."""
    before = test.get("calibration", {})
    if "not_estimable" in before or not before:
        reason = before.get("not_estimable", "")
        return f"<h2>Calibration</h2><p>Not estimable: {html.escape(reason)}.</p>" if reason else ""
    after = test.get("calibrated", {})
    columns = {"as it is": before}
    if after:
        columns[f"{after['kind']}, fitted on {after['chosen_on']}"] = after
    rows = [
        [_title(name), *(_number(found.get(name)) for found in columns.values())] for name in before
    ]
    return "<h2>Calibration of test</h2>" + html_table(["", *columns], rows)


def set_table(test: dict) -> str:
    """Returns how often prediction sets hold the true class, and what they say."""
    found = test.get("prediction_sets")
    if not found:
        return ""
    names = ("asked", "coverage", "coverage_melanoma", "coverage_benign")
    fractions = [name for name in found if name.startswith("fraction_")]
    rows = [
        [_title(name), _number(found[name]), _band(found, name.removeprefix("coverage_"))]
        for name in (*names, *fractions)
    ]
    return (
        "<h2>Prediction sets of test</h2><p>A set holds the classes that cannot be ruled out: "
        f"benign, melanoma, both (refer), or neither. {_promise(found)}</p>"
        + html_table(["", "test", "95 of 100 valid sets lie in"], rows)
    )


def _promise(found):
    if found["is_promised"]:
        return (
            "It is made so that the true class is in it as often as asked, for melanomas as for "
            "others."
        )
    return (
        "It was made on images of another source, so nothing is promised of these: the table says "
        "what came of it."
    )


def group_table(groups: pd.DataFrame | None) -> str:
    """Returns the numbers of each group of test; of too few patients "not estimable"."""
    if groups is None or groups.empty:
        return ""
    numbers = [name for name in ("auc", "sensitivity", "specificity", "dice") if name in groups]
    rows = []
    for row in groups.to_dict("records"):
        counts = f"{row['num_images']} ({row['num_melanoma']})"
        cells = [_with_interval(row, name) for name in numbers]
        difference = _with_interval(row, "auc_difference") if "auc_difference" in row else ""
        rows.append([f"{row['attribute']}: {row['group']}", counts, *cells, difference])
    header = ["", "images (melanomas)", *map(_title, numbers), "AUC minus that of the others"]
    return (
        "<h2>Groups of test</h2><p>In brackets 95 % intervals by patient; those of the last column "
        "hold for all groups of an attribute at once. A difference may come from the images, the "
        "labels, or how ill a group is, as well as from the network.</p>" + html_table(header, rows)
    )


def _with_interval(row, name):
    value, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if value is None or pd.isna(value):
        return "not estimable"
    if pd.isna(low):
        return f"{value:.3f} (not estimable)"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _band(found, name):
    low, high = found.get(f"band_{name}", (None, None))
    return "" if low is None else f"{low:.3f} to {high:.3f}"


def _title(name):
    plain, prefix = name, ""
    for start, words in PREFIXES.items():
        if name.startswith(start):
            plain, prefix = name.removeprefix(start), words
    return prefix + WORDS.get(plain, plain.replace("_", " "))


def _number(value):
    if value is None or pd.isna(value):
        return "not defined"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def html_table(header: list[str], rows: list[list[str]]) -> str:
    """Returns a table of text cells, which scrolls where the page is narrow."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
