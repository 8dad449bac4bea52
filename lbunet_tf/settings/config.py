"""Every flag of the package, as a field of one frozen dataclass; `flagfiles` reads them."""

import dataclasses
import math
import os

from lbunet_tf.settings import checks

TRAIN = ("train",)
DATA = ("train", "prepare")
SOURCE = ("train", "prepare", "evaluate", "pseudo_label")
RUN = ("train", "evaluate", "predict", "export", "compare", "tune", "pseudo_label")
COMPARE = ("compare",)
TUNE = ("tune",)
PSEUDO = ("pseudo_label",)
# The entries that take --run several times.
COMBINE = ("evaluate", "predict", "export")
# The largest seed that NumPy and Keras take.
MAX_SEED = 2**32 - 1
# Outputs of deep supervision by their stride, and the weight of their loss beside the mask's.
AUXILIARY = {"mask_s2": 0.5, "mask_s4": 0.25, "mask_s8": 0.125}


def _flag(
    default,
    help,
    section,
    entries=TRAIN,
    choices=None,
    many=False,
    minimum=None,
    maximum=None,
    is_path=False,
):
    metadata = {
        "help": help,
        "section": section,
        "entries": entries,
        "choices": choices,
        "many": many,
        "minimum": minimum,
        "maximum": maximum,
        "is_path": is_path,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """The resolved flags of one run. Field names are flag names.

    A leading `~` of a path is the home folder, also where the shell leaves it as it is (after =).
    """

    run: str = _flag(
        "",
        "The run directory: everything about one run is written here. evaluate, predict and "
        "export take it several times, as in --run=A --run=B: the mean probability of all.",
        "Run",
        entries=RUN,
        is_path=True,
    )
    # The runs that --run names after the first; no flag of its own.
    other_runs: tuple[str, ...] = _flag((), "", "Run", entries=(), is_path=True)
    overwrite: bool = _flag(
        False,
        "Start again where --run holds another or a finished run, and delete that one, but for its "
        "exports and files of others; predict, pseudo_label, prepare: replace what they wrote "
        "before. Nothing is deleted without it.",
        "Run",
        entries=("train", "predict", "pseudo_label", "prepare"),
    )
    experiments: tuple[str, ...] = _flag(
        (),
        "What is compared, comma-separated: flagfiles, which are trained to RUN/NAME/seed-N, and "
        "finished run directories, which are taken as they are.",
        "Run",
        entries=COMPARE,
        many=True,
        is_path=True,
    )
    seeds: tuple[int, ...] = _flag(
        (0,),
        "Seeds, comma-separated; each flagfile is trained once with each.",
        "Run",
        entries=COMPARE,
        many=True,
        minimum=0,
        maximum=MAX_SEED,
    )
    space: str = _flag(
        "optimization",
        "Which flags are searched: 'optimization' (learning rates, schedule, decay, averaging, "
        "batch), 'loss', 'augmentation', 'decoder', or 'all'. What the command line itself names, "
        "outside a flagfile, is fixed.",
        "Run",
        entries=TUNE,
        choices=("optimization", "loss", "augmentation", "decoder", "all"),
    )
    trials: int = _flag(
        20,
        "How many trainings the search makes, the first with the flags as given. May be raised "
        "later: the search goes on.",
        "Run",
        entries=TUNE,
        minimum=1,
    )
    objective: str = _flag(
        "dice",
        "What trials are compared by, on val: Dice of the mask head, AUC of the melanoma score, or "
        "the loss. It is also their --monitor, unless that is given.",
        "Run",
        entries=TUNE,
        choices=("dice", "auc", "loss"),
    )
    seed: int = _flag(
        0,
        "Seeds subset, split, order, initial weights and drawn images; evaluate: the draw of "
        "--max_images, and drawn images.",
        "Run",
        entries=SOURCE,
        minimum=0,
        maximum=MAX_SEED,
    )
    source: tuple[str, ...] = _flag(
        (),
        "Where images come from, one or several, comma-separated: "
        "isic2016 to isic2020, isic_archive, ham10000, ph2, folder, manifest, records, synthetic. "
        "evaluate: score all its images instead of the run's own test images, but for those that "
        "the run has seen.",
        "Data",
        entries=SOURCE,
        many=True,
    )
    source_weights: tuple[float, ...] = _flag(
        (),
        "Relative shares of a training epoch's images, one a source, as in 1,3; the epoch keeps "
        "its length. Empty: every image once.",
        "Data",
        many=True,
    )
    data_dir: tuple[str, ...] = _flag(
        (),
        "One folder a source, in the same order: the official download as it "
        "lies on disk (manifest: the CSV file; records: what prepare --records wrote; synthetic: "
        "where to draw).",
        "Data",
        entries=SOURCE,
        many=True,
        is_path=True,
    )
    allow_missing_images: bool = _flag(
        False,
        "Go on without images that the labels name but the folder lacks (a "
        "partial download). They are counted and listed in skipped.csv.",
        "Data",
        entries=SOURCE,
    )
    on_bad_image: str = _flag(
        "error",
        "What to do about an image or mask that cannot be decoded: 'error' names it, and train "
        "then stops, while the other commands do everything else first and end with exit status "
        "1; 'skip' does without it, counts it and lists it in skipped.csv.",
        "Data",
        entries=SOURCE,
        choices=("error", "skip"),
    )
    max_megapixels: int = _flag(
        100,
        "Refuse images and masks of more millions of pixels, by their headers and before they are "
        "decoded: a small file may claim any size. export: the limit of the model's signature.",
        "Data",
        entries=(*SOURCE, "predict", "export"),
        minimum=1,
    )
    verify_images: str = _flag(
        "quick",
        "How the images of a run are compared with those that it was made of, by a training that "
        "goes on, evaluate and pseudo_label: 'quick', by size, first and last bytes; or 'whole'.",
        "Data",
        entries=("train", "evaluate", "pseudo_label"),
        choices=("quick", "whole"),
    )
    mask_source: str = _flag(
        "lesion",
        "What the mask head learns: 'lesion', the outline of the lesion; or "
        "'label', the paper's, the image's class painted on every pixel.",
        "Data",
        entries=DATA,
        choices=("lesion", "label"),
    )
    balance: str = _flag(
        "none",
        "'subset': all melanomas and --benign_count of the rest (the paper's); "
        "'resample': within each source the classes equally often in a training epoch, images "
        "without a label as often as before; or 'none'.",
        "Data",
        entries=DATA,
        choices=("none", "subset", "resample"),
    )
    benign_count: int = _flag(
        500,
        "Benign images that --balance=subset draws (paper: 500).",
        "Data",
        entries=DATA,
        minimum=1,
    )
    max_images: int = _flag(
        0,
        "Use a seeded draw of at most this many images; 0 uses all. evaluate: of --source, beside "
        "the run's own val, on which the threshold is chosen.",
        "Data",
        entries=SOURCE,
        minimum=0,
    )
    split_by: str = _flag(
        "patient",
        "What stays on one side: 'patient' (with lesion and known duplicates), "
        "'image' (the paper's random split), or 'official' (keep the parts of the "
        "download; only its training part is divided).",
        "Data",
        entries=DATA,
        choices=("patient", "image", "official"),
    )
    near_duplicates: int = _flag(
        -1,
        "Images whose 64-bit perceptual hashes differ in at most so many bits, 0 to 10, are near-"
        "duplicates, which --split_by=patient keeps on one side and the leak check counts; 2 is "
        "careful. -1 does not look for them.",
        "Data",
        entries=DATA,
        minimum=-1,
    )
    split_percent: tuple[int, ...] = _flag(
        (70, 15, 15),
        "Per cent of images for train, val and test.",
        "Data",
        entries=DATA,
        many=True,
    )
    synthetic_count: int = _flag(
        1000,
        "Images that --source=synthetic draws.",
        "Data",
        entries=SOURCE,
        minimum=12,
    )
    image_size: int = _flag(
        128,
        "Side of the square that the network sees, in pixels (the paper says 128 and 124).",
        "Data",
        entries=DATA,
        minimum=16,
        maximum=8192,
    )
    antialias: bool = _flag(
        False,
        "Low-pass before shrinking. Off is the paper's (albumentations Resize).",
        "Data",
        entries=DATA,
    )
    shades_of_gray: bool = _flag(
        False,
        "Colour constancy: scale the channels so that their Minkowski means (p = 6) are equal.",
        "Data",
        entries=DATA,
    )
    remove_hair: bool = _flag(
        False,
        "Find long, thin, dark lines (hairs, a ruler) and fill them from their surroundings.",
        "Data",
        entries=DATA,
    )
    augment: str = _flag(
        "none",
        "Training augmentation: 'none' (the paper's); 'flips'; 'dermoscopy' (flips, rotation, "
        "scale, colour, blur, drawn hair, ruler, dark corner); 'albumentations' (a recipe of "
        "that library); 'keras_cv' (of batches: flips and RandAugment's colours by keras_cv, "
        "MixUp, CutMix).",
        "Data",
        entries=DATA,
        choices=("none", "flips", "dermoscopy", "albumentations", "keras_cv"),
    )
    model: str = _flag("lbunet", "Architecture.", "Model", choices=("lbunet", "unet"))
    encoder: str = _flag(
        "resnet101",
        "Encoder of --model=lbunet.",
        "Model",
        choices=("resnet101", "resnet50", "resnet34", "efficientnet_lite0"),
    )
    encoder_weights: str = _flag(
        "imagenet",
        "'imagenet', 'none' (random, by --seed), or the path of a weights file.",
        "Model",
        is_path=True,
    )
    upsampling: str = _flag(
        "nearest",
        "How the decoder of lbunet doubles the resolution.",
        "Model",
        choices=("nearest", "bilinear", "transposed"),
    )
    attention: str = _flag(
        "none",
        "In the decoder of lbunet: 'gate', attention gates on the skips; 'scse', concurrent "
        "spatial and channel squeeze-and-excitation after each stage.",
        "Model",
        choices=("none", "gate", "scse"),
    )
    bottleneck: str = _flag(
        "none",
        "On the deepest features of lbunet: multi-head 'self_attention', or 'aspp' (atrous "
        "spatial pyramid pooling).",
        "Model",
        choices=("none", "self_attention", "aspp"),
    )
    deep_supervision: bool = _flag(
        False,
        "Train further mask outputs at strides 2, 4 and 8 of lbunet's decoder, with losses of "
        "weight 1/2, 1/4, 1/8. They are not in the saved model.",
        "Model",
    )
    heads: tuple[str, ...] = _flag(
        ("mask",),
        "Outputs: mask, or mask,melanoma.",
        "Model",
        entries=DATA,
        many=True,
    )
    melanoma_pool: str = _flag(
        "encoder",
        "Where the melanoma head of lbunet looks: 'encoder', the mean of the deepest features; "
        "'mask', their mean weighted by the predicted mask, beside it.",
        "Model",
        choices=("encoder", "mask"),
    )
    image_score: str = _flag(
        "auto",
        "How an image gets its melanoma score: 'mean' or 'max' of the pixel "
        "probabilities (label masks), 'melanoma' (that head); 'auto' takes the head "
        "where there is one, else the mean.",
        "Model",
        choices=("auto", "mean", "max", "melanoma"),
    )
    epochs: int = _flag(30, "At most this many epochs.", "Training", minimum=1, maximum=1_000_000)
    batch_size: int = _flag(
        8,
        "Images a step.",
        "Training",
        entries=("train", "evaluate", "predict"),
        minimum=1,
        maximum=65536,
    )
    mask_loss: str = _flag(
        "bce",
        "Loss of the mask head: binary cross-entropy (the paper's), Dice, their sum, focal, "
        "Tversky, focal Tversky, Lovasz hinge, or cross-entropy that counts pixels near the "
        "outline more.",
        "Training",
        choices=(
            "bce",
            "dice",
            "bce_dice",
            "focal",
            "tversky",
            "focal_tversky",
            "lovasz",
            "boundary_bce",
        ),
    )
    melanoma_loss: str = _flag(
        "bce", "Loss of the melanoma head.", "Training", choices=("bce", "focal")
    )
    label_smoothing: float = _flag(
        0.0,
        "Of the melanoma head: targets become s/2 and 1 - s/2.",
        "Training",
        minimum=0,
    )
    head_weights: tuple[float, ...] = _flag(
        (1.0, 1.0),
        "Weights of the losses of the mask and the melanoma head.",
        "Training",
        many=True,
    )
    class_weights: tuple[str, ...] = _flag(
        (),
        "Heads whose loss weighs the two classes inversely to their share of the training "
        "images (melanoma) or of their pixels (mask), each image once: mask, melanoma, or both.",
        "Training",
        many=True,
    )
    learning_rate: float = _flag(1e-4, "Of Adam (0.9, 0.999).", "Training")
    encoder_learning_rate: float = _flag(
        0.0,
        "Another learning rate for the encoder of lbunet, usually lower; 0: --learning_rate.",
        "Training",
        minimum=0,
    )
    frozen_epochs: int = _flag(
        0,
        "Epochs in which the encoder's kernels and biases stay as they are, before they are "
        "trained too. --freeze_batch_norm keeps its statistics as well.",
        "Training",
        minimum=0,
    )
    freeze_batch_norm: bool = _flag(
        False,
        "Keep the encoder's batch norm as its pretrained weights have it.",
        "Training",
    )
    schedule: str = _flag(
        "constant",
        "Of the learning rate: constant (the paper's), or half a cosine from it down to 1 % "
        "of it over --epochs.",
        "Training",
        choices=("constant", "cosine"),
    )
    warmup_epochs: int = _flag(
        0,
        "Epochs in which the learning rate rises from 0, before the schedule begins.",
        "Training",
        minimum=0,
    )
    weight_decay: float = _flag(
        0.0,
        "Decoupled weight decay (AdamW) of kernels, a step: learning rate x this; 0 is Adam.",
        "Training",
        minimum=0,
    )
    clip_norm: float = _flag(
        0.0,
        "Scale gradients down to this global norm; 0 does not.",
        "Training",
        minimum=0,
    )
    gradient_accumulation: int = _flag(
        1,
        "Batches whose gradients are averaged before a step.",
        "Training",
        minimum=1,
    )
    average_weights: float = _flag(
        0.0,
        "Momentum a batch of an exponential moving average of the weights, as in 0.99; validation "
        "and model.keras then use the average, and batch norm's last statistics. 0 takes none.",
        "Training",
        minimum=0,
    )
    monitor: str = _flag(
        "loss",
        "What the best epoch, early stopping and model.keras are chosen by, on val: the loss, "
        "Dice of the mask head, or AUC of the melanoma score (of several sources together).",
        "Training",
        choices=("loss", "dice", "auc"),
    )
    patience: int = _flag(
        3,
        "Stop after this many epochs without a better --monitor on val.",
        "Training",
        minimum=1,
    )
    teacher: tuple[str, ...] = _flag(
        (),
        "Finished runs, comma-separated, whose mean prediction is mixed into the targets "
        "(distillation); they need this run's preprocessing and heads.",
        "Training",
        many=True,
        is_path=True,
    )
    teacher_weight: float = _flag(
        0.5,
        "Share of the teacher in a target that is known; one that is not known is the teacher's.",
        "Training",
        minimum=0,
        maximum=1,
    )
    precision: str = _flag(
        "float32",
        "Of the arithmetic: float32; mixed_bfloat16 or mixed_float16, Keras' policies for GPUs; "
        "onednn_bfloat16, convolutions of a CPU with AVX-512 BF16 or AMX; or auto, the fastest of "
        "them for the device. Evaluation after onednn_bfloat16 is in float32.",
        "Training",
        choices=("float32", "auto", "mixed_bfloat16", "mixed_float16", "onednn_bfloat16"),
    )
    distribution: str = _flag(
        "auto",
        "'mirrored': the GPUs of this host, under TensorFlow. 'hosts': this process is one of "
        "several, on one host or more, under KERAS_BACKEND=jax. 'auto': hosts where "
        "KERAS_DISTRIBUTION_* or srun say so, mirrored where TensorFlow sees more than one GPU. "
        "--batch_size is of all devices together.",
        "Training",
        choices=("auto", "none", "mirrored", "hosts"),
    )
    cache: bool = _flag(
        True,
        "Keep decoded, resized images in memory, where they take at most 30 % of what is "
        "available.",
        "Training",
    )
    prevalence: float = _flag(
        0.018,
        "Share of melanoma at which PPV and NPV are also stated (ISIC 2020: 0.018).",
        "Evaluation",
        entries=("evaluate",),
    )
    tta: str = _flag(
        "none",
        "Test-time augmentation, the mean probability over: 'flips', 4 flips; 'dihedral', 8 "
        "flips and quarter turns. It takes 4 or 8 times the time and memory.",
        "Evaluation",
        entries=COMBINE + PSEUDO,
        choices=("none", "flips", "dihedral"),
    )
    weak_targets: str = _flag(
        "prediction",
        "What becomes a target: 'prediction', the run's own outlines and scores; 'activation', "
        "the class activation map of its melanoma head, the evidence for the class that it "
        "predicts; 'label_map', the melanoma probability of each pixel of a run of "
        "--mask_source=label.",
        "Pseudo-labels",
        entries=PSEUDO,
        choices=("prediction", "activation", "label_map"),
    )
    targets: tuple[str, ...] = _flag(
        ("mask", "melanoma"),
        "Which targets are filled where the source has none: mask, melanoma, or both.",
        "Pseudo-labels",
        entries=PSEUDO,
        many=True,
    )
    confidence: float = _flag(
        0.9,
        "An image becomes melanoma at a score of at least this, not melanoma at 1 - this or "
        "less; between them its label stays empty.",
        "Pseudo-labels",
        entries=PSEUDO,
        minimum=0.5,
        maximum=1,
    )
    mask_confidence: float = _flag(
        0.85,
        "An outline of --weak_targets=prediction is kept where the mean probability of its "
        "pixels is at least this.",
        "Pseudo-labels",
        entries=PSEUDO,
        minimum=0,
        maximum=1,
    )
    mask_threshold: str = _flag(
        "auto",
        "Where a mask begins: 'half', at probability 0.5; 'otsu', at Otsu's threshold of each "
        "image's map; 'auto' takes otsu for activation, else half.",
        "Pseudo-labels",
        entries=PSEUDO,
        choices=("auto", "half", "otsu"),
    )
    ignore_true_masks: bool = _flag(
        False,
        "Write the weak masks also where the source has true ones, to learn what weak masks "
        "are worth. Off: a true mask is never replaced.",
        "Pseudo-labels",
        entries=PSEUDO,
    )
    format: str = _flag(
        "savedmodel",
        "What export writes: a SavedModel for TF Serving, image files in; or an OpenVINO model, "
        "the network alone, faster on CPUs.",
        "Output",
        entries=("export",),
        choices=("savedmodel", "openvino"),
    )
    output: str = _flag(
        "",
        "Where to write: the CSV of the checked manifest (prepare); or a folder, by default "
        "RUN/predicted (predict), RUN/export or RUN/export_openvino (export), RUN/pseudo "
        "(pseudo_label), RUN, or RUN/on_SOURCE for another --source (evaluate). Needed for several "
        "runs: nothing is written into one of them.",
        "Output",
        entries=("prepare", *COMBINE, *PSEUDO),
        is_path=True,
    )
    preview: str = _flag(
        "",
        "Where to write a PNG of images as the network sees them, the outline of the lesion, and "
        "versions of them by --augment.",
        "Output",
        entries=("prepare",),
        is_path=True,
    )
    records: str = _flag(
        "",
        "A folder for the images and masks at --image_size, in shards of records that "
        "--source=records and TensorFlow Datasets read. The same command goes on after a kill.",
        "Output",
        entries=("prepare",),
        is_path=True,
    )
    beam_options: str = _flag(
        "",
        "Write --records by Apache Beam: the options of its runner, as in "
        "'--runner=DirectRunner --direct_num_workers=4'. Workers need both folders at their paths.",
        "Output",
        entries=("prepare",),
    )

    def __post_init__(self):
        for name, field in FIELDS.items():
            if field.metadata["is_path"]:
                object.__setattr__(self, name, _without_tilde(getattr(self, name)))

    @property
    def score_rule(self) -> str:
        """What scores melanoma: "melanoma", "mean", "max", or "none" where nothing does."""
        if self.image_score != "auto":
            return self.image_score
        if "melanoma" in self.heads:
            return "melanoma"
        return "mean" if self.mask_source == "label" else "none"

    @property
    def runs(self) -> tuple[str, ...]:
        """The run directories whose mean is taken; mostly one."""
        return (self.run, *self.other_runs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs in training: the heads and, with deep supervision, further masks."""
        return self.heads + (tuple(AUXILIARY) if self.deep_supervision else ())

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weight of each output's loss."""
        weights = dict(zip(("mask", "melanoma"), self.head_weights, strict=True))
        weights |= {name: weights["mask"] * factor for name, factor in AUXILIARY.items()}
        return {name: weights[name] for name in self.outputs}

    def steps_per_epoch(self, num_images: int) -> int:
        """Returns the batches of one training epoch, the short last one included."""
        return math.ceil(num_images / self.batch_size)

    def replace(self, **changes) -> "Config":
        """Returns a checked copy with some fields changed."""
        return check(dataclasses.replace(self, **changes))


# What `evaluate` needs to know of another source than the run's own.
OTHER_SOURCE = (
    "source",
    "data_dir",
    "allow_missing_images",
    "on_bad_image",
    "max_images",
    "synthetic_count",
    "seed",
)
FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def _without_tilde(paths):
    if isinstance(paths, tuple):
        return tuple(map(os.path.expanduser, paths))
    return os.path.expanduser(paths)


def check(config: Config) -> Config:
    """Returns `config`, or raises a ValueError that names the wrong flag."""
    checks.check(config, FIELDS)
    return config


def fields_of(entry: str) -> list[dataclasses.Field]:
    """Returns the flags that an entry explains in its `--help`."""
    return [field for field in FIELDS.values() if entry in field.metadata["entries"]]


def accepted_by(entry: str) -> list[dataclasses.Field]:
    """Returns the flags that an entry takes.

    prepare takes train's too, for its flagfiles; compare and tune, for all their runs.
    """
    others = fields_of("train") if entry in ("prepare", "compare", "tune") else []
    return fields_of(entry) + [field for field in others if field not in fields_of(entry)]
