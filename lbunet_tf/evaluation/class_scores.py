"""How well images are told apart by class, from the diagnosis in a predictions table."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
from sklearn import metrics as sklearn_metrics

from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import intervals

# Of those over all classes, the ones with an interval.
WITH_INTERVAL = ("balanced_accuracy", "macro_auc")


def measure(table: pd.DataFrame) -> dict:
    """Returns the numbers of a diagnosis, for JSON; {} of a table without one.

    `classes`, their codes; `num_with_class`, the images whose class is known, of which all else
    is; `absent`, the classes without an image; `balanced_accuracy`, the mean recall of the classes
    that are present (ISIC 2018 and 2019's score; an image is of the class of the largest
    probability, of equal ones the first); `macro_auc`, the mean area under the ROC curve of each
    class against the rest, of classes with images on both sides; `log_loss`; `accuracy`;
    `per_class`, the `num_images`, `recall`, `precision`, `f1` and `auc` of each; `confusion`, the
    (K, K) counts, a row for each true class and a column for each predicted one; and `intervals`
    of both means and each recall. What is 0 / 0 is None, such as the recall of a class without an
    image, and the precision of one that is never predicted. Without a known class there are counts
    alone.

    Args:
        table: Rows of predictions.
    """
    codes = contract.classes(table)
    if not codes:
        return {}
    rows = contract.with_class(table)
    counts = {"classes": codes, "num_with_class": len(rows)}
    if rows.empty:
        return counts
    true, predicted, probabilities = _arrays(rows, codes)
    confusion = sklearn_metrics.confusion_matrix(true, predicted, labels=range(len(codes)))
    of_each = _per_class(confusion, _aucs(true, probabilities))
    aucs = [one["auc"] for one in of_each if one["auc"] is not None]
    key, _ = contract.patients(rows)
    return {
        **counts,
        "absent": [
            code for code, count in zip(codes, confusion.sum(axis=1), strict=True) if not count
        ],
        "balanced_accuracy": _balanced_accuracy(true, predicted),
        "macro_auc": float(np.mean(aucs)) if aucs else None,
        "log_loss": float(sklearn_metrics.log_loss(true, probabilities, labels=range(len(codes)))),
        "accuracy": float((true == predicted).mean()),
        "per_class": dict(zip(codes, of_each, strict=True)),
        "confusion": confusion.tolist(),
        "intervals": _intervals(true, predicted, probabilities, key, codes),
    }


def balanced_accuracy(table: pd.DataFrame) -> intervals.Interval | None:
    """Returns the balanced accuracy of some rows with its interval, None without a known class."""
    codes = contract.classes(table)
    rows = contract.with_class(table) if codes else table.iloc[:0]
    if rows.empty:
        return None
    true, predicted, _ = _arrays(rows, codes)
    key, _ = contract.patients(rows)
    return _interval_of_recalls(true, predicted, key, codes)


def balanced_accuracy_difference(
    table: pd.DataFrame, other: pd.DataFrame
) -> intervals.Interval | None:
    """Returns the balanced accuracy of some rows minus that of others of the same images.

    Its interval is of both on the same draws of patients. None where one of the two has no
    diagnosis, or no image has a known class.

    Raises:
        ValueError: The two have different classes, or different true classes of an image.
    """
    codes = contract.classes(table)
    if not codes or not contract.classes(other):
        return None
    if set(codes) != set(contract.classes(other)):
        raise ValueError(
            "the balanced accuracies of two experiments differ by what they learnt only if both "
            f"have the same classes. Received: {', '.join(codes)} and "
            f"{', '.join(contract.classes(other))}"
        )
    rows = contract.with_class(table)
    others = contract.with_class(other).set_index("image_id")
    rows = rows[rows["image_id"].isin(others.index)]
    if rows.empty:
        return None
    others = others.loc[rows["image_id"]].reset_index()
    is_other = rows[contract.CLASS].to_numpy() != others[contract.CLASS].to_numpy()
    if is_other.any():
        row = int(np.argmax(is_other))
        raise ValueError(
            f"two experiments must name the same true class of an image. Received: image "
            f"{rows['image_id'].iloc[row]}, {rows[contract.CLASS].iloc[row]} and "
            f"{others[contract.CLASS].iloc[row]}"
        )
    true, predicted, _ = _arrays(rows, codes)
    _, predicted_of_other, _ = _arrays(others, codes)
    key, _ = contract.patients(rows)
    value = _balanced_accuracy(true, predicted) - _balanced_accuracy(true, predicted_of_other)
    reason = _too_few(true, key, codes)
    if reason:
        return intervals.not_estimable(value, reason)
    if (predicted == predicted_of_other).all():
        return intervals.not_estimable(value, "both name the same class of every image")
    # Equal draws of patients: those of `_draws_of_recalls` depend on their number alone.
    draws = _draws_of_recalls(true, predicted, key)
    draws -= _draws_of_recalls(true, predicted_of_other, key)
    return _percentiles(value, draws, len(np.unique(key)), np.unique(true), codes)


def of_group(table: pd.DataFrame) -> dict:
    """Returns `num_with_class` and `balanced_accuracy` of some rows, {} without a known class."""
    found = balanced_accuracy(table)
    if found is None:
        return {}
    count = len(contract.with_class(table))
    return {"num_with_class": count, "balanced_accuracy": found.value}


def _arrays(rows, codes):
    """Returns ((N,) true class, (N,) predicted class, both as numbers, (N, K) probabilities)."""
    number = {code: position for position, code in enumerate(codes)}
    found = rows[[contract.PROBABILITY + code for code in codes]].to_numpy(float)
    true = rows[contract.CLASS].map(number).to_numpy(int)
    # Softmax in float32 sums to 1 within a rounding, which scikit-learn warns of.
    return true, found.argmax(axis=1), found / found.sum(axis=1, keepdims=True)


def _balanced_accuracy(true, predicted):
    with warnings.catch_warnings():
        # Of classes without an image, which do not count, and of images of one class.
        warnings.simplefilter("ignore", UserWarning)
        return float(sklearn_metrics.balanced_accuracy_score(true, predicted))


def _aucs(true, probabilities):
    """Returns the AUC of each class against the rest, None where one of the two has no image."""
    found = []
    for number, values in enumerate(probabilities.T):
        is_class = true == number
        both = 0 < is_class.sum() < len(true)
        found.append(float(sklearn_metrics.roc_auc_score(is_class, values)) if both else None)
    return found


def _per_class(confusion, aucs):
    found = []
    for number, auc in enumerate(aucs):
        right = int(confusion[number, number])
        count, times = int(confusion[number].sum()), int(confusion[:, number].sum())
        found.append(
            {
                "num_images": count,
                "num_predicted": times,
                "recall": _ratio(right, count),
                "precision": _ratio(right, times),
                # Without an image of a class, there is nothing to find: no 0.
                "f1": _ratio(2 * right, count + times) if count else None,
                "auc": auc,
            }
        )
    return found


def _ratio(part, whole):
    return part / whole if whole else None


def _intervals(true, predicted, probabilities, patients, codes):
    """Returns the intervals of both means, and of the recall of each class with images."""
    found = {
        "balanced_accuracy": _interval_of_recalls(true, predicted, patients, codes),
        "macro_auc": _interval_of_aucs(true, probabilities, patients, codes),
    }
    for number, code in enumerate(codes):
        is_class = true == number
        if is_class.any():
            is_found = predicted[is_class] == number
            found[recall_of(code)] = intervals.mean(is_found, patients[is_class])
    return {name: dataclasses.asdict(one) for name, one in found.items()}


def recall_of(code: str) -> str:
    """Returns the name of the interval of the recall of a class."""
    return f"recall_{code}"


def _interval_of_recalls(true, predicted, patients, codes):
    value = _balanced_accuracy(true, predicted)
    reason = _too_few(true, patients, codes)
    if reason:
        return intervals.not_estimable(value, reason)
    draws = _draws_of_recalls(true, predicted, patients)
    return _percentiles(value, draws, len(np.unique(patients)), np.unique(true), codes)


def _draws_of_recalls(true, predicted, patients):
    """Returns (resamples,) balanced accuracies of drawn patients, NaN where a class is lacking."""
    present, number = np.unique(true), np.unique(patients, return_inverse=True)[1]
    counts = np.zeros((number.max() + 1, len(present)))
    column = np.searchsorted(present, true)
    np.add.at(counts, (number, column), 1)
    hits = np.zeros_like(counts)
    np.add.at(hits, (number, column), true == predicted)
    draws = []
    for weights in intervals.resampled_weights(len(counts), intervals.RESAMPLES, seed=0):
        with np.errstate(invalid="ignore", divide="ignore"):
            # NaN where a class is not drawn: the mean of the others would be another number.
            draws.append(((weights @ hits) / (weights @ counts)).mean(axis=1))
    return np.concatenate(draws)


def _interval_of_aucs(true, probabilities, patients, codes):
    present = np.unique(true)
    if len(present) < 2:
        return intervals.not_estimable(None, f"all images are of the class {codes[present[0]]}")
    value = float(np.mean([auc for auc in _aucs(true, probabilities) if auc is not None]))
    reason = _too_few(true, patients, codes)
    if reason:
        return intervals.not_estimable(value, reason)
    ranked = [_ranked(probabilities[:, number], true == number) for number in present]

    def mean_auc(weights):
        return np.mean([_weighted_auc(weights, *one) for one in ranked], axis=0)

    draws = intervals.bootstrap(mean_auc, patients)
    return _percentiles(value, draws, len(np.unique(patients)), present, codes)


def _ranked(values, is_class):
    """Returns (order by value, where each value begins in it, in that order: is it the class?)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return order, starts, is_class[order]


def _weighted_auc(weights, order, starts, is_class):
    """Returns (R,) AUCs of (R, N) weights of images, ties counted half; NaN without both kinds."""
    drawn = weights[:, order].astype(float)
    positive = np.add.reduceat(drawn * is_class, starts, axis=1)
    negative = np.add.reduceat(drawn * ~is_class, starts, axis=1)
    below = negative.cumsum(axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return (positive * below).sum(axis=1) / np.where(pairs > 0, pairs, np.nan)


def _too_few(true, patients, codes):
    """Returns which classes have too few patients for an interval, "" where none has."""
    counts = {codes[number]: len(np.unique(patients[true == number])) for number in np.unique(true)}
    small = [f"{code} {count}" for code, count in counts.items() if count < intervals.LEAST]
    if not small:
        return ""
    return f"patients with images of the class {', '.join(small)}; {intervals.LEAST} needed"


def _percentiles(value, draws, num_patients, present, codes):
    if np.nanmax(draws) - np.nanmin(draws) < 1e-12:
        return intervals.not_estimable(value, f"all {num_patients} patients are alike")
    of_classes = "" if len(present) == len(codes) else f", {len(present)} of {len(codes)} classes"
    method = f"bootstrap of {num_patients} patients, {intervals.RESAMPLES} draws{of_classes}"
    return intervals.percentiles(value, draws, intervals.CONFIDENCE, method)
