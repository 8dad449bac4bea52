"""What a run's facts answer to the questions of a model card, as sentences."""

import dataclasses

from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report_classes
from lbunet_tf.evaluation.reports import report_limits
from lbunet_tf.evaluation.reports import report_sentences
from lbunet_tf.evaluation.reports import report_words

NOT_ANSWERED = "Not answered:"
METADATA = ("age", "sex", "site", "skin_type", "diagnosis")
# What stands for nothing in them.
UNKNOWN = ("", "unknown", "nan")


@dataclasses.dataclass(frozen=True)
class Item:
    """One item of a checklist: its number there, what it asks for, and the answer."""

    number: int
    name: str
    answer: str


def not_answered(what: str) -> str:
    """Returns the answer to what no file of a run can say; `what` the reader must supply."""
    return f"{NOT_ANSWERED} {what}."


def network(run: evaluated_run.EvaluatedRun) -> str:
    """Returns the architecture and where its weights start."""
    model = run.settings.model
    words = [model.model]
    if model.model != "unet":
        words.append(f"encoder {model.encoder}, initial weights {model.encoder_weights}")
    parameters = [
        f"{one['trainable_parameters']:,} trainable parameters"
        for one in run.training.values()
        if "trainable_parameters" in one
    ]
    several = len(run.settings.paths.runs)
    mean = [f"the mean of {several} runs"] if several > 1 else []
    return f"{'; '.join([*words, *dict.fromkeys(parameters), *mean])}."


def inputs(run: evaluated_run.EvaluatedRun) -> str:
    """Returns what the network sees."""
    size = run.settings.preprocessing.image_size
    changes = {
        "antialias": "with antialiasing",
        "shades_of_gray": "colours balanced (shades of gray)",
        "remove_hair": "hair removed",
    }
    done = [words for name, words in changes.items() if getattr(run.settings.preprocessing, name)]
    return (
        f"The pixels of one RGB image, resized to {size} x {size} px"
        f"{''.join(f', {words}' for words in done)}; nothing about the patient."
    )


def outputs(run: evaluated_run.EvaluatedRun) -> str:
    """Returns what the network says."""
    found = []
    if run.scores["mask_source"] == "label":
        found.append("for each pixel, a probability that the image shows a melanoma; no outline")
    elif run.scores["mask_source"] != scores.NO_MASKS:
        found.append("the outline of the lesion, from a probability of lesion for each pixel")
    if "diagnosis" in run.scores:
        codes = run.scores["diagnosis"]["classes"]
        found.append(
            f"a probability for each of {len(codes)} classes ({', '.join(codes)}), which sum to 1"
        )
    if run.settings.outputs.score_rule != "none":
        found.append("a melanoma score of the image, from 0 to 1, which is no risk as it is")
    if run.has("operating_point") and "operating_point" in run.scores:
        found.append("whether the image is flagged")
    if run.has("prediction_sets") and "prediction_sets" in run.scores:
        found.append("the set of classes that fit the score")
    return f"{report_words.listing(found)}."


def development(run: evaluated_run.EvaluatedRun) -> str:
    """Returns how the network was trained."""
    loss, optimizer = run.settings.loss, run.settings.optimizer
    # The diagnosis has one loss, and no flag for it.
    losses = [
        f"{head} loss {vars(loss).get(f'{head}_loss', 'cross-entropy')}"
        for head in run.settings.outputs.heads
    ]
    epochs = [
        f"{one['epochs']} epochs, of which number {one['best_epoch']} was kept"
        for one in run.training.values()
        if "best_epoch" in one
    ]
    return (
        f"{report_words.listing(losses)}; learning rate {optimizer.learning_rate:g}; augmentation "
        f"{run.settings.augmentation.augment}; {'; '.join(epochs) or 'unfinished'}. All flags are "
        "in report.html."
    )


def part(run: evaluated_run.EvaluatedRun, name: str) -> str:
    """Returns the counts of one part of the split, "" where they are not known."""
    found = evaluated_run.counts_of(run, name)
    if not found:
        return ""
    key = found["patient_key"]
    several = {"patient": "patients", "lesion": "lesions"}.get(key, f"units by {key}")
    patients = "" if key == "image" else f", {found['num_patients']:,} {several}"
    return (
        f"{name} {report_words.plural(found['num_images'], 'image')}, "
        f"{report_words.plural(found['num_melanoma'], 'melanoma')}{patients}"
    )


def parts(run: evaluated_run.EvaluatedRun) -> str:
    """Returns the counts of all parts of the split."""
    found = [part(run, name) for name in evaluated_run.PARTS]
    known = [words for words in found if words]
    return f"{'; '.join(known)}." if known else not_answered("how many images there were")


def partition(run: evaluated_run.EvaluatedRun) -> str:
    """Returns how images were divided, and whether something stands on two sides."""
    leak = run.facts.get("Leak check", "")
    return f"Split by {run.settings.split.split_by}.{f' Leak check: {leak}.' if leak else ''}"


def imbalance(run: evaluated_run.EvaluatedRun) -> str:
    """Returns how frequent melanomas are, and what training did about it."""
    classes = ",".join(run.settings.loss.class_weights) or "none"
    balance = [report_sentences.prevalence(run.scores), report_classes.balance(run.scores)]
    words = " ".join(text for text in balance if text)
    return (
        f"{words or 'Test has no labels with scores.'} In "
        f"training: balance {run.settings.split.balance}, class weights {classes}."
    )


def metadata(run: evaluated_run.EvaluatedRun) -> str:
    """Returns for how many test images something is known of the patient, "" for none."""
    if run.test is None:
        return ""
    counts = {
        name: int((~run.test[name].fillna("").astype(str).str.lower().isin(UNKNOWN)).sum())
        for name in METADATA
        if name in run.test
    }
    known = [f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count]
    return f"Known, of {len(run.test)} test images: {', '.join(known)}." if known else ""


def performance(run: evaluated_run.EvaluatedRun) -> str:
    """Returns the headline numbers of test with their intervals."""
    test = run.scores
    at = test.get("at_val_threshold", test.get("at_0.5", {}))
    headline = report_classes.performance(test)
    values = {"AUC": ("auc", test.get("auc"))} if "num_scored" in test else {}
    values |= {name: (name, at[name]) for name in ("sensitivity", "specificity") if name in at}
    values |= (
        {"Dice": ("dice", test["dice"]), "IoU": ("iou", test["iou"])} if "dice" in test else {}
    )
    found = headline + [
        f"{name} {report_words.with_interval(test, key, value)}"
        for name, (key, value) in values.items()
    ]
    if not found:
        return "No number could be computed."
    text = f"{', '.join(found)}."
    return text[0].upper() + text[1:]


def known_classes(run: evaluated_run.EvaluatedRun) -> str:
    """Returns which diseases the network knows, "" where that is melanoma and its absence."""
    if "diagnosis" not in run.scores:
        if run.settings.outputs.score_rule == "none":
            return "It knows no disease: it outlines a lesion, whatever that lesion is."
        return ""
    codes = run.scores["diagnosis"]["classes"]
    names = report_words.listing([report_classes.name_of(code) for code in codes])
    return f"It knows {names}; every image is given one of these classes, whatever it shows."


def groups(run: evaluated_run.EvaluatedRun) -> str:
    """Returns which groups were scored apart, "" where none were."""
    if run.groups is None or run.groups.empty:
        return ""
    names = report_words.listing(list(dict.fromkeys(run.groups["attribute"])))
    if "diagnosis" in run.scores and "auc" not in run.groups:
        return (
            f"{len(run.groups)} groups by {names} were scored apart, by balanced accuracy; no test "
            "says whether they differ."
        )
    counted = f"{len(run.groups)} groups by {names} were scored apart"
    if "auc" in run.groups:
        small = report_limits.without_interval(run.groups)
        return (
            f"{counted}; for {len(small)} of them there are too few patients for an interval of "
            f"the AUC. {_different(run.groups, 'AUC', 'auc')}"
        )
    if "dice" in run.groups:
        return f"{counted}. {_different(run.groups, 'Dice', 'dice')}"
    return f"{counted}; no test image of them has what a number needs."


def _different(found, name, key):
    """Returns whose AUC or Dice differs from that of the others, as far as intervals tell."""
    apart = [
        f"{row['attribute']} {row['group']} ({row[f'{key}_difference']:+.3f})"
        for row in found.to_dict("records")
        if _excludes_zero(row.get(f"{key}_difference_low"), row.get(f"{key}_difference_high"))
    ]
    return (
        f"{name} that differs from that of the others: "
        f"{report_words.listing(apart) or 'none whose interval excludes 0'}."
    )


def _excludes_zero(low, high):
    is_known = low is not None and high is not None
    # NaN is neither above nor below.
    return is_known and (low > 0 or high < 0)


def study(run: evaluated_run.EvaluatedRun) -> str:
    """Returns whether this is an evaluation on a run's own images or on others."""
    learnt = report_words.listing(list(run.settings.source.source)) or "images that are not named"
    tested = report_words.listing(run.tested_sources)
    if run.is_external:
        learnt = report_words.listing(run.learnt_sources)
        return f"Evaluation on another source ({tested}) of a network developed on {learnt}."
    if run.source:
        return (
            f"Evaluation on images of {tested} that the network has not seen; it was developed on "
            f"{learnt}."
        )
    return f"Development, and evaluation on test images of the same sources ({learnt})."
