"""What the report of an evaluation says besides the numbers: which runs, on which images."""

from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report_words
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import trained_flags
from lbunet_tf.settings import training_groups


def title(
    model: training_groups.Model,
    num_runs: int,
    own: image_groups.Source,
    source: image_groups.Source | None,
) -> str:
    """Returns what was scored on which images; `source`: another than the runs' own."""
    encoder = f" ({model.encoder}, {model.encoder_weights})" if model.model != "unet" else ""
    network = f"{model.model}{encoder}"
    if num_runs > 1:
        network = f"mean of {num_runs} runs"
    if not source:
        return f"{network} on {_names(own)}"
    return f"{network}, trained on {_names(own)}, on {_names(source)}"


def _names(source):
    return ", ".join(source.source).replace("synthetic", "drawn images (no patients)")


def of_images(run: evaluated_run.EvaluatedRun) -> dict[str, str]:
    """Returns which runs were scored on which images and how, name -> sentence.

    Of `run`, only settings, source, checks and metrics are read.
    """
    settings, source, checks, test = run.settings, run.source, run.checks, run.scores
    size = settings.preprocessing.image_size
    own = (
        f"{_names(settings.source)}; split by {settings.split.split_by}; "
        f"seed {settings.source.seed}"
    )
    if settings.paths.other_runs:
        own += f" (the split of {settings.paths.run})"
    found = {
        "Runs" if settings.paths.other_runs else "Run": ", ".join(settings.paths.runs),
        "Data": _data(own, source, test),
        "Leak check": _leak_check(settings.paths, source, checks),
        "Skipped images": f"{checks['skipped']} (skipped.csv)"
        + (f", {checks['failed']} more failed (failures.txt)" if "failed" in checks else ""),
        "Threshold": f"chosen on {test['operating_point']['chosen_on']}, never on test: "
        f"{test['operating_point']['rule']}"
        if "operating_point" in test
        else _NO_THRESHOLD,
    }
    if test.get("mask_source") != scores.NO_MASKS:
        found["Masks"] = f"scored at the network's size, {size} x {size} px, {_mask_rule(test)}"
    return found


_NO_THRESHOLD = "none chosen: no images except those of test have scores and both classes"


def _mask_rule(test):
    if test.get("mask_cleanup", "none") == "none":
        return "at probability 0.5"
    return (
        f"as one region without holes, at probability {report_words.mask_threshold(test)}; the "
        "lines of uncleaned masks are of all pixels at 0.5"
    )


def _data(own, source, test):
    if not source:
        return own
    drawn = f", drawn with seed {source.seed}" if source.max_images else ""
    return (
        f"test: {test['num_images']} images of {_names(source)}{drawn}; "
        f"{test.get('operating_point', {}).get('chosen_on', 'val')}, for the threshold: {own}"
    )


def _leak_check(paths, source, checks):
    crossing = ", ".join(f"{count} {name}" for name, count in checks["crossings"].items() if count)
    known = ", ".join(f"{name} {count}" for name, count in checks["known"].items())
    if source:
        result = (
            f"{checks['left_out']} images of the source are in train, val or calibration of a run, "
            "or share something with an image that is, and were left out (skipped.csv)"
        )
    elif crossing:
        result = f"on more than one side of the split: {crossing}"
    else:
        result = "nothing known is on two sides of the split"
    if paths.other_runs and not source:
        result += f" of {paths.run}; the others' train shares no more with its val and test"
    return f"{result}. Known for, of {checks['images']} images: {known}"


def of_training(training: dict[str, dict]) -> dict[str, str]:
    """Returns how each run was trained; `training`: run -> `training.json`, {} if unfinished.

    The report lists the flags of the run by themselves.
    """
    return {
        "Training" if len(training) == 1 else f"Training of {run}": ", ".join(
            f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in (values or {"state": "unfinished"}).items()
            if name != trained_flags.KEY
        )
        for run, values in training.items()
    }
