"""The mask threshold of a run: chosen on its val images by `evaluate`, and kept next to it."""

import math
import pathlib
from collections.abc import Sequence

from absl import logging

from lbunet_tf.runs import frozen
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import outlines
from lbunet_tf.storage import whole_files

NOT_CHOSEN = 0.5


def rule_of(runs: Sequence[str], cleanup: str, warns: bool = True) -> outlines.MaskRule:
    """Returns the rule by which predict and export make outlines of the mean of runs.

    Of several runs, the mean of their thresholds, as logits.

    Args:
        runs: Run directories.
        cleanup: `Config.mask_cleanup`; with "none" the threshold is 0.5.
        warns: Whether a line says that a run has no threshold.

    Raises:
        ValueError: A run's file is damaged, or holds no threshold between 0 and 1.
    """
    if cleanup == "none":
        return outlines.MaskRule()
    thresholds = [_read(pathlib.Path(run), warns) or NOT_CHOSEN for run in runs]
    if len(set(thresholds)) == 1:
        return outlines.MaskRule(thresholds[0], cleanup)
    logits = [outlines.MaskRule(threshold).logit for threshold in thresholds]
    return outlines.MaskRule(1 / (1 + math.exp(-sum(logits) / len(logits))), cleanup)


def chosen_on(runs: Sequence[str]) -> str:
    """Returns where the threshold of `rule_of` was chosen, in words; "none" where it was not.

    Raises:
        ValueError: As `rule_of`.
    """
    count = sum(_read(pathlib.Path(run), warns=False) is not None for run in runs)
    if count in (0, len(runs)):
        return "val" if count else "none"
    return f"val for {count} of {len(runs)} runs, {NOT_CHOSEN} for the others"


def write(
    run: pathlib.Path, rule: outlines.MaskRule, num_images: int, model_crc32: int | None = None
) -> None:
    """Keeps the threshold that was chosen on `num_images` of val.

    Args:
        run: The run.
        rule: With the threshold.
        num_images: On how many it was chosen.
        model_crc32: As in `frozen.write`.
    """
    found = {"threshold": rule.threshold, "chosen_on_val_images": num_images}
    frozen.write(run, run_directory.MASK_THRESHOLD, found, model_crc32)


def _read(run, warns):
    """Returns the threshold of a run, None where it has none of its present model."""
    path = run / run_directory.MASK_THRESHOLD
    log = logging.info if warns else logging.debug
    if not path.is_file():
        log(
            "%s has no %s: its masks are cut at probability %s. "
            "python -m lbunet_tf.evaluate --run=%s chooses the threshold on val",
            *(run, path.name, NOT_CHOSEN, run),
        )
        return None
    found = whole_files.read_json(path, ("threshold", "model_crc32"))
    threshold = found["threshold"]
    if not isinstance(threshold, float) or not 0 < threshold < 1:
        raise ValueError(
            f"{path} must hold a threshold between 0 and 1. Received: {threshold!r}. Make it again "
            f"with python -m lbunet_tf.evaluate --run={run}"
        )
    if found["model_crc32"] != whole_files.crc32(run / run_directory.MODEL):
        log(
            "%s is of another model than the run's: its masks are cut at probability %s. "
            "python -m lbunet_tf.evaluate --run=%s chooses the threshold on val",
            *(path, NOT_CHOSEN, run),
        )
        return None
    return threshold
