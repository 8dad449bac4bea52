"""What every picture of Matplotlib is drawn on: our style, axes, and files that are known again.

Without pyplot, so that the backend of a notebook is neither needed nor changed, and in
Matplotlib's own style, whatever the user's matplotlibrc says.
"""

import contextlib
import os
import pathlib
import warnings
from collections.abc import Iterator

import matplotlib.figure
from matplotlib import style
from PIL import Image

# Okabe and Ito: told apart by colour-blind readers and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666")
# By this a PNG of ours is known again.
SOFTWARE = "lbunet_tf"
STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 140,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    # Names of images and runs are no formulas: a "$" is a "$".
    "text.parse_math": False,
}
# Characters of a name that are drawn; a longer one would widen the figure without end.
MAX_NAME = 80


@contextlib.contextmanager
def drawing_style(**changes) -> Iterator[None]:
    """Draws in our style; what the font lacks becomes a box, without a warning for each."""
    with style.context(["default", {**STYLE, **changes}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def make_axes(rows: int, columns: int, figsize: tuple, layout: str | None = None, **keywords):
    """Returns a figure of `figsize` inches, and its axes (rows, columns)."""
    figure = matplotlib.figure.Figure(figsize, layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False, **keywords)


def save(figure: matplotlib.figure.Figure, path: pathlib.Path) -> None:
    """Writes a figure, a PNG with the mark of this package; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Software": SOFTWARE} if path.suffix.lower() == ".png" else None
    figure.savefig(path, bbox_inches="tight", metadata=metadata)


def drawn_name(name: str) -> str:
    """Returns a name as it is drawn: one line of printable characters, its middle left out."""
    name = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name
    )
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME // 2]}\N{HORIZONTAL ELLIPSIS}{name[1 - MAX_NAME // 2 :]}"
    # A legend leaves out labels that begin with an underscore.
    return f" {name}" if name.startswith("_") else name


def is_ours(path: str | os.PathLike) -> bool:
    """Returns whether a file is a PNG that this module drew."""
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == SOFTWARE
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
