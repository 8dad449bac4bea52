"""Images with the outlines of masks."""

import numpy as np
from PIL import Image

GREEN, MAGENTA, CYAN, YELLOW = (0, 255, 0), (255, 0, 255), (0, 255, 255), (255, 255, 0)


def draw(images: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns (B, H, W, 3) uint8: images with the outlines of true and predicted masks.

    Green and magenta differ in brightness as well as hue, so a colour-blind reader can
    tell them apart. Images are RGB in 0..255, masks (B, H, W, 1).
    """
    result = images.astype("uint8").copy()
    for mask, colour in ((true, GREEN), (predicted, MAGENTA)):
        result[outline(mask[..., 0] > 0)] = colour
    return result


def draw_one(
    image: np.ndarray,
    predicted: np.ndarray,
    outer: np.ndarray | None = None,
    inner: np.ndarray | None = None,
) -> np.ndarray:
    """Returns (H, W, 3) uint8: an image with the outline of a predicted mask, in magenta.

    Args:
        image: (H, W, 3) uint8 RGB.
        predicted: (H, W) bool.
        outer: (H, W) bool, whose outline is drawn in cyan; None without it.
        inner: (H, W) bool, in yellow; None without it.
    """
    result = image.astype("uint8").copy()
    for mask, colour in ((outer, CYAN), (inner, YELLOW), (predicted, MAGENTA)):
        if mask is not None:
            result[outline(mask[None])[0]] = colour
    return result


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """Returns (H, W, 3) uint8 whose sides are at most `side`, by averaging whole pixels.

    An image that is small enough stays as it is.
    """
    factor = -(-max(image.shape[:2]) // side)
    return image if factor == 1 else np.asarray(Image.fromarray(image).reduce(factor))


def outline(masks: np.ndarray) -> np.ndarray:
    """Returns (B, H, W) bool: mask pixels with a neighbour outside the mask or the image."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    inner = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    return masks & ~inner
