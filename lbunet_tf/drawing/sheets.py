"""Sheets of images with outlines, drawn in the style of `canvas`."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lbunet_tf.drawing import canvas


def mask_sheet(
    sheet: Sequence[dict[str, np.ndarray]],
    rows: pd.DataFrame,
    has_outlines: bool,
    path: pathlib.Path,
) -> None:
    """Draws best, median and worst masks: outline of the target and of the prediction at 0.5.

    Args:
        sheet: `image` (S, S, 3) uint8, `true` and `predicted` (S, S) of each row.
        rows: `best_median_worst` rows in the same order.
        has_outlines: The targets are outlines; if not, the label on every pixel, and the
            probability is drawn.
        path: Where the PNG goes.
    """
    columns = len(sheet) // 3
    with canvas.drawing_style(**{"axes.grid": False}):
        figure, axes = canvas.make_axes(3, columns, (2.6 * columns, 8.6), layout="constrained")
        for axis, picture, row in zip(axes.flat, sheet, rows.itertuples(), strict=True):
            axis.imshow(picture["image"])
            if not has_outlines:
                axis.imshow(picture["predicted"], cmap="viridis", alpha=0.45, vmin=0, vmax=1)
                title = f"label {row.label:.0f}, mean {picture['predicted'].mean():.2f}"
            else:
                axis.contour(picture["true"], [0.5], colors="lime", linewidths=1.6)
                _outline(axis, picture["predicted"], "magenta", 1.2)
                title = f"Dice {row.dice:.2f}, IoU {row.iou:.2f}"
            axis.set_title(f"{row.rank}: {canvas.drawn_name(row.image_id)}\n{title}", fontsize=8)
            axis.set_axis_off()
        note = (
            "green: true outline    magenta: predicted outline"
            if has_outlines
            else "Colour: predicted probability (dark 0, yellow 1).\n"
            "The target is the label on every pixel, not a lesion outline."
        )
        figure.supxlabel(note, fontsize=9)
        canvas.save(figure, path)


def example_sheet(
    sheet: Sequence[dict[str, np.ndarray]],
    rows: pd.DataFrame,
    has_outlines: bool,
    path: pathlib.Path,
) -> None:
    """Draws images with label and score, one line per rank; with outlines where masks are those.

    Args:
        sheet: As in `mask_sheet`, masks only with `has_outlines`; `true` is 0 everywhere where it
            is not known.
        rows: Of the same order, with `image_id`, `score`, `truth` and `rank`; rows of one rank
            stand together.
        has_outlines: Whether there are masks, and not of the label on every pixel.
        path: Where the PNG goes.
    """
    counts = rows["rank"].value_counts(sort=False)
    lines, columns = len(counts), counts.max()
    numbers = rows.groupby("rank", sort=False).cumcount()
    with canvas.drawing_style(**{"axes.grid": False}):
        figure, axes = canvas.make_axes(
            lines, columns, (2.6 * columns, 2.9 * lines + 0.2), layout="constrained"
        )
        for axis in axes.flat:
            axis.set_axis_off()
        for picture, row, column in zip(sheet, rows.itertuples(), numbers, strict=True):
            axis = axes[counts.index.get_loc(row.rank), column]
            axis.imshow(picture["image"])
            if has_outlines:
                _outline(axis, picture["true"], "lime", 1.6)
                _outline(axis, picture["predicted"], "magenta", 1.2)
            name = canvas.drawn_name(row.image_id)
            words = f"{row.rank}\n{name}\n{row.truth}, score {row.score:.3f}"
            axis.set_title(words, fontsize=8)
        if has_outlines:
            figure.supxlabel("green: true outline    magenta: predicted outline", fontsize=9)
        canvas.save(figure, path)


def contact_sheet(
    columns: dict[str, tuple[np.ndarray, np.ndarray]], names: Sequence[str], path: pathlib.Path
) -> None:
    """Draws several versions of images with the outlines of their masks, one image per row.

    Args:
        columns: Title -> images (N, S, S, 3) uint8 and masks (N, S, S) in 0..1.
        names: Of the N images.
        path: Where the PNG goes.
    """
    with canvas.drawing_style(**{"axes.grid": False}):
        figure, axes = canvas.make_axes(
            len(names),
            len(columns),
            (1.7 * len(columns), 1.85 * len(names)),
            layout="constrained",
        )
        for column, (title, (images, masks)) in enumerate(columns.items()):
            for number, axis in enumerate(axes[:, column]):
                axis.imshow(images[number])
                _outline(axis, masks[number], "lime", 0.9)
                axis.set_axis_off()
                name = canvas.drawn_name(names[number]) if column == 0 else ""
                axis.set_title(f"{title}\n{name}" if number == 0 else name, fontsize=7)
        canvas.save(figure, path)


def _outline(axis, mask, colour, width):
    if mask.min() < 0.5 < mask.max():
        axis.contour(mask, [0.5], colors=colour, linewidths=width)
