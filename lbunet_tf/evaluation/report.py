"""The report of a run: one HTML file that needs nothing beside it."""

import base64
import html
import pathlib

import pandas as pd

from lbunet_tf.evaluation import scores

CAPTIONS = {
    "class_balance": "Images by part of the data and class.",
    "roc": "ROC: each point is a threshold. The further above the dotted line, the better the "
    "score ranks melanomas above other lesions.",
    "confusion_matrix": "Test images by true and predicted class, at 0.5 and at the threshold "
    "that was chosen on the validation images.",
    "threshold_curves": "What a threshold costs on the test images. PPV: the fraction of flagged "
    "images that are melanomas. It falls with prevalence.",
    "reliability": "Test images: how many are melanomas where a probability is said. On the dotted "
    "line the two agree; below it the probability is too high. The band holds 95 of 100 "
    "repetitions with other patients.",
    "training_curves": "Training: train and validation by epoch. The dotted line is the epoch "
    "that was kept.",
    "mask_sheet": "Test images with the best, median and worst agreement of prediction "
    "and target mask.",
}
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;margin:0 auto;max-width:62rem;padding:1rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}
.note{background:#fff4e5;border-left:4px solid #d55e00;padding:.6rem 1rem}
.cards{display:flex;flex-wrap:wrap;gap:.8rem}.card{border:1px solid #ccc;border-radius:.4rem;
padding:.5rem .9rem;min-width:8rem}.card b{display:block;font-size:1.4rem}
.scroll{overflow-x:auto}table{border-collapse:collapse}td,th{padding:.25rem .7rem;
border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}
figure{margin:1rem 0}img{max-width:100%;height:auto}.scroll img{min-width:40rem}
figcaption{color:#444;font-size:.9rem}
.wide{max-width:82rem}.wide td{white-space:nowrap}.wide td,.wide th{padding:.25rem .4rem}
pre{overflow-x:auto;background:#f5f5f5;padding:.6rem}
"""
NO_DEVICE = (
    '<p class="note">Research software, not a medical device. The numbers hold for the images '
    "named here and for nothing else; a score is no diagnosis.</p>"
)
# On a phone it is scrolled in its box: shrunk to the page it could not be read.
WIDE = ("mask_sheet",)
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
    "intercept": "intercept beside that slope (0 is best)",
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


def build_report(
    title: str,
    metrics: dict[str, dict],
    figures: list[pathlib.Path],
    context: dict[str, str],
    flag_lines: list[str],
    groups: pd.DataFrame | None = None,
) -> str:
    """Returns the HTML of a run's report.

    Args:
        title: What was trained.
        metrics: `metrics.json`.
        figures: PNG files; each is embedded.
        context: Further facts, name -> sentence (leak check, training, skipped).
        flag_lines: The resolved flags.
        groups: As `subgroups.measure` gives them.
    """
    test = metrics["test"]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        NO_DEVICE,
        _headline(test),
        _label_note(test),
        "<h2>All numbers</h2>",
        _interval_note(test),
        _table(metrics),
        _source_table(test),
        _threshold_tables(test),
        _calibration_table(test),
        _set_table(test),
        _group_table(groups),
        "<h2>Figures</h2>",
        *(_figure(path) for path in figures),
        "<h2>How it was made</h2>",
        _facts(context),
        f"<pre>{html.escape(chr(10).join(flag_lines))}</pre>",
    ]
    return _page(title, parts)


def build_comparison(
    title: str, table: pd.DataFrame, facts: dict[str, str], figures: list[pathlib.Path]
) -> str:
    """Returns the HTML of a comparison.

    Args:
        title: What was compared.
        table: A row an experiment, text in the cells, words as names.
        facts: What a reader must know beside the numbers, name -> sentences.
        figures: PNG files; each is embedded.
    """
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        NO_DEVICE,
        _html_table(list(table.columns), table.astype(str).to_numpy().tolist()),
        _facts(facts),
        *(_figure(path) for path in figures),
    ]
    return _page(title, parts, "wide")


def _page(title, parts, body_class=""):
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f'<body class="{body_class}">' + "\n".join(parts) + "</body></html>\n"
    )


def _facts(facts):
    items = (f"<li><b>{html.escape(k)}:</b> {html.escape(v)}</li>" for k, v in facts.items())
    return "<ul>" + "\n".join(items) + "</ul>"


def _headline(test):
    """Returns a sentence in plain words and a few numbers as cards."""
    sentences, cards = [], []
    if test.get("auc") is not None:
        at = test.get("at_val_threshold", test["at_0.5"])
        chosen = ", chosen on validation images" if "at_val_threshold" in test else ""
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


def _interval_note(test):
    """Returns what the intervals are of, and why some are missing."""
    found = test.get("intervals", {})
    if not found:
        return ""
    missing = sorted({one["method"] for one in found.values() if one["low"] is None})
    sentences = [
        "The interval is where a number lies in 95 of 100 repetitions with other patients of the "
        f"same kind. A patient is the {test['patient_key']} ({test['num_patients']} in test)."
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
    return f"<p>{html.escape(' '.join(sentences))}</p>"


def _percent(fraction):
    return "an unknown fraction" if fraction is None else f"{fraction:.1%}"


def _label_note(test):
    if test["mask_source"] != "label":
        return ""
    return (
        '<p class="note">Label-as-mask: the network was trained with the image\'s class painted on '
        "every pixel, as in the paper. What is computed from such masks measures the class, not "
        "where the lesion is, and carries that name below. Where a prediction is the same on all "
        "pixels of an image, pixel accuracy is image accuracy, pooled Dice is the F1 score of the "
        "class, and the mean Dice is again the accuracy.</p>"
    )


def _table(metrics):
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
    return _html_table(["", "val", "test", "95 % interval of test"], rows)


def _with_uncleaned(values):
    uncleaned = values.get("uncleaned", {})
    return values | {f"{scores.UNCLEANED}{name}": value for name, value in uncleaned.items()}


def _source_table(test):
    """Returns the test split's scores of each source, where there are several."""
    parts = test.get("by_source")
    if not parts:
        return ""
    names = list(dict.fromkeys(name for part in parts.values() for name in part))
    rows = [[_title(name), *(_number(part.get(name)) for part in parts.values())] for name in names]
    return (
        "<h2>Test images by source</h2><p>The sources contain melanoma in different proportions, "
        "so the pooled AUC partly measures how well the sources are told apart. The scores below "
        "do not.</p>" + _html_table(["", *parts], rows)
    )


def _threshold_tables(test):
    """Returns the test split's ratios at 0.5 and at the chosen threshold, side by side."""
    chosen = {"0.5": test.get("at_0.5"), "chosen on val": test.get("at_val_threshold")}
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
    return "<h2>Test images at a threshold</h2>" + _html_table(header, rows)


def _calibration_table(test):
    """Returns how calibrated the scores of test are, as they are and by what was fitted on val."""
    before = test.get("calibration", {})
    if "not_estimable" in before or not before:
        reason = before.get("not_estimable", "")
        return f"<h2>Calibration</h2><p>Not estimable: {html.escape(reason)}.</p>" if reason else ""
    after = test.get("calibration_by_val", {})
    columns = {"as it is": before}
    if after:
        columns[f"{after['kind']}, fitted on val"] = after
    rows = [
        [_title(name), *(_number(found.get(name)) for found in columns.values())] for name in before
    ]
    return "<h2>Calibration of test</h2>" + _html_table(["", *columns], rows)


def _set_table(test):
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
        "benign, melanoma, both (refer), or neither. It is made so that the true class is in it as "
        "often as asked, for melanomas as for others.</p>"
        + _html_table(["", "test", "95 of 100 valid sets lie in"], rows)
    )


def _group_table(groups):
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
        "labels, or how ill a group is, as well as from the network.</p>"
        + _html_table(header, rows)
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


def _html_table(header, rows):
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _figure(path):
    data = base64.b64encode(path.read_bytes()).decode()
    caption = html.escape(CAPTIONS[path.stem])
    box = ' class="scroll"' if path.stem in WIDE else ""
    return (
        f'<figure><div{box}><img alt="{caption}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
