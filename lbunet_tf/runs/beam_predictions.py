"""Predictions of many images by the workers of Apache Beam.

The images go out in parts. A worker predicts a part, writes its pictures, and then its lines to a
file of their own, whole or not at all: who gathers the files has each image once, whatever was done
twice or not at all. After a kill, files that are there are kept.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import threading
from collections.abc import Iterator
from collections.abc import Sequence

from lbunet_tf.data import beam
from lbunet_tf.runs import predictor
from lbunet_tf.runs import written_predictions
from lbunet_tf.serving import outlines
from lbunet_tf.settings import config
from lbunet_tf.storage import whole_files

# In the folder of predictions, until they are gathered.
PARTS = ".parts"
# A part has so many batches: seconds of work, far more than its way to a worker takes.
BATCHES = 32
_loading = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Work:
    """What the workers do: they find the run, the images and the folder at their paths.

    Attributes:
        settings: --beam_options are those of Beam's runner.
        mask_rule: Of the run.
    """

    settings: config.Config
    mask_rule: outlines.MaskRule

    def results(
        self, rows: Sequence[dict], folder: pathlib.Path
    ) -> Iterator[tuple[list[dict], list[written_predictions.Written | str]]]:
        """Yields what `written_predictions.results` does, once the workers have done it all.

        Raises:
            ValueError: Apache Beam is not installed, or a worker left no result.
        """
        size = BATCHES * self.settings.device.batch_size
        parts = [list(rows[start : start + size]) for start in range(0, len(rows), size)]
        left = [part for part in parts if not self._is_done(part, folder)]
        work = functools.partial(self.predict_part, str(folder.absolute()))
        beam.for_each(work, left, self.settings.preparation.beam_options)
        for part in parts:
            path = _path(folder, part)
            if not path.is_file():
                raise ValueError(
                    f"{path} must have been written by a worker of Apache Beam. Workers need the "
                    "images, the run and --output at the same paths as here"
                )
            yield part, _results_in(path)
            # What was yielded is in scores.csv now.
            path.unlink()
        if parts:
            (folder / PARTS).rmdir()

    def predict_part(self, folder: str, rows: list[dict]) -> str:
        """Predicts a part and writes its file; returns "", that nothing is wrong with the whole."""
        # Threads of one worker share a network.
        with _loading:
            trained = _load(self)
        batches = written_predictions.results(trained, rows, pathlib.Path(folder))
        found = [result for _, several in batches for result in several]
        whole_files.write_json(_path(pathlib.Path(folder), rows), {"results": found})
        return ""

    def _is_done(self, rows, folder):
        """Returns whether an earlier command predicted a part, and its images are the same."""
        path = _path(folder, rows)
        return path.is_file() and all(
            not isinstance(result, str)
            and result.seen == written_predictions.seen(row)
            and all((folder / name).is_file() for name in self._pictures(row))
            for row, result in zip(rows, _results_in(path), strict=True)
        )

    def _pictures(self, row):
        return written_predictions.picture_files(
            row, self.settings.results.write, self.settings.outputs.mask_source == "lesion"
        )


@functools.lru_cache(1)
def _load(work):
    return predictor.Predictor(work.settings, work.mask_rule)


def _path(folder, rows):
    names = json.dumps([[row["image_id"], row["image"]] for row in rows])
    return folder / PARTS / f"{hashlib.sha256(names.encode()).hexdigest()[:32]}.json"


def _results_in(path):
    return [
        result if isinstance(result, str) else written_predictions.Written(*result)
        for result in whole_files.read_json(path)["results"]
    ]
