"""What authors report of their systems, and how close ours are to them; none of it was run here."""

import dataclasses

# Table I of the paper by model and encoder: accuracy, AUC, Dice. IoU is promised, not printed.
TABLE_I = {
    ("unet", ""): (0.8523, 0.881, 0.78),
    ("lbunet", "resnet34"): (0.8795, 0.902, 0.81),
    ("lbunet", "resnet101"): (0.9047, 0.941, 0.86),
}


@dataclasses.dataclass(frozen=True)
class System:
    """A classifier that the paper surveys.

    Attributes:
        fidelity: "exact", the published network; "faithful-reading", what a text says, with our
            choices where it is silent; "placeholder", something of the kind.
        reported: Its authors' numbers on lesions, "" where there are none. With the paper's
            reference, since no number of it was run.
    """

    fidelity: str
    reported: str = ""


# By --encoder of --model=classifier. What the paper names only as a network has no result of its
# own there. docs/systems.md says more of each.
CLASSIFIERS = {
    **dict.fromkeys(
        (
            *("alexnet_2012", "alexnet_tv", "vgg16", "vgg19", "resnet50", "resnet101"),
            *("densenet121", "mobilenet", "mobilenetv2", "mobilenetv3_small"),
            *("efficientnetb0", "efficientnet_lite0", "vit_b16", "vit_b32"),
        ),
        System("exact"),
    ),
    "ahmad_vit": System("faithful-reading", "accuracy 1.0000 (Ahmad et al. 2024, HAM10000)"),
}
