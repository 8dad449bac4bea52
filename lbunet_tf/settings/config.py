"""Every flag of the package, in groups of one subject each; `flagfiles` reads them.

Flags are flat: `make` and `replace` take them by name, and no name stands in two groups. Code
takes the group that it needs.
"""

import dataclasses
import os

from lbunet_tf.settings import checks
from lbunet_tf.settings import command_groups
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import output_group
from lbunet_tf.settings import score_group
from lbunet_tf.settings import training_groups


def _group(make, title):
    return dataclasses.field(default=make(), metadata={"title": title})


@dataclasses.dataclass(frozen=True)
class Config:
    """The resolved flags of one command, by group; `--help` shows them in this order."""

    paths: command_groups.Paths = _group(command_groups.Paths, "Run")
    comparison: command_groups.Comparison = _group(command_groups.Comparison, "Comparison")
    search: command_groups.Search = _group(command_groups.Search, "Search")
    source: image_groups.Source = _group(image_groups.Source, "Source of images")
    reading: image_groups.Reading = _group(image_groups.Reading, "Checks of files")
    split: image_groups.Split = _group(image_groups.Split, "Choice and split of images")
    preprocessing: image_groups.Preprocessing = _group(image_groups.Preprocessing, "Preprocessing")
    augmentation: image_groups.Augmentation = _group(image_groups.Augmentation, "Augmentation")
    outputs: output_group.Outputs = _group(output_group.Outputs, "Outputs")
    model: training_groups.Model = _group(training_groups.Model, "Model")
    loss: training_groups.Loss = _group(training_groups.Loss, "Loss")
    optimizer: training_groups.Optimizer = _group(training_groups.Optimizer, "Optimizer")
    budget: training_groups.Budget = _group(training_groups.Budget, "Length of training")
    distillation: training_groups.Distillation = _group(
        training_groups.Distillation, "Distillation"
    )
    device: training_groups.Device = _group(training_groups.Device, "Device")
    score: score_group.Score = _group(score_group.Score, "Scores")
    results: command_groups.Results = _group(command_groups.Results, "Results of predict")
    pseudo_labels: command_groups.PseudoLabels = _group(
        command_groups.PseudoLabels, "Pseudo-labels"
    )
    export: command_groups.Export = _group(command_groups.Export, "Export")
    preparation: command_groups.Preparation = _group(command_groups.Preparation, "Written files")

    @property
    def mask_cleanup(self) -> str:
        """--mask_cleanup, or "none" where no head learns an outline."""
        return self.score.mask_cleanup if self.outputs.has_outlines else "none"

    def values(self) -> dict[str, object]:
        """Returns the value of each flag by its name."""
        return {
            name: value for group in GROUPS for name, value in vars(getattr(self, group)).items()
        }

    def replace(self, **changes) -> "Config":
        """Returns a checked copy with some flags changed, by their names."""
        return check(make(**(self.values() | changes)))


# The titles of the groups by name, and the names of their flags.
GROUPS = {field.name: field.metadata["title"] for field in dataclasses.fields(Config)}
FLAGS = {group: tuple(vars(getattr(Config, group))) for group in GROUPS}
# The fields of all flags by name.
FIELDS = {
    field.name: field for group in GROUPS for field in dataclasses.fields(getattr(Config, group))
}


def make(**flags) -> Config:
    """Returns the Config of some flags, by their names, the others at their defaults; unchecked.

    Raises:
        TypeError: There is no flag of a name.
    """
    unknown = flags.keys() - FIELDS.keys()
    if unknown:
        raise TypeError(f"flags must be of {', '.join(FIELDS)}. Received: {', '.join(unknown)}")
    flags = {
        name: _without_tilde(value) if FIELDS[name].metadata["is_path"] else value
        for name, value in flags.items()
    }
    return Config(
        **{
            group: type(getattr(Config, group))(
                **{name: flags[name] for name in names if name in flags}
            )
            for group, names in FLAGS.items()
        }
    )


def _without_tilde(paths):
    if isinstance(paths, tuple):
        return tuple(map(os.path.expanduser, paths))
    return os.path.expanduser(paths)


def check(settings: Config) -> Config:
    """Returns `settings`, or raises a ValueError that names the wrong flag."""
    checks.check(settings, FIELDS)
    return settings


def differing(ours, theirs) -> list[str]:
    """Returns the flags in which two of the same group differ."""
    return [name for name, value in vars(ours).items() if value != getattr(theirs, name)]


def needing(need: str) -> list[str]:
    """Returns the flags that have no effect without a part of the network, one of `fields`."""
    return [name for name, field in FIELDS.items() if need in field.metadata["needs"]]


def fields_of(entry: str) -> list[dataclasses.Field]:
    """Returns the flags that an entry explains in its `--help`."""
    return [field for field in FIELDS.values() if entry in field.metadata["entries"]]


def accepted_by(entry: str) -> list[dataclasses.Field]:
    """Returns the flags that an entry takes.

    prepare takes train's too, for its flagfiles; compare and tune, for all their runs.
    """
    others = fields_of("train") if entry in ("prepare", "compare", "tune") else []
    return fields_of(entry) + [field for field in others if field not in fields_of(entry)]
