"""What a log says of the numbers of an evaluation: a line for each part, and for what it holds."""

from absl import logging

from lbunet_tf.evaluation import intervals


def log(metrics: dict[str, dict]) -> None:
    """Logs the numbers of val and test; `metrics` as in `metrics.json`."""
    for split, values in metrics.items():
        shown = (
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in values.items()
            if not isinstance(value, dict)
        )
        logging.info("%s: %s", split, ", ".join(shown))
        for source, part in values.get("by_source", {}).items():
            names = ("balanced_accuracy", "auc", "dice", "iou")
            found = ", ".join(
                f"{name} {part[name]:.4f}" for name in names if part.get(name) is not None
            )
            logging.info("%s of %s: %d images, %s", split, source, part["num_images"], found)
        _log_diagnosis(split, values.get("diagnosis", {}))


def _log_diagnosis(split, diagnosis):
    if "balanced_accuracy" not in diagnosis:
        if diagnosis:
            logging.info("%s: no image has a known class", split)
        return
    balanced = intervals.Interval(**diagnosis["intervals"]["balanced_accuracy"])
    num_classes = len(diagnosis["classes"]) - len(diagnosis["absent"])
    absent = ", ".join(diagnosis["absent"])
    logging.info(
        "%s: balanced accuracy %s, %d images of %d %s%s",
        *(split, balanced, diagnosis["num_with_class"], num_classes),
        "class" if num_classes == 1 else "classes",
        f", none of {absent}" if absent else "",
    )
