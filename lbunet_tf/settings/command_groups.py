"""What a command is asked to do, and where it writes."""

import dataclasses

from lbunet_tf.settings import fields


@dataclasses.dataclass(frozen=True)
class Paths:
    """Which runs, and where a command writes."""

    run: str = fields.flag(
        "",
        "The run directory: everything about one run is written here. evaluate, predict and "
        "export accept several, as in --run=A --run=B, and average their probabilities.",
        entries=fields.RUN,
        is_path=True,
    )
    # The runs that --run names after the first; no flag of its own.
    other_runs: tuple[str, ...] = fields.flag(
        (),
        "",
        entries=(),
        is_path=True,
    )
    overwrite: bool = fields.flag(
        False,
        "Delete the run that --run holds, finished or not, and start again, but keep its "
        "exports and files from elsewhere; predict, pseudo_label, prepare: replace what they "
        "wrote before. Nothing is deleted without it.",
        entries=("train", "predict", "pseudo_label", "prepare"),
    )
    output: str = fields.flag(
        "",
        "Where to write: the CSV of the checked manifest (prepare); or a folder, by default "
        "RUN/predicted (predict), RUN/export or RUN/export_openvino (export), RUN/pseudo "
        "(pseudo_label), RUN, or RUN/on_SOURCE for another --source (evaluate); of the network of "
        "the package in runs/released_isic2017. Required with several runs, since nothing is "
        "written into any of them.",
        entries=("prepare", *fields.COMBINE, *fields.PSEUDO),
        is_path=True,
    )

    @property
    def runs(self) -> tuple[str, ...]:
        """The run directories whose mean is taken; mostly one."""
        return (self.run, *self.other_runs)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` compares."""

    experiments: tuple[str, ...] = fields.flag(
        (),
        "What is compared, comma-separated: flagfiles, which are trained to RUN/NAME/seed-N, and "
        "finished run directories, which are taken as they are.",
        entries=fields.COMPARE,
        many=True,
        is_path=True,
    )
    seeds: tuple[int, ...] = fields.flag(
        (0,),
        "Seeds, comma-separated; each flagfile is trained once with each.",
        entries=fields.COMPARE,
        many=True,
        minimum=0,
        maximum=fields.MAX_SEED,
    )


@dataclasses.dataclass(frozen=True)
class Search:
    """What `tune` searches."""

    space: str = fields.flag(
        "optimization",
        "Which flags are searched: 'optimization' (learning rates, schedule, decay, averaging, "
        "batch), 'loss', 'augmentation', 'decoder', or 'all'. What the command line itself names, "
        "outside a flagfile, is fixed.",
        entries=fields.TUNE,
        choices=fields.Keys("tuning.spaces:SPACES"),
    )
    trials: int = fields.flag(
        20,
        "How many trainings the search makes, the first with the flags as given. May be raised "
        "later: the search continues.",
        entries=fields.TUNE,
        minimum=1,
    )
    objective: str = fields.flag(
        "dice",
        "What trials are compared by, on val: Dice of the mask head, AUC of the melanoma score, "
        "balanced accuracy of the diagnosis head, or the loss. It is also their --monitor, unless "
        "another than loss is set, or loss on the command line.",
        entries=fields.TUNE,
        choices=("dice", "auc", "balanced_accuracy", "loss"),
    )


@dataclasses.dataclass(frozen=True)
class Results:
    """Which images `predict` takes, and what it writes of each."""

    write: tuple[str, ...] = fields.flag(
        ("scores", "masks", "overlays"),
        "What is written of each image; scores.csv always is. Choices: scores, masks, overlays.",
        entries=("predict",),
        many=True,
    )
    overlay_size: str = fields.flag(
        "1024",
        "Overlays are shrunk by a whole number until neither side has more pixels than this, or "
        "have the size of the image ('full').",
        entries=("predict",),
        choices=("1024", "2048", "full"),
        needs=(fields.MASK,),
    )
    contours: bool = fields.flag(
        False,
        "Draw two more contours on overlays, by RUN/conformal.json that evaluate made: a cyan one "
        "that holds the lesion, and a yellow one that is all lesion, up to a small fraction of the "
        "pixels (evaluate --contour_coverage).",
        entries=("predict",),
        needs=(fields.MASK,),
    )
    runtime: str = fields.flag(
        "keras",
        "What computes: 'keras'; or 'openvino', 'onnx' or 'litert', where that extra is installed. "
        "The network is converted for it at the start, in 3 to 10 s. OpenVINO is the fastest on "
        "CPUs, most of all with --precision=auto.",
        entries=("predict",),
        choices=fields.Keys("runs.networks:RUNTIMES"),
    )
    shard: str = fields.flag(
        "1/1",
        "Predict one part of the images, as in 3/16, to spread them over machines: each part goes "
        "to its own folder, RUN/predicted-3-of-16.",
        entries=("predict",),
    )

    @property
    def overlay_side(self) -> int | None:
        """The most pixels of a side of an overlay, None for those of the image."""
        return None if self.overlay_size == "full" else int(self.overlay_size)

    @property
    def part(self) -> tuple[int, int]:
        """--shard as numbers: which part, from 1, of how many."""
        number, count = self.shard.split("/")
        return int(number), int(count)


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """What `pseudo_label` makes a target of."""

    weak_targets: str = fields.flag(
        "prediction",
        "What becomes a target: 'prediction', the run's own outlines and scores; 'activation', "
        "the class activation map of its melanoma head, the evidence for the class that it "
        "predicts; 'label_map', the melanoma probability of each pixel of a run of "
        "--mask_source=label.",
        entries=fields.PSEUDO,
        choices=("prediction", "activation", "label_map"),
    )
    targets: tuple[str, ...] = fields.flag(
        ("mask", "melanoma"),
        "Which targets are filled where the source has none: mask, melanoma, or both.",
        entries=fields.PSEUDO,
        many=True,
    )
    confidence: float = fields.flag(
        0.9,
        "An image becomes melanoma at a score of at least this, not melanoma at 1 - this or "
        "less; between them its label stays empty.",
        entries=fields.PSEUDO,
        minimum=0.5,
        maximum=1,
    )
    mask_confidence: float = fields.flag(
        0.85,
        "An outline of --weak_targets=prediction is kept where the mean probability of its "
        "pixels is at least this.",
        entries=fields.PSEUDO,
        minimum=0,
        maximum=1,
    )
    mask_threshold: str = fields.flag(
        "auto",
        "Where a mask begins: 'half', at probability 0.5; 'otsu', at Otsu's threshold of each "
        "image's map; 'auto' takes otsu for activation, else half.",
        entries=fields.PSEUDO,
        choices=("auto", "half", "otsu"),
    )
    ignore_true_masks: bool = fields.flag(
        False,
        "Write the weak masks also where the source has true ones, to measure how good weak masks "
        "are. Off: a true mask is never replaced.",
        entries=fields.PSEUDO,
    )


@dataclasses.dataclass(frozen=True)
class Export:
    """What `export` writes."""

    format: str = fields.flag(
        "savedmodel",
        "What export writes: a SavedModel for TF Serving, image files in; or the network alone, "
        "pixels in, for OpenVINO, ONNX Runtime or LiteRT, which are faster on CPUs.",
        entries=("export",),
        choices=fields.Keys("runs.run_directory:EXPORTS"),
    )
    export_precision: str = fields.flag(
        "auto",
        "Precision of the exported weights. float16 halves the file of onnx and litert, and is "
        "their default; savedmodel and openvino have float32; litert has int8 too, which is "
        "calibrated on 100 images.",
        entries=("export",),
        choices=("auto", "float32", "float16", "int8"),
    )
    calibration_images: tuple[str, ...] = fields.flag(
        (),
        "Images, folders or globs to calibrate int8 on, of which 100 are drawn. Default: the "
        "training images of the run.",
        entries=("export",),
        many=True,
        is_path=True,
    )


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What `prepare` writes besides its list."""

    preview: str = fields.flag(
        "",
        "Where to write a PNG of images as the network sees them, the outline of the lesion, and "
        "versions of them by --augment.",
        entries=("prepare",),
        is_path=True,
    )
    records: str = fields.flag(
        "",
        "A folder for the images and masks at --image_size, in shards of records that "
        "--source=records and TensorFlow Datasets read. The same command continues after a kill.",
        entries=("prepare",),
        is_path=True,
    )
    beam_options: str = fields.flag(
        "",
        "Write --records, or predict, with Apache Beam: the options of its runner, as in "
        "'--runner=DirectRunner --direct_num_workers=4'. Workers need the images, what is written "
        "and --run at their paths.",
        entries=("prepare", "predict"),
    )
