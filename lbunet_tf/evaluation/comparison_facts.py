"""What a reader of a comparison's table must know besides its numbers."""

from collections.abc import Sequence

import pandas as pd

from lbunet_tf.evaluation import comparison
from lbunet_tf.settings import training_groups


def of_table(
    summary: pd.DataFrame, split_by: str, budget: training_groups.Budget, seeds: Sequence[int]
) -> dict[str, str]:
    """Returns what a reader must know besides the numbers, name -> sentences."""
    result = {
        "Test images": f"{_counts(summary)}. Nothing was chosen on them.",
        "One split and one budget": f"split by {split_by}, at most {budget.epochs} epochs, "
        f"patience {budget.patience}, seed {', '.join(map(str, seeds))}.",
        "Scores": _meanings(summary)
        + (
            "±: standard deviation over the seeds, which change split, subset and initial weights."
            if len(seeds) > 1
            else _ONE_SEED
            if _has_standard_error(summary)
            else "One seed: nothing here says what another would change."
        ),
        "Training time": "the epochs on this machine, including the effect of other work on it.",
    }
    if "milliseconds" in summary and summary["milliseconds"].notna().any():
        result["Speed"] = (
            "the network alone, batches of 8 that are in memory, the median of 7, all experiments "
            "one after another on this machine."
        )
    if "fidelity" in summary:
        result["Fidelity"] = (
            "exact: the published network; faithful-reading: what a text says, with our choices "
            "where it is silent. Data, head, recipe and budget are ours. What authors report is of "
            "their data and was not run."
        )
    if "label_as_mask_dice" in summary:
        result["Label-as-mask"] = (
            "the mask is the image's class on every pixel, as in the paper. Dice and IoU of such "
            "masks measure the class, not the outline."
        )
    if "reported_auc" in summary:
        result["The paper's numbers"] = (
            "as printed in its Table I. They cannot be reproduced from its text, which gives "
            "neither seed nor split nor the number of test images; its accuracy and Dice fit no "
            "common count, and it prints no IoU. They are not a target."
        )
    return result


_ONE_SEED = (
    "One seed: SE is the standard error of the AUC that the number of test images alone gives "
    "(Hanley and McNeil 1982); it does not include what another seed would change."
)


def _has_standard_error(summary):
    """Returns whether an AUC is shown with its standard error, for want of an interval."""
    if "auc" not in summary:
        return "num_with_class" not in summary
    without = summary["auc_low"].isna() if "auc_low" in summary else True
    return bool((summary["auc"].notna() & without).any())


def _counts(summary):
    """Returns of how many test images each kind of score is; a zero only where nothing else is."""
    # An experiment without a melanoma score, or without masks, says nothing of the others'.
    scored = summary.sort_values("num_scored", key=lambda counts: counts == "0").iloc[0]
    masked = summary.sort_values("num_masks", key=lambda counts: counts == "0").iloc[0]
    found = []
    has_classes = "num_with_class" in summary
    if has_classes:
        classified = summary[summary["num_with_class"] != ""].iloc[0]
        found.append(
            f"{classified['num_with_class']} of a known class, of {classified['num_classes']} "
            "classes"
        )
    if scored["num_scored"] != "0" or not has_classes:
        found.append(
            f"{scored['num_scored']} with label and score, {scored['num_melanoma']} of them "
            "melanomas"
        )
    if masked["num_masks"] != "0" or not has_classes:
        found.append(f"{masked['num_masks']} with a mask")
    return "; ".join(found)


def _meanings(summary):
    of_images = "AUC and accuracy are of images"
    of_masks = "Dice and IoU are means over images at the network's size"
    # Without classes, both are always named.
    is_of_classes = "num_with_class" in summary
    parts = [of_images] * ("auc" in summary or not is_of_classes)
    parts += [of_masks] * ("dice" in summary or not is_of_classes)
    text = f"{'; '.join(parts)}. " if parts else ""
    if is_of_classes:
        text += (
            "Balanced accuracy is the mean over classes of the fraction of a class's images that "
            "are given that class, so that a rare class counts as much as a frequent one. "
        )
    lows = [name for name in comparison.ENDS if name.endswith("low") and name in summary]
    if summary[lows].notna().to_numpy().any():
        text += "In brackets is the 95 % interval by patient. "
    return text
