"""The words for the numbers of `metrics.json`, and the numbers as people read them."""

import pandas as pd

from lbunet_tf.evaluation import scores

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
    "num_with_class": "images with a known class",
    "balanced_accuracy": "balanced accuracy of the classes",
    "observed_to_expected": "observed by expected melanomas (1 is best)",
    "set_size": "classes in a set, on average",
    "auc_difference": "AUC minus that of the others",
    "sensitivity_difference": "sensitivity minus that of the others",
    "specificity_difference": "specificity minus that of the others",
    "dice_difference": "Dice minus that of the others",
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
    "coverage_melanoma": "melanomas whose set holds their class",
    "coverage_benign": "others whose set holds theirs",
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
    "confidence": "confidence that is asked for",
    "outer": "threshold of the outer contour",
    "inner": "threshold of the inner contour",
    "num_empty": "images whose target mask is empty",
    "missed_fraction": "lesion pixels outside the outer contour",
    "inner_wrong_fraction": "of the inner contour that is not lesion, 0 without one",
    "inner_precision": "of the inner contour that is lesion, where there is one",
    "inner_empty_fraction": "images without an inner contour",
    "outer_area": "area of the outer contour, of the image",
    "inner_area": "area of the inner contour, of the image",
}


def name_of(key: str) -> str:
    """Returns the words for a number, by its name in `metrics.json`."""
    plain, prefix = key, ""
    for start, words in PREFIXES.items():
        if key.startswith(start):
            plain, prefix = key.removeprefix(start), words
    return prefix + WORDS.get(plain, plain.replace("_", " "))


def number(value: float | int | bool | None) -> str:
    """Returns a number with four decimals, a count without; "not defined" where there is none."""
    if value is None or pd.isna(value):
        return "not defined"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def percent(fraction: float | None) -> str:
    """Returns a fraction as a percentage, "an unknown fraction" where it is not defined."""
    return "an unknown fraction" if fraction is None else f"{fraction:.1%}"


def ends(low: float | None, high: float | None) -> str:
    """Returns an interval, "" without one."""
    return "" if low is None or pd.isna(low) else f"{low:.3f} to {high:.3f}"


def interval(part: dict, key: str) -> str:
    """Returns the interval of a number of a part of the metrics, "" of one that has none."""
    found = part.get("intervals", {}).get(key)
    if not found:
        return ""
    return ends(found["low"], found["high"]) or "not estimable"


def with_interval(part: dict, key: str, value: float | None) -> str:
    """Returns a number of a part of the metrics with its interval in brackets."""
    if value is None:
        return "not defined"
    found = interval(part, key)
    return f"{value:.3f} ({found})" if found else f"{value:.3f}"


def mask_threshold(test: dict) -> str:
    """Returns the probability from which a pixel is lesion, and whether it was chosen."""
    where = test.get("mask_threshold_chosen_on", "val")
    how = "not chosen" if where == "none" else f"chosen on {where}"
    return f"{test['mask_threshold']:.2f}, {how}"


def plural(count: int, one: str, several: str = "") -> str:
    """Returns a count with its noun, as "1 image" or "1,200 images"."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def listing(names: list[str]) -> str:
    """Returns names as a sentence lists them: "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
