"""How far a prediction of many images is."""

import sys
import time

import keras
from absl import logging

LINE_SECONDS = 30


class ImageProgress:
    """A bar in a terminal; elsewhere a line of the log each half minute, which a file can keep."""

    def __init__(self, num_images: int):
        self._num_images, self._num_done = num_images, 0
        in_terminal = sys.stdout.isatty()
        self._bar = keras.utils.Progbar(num_images, unit_name="image") if in_terminal else None
        self._last_line = time.monotonic()

    def add(self, num_images: int) -> None:
        """Counts images that are done."""
        self._num_done += num_images
        if self._bar:
            self._bar.add(num_images)
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            logging.info("%d of %d images are predicted", self._num_done, self._num_images)
