"""The figures of a run as PNG, drawn from tables."""

import itertools
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import ticker

from lbunet_tf.drawing import canvas

BLUE, ORANGE, GREEN, PINK, GREY = canvas.COLOURS
CURVES = (BLUE, ORANGE, GREEN, PINK, "#56B4E9", "#E69F00", "black")


def class_balance(manifest: pd.DataFrame, path: pathlib.Path) -> None:
    """Draws images by split and class (the paper's Fig. 2, which shows the whole subset)."""
    groups = [
        name
        for name in ("train", "val", "calibration", "test")
        if (manifest["split"] == name).any()
    ]
    names = {1.0: ("melanoma", ORANGE), 0.0: ("not melanoma", BLUE), -1.0: ("unknown", GREY)}
    labels = manifest["label"].fillna(-1.0)
    with canvas.drawing_style():
        figure, [[axes]] = canvas.make_axes(1, 1, (6, 3.6))
        present = [value for value in names if (labels == value).any()]
        width = 0.8 / len(present)
        for position, value in enumerate(present):
            counts = [
                int(((manifest["split"] == name) & (labels == value)).sum()) for name in groups
            ]
            name, colour = names[value]
            x = np.arange(len(groups)) + (position - (len(present) - 1) / 2) * width
            bars = axes.bar(x, counts, width * 0.94, color=colour, label=name)
            axes.bar_label(bars)
        axes.set_xticks(range(len(groups)), groups)
        axes.set_ylabel("images")
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.12)
        # Above: any corner may hold the tallest bar.
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(present))
        canvas.save(figure, path)


def roc(curves: dict[str, Sequence[tuple]], path: pathlib.Path) -> None:
    """Draws ROC curves (the paper's Fig. 3).

    Args:
        curves: Text of the legend -> (false, true positive rates) of each of its runs; they
            share a colour.
        path: Where the PNG goes.
    """
    with canvas.drawing_style():
        figure, [[axes]] = canvas.make_axes(1, 1, (4.8, 4.6))
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance")
        styles = zip(itertools.cycle(CURVES), itertools.cycle(("--", "-", "-.", (0, (1, 1)))))
        for (name, several), (colour, line) in zip(curves.items(), styles, strict=False):
            for number, points in enumerate(several):
                axes.plot(
                    *points,
                    color=colour,
                    linestyle=line,
                    linewidth=1.5 if len(several) == 1 else 0.9,
                    label=None if number else canvas.drawn_name(name),
                )
        axes.set_xlabel("1 - specificity (false positive rate)")
        axes.set_ylabel("sensitivity (true positive rate)")
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.01)
        axes.set_aspect("equal")
        if len(curves) > 2:
            # Inside, the legend would cover the curves.
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=9)
        else:
            axes.legend(loc="lower right")
        canvas.save(figure, path)


def speed(
    names: Sequence[str],
    milliseconds: Sequence[float],
    auc: Sequence[float],
    path: pathlib.Path,
) -> None:
    """Draws the AUC of experiments against their time for an image.

    Args:
        names: Of the experiments.
        milliseconds: Of each, for an image.
        auc: Of each.
        path: Where the PNG goes.
    """
    with canvas.drawing_style():
        figure, [[axes]] = canvas.make_axes(1, 1, (7.2, 4.4))
        points = zip(names, milliseconds, auc, itertools.cycle(CURVES), strict=False)
        for number, (name, x, y, colour) in enumerate(points, 1):
            # Numbers, since names of near points would cover one another.
            label = f"{number}  {canvas.drawn_name(name)}"
            axes.plot(x, y, "o", color=colour, label=label)
            axes.annotate(str(number), (x, y), xytext=(5, 4), textcoords="offset points")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=9)
        axes.set_xscale("log")
        axes.margins(x=0.1, y=0.12)
        # At 1, 2 and 5: the labels of all nine would touch.
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        is_wide = max(milliseconds) > 5 * min(milliseconds)
        axes.xaxis.set_minor_formatter(ticker.NullFormatter() if is_wide else "{x:g}")
        axes.set_xlabel("milliseconds per image (logarithmic)")
        axes.set_ylabel("AUC of test images")
        canvas.save(figure, path)


def reliability(curves: dict[str, tuple], path: pathlib.Path) -> None:
    """Draws reliability diagrams: the fraction of melanomas at each probability.

    Args:
        curves: Name -> (probabilities, fractions, low, high of its band).
        path: Where the PNG goes.
    """
    with canvas.drawing_style():
        figure, [[axes]] = canvas.make_axes(1, 1, (5, 5))
        axes.plot((0, 1), (0, 1), color=GREY, linestyle=":", linewidth=1)
        for (name, (x, fractions, low, high)), colour, line in zip(
            curves.items(), CURVES, itertools.cycle(("-", "--")), strict=False
        ):
            axes.plot(x, fractions, color=colour, linestyle=line, label=canvas.drawn_name(name))
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel("melanoma probability that is said")
        axes.set_ylabel("fraction of melanomas")
        axes.set_aspect("equal")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.legend(loc="upper left", fontsize=9)
        canvas.save(figure, path)


def decision_curve(curve: pd.DataFrame, prevalence: float, path: pathlib.Path) -> None:
    """Draws net benefit by threshold, at the prevalence of the images and at another."""
    panels = (
        ("At the prevalence of these images", ""),
        (f"At a prevalence of {prevalence:.1%}", "_at_prevalence"),
    )
    with canvas.drawing_style():
        figure, axes = canvas.make_axes(1, 2, (9, 3.6), layout="constrained")
        for axis, (title, suffix) in zip(axes.flat, panels, strict=True):
            lines = {"flag by the score": "net_benefit", "flag all": "flag_all"}
            for (label, name), colour, line in zip(
                lines.items(), (BLUE, ORANGE), ("-", "--"), strict=True
            ):
                values = curve[name + suffix]
                axis.plot(curve["threshold"], values, color=colour, linestyle=line, label=label)
            axis.axhline(0, color=GREY, linestyle=":", linewidth=1, label="flag none")
            top = max(curve[["net_benefit" + suffix, "flag_all" + suffix]].to_numpy().max(), 1e-3)
            axis.set_ylim(-0.5 * top, 1.1 * top)
            axis.set_title(title)
            axis.set_xlabel("calibrated probability from which an image is flagged")
            axis.set_ylabel("net benefit per image")
            axis.legend(fontsize=9)
        canvas.save(figure, path)


def training_curves(history: pd.DataFrame, best: int, path: pathlib.Path) -> None:
    """Draws every logged number of train and val by epoch (the paper's Fig. 4 and more).

    `best`: the epoch that was kept, from 1.
    """
    names = [name for name in history if f"val_{name}" in history and not name.endswith("_loss")]
    with canvas.drawing_style():
        columns = min(2, len(names))
        lines = -(-len(names) // columns)
        figure, axes = canvas.make_axes(
            lines, columns, (2.9 * columns, 2.5 * lines + 0.5), layout="constrained"
        )
        for axis, name in zip(axes.flat, names, strict=False):
            axis.plot(history["epoch"], history[name], color=BLUE, marker=".", label="train")
            axis.plot(
                history["epoch"], history[f"val_{name}"], color=ORANGE, marker="x", label="val"
            )
            axis.axvline(best, color=GREY, linestyle=":", label=f"kept, epoch {best}")
            axis.set_title(name.replace("_", " ").replace("auc", "AUC").replace("dice", "Dice"))
            axis.set_xlabel("epoch")
            axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, min_n_ticks=1))
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        figure.legend(
            *axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
        )
        canvas.save(figure, path)


def confusion_matrix(at: dict[str, dict], path: pathlib.Path) -> None:
    """Draws a matrix a threshold; `at`: title -> `threshold_scores` (the paper's Fig. 5)."""
    with canvas.drawing_style(**{"axes.grid": False}):
        figure, axes = canvas.make_axes(1, len(at), (2.9 * len(at), 3.2), layout="constrained")
        for axis, (title, counts) in zip(axes.flat, at.items(), strict=True):
            matrix = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
            _draw_counts(axis, matrix, "{count}\n{fraction:.0%} of row", fontsize=9)
            classes = ("not melanoma", "melanoma")
            axis.set_xticks((0, 1), classes, fontsize=9)
            axis.set_yticks((0, 1), classes, rotation=90, va="center", fontsize=9)
            axis.set_xlabel("predicted")
            axis.set_ylabel("true")
            axis.set_title(title, fontsize=10)
        canvas.save(figure, path)


def class_confusion(matrix: np.ndarray, classes: Sequence[str], path: pathlib.Path) -> None:
    """Draws the counts of true by predicted class, and what part of its row each is.

    Args:
        matrix: (K, K) counts, a row for each true class.
        classes: Their K names.
        path: Where the PNG goes.
    """
    # So that a cell has room for its two lines, whatever the number of classes.
    side = 1.5 + 0.58 * len(classes)
    names = [canvas.drawn_name(name) for name in classes]
    rows = [f"{name} (n={count:,})" for name, count in zip(names, matrix.sum(1), strict=True)]
    with canvas.drawing_style(**{"axes.grid": False}):
        figure, [[axis]] = canvas.make_axes(1, 1, (side + 0.8, side), layout="constrained")
        _draw_counts(axis, matrix, "{count:,}\n{fraction:.0%}", fontsize=8)
        is_long = max(map(len, names)) > 6
        turned = {"rotation": 45, "ha": "right"} if is_long else {}
        axis.set_xticks(range(len(classes)), names, fontsize=9, **turned)
        axis.set_yticks(range(len(classes)), rows, fontsize=9)
        axis.set_xlabel("predicted class")
        axis.set_ylabel("true class")
        canvas.save(figure, path)


def _draw_counts(axis, matrix, words, fontsize):
    """Draws counts, coloured by their part of the row; the words have both where a row has any."""
    totals = matrix.sum(1, keepdims=True)
    fractions = matrix / np.maximum(totals, 1)
    axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        fraction = fractions[row, column]
        text = words.format(count=count, fraction=fraction) if totals[row, 0] else f"{count}"
        colour = "white" if fraction > 0.55 else "black"
        axis.text(column, row, text, fontsize=fontsize, ha="center", va="center", color=colour)


def threshold_curves(
    curves: pd.DataFrame, marks: dict[str, float], prevalence: float, path: pathlib.Path
) -> None:
    """Draws precision, recall, F1 (the paper's Fig. 6) and clinical ratios by threshold."""
    panels = (
        ("Precision, recall, F1", {"precision": BLUE, "recall": ORANGE, "f1": GREEN}),
        (
            f"PPV and NPV here, and at a prevalence of {prevalence:.1%}",
            {"ppv": BLUE, "npv": ORANGE, "ppv_at_prevalence": GREEN, "npv_at_prevalence": PINK},
        ),
        ("Sensitivity and specificity", {"sensitivity": BLUE, "specificity": ORANGE}),
    )
    with canvas.drawing_style():
        figure, axes = canvas.make_axes(3, 1, (5.4, 11), sharex=True, layout="constrained")
        for axis, (title, colours) in zip(axes.flat, panels, strict=True):
            lines = ("-", "--", "-.", ":")
            for (name, colour), line in zip(colours.items(), lines, strict=False):
                values = curves[name].astype(float)
                axis.plot(
                    curves["threshold"], values, color=colour, linestyle=line, label=_label(name)
                )
            for (name, value), line in zip(marks.items(), (":", "-."), strict=False):
                label = f"threshold {value:.2f}" + ("" if name == "0.5" else f", {name}")
                axis.axvline(value, color=GREY, linestyle=line, linewidth=1, label=label)
            axis.set_title(title)
            axis.set_xlabel("threshold on the melanoma score")
            axis.tick_params(labelbottom=True)
            axis.set_ylim(-0.02, 1.02)
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=9)
        canvas.save(figure, path)


def _label(name):
    words = {"f1": "F1", "ppv": "PPV", "npv": "NPV"}
    first, _, rest = name.partition("_")
    return f"{words.get(first, first)} {rest.replace('_', ' ')}".strip()
