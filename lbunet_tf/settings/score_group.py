"""How a model is scored, and what is chosen for its scores after training."""

import dataclasses

from lbunet_tf.settings import fields


@dataclasses.dataclass(frozen=True)
class Score:
    """How a model is scored, and by what its best epoch is chosen."""

    monitor: str = fields.flag(
        "loss",
        "What the best epoch, early stopping and model.keras are chosen by, on val: the loss, "
        "Dice of the mask head, AUC of the melanoma score (of several sources together), or "
        "balanced accuracy of the diagnosis head.",
        choices=("loss", "dice", "auc", "balanced_accuracy"),
    )
    prevalence: float = fields.flag(
        0.018,
        "Prevalence of melanoma at which PPV and NPV are also stated (ISIC 2020: 0.018).",
        entries=("evaluate",),
    )
    clinic_prevalence: float = fields.flag(
        0.0,
        "Shift calibrated probabilities to a clinic where this fraction of lesions is melanoma, "
        "and keep that in RUN/calibration.json for --calibrated. It assumes that nothing but the "
        "prevalence differs. 0: as frequent as in val.",
        entries=("evaluate",),
        minimum=0,
        maximum=0.9999,
    )
    target_sensitivity: float = fields.flag(
        0.0,
        "Flag images so that at least this fraction of melanomas is flagged; 0: by Youden's index, "
        "the largest sensitivity + specificity. The threshold is chosen on val, or on calibration "
        "where the run has that part, and frozen in RUN/operating_point.json.",
        entries=("evaluate",),
        minimum=0,
        maximum=0.9999,
    )
    target_specificity: float = fields.flag(
        0.0,
        "The same for the fraction of other images that is not flagged.",
        entries=("evaluate",),
        minimum=0,
        maximum=0.9999,
    )
    cost_ratio: float = fields.flag(
        0.0,
        "Flag images at the least cost on val, where one missed melanoma weighs as much as so many "
        "false alarms. 0: not by cost.",
        entries=("evaluate",),
        minimum=0,
    )
    guarantee: float = fields.flag(
        0.0,
        "Confidence with which the target holds for new patients of the same kind, such as 0.95. "
        "It needs enough of them (59 melanomas for 0.95 with 0.95). 0: the target of val alone.",
        entries=("evaluate",),
        minimum=0,
        maximum=0.9999,
    )
    tta: str = fields.flag(
        "none",
        "Test-time augmentation: the mean probability over 4 flips ('flips'), or over 8 "
        "flips and quarter turns ('dihedral'). It takes 4 or 8 times the time and memory.",
        entries=fields.COMBINE + fields.PSEUDO,
        choices=fields.Keys("models.combined:SYMMETRIES"),
    )
    set_coverage: float = fields.flag(
        0.0,
        "Prediction sets (benign, melanoma, or both: refer) hold the true class for this fraction "
        "of the patients of each class, frozen in RUN/conformal.json. 0: those that the run has, "
        "else 0.9.",
        entries=("evaluate",),
        minimum=0,
        maximum=0.999,
    )
    contour_coverage: float = fields.flag(
        0.0,
        "The outer contour of a mask holds this fraction of the lesion, and this fraction of the "
        "inner one is lesion, on average; frozen in RUN/conformal.json. 0: those that the run has, "
        "else 0.95.",
        entries=("evaluate",),
        minimum=0,
        maximum=0.999,
        needs=(fields.MASK,),
    )
    subgroups: tuple[str, ...] = fields.flag(
        ("sex", "age", "site", "skin_type", "source"),
        "Columns of the manifest by which test is also scored in groups; one that is missing, or "
        "has one value only, is left out.",
        entries=("evaluate",),
        many=True,
    )
    subgroup_table: tuple[str, ...] = fields.flag(
        (),
        "CSV files, comma-separated, with a column image_id, image_name, image or isic_id and "
        "flags such as artefacts: test is also scored in groups by their columns of 0 and 1, or by "
        "those that --subgroups names. An image that a file lacks is in the group unknown.",
        entries=("evaluate",),
        many=True,
        is_path=True,
    )
    ita_estimate: bool = fields.flag(
        False,
        "Add to predictions.csv an estimate of how light the skin is (ITA, in degrees), from the "
        "pixels outside the lesion, and what it is at 10 % less and more brightness. It depends on "
        "light and camera, and makes groups only with --subgroups=ita_estimate.",
        entries=("evaluate",),
        needs=(fields.MASK,),
    )
    calibrated: bool = fields.flag(
        False,
        "Add the calibrated probability, by RUN/calibration.json that evaluate made: in predict "
        "the column calibrated_score, in a SavedModel the output calibrated_probability.",
        entries=("predict", "export"),
    )
    mask_cleanup: str = fields.flag(
        "one_region",
        "What becomes of a mask: 'one_region', cut at the threshold that evaluate chose on val, of "
        "which the region of the most lesion probability is kept and its holes are filled; or "
        "'none', every pixel of probability 0.5 or more. Label-as-mask is left as it is.",
        entries=fields.COMBINE,
        choices=("one_region", "none"),
    )
