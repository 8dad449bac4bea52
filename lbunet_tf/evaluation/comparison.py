"""The table of a comparison, with one row per run, then one row per experiment over its seeds."""

import math

import pandas as pd

from lbunet_tf.evaluation import reported
from lbunet_tf.evaluation import scores
from lbunet_tf.settings import config
from lbunet_tf.settings import published_flags

MASK_NAMES = ("dice", "iou", "thresholded_jaccard", "pixel_accuracy")
SCORES = (
    "auc",
    "auc_standard_error",
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    *(f"{prefix}{name}" for prefix in ("", scores.LABEL_AS_MASK) for name in MASK_NAMES),
)
COUNTS = ("epochs", "best_epoch", "training_seconds")
# Of the test images, which seeds may differ in.
COUNTED = ("num_scored", "num_melanoma", "num_masks", "num_with_class", "num_classes")
ENDS = tuple(f"{name}_{end}" for name in ("auc", "balanced_accuracy") for end in ("low", "high"))
SHOWN = {
    "experiment": "experiment",
    "encoder": "encoder",
    "encoder_weights": "initial weights",
    "trainable_parameters": "trainable parameters",
    "auc": "AUC",
    "accuracy": "accuracy at 0.5",
    "balanced_accuracy": "balanced accuracy of classes",
    "dice": "Dice",
    "iou": "IoU",
    "label_as_mask_dice": "label-as-mask Dice",
    "label_as_mask_iou": "label-as-mask IoU",
    "epochs": "epochs (best)",
    "training_seconds": "training time",
    "milliseconds": "ms per image",
    "fidelity": "fidelity",
    "of_authors": "reported by its authors, not run",
    "reported": "the paper reports: accuracy, AUC, Dice",
}


def make_row(experiment: str, settings: config.Config, training: dict, test: dict) -> dict:
    """Returns the row of one run.

    Args:
        experiment: Its name.
        settings: Its flags.
        training: `training.json`.
        test: The test part of `metrics.json`.
    """
    encoder = "" if settings.model.model == "unet" else settings.model.encoder
    row = {
        "experiment": experiment,
        "seed": settings.source.seed,
        "model": settings.model.model,
        "encoder": encoder,
        "encoder_weights": published_flags.without_folders(settings).model.encoder_weights,
        "trainable_parameters": training["trainable_parameters"],
        **{name: training[name] for name in COUNTS},
        "num_scored": test.get("num_scored", 0),
        "num_melanoma": test.get("num_melanoma", 0),
        "num_masks": test.get("num_masks", 0),
        **{name: test[name] for name in SCORES if test.get(name) is not None},
        **_of_classes(test),
    }
    if "auc" in row:
        counts = row["num_melanoma"], row["num_scored"] - row["num_melanoma"]
        row["auc_standard_error"] = auc_standard_error(row["auc"], *counts)
        interval = test.get("intervals", {}).get("auc", {})
        row |= {f"auc_{end}": interval.get(end) for end in ("low", "high")}
    if settings.model.model == "classifier" and encoder in reported.CLASSIFIERS:
        system = reported.CLASSIFIERS[encoder]
        row |= {"fidelity": system.fidelity, "of_authors": system.reported}
    if settings.outputs.mask_source == "label" and "isic2020" in settings.source.source:
        row.update(_reported(settings.model.model, encoder))
    return row


def _of_classes(part):
    """Returns balanced accuracy, its interval, and of what it is; {} without a known class."""
    found = part.get("diagnosis", {})
    if "balanced_accuracy" not in found:
        return {}
    interval = found["intervals"]["balanced_accuracy"]
    return {
        "num_with_class": found["num_with_class"],
        "num_classes": len(found["classes"]) - len(found["absent"]),
        "balanced_accuracy": found["balanced_accuracy"],
        "balanced_accuracy_low": interval["low"],
        "balanced_accuracy_high": interval["high"],
    }


def _reported(model, encoder):
    names = ("reported_accuracy", "reported_auc", "reported_dice")
    return dict(zip(names, reported.TABLE_I.get((model, encoder), ()), strict=False))


def auc_standard_error(auc: float, num_positive: int, num_negative: int) -> float:
    """Returns the standard error of an AUC from the number of images (Hanley and McNeil 1982).

    NaN for an AUC of 0 or 1, where the formula says 0 however few the images are.
    """
    if auc in (0, 1):
        return math.nan
    both_positive, both_negative = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc)
        + (num_positive - 1) * (both_positive - auc**2)
        + (num_negative - 1) * (both_negative - auc**2)
    ) / (num_positive * num_negative)
    return math.sqrt(variance)


def validation_scores(val: dict, training: dict) -> dict[str, float]:
    """Returns what runs may be sorted and chosen by: scores of val, never of test, and minutes."""
    known = {**val, **_of_classes(val)}
    names = [name for name in SCORES if known.get(name) is not None]
    return {
        **{f"val {name.replace('_', ' ')}": known[name] for name in names},
        "val loss": training["val_loss"],
        "training minutes": training["training_seconds"] / 60,
    }


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per experiment, in the order given: means over its seeds.

    NAME_spread is the standard deviation over seeds (n - 1); NaN for one seed. Intervals are of one
    run: over several seeds there are none.
    """
    rows = []
    for _, part in runs.groupby("experiment", sort=False):
        row = part.iloc[0].drop("seed").to_dict()
        row["seeds"] = ",".join(map(str, part["seed"]))
        for name in (*SCORES, *COUNTS):
            if name in runs:
                row[name] = part[name].mean()
                row[f"{name}_spread"] = part[name].std()
        if len(part) > 1:
            row = {name: value for name, value in row.items() if name not in ENDS}
        for name in COUNTED:
            if name in runs:
                # Runs without a diagnosis make floats of the counts of the others.
                row[name] = "/".join(dict.fromkeys(str(int(n)) for n in part[name].dropna()))
        rows.append(row)
    return pd.DataFrame(rows)


def readable(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns the table as people read it: words for names, text in the cells."""
    shown = [name for name in SHOWN if name in summary or name == "reported"]
    if "reported_auc" not in summary:
        shown.remove("reported")
    if "milliseconds" in shown and summary["milliseconds"].isna().all():
        shown.remove("milliseconds")
    if "of_authors" in shown and not (summary["of_authors"].fillna("") != "").any():
        shown.remove("of_authors")
    cells = [{SHOWN[name]: _cell(name, row) for name in shown} for _, row in summary.iterrows()]
    return pd.DataFrame(cells)


def _cell(name, row):
    if name == "reported":
        values = [row["reported_accuracy"], row["reported_auc"], row["reported_dice"]]
        return "-" if pd.isna(values[0]) else "{:.4f}, {:.3f}, {:.2f}".format(*values)
    if name == "training_seconds":
        return f"{row[name] / 60:.1f} min"
    if name == "epochs":
        return f"{row[name]:.3g} ({row['best_epoch']:.3g})"
    if name == "trainable_parameters":
        return f"{row[name]:,}"
    if name == "milliseconds":
        return "-" if pd.isna(row[name]) else f"{row[name]:.1f}"
    if name in SCORES:
        return score_cell(name, row)
    return "-" if pd.isna(row[name]) else str(row[name]) or "-"


def score_cell(name: str, row: pd.Series) -> str:
    """Returns the mean and its spread over seeds.

    For one seed with the 95 % interval, and an AUC without one with its standard error.
    """
    if pd.isna(row[name]):
        return "-"
    if not pd.isna(row[f"{name}_spread"]):
        return f"{row[name]:.3f} ± {row[f'{name}_spread']:.3f}"
    low, high = (row.get(f"{name}_{end}") for end in ("low", "high"))
    if not pd.isna(low):
        return f"{row[name]:.3f} ({low:.3f} to {high:.3f})"
    error = row["auc_standard_error"] if name == "auc" else math.nan
    return f"{row[name]:.3f}" + ("" if pd.isna(error) else f" (SE {error:.3f})")


def to_markdown(title: str, summary: pd.DataFrame, notes: dict[str, str]) -> str:
    """Returns the table and its notes as Markdown."""
    table = readable(summary)
    lines = [f"# {title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
    lines += [_line(row) for row in table.itertuples(index=False)]
    lines += ["", *(f"- {name}: {text}" for name, text in notes.items())]
    return "\n".join(lines) + "\n"


def _line(cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
