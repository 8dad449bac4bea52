"""Which flags fit the outputs of the network: a ValueError names the flag, and how to fix it."""

from collections.abc import Mapping

from lbunet_tf.settings import fields
from lbunet_tf.settings import output_group


def check(settings, given: Mapping) -> None:
    """Raises a ValueError that names the first wrong flag.

    Args:
        settings: A `config.Config`.
        given: The dataclass fields of the flags that are not at their default, by name.
    """
    _check_heads(settings.outputs, settings.model.model)
    _check_score_rule(settings.outputs, settings.score)
    _check_losses(settings.loss, settings.outputs, settings.split, settings.augmentation)
    _check_needs(settings.model, settings.outputs, settings.values(), given)
    if settings.score.ita_estimate and settings.outputs.mask_source == "label":
        raise ValueError(
            '"--ita_estimate" needs the outline of the lesion, outside of which skin is. '
            f"Received: --mask_source={settings.outputs.mask_source}"
        )
    written = {"masks", "overlays"} & set(settings.results.write)
    if "write" in given and written and not settings.outputs.has_mask:
        raise ValueError(
            f'"--write={_listed(settings.results.write)}" needs a mask head: give --write=scores. '
            f"Received: --heads={_listed(settings.outputs.heads)}"
        )


def _check_heads(outputs, model):
    heads = outputs.heads
    if not heads or set(heads) - set(output_group.HEADS) or len(set(heads)) < len(heads):
        raise ValueError(
            f'"--heads" must name one or more of {", ".join(output_group.HEADS)}, each once. '
            f"Received: --heads={_listed(heads)}"
        )
    if model == "classifier" and outputs.has_mask:
        raise ValueError(
            '"--model=classifier" has no mask head: give --heads=melanoma, diagnosis or both, or '
            f"take --model=lbunet. Received: --heads={_listed(heads)}"
        )


def _check_score_rule(outputs, score):
    heads = f"Received: --heads={_listed(outputs.heads)}"
    rule = outputs.image_score
    if rule == "melanoma" and rule not in outputs.heads:
        raise ValueError(
            f'"--image_score=melanoma" needs that head: add melanoma to --heads. {heads}'
        )
    if rule == "diagnosis" and output_group.MELANOMA_CLASS not in outputs.class_names:
        raise ValueError(
            '"--image_score=diagnosis" needs a diagnosis head whose classes include mel: give '
            f"--heads=diagnosis --classes=ham10000 or isic2019. {heads} --classes={outputs.classes}"
        )
    if rule in ("mean", "max") and not outputs.has_mask:
        raise ValueError(
            f'"--image_score={rule}" needs a mask head: add mask to --heads, or use '
            f"--image_score=auto. {heads}"
        )
    if rule in ("mean", "max") and outputs.mask_source == "lesion":
        raise ValueError(
            f'"--image_score={rule}" needs --mask_source=label: an outline says '
            "nothing about melanoma. Add melanoma to --heads, or use --mask_source=label"
        )
    if score.monitor == "dice" and not outputs.has_mask:
        raise ValueError(
            '"--monitor=dice" needs a mask head: add mask to --heads, or use --monitor=loss. '
            f"{heads}"
        )
    if score.monitor == "dice" and outputs.mask_source == "label":
        raise ValueError(
            '"--monitor=dice" needs --mask_source=lesion: a Dice on painted labels measures the '
            "class. Use --monitor=auc or loss"
        )
    if score.monitor == "auc" and outputs.score_rule == "none":
        raise ValueError(
            '"--monitor=auc" needs a melanoma score: add melanoma to --heads, or diagnosis with a '
            f"class mel, or --mask_source=label. {heads}"
        )
    if score.monitor == "balanced_accuracy" and "diagnosis" not in outputs.heads:
        raise ValueError(
            '"--monitor=balanced_accuracy" needs a diagnosis head: add diagnosis to --heads. '
            f"{heads}"
        )


def _check_losses(loss, outputs, split, augmentation):
    weights = loss.head_weights
    if len(weights) not in (2, 3) or min(weights) <= 0:
        raise ValueError(
            '"--head_weights" must be two or three positive numbers, of mask, melanoma and '
            f"diagnosis. Received: {_listed(weights)}"
        )
    if set(loss.class_weights) - set(outputs.heads):
        raise ValueError(
            f'"--class_weights" must name heads of this run, out of {_listed(outputs.heads)}. '
            f"Received: {_listed(loss.class_weights)}"
        )
    of_images = [head for head in loss.class_weights if head != "mask"]
    of_label = of_images or outputs.mask_source == "label"
    is_redrawn = split.balance == "resample" or augmentation.source_weights
    if loss.class_weights and of_label and is_redrawn:
        raise ValueError(
            f'"--class_weights={_listed(loss.class_weights)}" counts every training image once, '
            "which --balance=resample and --source_weights change: take one of them"
        )
    weighs_pixels = "mask" in loss.class_weights
    if weighs_pixels and loss.mask_loss in fields.read("training.losses:OVERLAP_LOSSES"):
        raise ValueError(
            '"--class_weights=mask" needs a --mask_loss that is a sum over pixels: bce, bce_dice, '
            f"focal or boundary_bce. Received: --mask_loss={loss.mask_loss}"
        )
    if loss.mask_loss == "boundary_bce" and outputs.mask_source == "label":
        raise ValueError(
            '"--mask_loss=boundary_bce" needs --mask_source=lesion: a painted label has no outline'
        )


def _check_needs(model, outputs, values, given):
    """Raises a ValueError for a flag that the network leaves without effect."""
    heads = f"--heads={_listed(outputs.heads)}"
    unmet = {}
    if model.model != "lbunet":
        unmet[fields.LBUNET] = ("is a flag of --model=lbunet", f"--model={model.model}")
    if model.model == "unet":
        unmet[fields.ENCODER] = ("needs an encoder: --model=lbunet", "--model=unet")
    if not outputs.has_mask:
        unmet[fields.MASK] = ("needs a mask head: add mask to --heads", heads)
    if "melanoma" not in outputs.heads:
        unmet[fields.MELANOMA] = (
            "is about the melanoma head: add melanoma to --heads",
            heads,
        )
    if "diagnosis" not in outputs.heads:
        unmet[fields.DIAGNOSIS] = (
            "is about the diagnosis head: add diagnosis to --heads",
            heads,
        )
    if outputs.heads == ("mask",):
        unmet[fields.IMAGE_HEAD] = (
            "is about the melanoma or diagnosis head: add one to --heads",
            heads,
        )
    if model.encoder_weights == "none":
        unmet[fields.PRETRAINED] = (
            "needs a pretrained encoder: random weights must be trained",
            "--encoder_weights=none",
        )
    for need, (reason, cause) in unmet.items():
        for name, field in given.items():
            if need in field.metadata["needs"]:
                value = values[name]
                shown = _listed(value) if isinstance(value, tuple) else value
                raise ValueError(f'"--{name}" {reason}. Received: {cause}, --{name}={shown}')


def _listed(values):
    return ",".join(map(str, values))
