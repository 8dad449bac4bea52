"""The network, and how it is trained."""

import dataclasses
import math

from lbunet_tf.settings import fields

# Outputs of deep supervision by their stride, and the weight of their loss against the mask's.
AUXILIARY = {"mask_s2": 0.5, "mask_s4": 0.25, "mask_s8": 0.125}


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What the network says, and what it means."""

    mask_source: str = fields.flag(
        "lesion",
        "What the mask head learns: 'lesion', the outline of the lesion; or "
        "'label' (as in the paper), the image's class painted on every pixel.",
        entries=fields.DATA,
        choices=("lesion", "label"),
    )
    heads: tuple[str, ...] = fields.flag(
        ("mask",),
        "Outputs: mask, or mask,melanoma.",
        entries=fields.DATA,
        many=True,
    )
    deep_supervision: bool = fields.flag(
        False,
        "Train further mask outputs at strides 2, 4 and 8 of lbunet's decoder, with losses of "
        "weight 1/2, 1/4, 1/8. They are not in the saved model.",
        needs=(fields.LBUNET,),
    )
    image_score: str = fields.flag(
        "auto",
        "How an image gets its melanoma score: 'mean' or 'max' of the pixel "
        "probabilities (label masks), 'melanoma' (that head); 'auto' takes the head "
        "where there is one, else the mean.",
        choices=("auto", "mean", "max", "melanoma"),
    )

    @property
    def score_rule(self) -> str:
        """What scores melanoma: "melanoma", "mean", "max", or "none" where nothing does."""
        if self.image_score != "auto":
            return self.image_score
        if "melanoma" in self.heads:
            return "melanoma"
        return "mean" if self.mask_source == "label" else "none"

    @property
    def in_training(self) -> tuple[str, ...]:
        """The outputs in training: the heads and, with deep supervision, further masks."""
        return self.heads + (tuple(AUXILIARY) if self.deep_supervision else ())


@dataclasses.dataclass(frozen=True)
class Model:
    """The architecture."""

    model: str = fields.flag(
        "lbunet",
        "Architecture.",
        choices=fields.Keys("models:MODELS"),
    )
    encoder: str = fields.flag(
        "resnet101",
        "Encoder of --model=lbunet.",
        choices=fields.Keys("models.encoders:ENCODERS"),
        refusal="models.encoders:why_unsuitable",
    )
    encoder_weights: str = fields.flag(
        "imagenet",
        "'imagenet', 'none' (random, by --seed), 'hed' (ImageNet, then edges; of vgg16), or the "
        "path of a weights file.",
        is_path=True,
    )
    upsampling: str = fields.flag(
        "nearest",
        "How the decoder of lbunet doubles the resolution.",
        choices=fields.Keys("models.decoder:UPSAMPLINGS"),
        needs=(fields.LBUNET,),
    )
    attention: str = fields.flag(
        "none",
        "Attention in lbunet's decoder: 'gate', attention gates on the skips; 'scse', concurrent "
        "spatial and channel squeeze-and-excitation after each stage.",
        choices=fields.Keys("models.attention_blocks:ATTENTIONS"),
        needs=(fields.LBUNET,),
    )
    bottleneck: str = fields.flag(
        "none",
        "On the deepest features of lbunet: multi-head 'self_attention', or 'aspp' (atrous "
        "spatial pyramid pooling).",
        choices=fields.Keys("models.bottleneck:BOTTLENECKS"),
        needs=(fields.LBUNET,),
    )
    melanoma_pool: str = fields.flag(
        "encoder",
        "What the melanoma head of lbunet sees: 'encoder', the mean of the deepest features; "
        "'mask', the same plus their mean weighted by the predicted mask.",
        choices=fields.Keys("models.heads:MELANOMA_POOLS"),
        needs=(fields.LBUNET, fields.MELANOMA),
    )


@dataclasses.dataclass(frozen=True)
class Loss:
    """What training minimises."""

    mask_loss: str = fields.flag(
        "bce",
        "Loss of the mask head: binary cross-entropy (the paper's), Dice, their sum, focal, "
        "Tversky, focal Tversky, Lovasz hinge, or cross-entropy that gives pixels near the "
        "outline more weight.",
        choices=fields.Keys("training.losses:MASK_LOSSES"),
    )
    melanoma_loss: str = fields.flag(
        "bce",
        "Loss of the melanoma head.",
        choices=fields.Keys("training.losses:MELANOMA_LOSSES"),
        needs=(fields.MELANOMA,),
    )
    label_smoothing: float = fields.flag(
        0.0,
        "Label smoothing of the melanoma head: targets become s/2 and 1 - s/2.",
        minimum=0,
        needs=(fields.MELANOMA,),
    )
    head_weights: tuple[float, ...] = fields.flag(
        (1.0, 1.0),
        "Weights of the losses of the mask and the melanoma head.",
        many=True,
    )
    class_weights: tuple[str, ...] = fields.flag(
        (),
        "Heads whose loss weighs the two classes inversely to their fraction of the training "
        "images (melanoma) or pixels (mask), counting each image once: mask, melanoma, or both.",
        many=True,
    )

    def weights(self, outputs: tuple[str, ...]) -> dict[str, float]:
        """Returns the weight of the loss of each output."""
        weights = dict(zip(("mask", "melanoma"), self.head_weights, strict=True))
        weights |= {name: weights["mask"] * factor for name, factor in AUXILIARY.items()}
        return {name: weights[name] for name in outputs}


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How training minimises it."""

    learning_rate: float = fields.flag(
        1e-4,
        "Learning rate of Adam (betas 0.9 and 0.999).",
    )
    encoder_learning_rate: float = fields.flag(
        0.0,
        "Another learning rate for the encoder of lbunet, usually lower; 0: --learning_rate.",
        minimum=0,
        needs=(fields.LBUNET,),
    )
    frozen_epochs: int = fields.flag(
        0,
        "Epochs in which the encoder's kernels and biases stay as they are, before they are "
        "trained too. --freeze_batch_norm keeps the batch norm statistics as well.",
        minimum=0,
        needs=(fields.LBUNET, fields.PRETRAINED),
    )
    freeze_batch_norm: bool = fields.flag(
        False,
        "Keep the encoder's batch norm as its pretrained weights have it.",
        needs=(fields.LBUNET, fields.PRETRAINED),
    )
    schedule: str = fields.flag(
        "constant",
        "Schedule of the learning rate: constant (the paper's), or half a cosine down to 1 % of "
        "it over --epochs.",
        choices=("constant", "cosine"),
    )
    warmup_epochs: int = fields.flag(
        0,
        "Epochs in which the learning rate rises from 0, before the schedule begins.",
        minimum=0,
    )
    weight_decay: float = fields.flag(
        0.0,
        "Decoupled weight decay (AdamW) of kernels: each step subtracts the learning rate times "
        "this; 0 is plain Adam.",
        minimum=0,
    )
    clip_norm: float = fields.flag(
        0.0,
        "Scale gradients down to this global norm; 0: no clipping.",
        minimum=0,
    )
    gradient_accumulation: int = fields.flag(
        1,
        "Batches whose gradients are averaged before a step.",
        minimum=1,
    )
    average_weights: float = fields.flag(
        0.0,
        "Momentum per batch of an exponential moving average of the weights, as in 0.99; "
        "validation and model.keras then use the average, and batch norm's last statistics. "
        "0: no average.",
        minimum=0,
    )


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long training takes at most."""

    epochs: int = fields.flag(
        30,
        "At most this many epochs.",
        minimum=1,
        maximum=1_000_000,
    )
    patience: int = fields.flag(
        3,
        "Stop after this many epochs without a better --monitor on val.",
        minimum=1,
    )


@dataclasses.dataclass(frozen=True)
class Distillation:
    """What is learnt from other runs."""

    teacher: tuple[str, ...] = fields.flag(
        (),
        "Finished runs, comma-separated, whose mean prediction is mixed into the targets "
        "(distillation); they need this run's preprocessing and heads.",
        many=True,
        is_path=True,
    )
    teacher_weight: float = fields.flag(
        0.5,
        "Weight of the teacher in a known target; an unknown target is the teacher's prediction.",
        minimum=0,
        maximum=1,
    )


@dataclasses.dataclass(frozen=True)
class Device:
    """How the work is spread over the machine."""

    batch_size: int = fields.flag(
        8,
        "Images per step.",
        entries=("train", "evaluate", "predict"),
        minimum=1,
        maximum=65536,
    )
    precision: str = fields.flag(
        "float32",
        "Precision of the arithmetic: float32; mixed_bfloat16 or mixed_float16, Keras' policies "
        "for GPUs; "
        "onednn_bfloat16, convolutions of a CPU with AVX-512 BF16 or AMX; or auto, the fastest of "
        "them for the device. Evaluation after onednn_bfloat16 is in float32, and predict takes "
        "float32 unless it is asked for another.",
        entries=("train", "predict"),
        choices=("float32", "auto", "mixed_bfloat16", "mixed_float16", "onednn_bfloat16"),
    )
    distribution: str = fields.flag(
        "auto",
        "'mirrored': the GPUs of this host, under TensorFlow. 'hosts': this process is one of "
        "several, on one host or more, under KERAS_BACKEND=jax. 'auto': hosts where "
        "KERAS_DISTRIBUTION_* or srun say so, mirrored where TensorFlow sees more than one GPU. "
        "--batch_size is the total over all devices.",
        choices=("auto", "none", "mirrored", "hosts"),
    )
    cache: bool = fields.flag(
        True,
        "Keep decoded, resized images in memory, where they take at most 30 % of what is "
        "available.",
    )

    def steps_per_epoch(self, num_images: int) -> int:
        """Returns the batches of one training epoch, the short last one included."""
        return math.ceil(num_images / self.batch_size)
