"""What a network says, and of which kind each of its outputs is."""

import dataclasses

from lbunet_tf.settings import fields

HEADS = ("mask", "melanoma", "diagnosis")
# Outputs of deep supervision by their stride, and the weight of their loss against the mask's.
AUXILIARY = {"mask_s2": 0.5, "mask_s4": 0.25, "mask_s8": 0.125}
# The kinds of output, all of them logits: a value for each pixel (B, S, S, 1), for an image
# (B, 1), or for each of K classes that exclude one another (B, K).
MASK, BINARY, CLASSES = "mask", "binary", "classes"
# The class whose probability is a melanoma score.
MELANOMA_CLASS = "mel"


def kind_of(output: str) -> str:
    """Returns MASK, BINARY or CLASSES, the kind of the output of a name."""
    return {"melanoma": BINARY, "diagnosis": CLASSES}.get(output, MASK)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What the network says, and what it means."""

    mask_source: str = fields.flag(
        "lesion",
        "What the mask head learns: 'lesion', the outline of the lesion; or "
        "'label' (as in the paper), the image's class painted on every pixel.",
        entries=fields.DATA,
        choices=("lesion", "label"),
        needs=(fields.MASK,),
    )
    heads: tuple[str, ...] = fields.flag(
        ("mask",),
        "Outputs, comma-separated: mask, the outline; melanoma, one probability; diagnosis, one "
        "for each of --classes.",
        entries=fields.DATA,
        many=True,
    )
    classes: str = fields.flag(
        "ham10000",
        "Classes of the diagnosis head: 'ham10000' (7), 'isic2019' (8), 'nv_vs_rest', nevus or "
        "anything else, and 'clinical', malignant or benign.",
        entries=fields.DATA,
        choices=fields.Keys("data.diagnoses:CLASS_SETS"),
        needs=(fields.DIAGNOSIS,),
    )
    deep_supervision: bool = fields.flag(
        False,
        "Train further mask outputs at strides 2, 4 and 8 of lbunet's decoder, with losses of "
        "weight 1/2, 1/4, 1/8. They are not in the saved model.",
        needs=(fields.LBUNET, fields.MASK),
    )
    image_score: str = fields.flag(
        "auto",
        "How an image gets its melanoma score: 'mean' or 'max' of the pixel probabilities (label "
        "masks), 'melanoma' (that head), 'diagnosis' (its class mel); 'auto' takes the melanoma "
        "head where there is one, else the diagnosis, else the mean.",
        choices=("auto", "mean", "max", "melanoma", "diagnosis"),
    )

    @property
    def score_rule(self) -> str:
        """What scores melanoma, a value of --image_score, or "none" where nothing does."""
        if self.image_score != "auto":
            return self.image_score
        if "melanoma" in self.heads:
            return "melanoma"
        if MELANOMA_CLASS in self.class_names:
            return "diagnosis"
        return "mean" if self.has_mask and self.mask_source == "label" else "none"

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask head."""
        return "mask" in self.heads

    @property
    def has_outlines(self) -> bool:
        """Whether a mask head learns the outline of the lesion."""
        return self.has_mask and self.mask_source == "lesion"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the diagnosis head in their order; none without that head."""
        if "diagnosis" not in self.heads:
            return ()
        return tuple(fields.read("data.diagnoses:CLASS_SETS")[self.classes])

    @property
    def in_training(self) -> tuple[str, ...]:
        """The outputs in training: the heads and, with deep supervision, further masks."""
        return self.heads + (tuple(AUXILIARY) if self.deep_supervision else ())
