"""Every flag of the package, as a field of one frozen dataclass.

The only module that touches absl flags; everything else takes a `Config` or plain
values.
"""

import dataclasses
import pathlib

from absl import flags

TRAIN = ("train",)
DATA = ("train", "prepare")
RUN = ("train", "evaluate", "predict", "export", "compare")
COMPARE = ("compare",)
LIST = (list, tuple)


def _flag(default, help, section, entries=TRAIN, choices=None, many=False, minimum=None):
    metadata = {
        "help": help,
        "section": section,
        "entries": entries,
        "choices": choices,
        "many": many,
        "minimum": minimum,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """The resolved flags of one run. Field names are flag names."""

    run: str = _flag(
        "",
        "The run directory: everything about one run is written here.",
        "Run",
        entries=RUN,
    )
    overwrite: bool = _flag(
        False,
        "Start anew where --run holds another or a finished run (deletes it); predict: "
        "replace older predictions.",
        "Run",
        entries=("train", "predict"),
    )
    experiments: tuple[str, ...] = _flag(
        (),
        "What is compared, comma-separated: flagfiles, which are trained to RUN/NAME/seed-N, and "
        "finished run directories, which are taken as they are.",
        "Run",
        entries=COMPARE,
        many=True,
    )
    seeds: tuple[int, ...] = _flag(
        (0,),
        "Seeds, comma-separated; each flagfile is trained once with each.",
        "Run",
        entries=COMPARE,
        many=True,
    )
    seed: int = _flag(
        0,
        "Seeds subset, split, order, initial weights and drawn images.",
        "Run",
        entries=DATA,
        minimum=0,
    )
    source: tuple[str, ...] = _flag(
        (),
        "Where images come from, one or several, comma-separated: "
        "isic2016 to isic2020, isic_archive, ham10000, ph2, folder, manifest, synthetic.",
        "Data",
        entries=DATA,
        many=True,
    )
    data_dir: tuple[str, ...] = _flag(
        (),
        "One folder a source, in the same order: the official download as it "
        "lies on disk (manifest: the CSV file; synthetic: where to draw).",
        "Data",
        entries=DATA,
        many=True,
    )
    allow_missing_images: bool = _flag(
        False,
        "Go on without images that the labels name but the folder lacks (a "
        "partial download). They are counted and listed in skipped.csv.",
        "Data",
        entries=DATA,
    )
    on_bad_image: str = _flag(
        "error",
        "What to do about an image or mask that cannot be decoded: stop, or skip it, "
        "count it and list it in skipped.csv.",
        "Data",
        entries=DATA,
        choices=("error", "skip"),
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
        "'resample': classes equally often in each training epoch; or 'none'.",
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
        "Use a seeded draw of at most this many images; 0 uses all.",
        "Data",
        entries=DATA,
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
        entries=DATA,
        minimum=12,
    )
    image_size: int = _flag(
        128,
        "Side of the square that the network sees, in pixels (the paper says 128 and 124).",
        "Data",
        entries=DATA,
        minimum=16,
    )
    antialias: bool = _flag(
        False,
        "Low-pass before shrinking. Off is the paper's (albumentations Resize).",
        "Data",
    )
    augment: str = _flag(
        "none",
        "Training augmentation: 'none' (the paper's) or 'flips'.",
        "Data",
        choices=("none", "flips"),
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
    )
    heads: tuple[str, ...] = _flag(
        ("mask",),
        "Outputs: mask, or mask,melanoma.",
        "Model",
        entries=DATA,
        many=True,
    )
    image_score: str = _flag(
        "auto",
        "How an image gets its melanoma score: 'mean' or 'max' of the pixel "
        "probabilities (label masks), 'melanoma' (that head); 'auto' takes the head "
        "where there is one, else the mean.",
        "Model",
        choices=("auto", "mean", "max", "melanoma"),
    )
    epochs: int = _flag(30, "At most this many epochs.", "Training", minimum=1)
    batch_size: int = _flag(
        8,
        "Images a step.",
        "Training",
        entries=("train", "evaluate", "predict"),
        minimum=1,
    )
    learning_rate: float = _flag(1e-4, "Of Adam (0.9, 0.999).", "Training")
    patience: int = _flag(
        3,
        "Stop after this many epochs without a better val_loss.",
        "Training",
        minimum=1,
    )
    precision: str = _flag(
        "float32",
        "Keras dtype policy. mixed_float16 and mixed_bfloat16 are for GPUs.",
        "Training",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
    )
    cache: bool = _flag(
        True,
        "Keep decoded, resized images in memory (off for sets larger than memory).",
        "Training",
    )
    prevalence: float = _flag(
        0.018,
        "Share of melanoma at which PPV and NPV are also stated (ISIC 2020: 0.018).",
        "Evaluation",
        entries=("evaluate",),
    )
    output: str = _flag(
        "",
        "Where to write: the CSV of the checked manifest (prepare); the folder of the "
        "predictions, RUN/predicted by default (predict).",
        "Output",
        entries=("prepare", "predict"),
    )

    @property
    def score_rule(self) -> str:
        """What scores melanoma: "melanoma", "mean", "max", or "none" where nothing does."""
        if self.image_score != "auto":
            return self.image_score
        if "melanoma" in self.heads:
            return "melanoma"
        return "mean" if self.mask_source == "label" else "none"

    def replace(self, **changes) -> "Config":
        """Returns a checked copy with some fields changed."""
        return check(dataclasses.replace(self, **changes))


FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def check(config: Config) -> Config:
    """Returns `config`, or raises a ValueError that names the wrong flag."""
    for name, field in FIELDS.items():
        _check_field(name, getattr(config, name), field.metadata)
    if config.data_dir and len(config.data_dir) != len(config.source):
        raise ValueError(
            '"--data_dir" must name one folder a source, in the order of --source. '
            f"Received: {len(config.source)} in --source={','.join(config.source)}, "
            f"{len(config.data_dir)} in --data_dir={','.join(config.data_dir)}"
        )
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise ValueError(
            '"--seeds" must name at least one seed, each once. '
            f"Received: {','.join(map(str, config.seeds)) or 'nothing'}"
        )
    percents = config.split_percent
    if len(percents) != 3 or sum(percents) != 100 or min(percents) < 1:
        raise ValueError(
            '"--split_percent" must be three whole numbers of at least 1 that add up to 100 '
            f"(train,val,test). Received: {','.join(map(str, percents))}"
        )
    if "mask" not in config.heads or set(config.heads) - {"mask", "melanoma"}:
        raise ValueError(
            '"--heads" must be "mask" or "mask,melanoma". '
            f"Received: --heads={','.join(config.heads)}"
        )
    if config.learning_rate <= 0:
        raise ValueError(f'"--learning_rate" must be positive. Received: {config.learning_rate}')
    if not 0 < config.prevalence < 1:
        raise ValueError(
            f'"--prevalence" must lie between 0 and 1, both excluded. Received: {config.prevalence}'
        )
    if config.model == "unet" and config.encoder_weights != "none":
        raise ValueError(
            '"--model=unet" has no pretrained weights: add --encoder_weights=none. Received: '
            f"--encoder_weights={config.encoder_weights}"
        )
    if config.image_score == "melanoma" and "melanoma" not in config.heads:
        raise ValueError(
            '"--image_score=melanoma" needs that head: add --heads=mask,melanoma. '
            f"Received: --heads={','.join(config.heads)}"
        )
    if config.image_score in ("mean", "max") and config.mask_source == "lesion":
        raise ValueError(
            f'"--image_score={config.image_score}" needs --mask_source=label: an outline says '
            "nothing about melanoma. Use --image_score=melanoma with --heads=mask,melanoma"
        )
    return config


def _check_field(name, value, metadata):
    if metadata["choices"] and value not in metadata["choices"]:
        raise ValueError(
            f'"--{name}" must be one of {", ".join(metadata["choices"])}. Received: {value}'
        )
    if metadata["minimum"] is not None and value < metadata["minimum"]:
        raise ValueError(f'"--{name}" must be at least {metadata["minimum"]}. Received: {value}')


def fields_of(entry: str) -> list[dataclasses.Field]:
    """Returns the flags that an entry explains in its `--help`."""
    return [field for field in FIELDS.values() if entry in field.metadata["entries"]]


def accepted_by(entry: str) -> list[dataclasses.Field]:
    """Returns the flags that an entry takes.

    prepare takes train's too, for its flagfiles; compare, for all its runs.
    """
    others = fields_of("train") if entry in ("prepare", "compare") else []
    return fields_of(entry) + [field for field in others if field not in fields_of(entry)]


def define_flags(entry: str, flag_values=flags.FLAGS) -> None:
    """Defines the flags of one entry. Call it under `__main__` only."""
    for field in accepted_by(entry):
        keywords = {"flag_values": flag_values}
        if field.metadata["many"]:
            flags.DEFINE_list(
                field.name,
                [str(item) for item in field.default],
                field.metadata["help"],
                **keywords,
            )
        elif isinstance(field.default, bool):
            flags.DEFINE_bool(field.name, field.default, field.metadata["help"], **keywords)
        elif isinstance(field.default, int):
            flags.DEFINE_integer(field.name, field.default, field.metadata["help"], **keywords)
        elif isinstance(field.default, float):
            flags.DEFINE_float(field.name, field.default, field.metadata["help"], **keywords)
        else:
            flags.DEFINE_string(field.name, field.default, field.metadata["help"], **keywords)


def from_flags(entry: str, flag_values=flags.FLAGS) -> Config:
    """Returns the Config of parsed flags.

    `train`, `prepare` and `compare` start from the defaults, the others from the run's own
    flags; what the command line names replaces them. What `compare` is given for its
    runs is not in its own Config, but in `overrides`.
    """
    if entry in DATA:
        return check(Config(**_values(accepted_by(entry), flag_values)))
    if entry in COMPARE:
        return check(Config(**_values(fields_of(entry), flag_values)))
    given = _values(_present(accepted_by(entry), flag_values), flag_values)
    if not given.get("run"):
        raise ValueError(
            f'"--run" must name the run directory to {entry}, as in --run=runs/paper. '
            "Received: nothing"
        )
    return read(given["run"]).replace(**given)


def overrides(flag_values=flags.FLAGS) -> dict:
    """Returns the flags of training that `compare` was given; they replace every flagfile's."""
    own = fields_of("compare")
    others = [field for field in accepted_by("compare") if field not in own]
    return _values(_present(others, flag_values), flag_values)


def _present(fields, flag_values):
    return [field for field in fields if flag_values[field.name].present]


def _values(fields, flag_values):
    values = {field.name: flag_values[field.name].value for field in fields}
    return {
        name: _as_tuple(FIELDS[name], value) if FIELDS[name].metadata["many"] else value
        for name, value in values.items()
    }


def _as_tuple(field, items):
    """Returns the items of a list flag; whole numbers where its default holds such."""
    if not field.default or not isinstance(field.default[0], int):
        return tuple(items)
    try:
        return tuple(int(item) for item in items)
    except ValueError as error:
        raise ValueError(
            f'"--{field.name}" must be whole numbers. Received: {",".join(items)}'
        ) from error


def flag_lines(config: Config) -> list[str]:
    """Returns the flagfile lines that repeat a training run."""
    lines = []
    for field in fields_of("train"):
        value = getattr(config, field.name)
        if field.name == "overwrite":
            continue
        if isinstance(value, LIST):
            value = ",".join(map(str, value))
        elif isinstance(value, bool):
            value = str(value).lower()
        lines.append(f"--{field.name}={value}")
    return lines


def read(run: str) -> Config:
    """Returns the Config that `RUN/flags.cfg` holds, with `run` as named here."""
    path = pathlib.Path(run) / "flags.cfg"
    if not path.is_file():
        raise ValueError(
            f'"--run" must be a run directory that lbunet_tf.train wrote. Looked for {path}'
        )
    return read_flagfile(path).replace(run=str(run))


def read_flagfile(path: pathlib.Path) -> Config:
    """Returns the Config of a flagfile of `train`."""
    flag_values = flags.FlagValues()
    define_flags("train", flag_values)
    flags.DEFINE_string("flagfile", "", "", flag_values=flag_values)
    try:
        flag_values(["train", f"--flagfile={path}"])
    except flags.Error as error:
        raise ValueError(f"{path} must hold flags that this version knows. {error}") from error
    return from_flags("train", flag_values)
