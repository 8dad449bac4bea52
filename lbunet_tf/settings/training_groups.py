"""The network, and how it is trained."""

import dataclasses
import itertools
import math

from lbunet_tf.settings import fields
from lbunet_tf.settings import output_group


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
        "Encoder of --model=lbunet or classifier. alexnet_2012, alexnet_tv and the ViTs are for "
        "classifier only.",
        choices=fields.Keys("models.encoders:ENCODERS", "models.backbones:BACKBONES"),
        refusal="models.encoders:why_unsuitable",
    )
    encoder_weights: str = fields.flag(
        "imagenet",
        "'imagenet', 'none' (random, by --seed), 'isic2017' (of the network of the package), 'hed' "
        "(ImageNet, then edges; of vgg16), or the path of a weights file or of the folder of a "
        "keras-hub preset.",
        is_path=True,
    )
    upsampling: str = fields.flag(
        "nearest",
        "How the decoder of lbunet doubles the resolution.",
        choices=fields.Keys("models.decoder:UPSAMPLINGS"),
        needs=(fields.LBUNET, fields.MASK),
    )
    attention: str = fields.flag(
        "none",
        "Attention in lbunet's decoder: 'gate', attention gates on the skips; 'scse', concurrent "
        "spatial and channel squeeze-and-excitation after each stage.",
        choices=fields.Keys("models.attention_blocks:ATTENTIONS"),
        needs=(fields.LBUNET, fields.MASK),
    )
    bottleneck: str = fields.flag(
        "none",
        "On the deepest features of lbunet: multi-head 'self_attention', or 'aspp' (atrous "
        "spatial pyramid pooling).",
        choices=fields.Keys("models.bottleneck:BOTTLENECKS"),
        needs=(fields.LBUNET, fields.MASK),
    )
    melanoma_pool: str = fields.flag(
        "encoder",
        "What the melanoma and diagnosis heads of lbunet see: 'encoder', the mean of the deepest "
        "features; 'mask', the same plus their mean weighted by the predicted mask.",
        choices=fields.Keys("models.heads:MELANOMA_POOLS"),
        needs=(fields.LBUNET, fields.MASK, fields.IMAGE_HEAD),
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
        needs=(fields.MASK,),
    )
    melanoma_loss: str = fields.flag(
        "bce",
        "Loss of the melanoma head.",
        choices=fields.Keys("training.losses:MELANOMA_LOSSES"),
        needs=(fields.MELANOMA,),
    )
    label_smoothing: float = fields.flag(
        0.0,
        "Label smoothing of the melanoma and the diagnosis head: a target y becomes "
        "y (1 - s) + s / K, of K classes.",
        minimum=0,
        needs=(fields.IMAGE_HEAD,),
    )
    head_weights: tuple[float, ...] = fields.flag(
        (1.0, 1.0),
        "Weights of the losses of the mask, the melanoma and, where there is one, the diagnosis "
        "head.",
        many=True,
    )
    class_weights: tuple[str, ...] = fields.flag(
        (),
        "Heads whose loss weighs the classes inversely to their fraction of the training images "
        "(melanoma, diagnosis) or pixels (mask), counting each image once; comma-separated.",
        many=True,
    )

    def weights(self, outputs: tuple[str, ...]) -> dict[str, float]:
        """Returns the weight of the loss of each output."""
        weights = dict(itertools.zip_longest(output_group.HEADS, self.head_weights, fillvalue=1.0))
        weights |= {
            name: weights["mask"] * factor for name, factor in output_group.AUXILIARY.items()
        }
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
        "Another learning rate for the encoder, usually lower; 0: --learning_rate.",
        minimum=0,
        needs=(fields.ENCODER,),
    )
    frozen_epochs: int = fields.flag(
        0,
        "Epochs in which the encoder's kernels and biases stay as they are, before they are "
        "trained too. --freeze_batch_norm keeps the batch norm statistics as well.",
        minimum=0,
        needs=(fields.ENCODER, fields.PRETRAINED),
    )
    freeze_batch_norm: bool = fields.flag(
        False,
        "Keep the encoder's batch norm as its pretrained weights have it.",
        needs=(fields.ENCODER, fields.PRETRAINED),
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
