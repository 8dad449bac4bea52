"""What a report says in sentences: the summary, who counts, what val was used for.

All are plain text, from `metrics.json`; `test` is its part on the test images.
"""

from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation import skin_tone as skin
from lbunet_tf.evaluation.reports import document
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report_classes
from lbunet_tf.evaluation.reports import report_words
from lbunet_tf.runs import frozen

# Below this many images of a class a ratio moves by more than 0.05 with one image.
FEW = 20


def summary(test: dict, chosen_on: str) -> list[str]:
    """Returns what the numbers of scores and outlines say, in plain words."""
    sentences = []
    if test.get("auc") is not None:
        sentences += _of_scores(test, chosen_on)
    elif "num_scored" not in test:
        sentences.append(_of_no_scores(test))
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
    if test["mask_source"] == scores.NO_MASKS:
        sentences.append("The network draws no outlines.")
    return sentences


def _of_no_scores(test):
    if test.get("num_unscored", test["num_images"]) < test["num_images"]:
        return "No test image has both a melanoma score and a label."
    if "diagnosis" not in test:
        return "No output of this network scores melanoma; it finds outlines only."
    return "No output of this network scores melanoma, so there is no operating point."


def _of_scores(test, chosen_on):
    at = test.get("at_val_threshold", test["at_0.5"])
    chosen = f", chosen on {chosen_on}" if "at_val_threshold" in test else ""
    sentences = [
        f"On {test['num_scored']} test images, {test['num_melanoma']} of them melanomas, the "
        f"score ranks a melanoma above another lesion in {test['auc']:.0%} of pairs (AUC).",
        f"At the threshold {at['threshold']:.2f}{chosen}, it flags {at['tp']} of "
        f"{at['tp'] + at['fn']} melanomas and {at['fp']} of {at['fp'] + at['tn']} other lesions.",
        f"If {at['stated_prevalence']:.1%} of lesions were melanomas, and sensitivity and "
        f"specificity stayed as here, {report_words.percent(at['ppv_at_prevalence'])} of flagged "
        "lesions would be melanomas.",
    ]
    fewest = min(test["num_melanoma"], test["num_scored"] - test["num_melanoma"])
    if fewest < FEW:
        sentences.append(
            f"With {report_words.plural(fewest, 'image')} in one of the classes these numbers "
            "mean little: one image changes them."
        )
    return sentences


def cards(test: dict) -> list[document.Cards]:
    """Returns the numbers to see first, with their intervals; [] where there are none."""
    at = test.get("at_val_threshold", test.get("at_0.5", {}))
    values = {}
    if test.get("auc") is not None:
        values = {"auc": test["auc"]} | {
            name: at[name] for name in ("sensitivity", "specificity") if at[name] is not None
        }
    words = {"auc": "AUC", "dice": "lesion Dice", "iou": "lesion IoU"}
    values |= {name: test[name] for name in ("dice", "iou") if name in test}
    shown = report_classes.cards(test) + [
        document.Card(words.get(name, name), f"{value:.3f}", report_words.interval(test, name))
        for name, value in values.items()
    ]
    return [document.Cards(shown)] if shown else []


def intervals(test: dict) -> list[str]:
    """Returns what the intervals are of, who counts as one patient, and why some are missing."""
    found = {**test.get("intervals", {}), **report_classes.intervals(test)}
    if not found:
        return []
    missing = sorted({one["method"] for one in found.values() if one["low"] is None})
    sentences = [
        "If the study were repeated with new patients of the same kind, about 95 of 100 such "
        "intervals would hold the true value.",
        who_counts(test),
    ]
    if missing:
        sentences.append(f"Not estimable: {'; '.join(missing)}.")
    return sentences


def who_counts(test: dict) -> str:
    """Returns whose images count as one in the intervals."""
    count, key = test["num_patients"], test["patient_key"]
    if key == "image":
        return f"No patients are known: each of the {count} images counts as one."
    several = {"patient": "patients", "lesion": "lesions"}.get(key, "such units")
    return f"Images of one {key} count as one: test has {count:,} {several}."


def label_note(test: dict) -> list[document.Paragraph]:
    """Returns what label-as-mask scores measure, [] where masks are outlines."""
    if test["mask_source"] != "label":
        return []
    text = (
        "Label-as-mask: the network was trained with the image's class painted on every pixel, as "
        "in the paper. What is computed from such masks measures the class, not where the lesion "
        "is, and carries that name below. Where a prediction is the same on all pixels of an "
        "image, pixel accuracy is image accuracy and pooled Dice is the F1 score of the class."
    )
    return [document.Paragraph(text, is_note=True)]


def prevalence(test: dict) -> str:
    """Returns how frequent melanoma is in test, and what that means; "" without labels."""
    if not test.get("num_scored"):
        return ""
    here = test["num_melanoma"] / test["num_scored"]
    return (
        f"{here:.1%} of the scored test images are melanomas, as these images were collected, "
        "which is not how frequent melanoma is among patients. PPV and NPV of these images hold "
        "at this prevalence only."
    )


def operating_point(test: dict) -> list[str]:
    """Returns how the threshold was chosen, and what is promised of it; [] where none was."""
    if "operating_point" not in test:
        return []
    point = test["operating_point"]
    found = (
        f"Operating point: images of a probability of {point['threshold']:.4f} or more are "
        f"flagged. Chosen on {point['chosen_on']} ({point['num_melanoma']} melanomas, "
        f"{point['num_other']} others): {point['rule']}."
    )
    return [found if point.get("is_promised", True) else f"{found} {_NO_PROMISE}"]


def not_kept(run: evaluated_run.EvaluatedRun, name: str) -> str:
    """Returns that what was chosen is not kept with a run, "" where it is, or was not chosen.

    Args:
        run: The evaluation.
        name: What was chosen, as the metrics of test name it.
    """
    if run.has_as_measured(name) or name not in run.scores:
        return ""
    if not run.can_keep:
        return (
            "This is measured here and not kept: for the mean of several runs, or with --tta, "
            "predict, load and export do not use it."
        )
    if name == frozen.CONTOURS and run.settings.mask_cleanup == "none":
        keeps = "Contours are kept of outlines of one region only, without --mask_cleanup=none."
    else:
        keeps = "An evaluation of the run's own images without --output keeps what it chooses."
    instead = "; they use another, which the run has" if run.has(name) else ""
    return (
        "This is measured here and not kept: predict, load and export do not use it"
        f"{instead}. {keeps}"
    )


def mask_threshold_not_kept(run: evaluated_run.EvaluatedRun) -> str:
    """Returns that the run cuts masks otherwise than they were here, "" where it does not."""
    chosen_on = run.scores.get("mask_threshold_chosen_on", "none")
    if chosen_on == "none" or not run.can_keep or run.has_as_measured("mask_threshold"):
        return ""
    instead = "at another, which the run has" if run.has("mask_threshold") else "at 0.5"
    return (
        f"The probability from which a pixel is lesion, {report_words.mask_threshold(run.scores)}, "
        f"is not kept: predict, load and export cut {instead}. An evaluation of the run's own "
        "images without --output keeps what it chooses."
    )


def sets(found: dict) -> str:
    """Returns what a prediction set is, and what is promised of it."""
    meaning = (
        "A set holds the classes that fit the score at the coverage asked for: benign (no "
        "melanoma, which may be another cancer), melanoma, both (refer), or neither. Benign alone "
        "does not rule melanoma out"
    )
    if found.get("num_benign"):
        meaning += f": of {found['num_benign']:,} such sets {found['num_benign_melanoma']} are "
        meaning += "of melanomas"
    if found["is_promised"]:
        return (
            f"{meaning}. Sets are made so that the true class is in them as often as asked, for "
            "patients with melanoma as for others, each counted once."
        )
    return f"{meaning}. {_NO_PROMISE}"


_NO_PROMISE = (
    "The choice was not made for images that --source reads, nor for those of another source or "
    "part of a challenge, so nothing is promised of these: what is measured here says what came of "
    "it."
)


def contours(found: dict) -> str:
    """Returns what the outer and inner contours of a lesion are, and what is promised of them."""
    part = f"{100 * (1 - found['asked']):.3g} %"
    chosen_on = found.get("chosen_on", "val")
    text = (
        "Two contours, whose thresholds lie on both sides of the outline's. The outer one is made "
        f"to miss at most {part} of a lesion, averaged over patients and choices of {chosen_on}. "
        f"Of the inner one at most {part} is not lesion, averaged over patients, with a confidence "
        f"of {found['confidence']:.0%}; an image without an inner contour counts as faultless."
    )
    return text if found["is_promised"] else f"{text} {_NO_PROMISE}"


def clinic(test: dict) -> str:
    """Returns what probabilities are frozen for a clinic's prevalence, "" where none is asked."""
    found = test.get("calibrated", {}).get("clinic_prevalence")
    kept_for = test.get("calibrated", {}).get("kept_for_prevalence")
    if not found and kept_for:
        return (
            f"The run keeps calibrated probabilities for a clinic where {kept_for:.2%} of lesions "
            "are melanomas, as an earlier evaluation asked with --clinic_prevalence: predict, load "
            f"and export give those. Here they are at {test['calibrated']['prevalence']:.2%}."
        )
    if not found:
        return ""
    text = (
        f"Calibrated probabilities are kept for a clinic where {found['prevalence']:.2%} of "
        f"lesions are melanomas, instead of {found['of_calibration']:.2%}: 0.5 becomes "
        f"{found['half_becomes']:.3f}. "
    )
    if found["ppv"] is not None and found["npv"] is not None:
        text += (
            f"At the operating point, {found['ppv']:.1%} of the flagged lesions there would be "
            f"melanomas (PPV), and {found['npv']:.2%} of the others would not (NPV). "
        )
    return text + found["assumption"]


def skin_tone(test: dict) -> str:
    """Returns what the estimate of skin tone is worth, "" where it was not made."""
    found = test.get("ita_estimate")
    if not found or not found["num_estimated"]:
        return ""
    names = {name: found[f"num_{name.replace(' ', '_')}"] for name in skin.CATEGORIES}
    counts = ", ".join(f"{name} {count:,}" for name, count in names.items())
    return (
        f"Skin tone, estimated from the colour around the lesion (ITA) of "
        f"{report_words.plural(found['num_estimated'], 'image')}: {counts}. It is an estimate of a "
        f"photograph: with 10 % less brightness {found['changed_darker']:.0%} of the images would "
        f"be in another category, with 10 % more {found['changed_brighter']:.0%}."
    )


def uses_of_val(run: evaluated_run.EvaluatedRun) -> dict[str, str]:
    """Returns what was chosen or fitted on images that are not test, name -> where and what."""
    test, found = run.scores, {}
    for name, training in run.training.items():
        if "best_epoch" in training:
            key = "Epoch" if len(run.training) == 1 else f"Epoch of {name}"
            monitor = training.get("monitor", "val_loss").replace("_", " ")
            monitor = monitor.replace("auc", "AUC").replace("dice", "Dice")
            found[key] = (
                f"on val: of {training['epochs']} epochs, number {training['best_epoch']} was "
                f"kept, by {monitor}"
            )
    where = test.get("mask_threshold_chosen_on", "val")
    if test.get("mask_cleanup", "none") != "none" and where != "none":
        found["Threshold of outlines"] = (
            f"on {where}: a pixel is lesion from {test['mask_threshold']:.2f}"
        )
    return found | _choices(test, run.chosen_on)


def _choices(test, chosen_on):
    found = {}
    if "operating_point" in test:
        point = test["operating_point"]
        found["Operating point"] = f"on {chosen_on}: {point['threshold']:.4f}, {point['rule']}"
    if "calibrated" in test:
        fitted = test["calibrated"]
        kind = fitted["kind"] if fitted["kind"] != "none" else "no function was better than none"
        found["Calibration"] = f"on {fitted['chosen_on']}: {kind}"
    if "prediction_sets" in test:
        found["Prediction sets"] = f"on {chosen_on}: coverage {test['prediction_sets']['asked']:g}"
    if "mask_contours" in test:
        drawn = test["mask_contours"]
        where = drawn.get("chosen_on", chosen_on)
        found["Contours"] = f"on {where}: {drawn['asked']:g} of the lesion"
    return found


def optimism(run: evaluated_run.EvaluatedRun, name: str) -> str:
    """Returns whether what was chosen promises too much, "" where it was not chosen.

    Args:
        run: The evaluation.
        name: As in `not_kept`.
    """
    if name not in run.scores:
        return ""
    chosen_on = run.chosen_on
    if chosen_on == "val":
        return (
            "Val has also chosen the epoch that was kept, so what is chosen or calibrated on it "
            "promises a little too much."
        )
    return f"The images of {chosen_on} chose nothing else, and the network has not seen them."
