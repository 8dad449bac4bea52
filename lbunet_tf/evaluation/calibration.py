"""Calibration: does a probability of 0.3 mean that three of ten are melanomas?

Measured on any scored images; corrected by a function of the score that is fitted on images which
neither training nor this measurement saw.
"""

import numpy as np
import pandas as pd
from scipy import optimize
from scipy import special
from sklearn import isotonic
from sklearn import model_selection

from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import intervals
from lbunet_tf.serving import calibrated

NUM_BINS = 10
FOLDS = 5
# Probabilities this near to 0 or 1 cost as much in the log loss as these.
SMALLEST = 1e-6
# Of a fitted parameter; Platt's are fitted to logits of standard deviation 1.
LARGEST = 20.0
# Logits that vary by less of their size are alike: networks compute in float32.
SMALLEST_SPREAD = 1e-6
# Log losses this near to each other are equal.
EQUAL = 1e-9
# Diagrams of which a band is made.
CURVES = 200
AS_IT_IS = calibrated.Calibration("none")


def fit(kind: str, logits: np.ndarray, labels: np.ndarray) -> calibrated.Calibration:
    """Returns the calibration of a kind with the least log loss on these images.

    Sources: temperature, Guo et al. 2017; Platt 1999; beta, Kull et al. 2017; isotonic, Zadrozny
    and Elkan 2002 (scikit-learn's).

    Args:
        kind: One of `calibrated.KINDS`.
        logits: (N,) of the scores.
        labels: (N,) 0 or 1, both of them.
    """
    if kind == "none":
        return calibrated.Calibration(kind)
    if kind == "isotonic":
        steps = isotonic.IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        steps.fit(logits, labels)
        found = (*steps.X_thresholds_, *steps.y_thresholds_)
        return calibrated.Calibration(kind, tuple(map(float, found)))
    if kind == "platt":
        return calibrated.Calibration(kind, _platt(logits, labels)[0])
    return calibrated.Calibration(kind, _least_loss(kind, logits, labels))


def _platt(logits, labels, lowest=0.0):
    """Returns ((slope, intercept), whether the slope was cut), as `_least_loss`.

    Of standardised logits: the slope of logits that hardly differ is large, and no reason to cut.
    """
    centre, spread = logits.mean(), 1.0 if _are_alike(logits) else logits.std()
    slope, intercept = _least_loss("platt", (logits - centre) / spread, labels, lowest)
    found = float(slope / spread), float(intercept - slope * centre / spread)
    return found, abs(slope) >= LARGEST


def _are_alike(logits):
    return logits.std() < SMALLEST_SPREAD * max(1, abs(logits.mean()))


def _least_loss(kind, logits, labels, lowest=0.0):
    """Returns the parameters of a kind; Platt's slope is at least `lowest`.

    A score that ranks the wrong way round on a few images must not be turned round for all.
    """
    start = {"temperature": [0.0], "platt": [1.0, 0.0], "beta": [0.0, 0.0, 0.0]}[kind]
    bounds = [(-LARGEST, LARGEST)] * len(start)
    if kind == "platt":
        bounds[0] = (lowest, LARGEST)

    def parameters(free):
        # Of the logarithms where a number must be positive.
        if kind == "temperature":
            return (float(np.exp(free[0])),)
        if kind == "beta":
            return float(np.exp(free[0])), float(np.exp(free[1])), float(free[2])
        return tuple(map(float, free))

    def loss(free):
        margin = calibrated.margin(kind, logits, parameters(free))
        return np.logaddexp(0, np.where(labels == 1, -margin, margin)).mean()

    options = {"ftol": 1e-15, "gtol": 1e-10}
    found = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds, options=options)
    return parameters(found.x)


def measure_table(table: pd.DataFrame, function: calibrated.Calibration = AS_IT_IS) -> dict:
    """Returns what `measure` says of a predictions table, of calibrated scores by `function`."""
    labels, logits, key = _scored(table)
    if function.kind != "none":
        # An isotonic probability may be 0 or 1, which has no logit.
        logits = special.logit(np.clip(function.apply(logits), SMALLEST, 1 - SMALLEST))
    return measure(labels, logits, key)


def probabilities_of_table(
    table: pd.DataFrame, function: calibrated.Calibration
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (labels, calibrated probabilities) of the images that have both label and score."""
    labels, logits, _ = _scored(table)
    return labels, function.apply(logits)


def curve_of_table(table: pd.DataFrame, function: calibrated.Calibration = AS_IT_IS) -> tuple:
    """Returns (probabilities, fractions, low, high): CORP's diagram and its band by patient.

    The band holds 95 of 100 diagrams of patients drawn again.
    """
    labels, logits, key = _scored(table)
    probabilities = function.apply(logits)
    x, fractions = reliability(labels, probabilities)
    _, number = np.unique(key, return_inverse=True)
    drawn = []
    for weights in intervals.resampled_weights(number.max() + 1, CURVES, seed=0):
        for row in weights:
            index = np.repeat(np.arange(len(labels)), row[number])
            drawn.append(np.interp(x, *reliability(labels[index], probabilities[index])))
    return x, fractions, *np.quantile(drawn, [0.025, 0.975], axis=0)


def observed_to_expected(
    table: pd.DataFrame, function: calibrated.Calibration = AS_IT_IS
) -> intervals.Interval:
    """Returns melanomas there are per melanoma that the probabilities expect, 1 where they agree.

    The interval is of the patient bootstrap. Not estimable where too few patients are of a class.
    """
    labels, logits, key = _scored(table)
    reason = intervals.too_few(labels, key)
    if reason:
        return intervals.not_estimable(None, reason)
    expected = function.apply(logits)
    if not expected.sum():
        return intervals.not_estimable(None, "no melanoma is expected")
    _, number = np.unique(key, return_inverse=True)
    parts = np.stack([np.bincount(number, labels), np.bincount(number, expected)], axis=1)
    draws = []
    for weights in intervals.resampled_weights(len(parts), intervals.RESAMPLES, seed=0):
        observed, said = (weights @ parts).T
        draws.append(np.divide(observed, said, np.full(len(said), np.nan), where=said > 0))
    kind = "as they are" if function.kind == "none" else f"calibrated ({function.kind})"
    return intervals.percentiles(
        float(labels.sum() / expected.sum()),
        np.concatenate(draws),
        intervals.CONFIDENCE,
        f"bootstrap of {len(parts)} patients, probabilities {kind}",
    )


def fit_table(table: pd.DataFrame) -> tuple[calibrated.Calibration, dict] | None:
    """Returns the calibration of the least cross-fitted log loss, and facts on it for JSON.

    Of equal losses, the simplest kind. None where too few patients have a score and a label.
    """
    labels, logits, key = _scored(table)
    losses = choose(logits, labels, key)
    if not losses:
        return None
    # Isotonic has no two corners where all logits are alike.
    kinds = [kind for kind in losses if kind != "isotonic" or logits.min() < logits.max()]
    least = min(losses[kind] for kind in kinds)
    best = next(kind for kind in kinds if losses[kind] <= least + EQUAL)
    function = fit(best, logits, labels)
    return function, {
        "kind": function.kind,
        "parameters": list(function.parameters),
        "cross_fitted_log_loss": losses,
        "num_images": len(labels),
        "num_melanoma": int(labels.sum()),
    }


def _scored(table):
    """Returns (labels, logits, patients) of the images that have both."""
    rows = contract.with_score(table)
    # A probability of 0 or 1 has no logit.
    logits = np.clip(rows["score_logit"].to_numpy(float), -100, 100)
    return rows["label"].to_numpy(int), logits, contract.patients(rows)[0]


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the mean log loss, of probabilities no nearer to 0 or 1 than `SMALLEST`."""
    p = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    return float(-np.where(labels == 1, np.log(p), np.log1p(-p)).mean())


def choose(logits: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> dict[str, float]:
    """Returns the log loss of each kind, cross-fitted by patient: of images it was not fitted on.

    {} where a class has fewer than `intervals.LEAST` patients.

    Args:
        logits: (N,) of the scores.
        labels: (N,) 0 or 1.
        patients: (N,) of any kind.
    """
    if intervals.too_few(labels, patients):
        return {}
    folds = model_selection.StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    found = {kind: np.empty(len(labels)) for kind in calibrated.KINDS}
    for fitted, held_out in folds.split(logits[:, None], labels, patients):
        for kind in calibrated.KINDS:
            one = fit(kind, logits[fitted], labels[fitted])
            found[kind][held_out] = one.apply(logits[held_out])
    return {kind: log_loss(labels, values) for kind, values in found.items()}


def expected_error(labels: np.ndarray, probabilities: np.ndarray, num_bins: int = NUM_BINS):
    """Returns the ECE of the positive class over bins of equal width, each closed above.

    Other definitions (equal mass, the class that is predicted) give other numbers.
    """
    bins = np.clip(np.ceil(probabilities * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, labels - probabilities, num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (probabilities in order, the fraction of melanomas at each): CORP's diagram.

    The isotonic fit to these images (Dimitriadis, Gneiting and Jordan 2021): no bins to choose.
    """
    values, place, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    fractions = np.bincount(place, labels) / counts
    fitted = isotonic.isotonic_regression(fractions, sample_weight=counts)
    return np.repeat(values, counts), np.repeat(fitted, counts)


def brier_parts(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Returns the Brier score and CORP's parts: miscalibration - discrimination + uncertainty."""
    order = np.argsort(probabilities, kind="stable")
    _, fitted = reliability(labels, probabilities)
    brier = float(((probabilities - labels) ** 2).mean())
    best = float(((fitted - labels[order]) ** 2).mean())
    uncertainty = float(labels.mean() * (1 - labels.mean()))
    return {
        "brier": brier,
        "miscalibration": brier - best,
        "discrimination": uncertainty - best,
        "uncertainty": uncertainty,
    }


def slope_and_intercept(
    labels: np.ndarray, logits: np.ndarray
) -> tuple[float | None, float | None]:
    """Returns slope and intercept of the logistic regression of the label on the logit.

    1 and 0 where scores are calibrated; a slope below 1 says that they are too extreme. None where
    there is none: all logits are alike, or a threshold tells the classes apart, or nearly so.
    """
    positive, negative = logits[labels == 1], logits[labels == 0]
    is_apart = positive.min() >= negative.max() or positive.max() <= negative.min()
    if is_apart or _are_alike(logits):
        return None, None
    found, is_cut = _platt(logits, labels, lowest=-LARGEST)
    return (None, None) if is_cut else found


def in_the_large(labels: np.ndarray, logits: np.ndarray) -> float:
    """Returns the intercept where the slope is 1: above 0, melanomas are more than scores say."""

    def excess(intercept):
        return (labels - special.expit(logits + intercept)).sum()

    widest = 60 + np.abs(logits).max()
    return float(optimize.brentq(excess, -widest, widest))


def measure(labels: np.ndarray, logits: np.ndarray, patients: np.ndarray) -> dict:
    """Returns how calibrated scores are; numbers that too few patients give are None.

    Args:
        labels: (N,) 0 or 1.
        logits: (N,) of the scores, finite.
        patients: (N,) of any kind.
    """
    reason = intervals.too_few(labels, patients)
    if reason:
        return {"not_estimable": reason}
    probabilities = special.expit(logits)
    slope, intercept = slope_and_intercept(labels, logits)
    return {
        "expected_calibration_error": expected_error(labels, probabilities),
        "log_loss": log_loss(labels, probabilities),
        **brier_parts(labels, probabilities),
        "slope": slope,
        "intercept": intercept,
        "in_the_large": in_the_large(labels, logits),
    }
