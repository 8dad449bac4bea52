"""What an evaluation cannot say, from its own facts, as sentences."""

import pandas as pd

from lbunet_tf.evaluation import intervals
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report_classes
from lbunet_tf.evaluation.reports import report_words

DRAWN = "synthetic"


def of_run(run: evaluated_run.EvaluatedRun) -> list[str]:
    """Returns the limits of an evaluation, what weighs most first."""
    return [
        *_of_images(run),
        *_of_counts(run.scores),
        *report_classes.limits(run.scores),
        *_of_sources(run),
        *_of_patients(run),
        *_of_scores(run),
        *_of_promises(run.scores),
        *_of_groups(run.groups),
        *_of_training(run),
        "Nothing here was tried on patients: whether anybody is helped by it is not known. This is "
        "research software, not a medical device.",
    ]


def _of_images(run):
    found = []
    if DRAWN in sources_of(run):
        found.append("The images are drawn by a program: the numbers say nothing of real lesions.")
    if run.scores["mask_source"] == "label":
        found.append(
            "The masks are the image's class on every pixel, so no number says how well an "
            "outline is found."
        )
    return found


def sources_of(run: evaluated_run.EvaluatedRun) -> tuple[str, ...]:
    """Returns the sources of the test images."""
    return tuple((run.source or run.settings.source).source)


def _of_counts(test):
    if not test.get("num_scored"):
        return []
    melanomas = test["num_melanoma"]
    others = test["num_scored"] - melanomas
    if not melanomas or not others:
        missing = "melanomas" if not melanomas else "other lesions"
        return [f"No {missing} are among the scored test images: nothing is known of them."]
    fewest, words = min((melanomas, "melanoma"), (others, "other lesion"))
    found = [
        f"Test has {report_words.plural(fewest, words)}: one image more or less that is rightly "
        f"flagged moves {'sensitivity' if words == 'melanoma' else 'specificity'} by "
        f"{100 / fewest:.1f} percentage points."
    ]
    here = melanomas / test["num_scored"]
    found.append(
        f"{here:.1%} of the scored test images are melanomas. Where melanoma is rarer, a smaller "
        "fraction of the flagged lesions are melanomas."
    )
    return found


def _of_sources(run):
    learnt = report_words.listing(list(dict.fromkeys(run.settings.source.source)))
    if run.is_external:
        tested = report_words.listing(run.tested_sources)
        count = len(run.tested_sources)
        were = "One other source was" if count == 1 else f"{count} other sources were"
        return [
            f"{were} tested ({tested}); nothing here says how the network does on "
            "further cameras and clinics."
        ]
    if not learnt:
        return []
    return [
        f"No external test set: the test images are of what was also trained on ({learnt}). On "
        "images of another camera or clinic the numbers are often worse, and nothing here says by "
        "how much."
    ]


def _of_patients(run):
    found = []
    known, images = run.checks.get("known", {}).get("patient_id"), run.checks.get("images", 0)
    effect = _OF_SEVERAL if run.source else _OF_SPLIT
    if run.scores.get("patient_key") == "image" or known == 0:
        found.append(f"Patients are not known: {effect}")
    elif known is not None and known < images:
        found.append(f"Patients are known for {known:,} of {images:,} images: {effect}")
    crossings = {name: count for name, count in run.checks.get("crossings", {}).items() if count}
    if crossings:
        words = report_words.listing([f"{count} {name}" for name, count in crossings.items()])
        found.append(
            f"The split is not clean: on more than one side of it are {words}. Scores may be too "
            "high."
        )
    if run.checks.get("skipped"):
        skipped = report_words.plural(run.checks["skipped"], "image")
        found.append(f"{skipped} of the source were missing or unusable (skipped.csv).")
    if run.checks.get("failed"):
        failed = report_words.plural(run.checks["failed"], "image")
        found.append(f"{failed} could not be read and were not scored (failures.txt).")
    return found


_OF_SPLIT = (
    "images of one patient may be on two sides of the split, which makes scores too high and "
    "intervals too short."
)
_OF_SEVERAL = "images of one patient may count as several, which makes intervals too short."


def _of_scores(run):
    test, found = run.scores, []
    if not test.get("num_scored"):
        if test.get("num_unscored", test["num_images"]) < test["num_images"]:
            return ["No test image has a label, so no number says how good the melanoma score is."]
        if "diagnosis" in test:
            return []
        return ["Nothing scores melanoma here: no number says anything about a diagnosis."]
    if test.get("num_unscored"):
        unscored = report_words.plural(test["num_unscored"], "test image")
        found.append(f"{unscored} without a score do not count.")
    if "calibrated" not in test:
        found.append("Scores are not calibrated: a score of 0.3 is not a risk of 30 %.")
    elif run.source:
        found.append(
            "The calibration is of another source: here the probabilities may be far off, and no "
            "decision curve is drawn."
            if run.is_external
            else "The calibration is of the run's own images and not of these, so no decision "
            "curve is drawn."
        )
    return found


def _of_promises(test):
    names = {
        "operating_point": "operating point",
        "prediction_sets": "prediction sets",
        "mask_contours": "contours",
    }
    broken = [words for key, words in names.items() if not test.get(key, {}).get("is_promised", 1)]
    if not broken:
        return []
    return [
        f"Nothing is promised of the {report_words.listing(broken)}: test was read by --source, "
        "or is of another source or part of a challenge than the images on which the choice was "
        "made."
    ]


def _of_groups(groups):
    if groups is None or groups.empty:
        return ["No groups of patients were scored apart: nothing is known of differences."]
    small = without_interval(groups)
    if not small:
        return []
    shown = [*small[:8], f"{len(small) - 8} more"] if len(small) > 9 else small
    return [
        f"For {len(small)} of {len(groups)} groups there are too few patients for an interval of "
        f"the AUC ({intervals.LEAST} of each class are needed): {report_words.listing(shown)}. "
        "Their numbers say little."
    ]


def without_interval(groups: pd.DataFrame | None) -> list[str]:
    """Returns the groups of too few patients for an interval of the AUC; [] without any AUC."""
    if groups is None or "auc_low" not in groups:
        return []
    # Others have none since nothing varies: every melanoma above every other lesion, say.
    is_small = groups["auc"].isna() | groups["auc_note"].str.contains("needed", na=True)
    small = groups[groups["auc_low"].isna() & is_small]
    return [f"{row['attribute']} {row['group']}" for row in small.to_dict("records")]


def _of_training(run):
    if len(run.training) != 1:
        return []
    (training,) = run.training.values()
    if not training:
        return ["The training is unfinished: the network is its best epoch until now."]
    return ["One training was done, with one seed: another seed gives other numbers."]
