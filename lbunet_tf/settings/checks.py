"""Which values of the flags fit together: a ValueError names the flag, and how to fix it."""

import math
import re
from collections.abc import Mapping

from lbunet_tf.settings import fields
from lbunet_tf.settings import output_checks

# What counts and sizes of TensorFlow hold, where a flag states no bound of its own.
MAX_INTEGER = 2**31 - 1
# The largest float32: beyond it, a number is infinite in training.
MAX_FLOAT = 3.4028234e38


def check(settings, table: Mapping) -> None:
    """Raises a ValueError that names the first wrong flag.

    Args:
        settings: A `config.Config`.
        table: Its dataclass fields by name.
    """
    values = settings.values()
    given = {name: field for name, field in table.items() if values[name] != field.default}
    for name, field in given.items():
        _check_field(name, values[name], field.metadata)
    _check_data(settings.source, settings.comparison, settings.split, settings.augmentation)
    output_checks.check(settings, given)
    if settings.model.encoder_weights == "hed":
        fields.read("models.hed:refuse_others")(settings.model.encoder)
    if "encoder" in given:
        _check_encoder(settings.model, settings.preprocessing.image_size)
    _check_operating_point(settings.score)
    _check_score(settings.score)
    _check_optimisation(settings.optimizer, settings.budget, settings.model, values)
    _check_partners(settings.distillation, given)
    _check_results(settings.results)


def _check_field(name, value, metadata):
    if not metadata["many"] and metadata["choices"] and value not in metadata["choices"]:
        reason = metadata["refusal"] and fields.read(metadata["refusal"])(value)
        raise ValueError(
            reason
            or f'"--{name}" must be one of {", ".join(metadata["choices"])}. Received: {value}'
        )
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, str):
            _check_text(name, item)
        else:
            _check_number(name, item, metadata)


def _check_text(name, text):
    """Raises a ValueError for a text that a flagfile could not hold, or no path can."""
    if text != text.strip():
        raise ValueError(
            f'"--{name}" must neither begin nor end with white space, which a flagfile loses. '
            f"Rename the file or folder. Received: {text!r}"
        )
    if re.search(r"[\0\n\r]", text):
        raise ValueError(
            f'"--{name}" must be one line without NUL, so that a flagfile can hold it. '
            f"Received: {text!r}"
        )
    if not text.isascii() and text.encode("utf-8", "replace").decode("utf-8") != text:
        raise ValueError(
            f'"--{name}" must be UTF-8. Rename the file or folder, or use a terminal whose '
            f"encoding is UTF-8. Received: {text!r}"
        )


def _check_number(name, number, metadata):
    largest = MAX_INTEGER if isinstance(number, int) else MAX_FLOAT
    lowest = -largest if metadata["minimum"] is None else metadata["minimum"]
    highest = largest if metadata["maximum"] is None else metadata["maximum"]
    if math.isnan(number):
        raise ValueError(f'"--{name}" must be a number. Received: {number}')
    if number < lowest:
        raise ValueError(f'"--{name}" must be at least {lowest}. Received: {number}')
    if number > highest:
        raise ValueError(f'"--{name}" must be at most {highest}. Received: {number}')


def _check_data(source, comparison, split, augmentation):
    sources = ",".join(source.source)
    if source.data_dir and len(source.data_dir) != len(source.source):
        raise ValueError(
            '"--data_dir" must name one folder per source, in the order of --source. '
            f"Received: {len(source.source)} in --source={sources}, "
            f"{len(source.data_dir)} in --data_dir={','.join(source.data_dir)}"
        )
    if not comparison.seeds or len(set(comparison.seeds)) < len(comparison.seeds):
        raise ValueError(
            '"--seeds" must name at least one seed, each once. '
            f"Received: {_listed(comparison.seeds) or 'nothing'}"
        )
    percents = split.split_percent
    if len(percents) not in (3, 4) or sum(percents) != 100 or min(percents) < 1:
        raise ValueError(
            '"--split_percent" must be three or four whole numbers of at least 1 that add up to '
            f"100 (train,val,test or train,val,test,calibration). Received: {_listed(percents)}"
        )
    if split.near_duplicates > 10:
        raise ValueError(
            '"--near_duplicates" must be at most 10 of 64 bits: further apart, chains of different '
            f"lesions make one group of most images. Received: {split.near_duplicates}"
        )
    weights = augmentation.source_weights
    if weights and (len(weights) != len(source.source) or min(weights) <= 0):
        raise ValueError(
            '"--source_weights" must be one positive number per source, in the order of --source. '
            f"Received: {len(source.source)} in --source={sources}, "
            f"--source_weights={_listed(weights)}"
        )
    if weights and len(set(source.source)) < len(source.source):
        raise ValueError(
            f'"--source_weights" needs sources of different names. Received: --source={sources}'
        )


def _check_encoder(model, image_size):
    """Raises a ValueError where the architecture cannot take the encoder, or it the images."""
    if model.model == "unet" or model.encoder not in fields.read("models.backbones:BACKBONES"):
        return
    if model.model == "lbunet":
        raise ValueError(
            f'"--encoder={model.encoder}" gives one vector for an image, of which no decoder can '
            "draw a mask: give --model=classifier with --heads=melanoma, diagnosis or both, or "
            "take another encoder. Received: --model=lbunet"
        )
    fields.read("models.backbones:check_size")(model.encoder, image_size)


def _check_operating_point(score):
    names = ("target_sensitivity", "target_specificity", "cost_ratio")
    given = {name: getattr(score, name) for name in names if getattr(score, name)}
    if len(given) > 1:
        listed = ", ".join(f"--{name}={value:g}" for name, value in given.items())
        raise ValueError(
            f"only one of --{', --'.join(names)} can choose the threshold. Received: {listed}"
        )


def _check_score(score):
    if "ita_estimate" in score.subgroups and not score.ita_estimate:
        raise ValueError('"--subgroups=ita_estimate" needs that estimate: add --ita_estimate')
    if not 0 < score.prevalence < 1:
        raise ValueError(
            f'"--prevalence" must lie between 0 and 1, both excluded. Received: {score.prevalence}'
        )


def _check_results(results):
    known = ("scores", "masks", "overlays")
    if not set(results.write) <= set(known):
        raise ValueError(
            f'"--write" must name some of {", ".join(known)}. Received: {_listed(results.write)}'
        )
    if results.contours and "overlays" not in results.write:
        raise ValueError(
            '"--contours" are drawn on overlays: give --write=overlays too. '
            f"Received: --write={_listed(results.write)}"
        )
    numbers = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", results.shard)
    if not numbers or int(numbers[1]) > int(numbers[2]):
        raise ValueError(
            '"--shard" must be which part of how many, as in 3/16: from 1 to 16. '
            f"Received: {results.shard}"
        )


def _check_optimisation(optimizer, budget, model, values):
    if optimizer.learning_rate <= 0:
        raise ValueError(f'"--learning_rate" must be positive. Received: {optimizer.learning_rate}')
    for name in ("label_smoothing", "average_weights"):
        if values[name] >= 1:
            raise ValueError(f'"--{name}" must be below 1. Received: {values[name]}')
    for name in ("warmup_epochs", "frozen_epochs"):
        if values[name] >= max(budget.epochs, 1):
            raise ValueError(
                f'"--{name}" must be less than --epochs; give --{name}=0 or more epochs. '
                f"Received: --{name}={values[name]}, --epochs={budget.epochs}"
            )
    if model.model == "unet" and model.encoder_weights != "none":
        raise ValueError(
            '"--model=unet" has no pretrained weights: add --encoder_weights=none. Received: '
            f"--encoder_weights={model.encoder_weights}"
        )


def _check_partners(distillation, given):
    """Raises a ValueError for a flag without the one that it belongs to."""
    if "teacher_weight" in given and not distillation.teacher:
        raise ValueError(
            '"--teacher_weight" is the weight of a teacher: add --teacher. Received: '
            f"--teacher_weight={distillation.teacher_weight}"
        )


def _listed(values):
    return ",".join(map(str, values))
