"""What a report and a model card say of the diagnosis: sentences and tables of its classes.

`test` is the part of `metrics.json` on the test images. Without a diagnosis every function returns
nothing: "", [] or {}.
"""

from lbunet_tf.evaluation import class_scores
from lbunet_tf.evaluation.reports import document
from lbunet_tf.evaluation.reports import report_words

# Codes of the classes of HAM10000 and ISIC 2019.
NAMES = {
    "mel": "melanoma",
    "nv": "nevus",
    "bcc": "basal cell carcinoma",
    "akiec": "actinic keratosis or Bowen's disease",
    "ak": "actinic keratosis",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "vasc": "vascular lesion",
    "scc": "squamous cell carcinoma",
    "rest": "anything else",
}
WORDS = {
    "num_with_class": "images with a known class",
    "balanced_accuracy": "balanced accuracy: mean recall of the classes",
    "macro_auc": "AUC of a class against the rest, mean of the classes",
    "accuracy": "accuracy: images that are given their class",
    "log_loss": "log loss (0 is best)",
}
# Below this many images of a class its recall moves by more than 0.05 with one image.
FEW = 20


def found(test: dict) -> dict:
    """Returns the diagnosis of test, {} where no image has a known class."""
    diagnosis = test.get("diagnosis", {})
    return diagnosis if "balanced_accuracy" in diagnosis else {}


def name_of(code: str) -> str:
    """Returns a class with its name where that is known, as "mel (melanoma)"."""
    return f"{code} ({NAMES[code]})" if code in NAMES else code


def summary(test: dict) -> list[str]:
    """Returns what the network reaches, in plain words."""
    if "diagnosis" not in test:
        return []
    diagnosis = found(test)
    if not diagnosis:
        return ["No test image has a known class: nothing is known of the diagnosis."]
    present = _present(diagnosis)
    count = report_words.plural(diagnosis["num_with_class"], "test image")
    if len(present) == 1:
        (code,) = present
        return [
            f"All {count} with a known class are {code}, so nothing says how classes are told "
            f"apart; {diagnosis['balanced_accuracy']:.0%} of them are given that class."
        ]
    best, worst = _extremes(diagnosis)
    return [
        f"On {count} of {len(present)} classes, the network gives the right class to "
        f"{diagnosis['balanced_accuracy']:.0%} of the images of a class, averaged over classes "
        f"(balanced accuracy). Naming one class for all images would reach {1 / len(present):.0%}.",
        f"It finds {best} best and {worst} worst.",
    ]


def _present(diagnosis):
    return [code for code in diagnosis["classes"] if code not in diagnosis["absent"]]


def _extremes(diagnosis):
    """Returns the classes of the largest and the smallest recall with that, in words."""
    recalls = {code: diagnosis["per_class"][code]["recall"] for code in _present(diagnosis)}
    chosen = (max(recalls, key=recalls.get), min(recalls, key=recalls.get))
    counts = (diagnosis["per_class"][code]["num_images"] for code in chosen)
    return [
        f"{code} ({recalls[code]:.0%} of {report_words.plural(count, 'image')})"
        for code, count in zip(chosen, counts, strict=True)
    ]


def meanings(test: dict) -> dict[str, str]:
    """Returns how the numbers of classes are read, name -> sentence."""
    return dict(_MEANINGS) if found(test) else {}


_MEANINGS = {
    "Recall": "of the images of a class, the fraction that is given this class, which is that of "
    "the largest probability.",
    "Balanced accuracy": "the mean recall of the classes, so a rare class counts as much as a "
    "frequent one. ISIC 2018 and 2019 were scored by it. In plain accuracy, frequent classes count "
    "most.",
    "Precision": "of the images that are given a class, the fraction that is of it. Where classes "
    "are more or less frequent than here, it is another.",
    "AUC": "in how many pairs an image of the class has a larger probability of it than an image "
    "of another class.",
}


def notes(test: dict) -> list[str]:
    """Returns which images and classes the numbers leave out."""
    diagnosis = found(test)
    if not diagnosis:
        return []
    sentences = []
    if diagnosis["absent"]:
        codes = report_words.listing(list(map(name_of, diagnosis["absent"])))
        sentences.append(
            f"No test image is of {codes}: recall and AUC are not defined there, and the means "
            "are of the other classes."
        )
    unknown = test["num_images"] - diagnosis["num_with_class"]
    if unknown:
        verb = "is" if unknown == 1 else "are"
        words = report_words.plural(unknown, "test image")
        sentences.append(f"{words} {verb} of an unknown class, and {verb} not counted.")
    return sentences


def intervals(test: dict) -> dict[str, dict]:
    """Returns the intervals of the numbers over all classes, by name."""
    of_all = found(test).get("intervals", {})
    return {name: of_all[name] for name in class_scores.WITH_INTERVAL if name in of_all}


def cards(test: dict) -> list[document.Card]:
    """Returns the balanced accuracy, as a number to see first."""
    diagnosis = found(test)
    if not diagnosis:
        return []
    value = f"{diagnosis['balanced_accuracy']:.3f}"
    interval = report_words.interval(diagnosis, "balanced_accuracy")
    return [document.Card("balanced accuracy", value, interval)]


def balance(test: dict) -> str:
    """Returns how many test images each class has."""
    diagnosis = found(test)
    if not diagnosis:
        return ""
    counts = [f"{code} {one['num_images']:,}" for code, one in diagnosis["per_class"].items()]
    return f"Test images by class: {', '.join(counts)}."


def performance(test: dict) -> list[str]:
    """Returns the headline numbers with their intervals."""
    diagnosis = found(test)
    names = {"balanced_accuracy": "balanced accuracy", "macro_auc": "mean AUC of the classes"}
    return [
        f"{words} {report_words.with_interval(diagnosis, name, diagnosis[name])}"
        for name, words in names.items()
        if diagnosis
    ]


def overall(metrics: dict[str, dict]) -> list[document.Table]:
    """Returns the numbers over all classes, of val and test."""
    test = found(metrics["test"])
    if not test:
        return []
    rows = [
        [
            words,
            *(report_words.number(found(metrics[split]).get(name)) for split in ("val", "test")),
            report_words.interval(test, name),
        ]
        for name, words in WORDS.items()
    ]
    header = ["", "val", "test", "95 % interval of test"]
    return [document.Table("Classes of val and test", header, rows)]


def per_class(test: dict) -> list[document.Table]:
    """Returns the numbers of each class of the test images."""
    diagnosis = found(test)
    if not diagnosis:
        return []
    rows = []
    for code, one in diagnosis["per_class"].items():
        numbers = [report_words.number(one[name]) for name in ("precision", "f1", "auc")]
        recall = report_words.number(one["recall"])
        interval = report_words.interval(diagnosis, class_scores.recall_of(code))
        counts = [f"{one[name]:,}" for name in ("num_images", "num_predicted")]
        rows.append([name_of(code), *counts, recall, interval, *numbers])
    header = ["", "images", "predicted as it", "recall", "95 % interval", "precision", "F1", "AUC"]
    return [document.Table("Each class of the test images", header, rows, is_stacked=True)]


def confusion(test: dict) -> list[document.Table]:
    """Returns the counts of true by predicted class, with the part of their row."""
    diagnosis = found(test)
    if not diagnosis:
        return []
    rows = [
        [f"true {code}", *(_part(count, sum(counts)) for count in counts)]
        for code, counts in zip(diagnosis["classes"], diagnosis["confusion"], strict=True)
    ]
    header = ["", *(f"as {code}" for code in diagnosis["classes"])]
    return [document.Table("Test images by true class and the class they are given", header, rows)]


def _part(count, total):
    return f"{count:,} ({count / total:.0%})" if total else f"{count}"


def seen(test: dict) -> str:
    """Returns what the figure of true and predicted classes shows, for who does not see it."""
    diagnosis = found(test)
    if not diagnosis:
        return ""
    parts = []
    for code, counts in zip(diagnosis["classes"], diagnosis["confusion"], strict=True):
        number = diagnosis["classes"].index(code)
        wrong = {
            other: count
            for other, count in zip(diagnosis["classes"], counts, strict=True)
            if other != code and count
        }
        text = f"{code} {counts[number]} of {sum(counts)} right"
        if wrong:
            most = max(wrong, key=wrong.get)
            text += f", most often taken for {most} ({wrong[most]})"
        parts.append(text)
    return f"Matrix of true by predicted class of the test images: {'; '.join(parts)}."


def limits(test: dict) -> list[str]:
    """Returns what the numbers of classes cannot say, as sentences."""
    diagnosis = found(test)
    if not diagnosis:
        return []
    sentences = []
    if diagnosis["absent"]:
        codes = report_words.listing(diagnosis["absent"])
        sentences.append(f"No test image is of the class {codes}: nothing is known of it.")
    counts = {code: diagnosis["per_class"][code]["num_images"] for code in _present(diagnosis)}
    small = [f"{code} {count}" for code, count in counts.items() if count < FEW]
    if small:
        fewest = min(counts.values())
        sentences.append(
            f"Classes with fewer than {FEW} test images: {report_words.listing(small)}. In the "
            f"smallest, one image more or less that is given its class moves the recall by "
            f"{100 / fewest:.1f} percentage points, and the balanced accuracy by "
            f"{100 / fewest / len(counts):.1f}."
        )
    sentences += [
        "Every image is given one of the classes, also an image of something else.",
        "The probabilities of the classes are not calibrated: 0.3 is not a risk of 30 %.",
    ]
    return sentences
