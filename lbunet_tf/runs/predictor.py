"""A finished run, or the mean of several, that predicts images and knows their preprocessing.

`lbunet_tf.load` gives it to a person, and `lbunet_tf.predict` writes what it says to disk.
"""

import os
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import keras
import numpy as np

from lbunet_tf.data.pixels import new_images
from lbunet_tf.data.pixels import preprocessing
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import frozen
from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import networks
from lbunet_tf.runs import pipelining
from lbunet_tf.runs import prediction
from lbunet_tf.serving import outlines
from lbunet_tf.serving import postprocessing
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import keywords
from lbunet_tf.settings import released_runs
from lbunet_tf.settings import score_group
from lbunet_tf.storage import file_names


class Predictor:
    """A run, or the mean of several: `predict` takes images as they are on disk or in memory.

    Attributes:
        settings: The flags of the run.
        mask_rule: How logits become a mask.
        threshold: Melanoma probability from which an image is flagged, that of the run's operating
            point; None without one.
        sets: The run's prediction sets, None without them.
        contours: The run's mask contours, None without them.
        calibration: What makes calibrated probabilities; None where they are not asked for.
        keras_model: The model: (B, S, S, 3) RGB in 0..255, prepared as the run's images are, to a
            dict of the logits of its heads, `mask` (B, S, S, 1), `melanoma` (B, 1) and `diagnosis`
            (B, K).
    """

    def __init__(self, settings: config.Config, mask_rule: outlines.MaskRule | None = None):
        """`mask_rule`: as `mask_threshold.rule_of` gives it, where it is known already."""
        self.settings = settings
        self.keras_model: keras.Model = ensemble.load_mean(settings)
        self.mask_rule = mask_rule or mask_threshold.rule_of(
            settings.paths.runs, settings.mask_cleanup
        )
        found = frozen.chosen_of(settings.paths.runs, settings.score)
        self.threshold, self.sets = found.threshold, found.sets
        self.calibration = found.calibration
        contours = frozen.contours_of(settings.paths.runs, settings.score.tta)
        self.contours = contours and contours.around(self.mask_rule.threshold)
        self._logits_of = networks.make_network(
            self.keras_model, settings.results.runtime, settings.device.precision
        )

    def predict(
        self,
        images: str | os.PathLike | np.ndarray | Iterable[str | os.PathLike | np.ndarray],
        batch_size: int | None = None,
    ) -> prediction.Prediction | list[prediction.Prediction]:
        """Returns a Prediction for one image, a list of them for several.

        Args:
            images: One image: the path of a JPEG, PNG, BMP or DICOM file (DICOM where pydicom is
                installed), which is turned as its EXIF orientation says; or (H, W, 3) uint8 RGB,
                upright. Or several: any iterable of these, or (B, H, W, 3) uint8.
            batch_size: How many images the network takes at once; by default as in training.

        Raises:
            ValueError: An image cannot be read, has too many pixels, is no such array, or makes
                the network give NaN. It names the first such image; nothing is returned.
        """
        with keywords.as_arguments():
            if _is_one(images):
                return self._predict_several([images], batch_size)[0]
            return self._predict_several(list(images), batch_size)

    def _predict_several(self, images, batch_size):
        if batch_size is not None:
            keywords.replace(self.settings, batch_size=batch_size)
        step = batch_size or self.settings.device.batch_size
        flags = (self.settings.preprocessing, self.settings.reading.max_megapixels)

        def read(numbered):
            name = _name(*numbered)
            return name, *_read(numbered[1], name, *flags)

        def predict(part):
            names, sizes, squares = zip(*part, strict=True)
            found = self.predict_squares(squares, sizes)
            _refuse_missing(found, names)
            return found

        batches = pipelining.in_batches(
            list(enumerate(images)), step, read, predict, lambda image, read, found: found
        )
        return [one for _, part in batches for one in part]

    def predict_squares(
        self, squares: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]
    ) -> list[prediction.Prediction | None]:
        """Returns the predictions of one batch, None where the network gives no numbers.

        Args:
            squares: (S, S, 3) uint8 each, as `read` gives them.
            sizes: (height, width) of the images they were made of.
        """
        logits = self._logits_of(squares)
        outputs = self.settings.outputs
        rule = (outputs.score_rule, outputs.class_names)
        scores = postprocessing.image_scores(logits, *rule)
        score_logits = postprocessing.score_logits(logits, scores, *rule)
        are_good = postprocessing.are_finite(logits)
        has_outlines = outputs.has_outlines
        of_classes = self._by_class(logits, len(sizes))
        return [
            prediction.Prediction(
                None if np.isnan(scores[number]) else float(scores[number]),
                tuple(size),
                logits["mask"][number] if has_outlines else None,
                self.mask_rule,
                self._is_flagged(scores[number]),
                self._calibrated(score_logits[number]),
                self._set_of(scores[number]),
                self.contours if has_outlines else None,
                of_classes[number],
            )
            if are_good[number]
            else None
            for number, size in enumerate(sizes)
        ]

    def _by_class(self, logits, count):
        """Returns the probability by class of each image, None without a diagnosis head."""
        names = self.settings.outputs.class_names
        if not names:
            return [None] * count
        probabilities = postprocessing.class_probabilities(logits["diagnosis"])
        return [dict(zip(names, row.tolist(), strict=True)) for row in probabilities]

    def _set_of(self, score):
        if self.sets is None or np.isnan(score):
            return None
        return str(self.sets.names(score))

    def _calibrated(self, score_logit):
        if self.calibration is None or np.isnan(score_logit):
            return None
        return float(self.calibration.apply(score_logit))

    def _is_flagged(self, score):
        if self.threshold is None or np.isnan(score):
            return None
        return bool(score >= self.threshold)


def load(
    runs: Sequence[str | os.PathLike], max_megapixels: int | None, **flags: str | bool
) -> Predictor:
    """Returns the Predictor of the mean of runs; `lbunet_tf.load` says what the arguments are."""
    if not runs or not all(isinstance(run, (str, os.PathLike)) for run in runs):
        raise ValueError(
            'load needs at least one run directory, as in load("runs/lesion") or '
            f"load(*several). Received: {', '.join(map(repr, runs)) or 'nothing'}"
        )
    run, *others = (_folder(run) for run in runs)
    changes = {**flags, "other_runs": tuple(others)}
    if max_megapixels is not None:
        changes["max_megapixels"] = max_megapixels
    with keywords.as_arguments():
        return Predictor(keywords.replace(flagfiles.read(run), **changes))


def refuse_changed(
    runs: Sequence[str],
    score: score_group.Score,
    has_contours: bool,
    before: Mapping[str, object],
) -> None:
    """Refuses runs that a training or an evaluation has changed meanwhile.

    Args:
        runs: Their directories.
        score: The flags.
        has_contours: Whether contours are asked for.
        before: What decided the prediction when the command began: what `frozen.described`
            returned then, and as `models` the name of each run with the checksum of its model.

    Raises:
        ValueError: The model is another, or what the run has chosen.
    """
    models = [checksum for _, checksum in before["models"]]
    ensemble.refuse_changed(runs, models, "Give --overwrite to predict all images by the new one.")
    now = frozen.described(runs, score, has_contours)
    changed = [name for name, value in now.items() if before[name] != value]
    if changed:
        name = changed[0]
        raise ValueError(
            f"what evaluate has chosen for {runs[0]} must stay as it is until the "
            "command has ended. Give the same command again, with --overwrite where it has begun "
            f"to predict. Received: {name} {before[name]} when it began, then {now[name]}"
        )


def read(
    path: str, prepared: image_groups.Preprocessing, max_megapixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (the pixels of a file, upright; the (S, S, 3) uint8 that the network sees of them).

    Raises:
        ValueError: It cannot be read or has too many pixels; the message names it.
    """
    image = new_images.read_image(path, max_megapixels)
    return image, np.asarray(preprocessing.prepare_image(image, prepared))


def _folder(run):
    return released_runs.folder_of(os.path.expanduser(os.fspath(run)))


def _is_one(images):
    """Returns whether this is one image, or what was taken for one."""
    is_several = hasattr(images, "__iter__") and getattr(images, "ndim", 4) not in (2, 3)
    return isinstance(images, (str, os.PathLike)) or not is_several


def _name(number, image):
    if isinstance(image, (str, os.PathLike)):
        return file_names.printable(os.fspath(image))
    return f"images[{number}]"


def _read(image, name, prepared, max_megapixels):
    """Returns ((height, width), the square that the network sees) of a path or an array."""
    if isinstance(image, (str, os.PathLike)):
        pixels, square = read(os.path.expanduser(os.fspath(image)), prepared, max_megapixels)
        return pixels.shape[:2], square
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
    of_shape = "" if shape is None else f" of shape {tuple(shape)}"
    if shape is None or len(shape) != 3 or shape[2] != 3 or not all(shape) or dtype != np.uint8:
        raise ValueError(
            f"{name} must be a path, or an array (H, W, 3) of uint8, RGB in 0..255 (of a Pillow "
            f'image numpy.asarray(image.convert("RGB"))). Received: {dtype}{of_shape}'
        )
    return shape[:2], np.asarray(preprocessing.prepare_image(np.asarray(image), prepared))


def _refuse_missing(found, names):
    for one, name in zip(found, names, strict=True):
        if one is None:
            raise ValueError(f"{name}: {postprocessing.NOT_FINITE}")
