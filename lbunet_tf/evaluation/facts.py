"""What the report of an evaluation says beside the numbers: which runs, on which images."""

from lbunet_tf.settings import config as config_lib
from lbunet_tf.settings import trained_flags


def title(config: config_lib.Config, source: config_lib.Config | None) -> str:
    """Returns what was scored on which images; `source`: another than the run's own."""
    encoder = f" ({config.encoder}, {config.encoder_weights})" if config.model == "lbunet" else ""
    network = f"{config.model}{encoder}"
    if config.other_runs:
        network = f"mean of {len(config.runs)} runs"
    if not source:
        return f"{network} on {_names(config)}"
    return f"{network}, trained on {_names(config)}, on {_names(source)}"


def _names(config):
    return ", ".join(config.source).replace("synthetic", "drawn images (no patients)")


def of_images(
    config: config_lib.Config, source: config_lib.Config | None, checks: dict, test: dict
) -> dict[str, str]:
    """Returns which runs were scored on which images and how, name -> sentence.

    Args:
        config: Of the runs, the first before `other_runs`.
        source: Of another source than the run's own, or None.
        checks: `checks.json`.
        test: The test part of `metrics.json`.
    """
    return {
        "Runs" if config.other_runs else "Run": ", ".join(config.runs),
        "Data": _data(config, source, test),
        "Leak check": _leak_check(config, source, checks),
        "Skipped images": f"{checks['skipped']} (skipped.csv)",
        "Threshold": "chosen on val by Youden's J, never on test"
        if "at_val_threshold" in test
        else "none chosen: val has not both classes with scores",
        "Masks": "scored at the network's size, "
        f"{config.image_size} x {config.image_size} px, at probability 0.5",
    }


def _data(config, source, test):
    own = f"{_names(config)}; split by {config.split_by}; seed {config.seed}"
    if config.other_runs:
        own += f" (the split of {config.run})"
    if not source:
        return own
    drawn = f", drawn with seed {source.seed}" if source.max_images else ""
    return (
        f"test: {test['num_images']} images of {_names(source)}{drawn}; "
        f"val, for the threshold: {own}"
    )


def _leak_check(config, source, checks):
    crossing = ", ".join(f"{count} {name}" for name, count in checks["crossings"].items() if count)
    known = ", ".join(f"{name} {count}" for name, count in checks["known"].items())
    if source:
        result = (
            f"{checks['left_out']} images of the source stand in train or val of a run, or share "
            "something with an image that does, and were left out (skipped.csv)"
        )
    elif crossing:
        result = f"on more than one side of the split: {crossing}"
    else:
        result = "nothing that is known stands on two sides of the split"
    if config.other_runs and not source:
        result += f" of {config.run}; the others' train shares no more with its val and test"
    return f"{result}. Known for, of {checks['images']} images: {known}"


def of_training(training: dict[str, dict]) -> dict[str, str]:
    """Returns how each run was trained; `training`: run -> `training.json`, {} if unfinished.

    The report lists the flags of the run by themselves.
    """
    return {
        "Training" if len(training) == 1 else f"Training of {run}": ", ".join(
            f"{name} {value}"
            for name, value in (values or {"state": "unfinished"}).items()
            if name != trained_flags.KEY
        )
        for run, values in training.items()
    }
