"""The tables of a report, from `metrics.json`; `test` is its part on the test images.

Where there is nothing to show, a function returns no table: [].
"""

import pandas as pd

from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation.reports import document
from lbunet_tf.evaluation.reports import report_words

RANKING = ("auc", "average_precision", "auc_sens_80", "kaggle_2024_pauc")
WITH_INTERVAL = ("sensitivity", "specificity")
# Of groups of the test images, in three tables.
GROUP_NUMBERS = {
    "Scores of groups of the test images": (
        "balanced_accuracy",
        "auc",
        "sensitivity",
        "specificity",
        "dice",
    ),
    "Differences from the other images": (
        "auc_difference",
        "sensitivity_difference",
        "specificity_difference",
        "dice_difference",
    ),
    "Calibration and prediction sets of groups of the test images": (
        "observed_to_expected",
        "coverage_melanoma",
        "coverage_benign",
        "set_size",
    ),
}


def parts(counts: pd.DataFrame | None) -> list[document.Table]:
    """Returns what each part of the split holds; `counts` as `evaluated_run` counts them."""
    if counts is None or counts.empty:
        return []
    columns = {
        "num_images": "images",
        "num_melanoma": "melanomas",
        "num_other": "others",
        "num_unlabelled": "without a label",
        "num_masks": "with a mask",
        "num_patients": "patients",
    }
    if (counts["patient_key"] == "image").all():
        # Nobody is known: they would be as many as the images.
        del columns["num_patients"]
    # A column of zeros says nothing.
    shown = [name for name in columns if counts[name].any()]
    rows = [
        [row["split"], *(_count(row, name) for name in shown)] for row in counts.to_dict("records")
    ]
    header = ["", *(columns[name] for name in shown)]
    return [document.Table("Images by part of the split", header, rows)]


def _count(row, name):
    if name != "num_patients" or row["patient_key"] == "patient":
        return f"{row[name]:,}"
    key = row["patient_key"]
    return "not known" if key == "image" else f"{row[name]:,} (by {key})"


def ranking(metrics: dict[str, dict]) -> list[document.Table]:
    """Returns the numbers that need no threshold, of val and test."""
    test = metrics["test"]
    if test.get("auc") is None:
        return []
    rows = _split_rows(metrics, [name for name in RANKING if name in test])
    return [document.Table("Ranking of melanomas above other lesions", _SPLIT_HEADER, rows)]


def numbers(metrics: dict[str, dict]) -> list[document.Table]:
    """Returns every number of val and test."""
    metrics = {split: _with_uncleaned(values) for split, values in metrics.items()}
    names = [name for name, value in metrics["test"].items() if not isinstance(value, dict | str)]
    return [document.Table("Numbers of val and test", _SPLIT_HEADER, _split_rows(metrics, names))]


_SPLIT_HEADER = ["", "val", "test", "95 % interval of test"]


def _split_rows(metrics, names):
    return [
        [
            report_words.name_of(name),
            *(report_words.number(metrics[split].get(name)) for split in ("val", "test")),
            report_words.interval(metrics["test"], name),
        ]
        for name in names
    ]


def _with_uncleaned(values):
    uncleaned = values.get("uncleaned", {})
    return values | {f"{scores.UNCLEANED}{name}": value for name, value in uncleaned.items()}


def masks(test: dict) -> list[document.Table]:
    """Returns the scores of the outlines, cleaned up and not."""
    prefix = scores.name_prefix(test["mask_source"])
    names = [f"{prefix}{name}" for name in ("dice", "iou", "thresholded_jaccard")]
    names += [f"{prefix}{name}" for name in ("share_below_iou_0.65", "pooled_dice", "pooled_iou")]
    uncleaned = test.get("uncleaned", {})
    rows = [
        [
            report_words.name_of(name),
            report_words.number(test[name]),
            report_words.interval(test, name),
            *([report_words.number(uncleaned.get(name))] if uncleaned else []),
        ]
        for name in names
        if name in test
    ]
    header = ["", "test", "95 % interval", *(["every pixel from 0.5"] if uncleaned else [])]
    return [document.Table("Masks of the test images", header, rows)] if rows else []


def contours(test: dict) -> list[document.Table]:
    """Returns how much of the lesions the outer and inner contours hold."""
    found = test.get("mask_contours", {})
    if "missed_fraction" not in found:
        return []
    names = [name for name, value in found.items() if not isinstance(value, str | bool)]
    rows = [[report_words.name_of(name), report_words.number(found[name])] for name in names]
    return [document.Table("Outer and inner contours of the test images", ["", "test"], rows)]


def sources(test: dict) -> list[document.Table]:
    """Returns the test split's scores of each source, where there are several."""
    found = test.get("by_source")
    if not found:
        return []
    names = list(dict.fromkeys(name for part in found.values() for name in part))
    rows = [
        [
            report_words.name_of(name),
            *(report_words.number(part[name]) if name in part else "" for part in found.values()),
        ]
        for name in names
    ]
    return [document.Table("Test images by source", ["", *found], rows, is_stacked=True)]


def thresholds(test: dict, chosen_on: str) -> list[document.Table]:
    """Returns the test split's ratios at 0.5 and at the chosen threshold, next to each other."""
    chosen = {"0.5": test.get("at_0.5"), f"chosen on {chosen_on}": test.get("at_val_threshold")}
    chosen = {name: at for name, at in chosen.items() if at}
    if not chosen:
        return []
    rows = [
        [
            key if key == "accuracy" else report_words.name_of(key),
            *(report_words.number(at[key]) for at in chosen.values()),
            report_words.interval(test, key) if key in WITH_INTERVAL else "",
        ]
        for key in next(iter(chosen.values()))
    ]
    header = ["", *chosen, "95 % interval of the last"]
    return [document.Table("Test images at a threshold", header, rows)]


def prevalences(test: dict) -> list[document.Table]:
    """Returns PPV and NPV of the operating point where melanoma is rarer or more frequent."""
    found = test.get("by_prevalence")
    if not found:
        return []
    rows = [
        [f"{float(share):.1%}", *(_ratio(values[name]) for name in _PREDICTIVE)]
        for share, values in found.items()
    ]
    at = test["at_val_threshold"]
    here = test["num_melanoma"] / test["num_scored"]
    rows.append([f"{here:.1%} (these images)", _ratio(at["ppv"]), _ratio(at["npv"])])
    header = ["prevalence", "PPV: melanomas among the flagged", "NPV: others among the rest"]
    caption = "Predictive values at the chosen threshold, by prevalence of melanoma"
    return [document.Table(caption, header, rows)]


_PREDICTIVE = ("ppv_at_prevalence", "npv_at_prevalence")


def _ratio(value):
    return "not defined" if value is None else f"{value:.1%}"


def calibration(test: dict) -> list[document.Table]:
    """Returns how calibrated the scores of test are, as they are and by what was fitted."""
    before, after = test.get("calibration", {}), test.get("calibrated", {})
    if not before or "not_estimable" in before:
        return []
    columns = {"as it is": before}
    if after and after["kind"] != "none":
        columns[f"{after['kind']}, fitted on {after['chosen_on']}"] = after
    rows = [
        [
            report_words.name_of(name),
            *(report_words.number(part.get(name)) for part in columns.values()),
        ]
        for name in before
    ]
    return [document.Table("Calibration of the test images", ["", *columns], rows)]


def sets(test: dict) -> list[document.Table]:
    """Returns how often prediction sets hold the true class, and what they say."""
    found = test.get("prediction_sets", {})
    if "coverage" not in found:
        return []
    names = ("asked", "coverage", "coverage_melanoma", "coverage_benign")
    fractions = [name for name in found if name.startswith("fraction_")]
    has_bands = any(name.startswith("band_") for name in found)
    rows = [
        [
            report_words.name_of(name),
            report_words.number(found[name]),
            *([_band(found, name)] if has_bands else []),
        ]
        for name in (*names, *fractions)
    ]
    header = ["", "test", *(["95 of 100 valid sets lie in"] if has_bands else [])]
    return [document.Table("Prediction sets of the test images", header, rows)]


def _band(found, name):
    return report_words.ends(*found.get(f"band_{name.removeprefix('coverage_')}", (None, None)))


def groups(found: pd.DataFrame | None) -> list[document.Table]:
    """Returns the numbers of each group of test; of too few patients "not estimable"."""
    if found is None or found.empty:
        return []
    tables = [_group_table(found, caption, names) for caption, names in GROUP_NUMBERS.items()]
    return [table for table in tables if table]


def _group_table(found, caption, numbers):
    """Returns one table of groups, None where no number of it was measured."""
    names = [name for name in numbers if name in found]
    if not names:
        return None
    # Where classes alone are known, there is no melanoma to count.
    counts_melanomas = "num_with_class" not in found or found["num_melanoma"].any()
    rows = [
        [
            f"{row['attribute']}: {row['group']}",
            f"{row['num_images']}" + (f" ({row['num_melanoma']})" if counts_melanomas else ""),
            *(_of_group(row, name) for name in names),
        ]
        for row in found.to_dict("records")
    ]
    header = [
        "",
        "images (melanomas)" if counts_melanomas else "images",
        *map(report_words.name_of, names),
    ]
    return document.Table(caption, header, rows, is_stacked=True)


def _of_group(row, name):
    value, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if value is None or pd.isna(value):
        return "not estimable"
    return f"{value:.3f}\n({report_words.ends(low, high) or 'not estimable'})"
