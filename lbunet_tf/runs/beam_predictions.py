"""Predictions of many images by the workers of Apache Beam.

The images go out in parts. A worker predicts a part in a folder of its own, moves its pictures to
their places, and then its lines to a file of their own: each whole, by a new name. Whoever gathers
the files has each image once, whatever was done twice or not at all. What they hold outlives a
kill.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
import threading
import uuid
from collections.abc import Iterator
from collections.abc import Sequence

from lbunet_tf.data import beam
from lbunet_tf.runs import predictor
from lbunet_tf.runs import written_predictions
from lbunet_tf.serving import outlines
from lbunet_tf.settings import config
from lbunet_tf.storage import output_folder
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
        asked: What decides a prediction, for JSON: for other, a worker that lives on loads again.
    """

    settings: config.Config
    mask_rule: outlines.MaskRule
    asked: dict = dataclasses.field(hash=False)

    def results(
        self, rows: Sequence[dict], folder: pathlib.Path
    ) -> Iterator[tuple[list[dict], list[written_predictions.Written | str]]]:
        """Yields what `written_predictions.results` does, once the workers have done it all.

        First comes what an earlier command's workers have done.

        Raises:
            ValueError: Apache Beam is not installed, the model of a run has changed meanwhile, or
                a worker left no result.
        """
        earlier = self._earlier(rows, folder)
        if earlier:
            yield [row for row, _ in earlier], [result for _, result in earlier]
        known = {row["image_id"] for row, _ in earlier}
        left = [row for row in rows if row["image_id"] not in known]
        # What was yielded is in scores.csv now.
        shutil.rmtree(folder / PARTS, ignore_errors=True)
        size = BATCHES * self.settings.device.batch_size
        # Of this command: a worker of an earlier one may still be at work.
        token = uuid.uuid4().hex
        starts = range(0, len(left), size)
        parts = [
            (f"{number:08d}-{self._mark()}-{token}", left[start : start + size])
            for number, start in enumerate(starts)
        ]
        work = functools.partial(self.predict_part, str(folder.absolute()))
        beam.for_each(work, parts, self.settings.preparation.beam_options)
        for name, part in parts:
            path = _path(folder, name)
            if not path.is_file():
                raise ValueError(
                    f"{path} must have been written by a worker of Apache Beam. Workers need the "
                    "images, the run and --output at the same paths as here"
                )
            yield part, _results_in(path)

    def predict_part(self, folder: str, named: tuple[str, list[dict]]) -> str:
        """Predicts a part and writes its file; returns "", that nothing is wrong with the whole."""
        part, rows = named
        # Threads of one worker share a network.
        with _loading:
            trained = _load(self)
        target = pathlib.Path(folder)
        self._refuse_other_command(target)
        # Its own: a runner may give one part to two workers.
        scratch = target / PARTS / uuid.uuid4().hex
        try:
            self._predict_into(scratch, target, part, rows, trained)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return ""

    def _predict_into(self, scratch, target, part, rows, trained):
        batches = written_predictions.results(trained, rows, scratch)
        found = [result for _, several in batches for result in several]
        # Hours may have passed.
        self._refuse_other_command(target)
        for name in (name for row in rows for name in self._pictures(row)):
            if (scratch / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(scratch / name, target / name)
        whole_files.write_json(scratch / "part.json", {"results": found})
        os.replace(scratch / "part.json", _path(target, part))

    def _mark(self):
        """Returns what tells parts of these models and flags from those of others."""
        return hashlib.sha256(_text(self.asked).encode()).hexdigest()[:12]

    def _refuse_other_command(self, folder):
        """Raises where the folder meanwhile belongs to a command with other models or flags."""
        marker = output_folder.read_marker(folder)
        if marker is None or _text(marker.get("asked")) != _text(self.asked):
            raise ValueError(
                f"{folder} must stay the output of the command whose worker this is. It belongs to "
                "another now, and nothing was written to it; stop the workers of the first"
            )

    def _earlier(self, rows, folder):
        """Returns (row, result) of each image that is done and the same as then."""
        found = {}
        for path in sorted((folder / PARTS).glob(f"*-{self._mark()}-*.json")):
            good = (result for result in _results_in(path) if not isinstance(result, str))
            found |= {result.image_id: result for result in good}
        results = [(row, found.get(row["image_id"])) for row in rows]
        return [
            (row, result)
            for row, result in results
            if result
            and result.cells[1] == written_predictions.shown(row["image"])
            and written_predictions.is_unchanged(row, result.seen)
            and all((folder / name).is_file() for name in self._pictures(row))
        ]

    def _pictures(self, row):
        return written_predictions.picture_files(
            row, self.settings.results.write, self.settings.outputs.has_outlines
        )


@functools.lru_cache(1)
def _load(work):
    trained = predictor.Predictor(work.settings, work.mask_rule)
    flags = work.settings
    predictor.refuse_changed(flags.paths.runs, flags.score, flags.results.contours, work.asked)
    return trained


def _text(asked):
    """Returns what decides a prediction, as text, before and after its way through a file."""
    return json.dumps(asked, sort_keys=True)


def _path(folder, name):
    return folder / PARTS / f"{name}.json"


def _results_in(path):
    return [
        result if isinstance(result, str) else written_predictions.Written(*result)
        for result in whole_files.read_json(path)["results"]
    ]
