"""The operating point of a run: chosen by `evaluate` once, kept beside the run, used from then on.

It belongs to one model as it is: the mean of several runs, or of test-time augmentation, scores
otherwise and has none.
"""

import pathlib
from collections.abc import Sequence

from absl import logging

from lbunet_tf.runs import run_directory
from lbunet_tf.storage import whole_files


def threshold_of(runs: Sequence[str], tta: str) -> float | None:
    """Returns the melanoma probability from which an image is flagged, None where none is frozen.

    Args:
        runs: Run directories.
        tta: --tta.

    Raises:
        ValueError: The file is damaged, or holds no threshold between 0 and 1.
    """
    found = read(pathlib.Path(runs[0])) if len(runs) == 1 and tta == "none" else None
    return found["threshold"] if found else None


def read(run: pathlib.Path) -> dict | None:
    """Returns the operating point of a run, None where there is none of its present model.

    Raises:
        ValueError: As `threshold_of`.
    """
    path = run / run_directory.OPERATING_POINT
    if not path.is_file():
        return None
    found = whole_files.read_json(path, ("threshold", "rule", "model_crc32"))
    if not isinstance(found["threshold"], float) or not 0 <= found["threshold"] <= 1:
        raise ValueError(
            f"{path} must hold a threshold between 0 and 1. Received: {found['threshold']!r}. "
            f"Delete it, and choose anew with python -m lbunet_tf.evaluate --run={run}"
        )
    if found["model_crc32"] != whole_files.crc32(run / run_directory.MODEL):
        logging.warning(
            "%s is of another model than the run's and is not used: no image is flagged. "
            "python -m lbunet_tf.evaluate --run=%s chooses anew",
            *(path, run),
        )
        return None
    return found


def write(run: pathlib.Path, point: dict) -> None:
    """Freezes an operating point, for this model of the run; `point` has `threshold` and `rule`."""
    found = {**point, "model_crc32": whole_files.crc32(run / run_directory.MODEL)}
    whole_files.write_json(run / run_directory.OPERATING_POINT, found)
