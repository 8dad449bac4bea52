"""Which images there are, and how they reach the network."""

import dataclasses

from lbunet_tf.settings import fields


@dataclasses.dataclass(frozen=True)
class Source:
    """Where images come from; also all that `evaluate` is told about another source."""

    seed: int = fields.flag(
        0,
        "Seeds the subset, split, order, initial weights and drawn images; evaluate: the sample of "
        "--max_images, and drawn images.",
        entries=fields.SOURCE,
        minimum=0,
        maximum=fields.MAX_SEED,
    )
    source: tuple[str, ...] = fields.flag(
        (),
        "Where images come from, one or several, comma-separated. evaluate: score all its images "
        "instead of the run's own test images, except those that the run has seen.",
        entries=fields.SOURCE,
        choices=fields.Keys("data.sources:SOURCES"),
        many=True,
    )
    data_dir: tuple[str, ...] = fields.flag(
        (),
        "One folder per source, in the same order: the official download as it "
        "lies on disk (manifest: the CSV file; records: what prepare --records wrote; synthetic: "
        "where to draw).",
        entries=fields.SOURCE,
        many=True,
        is_path=True,
    )
    allow_missing_images: bool = fields.flag(
        False,
        "Continue without images that the labels name but the folder lacks (a "
        "partial download). They are counted and listed in skipped.csv.",
        entries=fields.SOURCE,
    )
    on_bad_image: str = fields.flag(
        "error",
        "What to do about an image or mask that cannot be decoded: 'error' names it, and train "
        "then stops, while the other commands do everything else first and end with exit status "
        "1; 'skip' leaves it out, counts it and lists it in skipped.csv.",
        entries=fields.SOURCE,
        choices=("error", "skip"),
    )
    max_images: int = fields.flag(
        0,
        "Use a seeded sample of at most this many images; 0 uses all. evaluate: of --source, in "
        "addition to the run's own val images, on which the threshold is chosen.",
        entries=fields.SOURCE,
        minimum=0,
    )
    synthetic_count: int = fields.flag(
        1000,
        "Images that --source=synthetic draws.",
        entries=fields.SOURCE,
        minimum=12,
    )


@dataclasses.dataclass(frozen=True)
class Reading:
    """How files are checked when they are read."""

    max_megapixels: int = fields.flag(
        100,
        "Refuse images and masks of more megapixels than this, by their headers, before they are "
        "decoded: a small file may claim any size. export: the limit of the model's signature.",
        entries=(*fields.SOURCE, "predict", "export"),
        minimum=1,
    )
    verify_images: str = fields.flag(
        "quick",
        "How evaluate, pseudo_label and a training that continues compare the images of a run "
        "with those it began with: 'quick', by size, first and last bytes; or 'whole'.",
        entries=("train", "evaluate", "pseudo_label"),
        choices=("quick", "whole"),
    )


@dataclasses.dataclass(frozen=True)
class Split:
    """Which images are used, and on which side of the split each stands."""

    balance: str = fields.flag(
        "none",
        "'subset': all melanomas and --benign_count of the rest (the paper's); "
        "'resample': within each source, melanomas and others, or each of --classes where there is "
        "a diagnosis head, equally often in a training epoch (images whose class is unknown keep "
        "their number); or 'none'.",
        entries=fields.DATA,
        choices=("none", "subset", "resample"),
    )
    benign_count: int = fields.flag(
        500,
        "Benign images that --balance=subset draws (paper: 500).",
        entries=fields.DATA,
        minimum=1,
    )
    split_by: str = fields.flag(
        "patient",
        "What is kept on one side of the split: 'patient' (with lesion and known duplicates), "
        "'image' (the paper's random split), or 'official' (keep the parts of the "
        "download; only its training part is divided).",
        entries=fields.DATA,
        choices=("patient", "image", "official"),
    )
    near_duplicates: int = fields.flag(
        -1,
        "Images whose 64-bit perceptual hashes differ in at most this many bits, 0 to 10, are near-"
        "duplicates, which --split_by=patient keeps on one side and the leak check counts; 2 is "
        "a cautious choice. -1: they are not searched for.",
        entries=fields.DATA,
        minimum=-1,
    )
    split_percent: tuple[int, ...] = fields.flag(
        (70, 15, 15),
        "Percentages of the images for train, val and test; a fourth, for calibration, keeps "
        "images on which evaluate chooses the operating point, the calibration and the prediction "
        "sets, instead of val, which also chooses the epoch.",
        entries=fields.DATA,
        many=True,
    )


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """All that the pixels which the network sees depend on, besides the file."""

    image_size: int = fields.flag(
        128,
        "Side of the square that the network sees, in pixels (the paper says 128 and 124).",
        entries=fields.DATA,
        minimum=16,
        maximum=8192,
    )
    antialias: bool = fields.flag(
        False,
        "Apply a low-pass filter before shrinking. Off in the paper (albumentations Resize).",
        entries=fields.DATA,
    )
    shades_of_gray: bool = fields.flag(
        False,
        "Colour constancy: scale the channels so that their Minkowski means (p = 6) are equal.",
        entries=fields.DATA,
    )
    remove_hair: bool = fields.flag(
        False,
        "Find long, thin, dark lines (hairs, a ruler) and fill them from their surroundings.",
        entries=fields.DATA,
    )


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How a training epoch differs from the images as they are."""

    source_weights: tuple[float, ...] = fields.flag(
        (),
        "Relative weights of the sources in a training epoch, one per source, as in 1,3; the "
        "epoch keeps "
        "its length. Empty: every image once.",
        many=True,
    )
    augment: str = fields.flag(
        "none",
        "Training augmentation: 'none' (the paper's); 'flips'; 'dermoscopy' (flips, rotation, "
        "scale, colour, blur, drawn hair, ruler, dark corner); 'albumentations' (a recipe of "
        "that library); 'keras_cv' (of batches: flips and RandAugment's colours by keras_cv, "
        "MixUp, CutMix).",
        entries=fields.DATA,
        choices=fields.Keys(
            "data.augmentation.recipes:AUGMENTATIONS",
            "data.augmentation.mixing:BATCH_AUGMENTATIONS",
        ),
    )
