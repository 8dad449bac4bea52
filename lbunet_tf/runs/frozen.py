"""What `evaluate` chose on val once and keeps with a run: operating point, calibration, sets.

Each belongs to one model as it is: the mean of several runs, or of test-time augmentation, scores
otherwise and has none.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import logging

from lbunet_tf.data import manifests
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import calibrated
from lbunet_tf.serving import chosen
from lbunet_tf.serving import outlines
from lbunet_tf.serving import prediction_sets
from lbunet_tf.settings import score_group
from lbunet_tf.storage import whole_files

# What conformal.json calls the contours of masks, among the prediction sets of scores.
CONTOURS = "mask_contours"
# What can be frozen, by the names of metrics.json.
CHOICES = ("operating_point", "calibrated", "prediction_sets", CONTOURS)
# On which parts of the split something is chosen.
CHOSEN_ON = ("val", manifests.CALIBRATION)


def is_run_as_it_is(runs: Sequence[str], tta: str) -> bool:
    """Returns whether this is one run without --tta, of which something can be frozen."""
    return len(runs) == 1 and tta == "none"


def chosen_of(runs: Sequence[str], score: score_group.Score) -> chosen.Chosen:
    """Returns what is frozen of a run's scores; the calibration only with --calibrated.

    Raises:
        ValueError: A file is damaged; or --calibrated is given, and there is none.
    """
    calibration = calibration_of(runs, score.tta) if score.calibrated else None
    return chosen.Chosen(threshold_of(runs, score.tta), calibration, sets_of(runs, score.tta))


def described(runs: Sequence[str], score: score_group.Score, has_contours: bool) -> dict:
    """Returns what a prediction by these runs uses of what is frozen, for JSON; None of the rest.

    Raises:
        ValueError: As `chosen_of`; or contours are asked for, and there are none.
    """
    found = chosen_of(runs, score)
    sets, calibration = found.sets, found.calibration
    contours = asked_contours(runs, score.tta) if has_contours else None
    fitted = calibration and [calibration.kind, *calibration.parameters]
    if calibration and calibration.offset:
        fitted.append(calibration.offset)
    return {
        "threshold": found.threshold,
        "calibrated": fitted,
        "sets": sets and list(dataclasses.astuple(sets)),
        "mask_contours": contours and list(dataclasses.astuple(contours)),
    }


def threshold_of(runs: Sequence[str], tta: str) -> float | None:
    """Returns the melanoma probability from which an image is flagged, None where none is frozen.

    Args:
        runs: Run directories.
        tta: --tta.

    Raises:
        ValueError: The file is damaged, or holds no threshold between 0 and 1.
    """
    found = read_point(pathlib.Path(runs[0])) if is_run_as_it_is(runs, tta) else None
    return found["threshold"] if found else None


def calibration_of(runs: Sequence[str], tta: str) -> calibrated.Calibration:
    """Returns the calibration of a run, for --calibrated.

    Raises:
        ValueError: There is none for this run as it is, or its file is damaged.
    """
    _refuse_mean(runs, tta, '"--calibrated" is', "score")
    found = read_calibration(pathlib.Path(runs[0]))
    if found is None:
        raise ValueError(
            f'"--calibrated" needs {runs[0]}/{run_directory.CALIBRATION}, which '
            f"python -m lbunet_tf.evaluate --run={runs[0]} makes of a melanoma score and val "
            "images of at least ten patients with melanoma and ten without"
        )
    if found.offset:
        logging.info(
            "calibrated probabilities are for another prevalence, as --clinic_prevalence of "
            "evaluate asked: their logits are shifted by %+.3f",
            found.offset,
        )
    return found


def _refuse_mean(runs, tta, flag, verb):
    if not is_run_as_it_is(runs, tta):
        raise ValueError(
            f"{flag} of one run as it is: the mean of several, and --tta, {verb} otherwise. "
            f"Received: {len(runs)} runs, --tta={tta}"
        )


def read_point(run: pathlib.Path) -> dict | None:
    """Returns the operating point of a run, None where there is none of its present model.

    Raises:
        ValueError: As `threshold_of`.
    """
    found = _read(run, run_directory.OPERATING_POINT, ("threshold", "rule"))
    threshold = found and found["threshold"]
    # Just above 1 nothing is flagged.
    if found and not (isinstance(threshold, float) and 0 <= threshold <= np.nextafter(1, 2)):
        _refuse(run, run_directory.OPERATING_POINT, "a threshold between 0 and 1", threshold)
    if found:
        names = ("rule", "chosen_on", "num_melanoma", "num_other")
        _refuse_wrong(run, run_directory.OPERATING_POINT, found, names)
    return found


def read_calibration(run: pathlib.Path) -> calibrated.Calibration | None:
    """Returns the calibration of a run, None where there is none of its present model.

    Raises:
        ValueError: The file is damaged.
    """
    found = _read(run, run_directory.CALIBRATION, ("kind", "parameters"))
    if not found:
        return None
    kind, parameters = found["kind"], found["parameters"]
    counts = {"none": (0,), "temperature": (1,), "platt": (2,), "beta": (3,)}
    is_list = isinstance(parameters, list) and all(isinstance(p, float) for p in parameters)
    is_known = kind in calibrated.KINDS and is_list
    fits = is_known and len(parameters) in counts.get(kind, range(4, 10**6, 2))
    if not fits:
        _refuse(run, run_directory.CALIBRATION, "a kind and its parameters", (kind, parameters))
    _refuse_wrong_parameters(run, kind, parameters)
    offset = found.get("offset", 0.0)
    if not (isinstance(offset, float) and np.isfinite(offset)):
        _refuse(run, run_directory.CALIBRATION, "a finite number as its offset", offset)
    return calibrated.Calibration(kind, tuple(parameters), offset)


def _refuse_wrong_parameters(run, kind, parameters):
    """Raises where probabilities would be no numbers, or fall where the score rises."""
    needed = {
        "temperature": "a temperature above 0",
        "platt": "a slope of at least 0",
        "beta": "slopes of at least 0",
        "isotonic": "corners in order, and probabilities in 0..1 that do not fall",
    }
    values = np.array(parameters)
    is_good = bool(np.isfinite(values).all())
    if kind == "temperature":
        is_good &= parameters[0] > 0
    elif kind in ("platt", "beta"):
        # The last is the intercept.
        is_good &= min(parameters[:-1]) >= 0
    elif kind == "isotonic" and is_good:
        corners, probabilities = np.split(values, 2)
        rises = (np.diff(corners) >= 0).all() and (np.diff(probabilities) >= 0).all()
        is_good = rises and 0 <= probabilities[0] and probabilities[-1] <= 1
    if not is_good:
        words = f"finite parameters of {kind}: {needed.get(kind, 'none')}"
        _refuse(run, run_directory.CALIBRATION, words, parameters)


def read_calibration_facts(run: pathlib.Path) -> dict | None:
    """Returns what a run's calibration.json says of its fit; None as `read_calibration`.

    Raises:
        ValueError: `kind`, `chosen_on` or `prevalence` is missing or damaged.
    """
    found = _read(run, run_directory.CALIBRATION, ("kind", "chosen_on", "prevalence"))
    if found:
        _refuse_wrong(run, run_directory.CALIBRATION, found, ("prevalence", "chosen_on"))
    return found


def clinic_prevalence_of(run: pathlib.Path | None) -> float | None:
    """Returns the prevalence for which --clinic_prevalence shifted a run's calibration.

    None where it is that of val, where there is no calibration of the present model, or, with a
    warning, where its file is damaged.
    """
    if run is None or not (run / run_directory.MODEL).is_file():
        return None
    try:
        facts = read_calibration_facts(run) or {}
    except ValueError as error:
        logging.warning("%s", error)
        return None
    prevalence = facts.get("clinic_prevalence")
    return prevalence if isinstance(prevalence, float) and 0 < prevalence < 1 else None


def sets_of(runs: Sequence[str], tta: str) -> prediction_sets.BinarySets | None:
    """Returns the prediction sets of a run, None where there are none of this run as it is.

    Raises:
        ValueError: The file is damaged.
    """
    found = read_sets(pathlib.Path(runs[0])) if is_run_as_it_is(runs, tta) else None
    return prediction_sets.BinarySets(found["benign"], found["melanoma"]) if found else None


def read_sets(run: pathlib.Path) -> dict | None:
    """Returns the prediction sets of a run, None where there are none of its present model.

    Raises:
        ValueError: As `sets_of`.
    """
    counts = [f"num_{what}{name}" for what in ("", "patients_") for name in ("melanoma", "benign")]
    names = ("benign", "melanoma", "coverage", "chosen_on", *counts)
    whole = _read(run, run_directory.CONFORMAL, ())
    if whole and CONTOURS in whole and not any(name in whole for name in names):
        # Of a network that finds outlines alone.
        return None
    found = whole and _read(run, run_directory.CONFORMAL, names)
    if not found:
        return None
    ends = found["benign"], found["melanoma"]
    if not all(isinstance(end, float) and 0 <= end <= 1 for end in ends):
        _refuse(run, run_directory.CONFORMAL, "two probabilities", ends)
    _refuse_wrong(run, run_directory.CONFORMAL, found, names[2:])
    return found


def contours_of(runs: Sequence[str], tta: str) -> outlines.Contours | None:
    """Returns the contours of a run, None where there are none of this run as it is.

    Raises:
        ValueError: The file is damaged.
    """
    found = read_contours(pathlib.Path(runs[0])) if is_run_as_it_is(runs, tta) else None
    return outlines.Contours(found["outer"], found["inner"]) if found else None


def asked_contours(runs: Sequence[str], tta: str) -> outlines.Contours:
    """Returns the contours of a run, for --contours.

    Raises:
        ValueError: There are none for this run as it is, or its file is damaged.
    """
    _refuse_mean(runs, tta, '"--contours" are', "outline")
    found = contours_of(runs, tta)
    if found is None:
        raise ValueError(
            f'"--contours" needs contours in {runs[0]}/{run_directory.CONFORMAL}, which '
            f"python -m lbunet_tf.evaluate --run={runs[0]} makes of val images with lesion masks "
            "(--mask_source=lesion)"
        )
    return found


def read_contours(run: pathlib.Path) -> dict | None:
    """Returns the mask contours of a run, None where there are none of its present model.

    Raises:
        ValueError: As `contours_of`.
    """
    found = (_read(run, run_directory.CONFORMAL, ()) or {}).get(CONTOURS)
    if found is None:
        return None
    ends = [found.get(name) for name in ("outer", "inner")] if isinstance(found, dict) else found
    is_good = isinstance(found, dict) and all(isinstance(end, float) for end in ends)
    if not is_good or not 0 <= ends[0] <= 1 or not 0 < ends[1] <= np.nextafter(1, 2):
        _refuse(run, run_directory.CONFORMAL, "two probabilities of mask contours", ends)
    if ends[0] > ends[1]:
        _refuse(run, run_directory.CONFORMAL, "an outer mask contour outside the inner one", ends)
    names = ("coverage", "confidence", "chosen_on", "num_masks", "num_patients", "num_empty")
    _refuse_wrong(run, run_directory.CONFORMAL, found, names, f" of {CONTOURS}")
    return found


def refuse_unreadable(run: pathlib.Path, file: str) -> None:
    """Raises a ValueError where `add` could not add to a file, since it is not ours."""
    _read(run, file, ())


def write(run: pathlib.Path, file: str, found: dict, model_crc32: int | None = None) -> None:
    """Freezes what was chosen, in a file of the run.

    Args:
        run: The run.
        file: Its name in the run.
        found: What was chosen.
        model_crc32: Checksum of the model that it was chosen for; None for the present one.
    """
    if model_crc32 is None:
        model_crc32 = whole_files.crc32(run / run_directory.MODEL)
    whole_files.write_json(run / file, {**found, "model_crc32": model_crc32})


def add(run: pathlib.Path, file: str, found: dict, model_crc32: int | None = None) -> None:
    """Does what `write` does; what else the file holds of the present model stays."""
    write(run, file, {**(_read(run, file, ()) or {}), **found}, model_crc32)


def _read(run, file, names):
    path = run / file
    if not path.is_file():
        return None
    found = whole_files.read_json(path, (*names, "model_crc32"))
    if found["model_crc32"] == whole_files.crc32(run / run_directory.MODEL):
        return found
    logging.warning(
        "%s is of another model than the run's and is not used. "
        "python -m lbunet_tf.evaluate --run=%s chooses again",
        *(path, run),
    )
    return None


def _refuse_wrong(run, file, found, names, where=""):
    """Raises where one of the facts that are named is missing, or not what it is elsewhere."""
    for name in names:
        value = found.get(name)
        if name == "chosen_on":
            needed = f"one of {', '.join(CHOSEN_ON)}"
            is_good = value in CHOSEN_ON
        elif name == "rule":
            needed, is_good = "text", isinstance(value, str)
        elif name.startswith("num_"):
            least = 0 if name == "num_empty" else 1
            needed = f"a whole number of at least {least}"
            is_good = type(value) is int and value >= least
        else:
            needed = "a number above 0 and below 1"
            is_good = isinstance(value, float) and 0 < value < 1
        if not is_good:
            _refuse(run, file, f'{needed} as "{name}"{where}', value)


def _refuse(run, file, needed, received):
    raise ValueError(
        f"{run / file} must hold {needed}. Received: {received!r}. Delete it, and choose again "
        f"with python -m lbunet_tf.evaluate --run={run}"
    )
