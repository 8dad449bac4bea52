"""The runs whose mean evaluate, predict and export take; mostly one."""

import pathlib
from collections.abc import Sequence

import keras
from absl import logging

from lbunet_tf.models import combined
from lbunet_tf.models import policies
from lbunet_tf.models import saved_models
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import command_groups
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import output_group
from lbunet_tf.settings import process
from lbunet_tf.settings import released_runs
from lbunet_tf.storage import whole_files


def load_mean(settings: config.Config) -> keras.Model:
    """Returns the model of the mean over the runs of --run and the symmetries of --tta."""
    check(settings)
    return combined.build_mean(
        [load_best(pathlib.Path(run)) for run in settings.paths.runs], settings.score.tta
    )


def load_best(run: pathlib.Path) -> keras.Model:
    """Returns the model of the best epoch by --monitor, which computes in float32.

    Raises:
        ValueError: Training has not saved one yet, or the file is damaged or of another run.
    """
    path = run / run_directory.MODEL
    if not path.is_file():
        raise ValueError(
            f"{path} must be there: train first (python -m lbunet_tf.train). "
            "It is written after the first epoch"
        )
    if not (run / run_directory.FINISHED).is_file():
        logging.warning("%s is not finished; using its best epoch so far", run)
    released_runs.check(run)
    process.set_keras()
    model = policies.in_float32(saved_models.load(path))
    flags = flagfiles.read(str(run))
    _check_outputs(path, model, flags.preprocessing.image_size, flags.outputs)
    return model


def checksums(runs: Sequence[str]) -> list[int | None]:
    """Returns the CRC-32 of the model of each run, None where there is none yet."""
    paths = [pathlib.Path(run) / run_directory.MODEL for run in runs]
    return [whole_files.crc32(path) if path.is_file() else None for path in paths]


def refuse_changed(runs: Sequence[str], before: Sequence[int | None], way_out: str) -> None:
    """Raises a ValueError where a training has replaced the model of a run meanwhile.

    Args:
        runs: The runs.
        before: What `checksums` returned when the command began.
        way_out: What to do, as a sentence.
    """
    for run, then, now in zip(runs, before, checksums(runs), strict=True):
        if now != then:
            raise ValueError(
                f"{run}/{run_directory.MODEL} must stay as it is until the command has ended. "
                f"{way_out} Received: CRC-32 {then} when it began, then {now}"
            )


def _check_outputs(path, model, size, run_outputs):
    """Raises a ValueError where a model is not the one that the flags of its run describe."""
    of_kind = {
        output_group.MASK: (None, size, size, 1),
        output_group.BINARY: (None, 1),
        output_group.CLASSES: (None, len(run_outputs.class_names)),
    }
    heads = run_outputs.heads
    expected = {
        "input": (None, size, size, 3),
        **{head: of_kind[output_group.kind_of(head)] for head in heads},
    }
    outputs = model.output if isinstance(model.output, dict) else {}
    # A list in runs of deep supervision.
    inputs = model.inputs if len(model.inputs) == 1 else [None]
    found = {"input": getattr(inputs[0], "shape", None)}
    found |= {name: getattr(outputs.get(name), "shape", None) for name in heads}
    wrong = {name: shape for name, shape in found.items() if shape != expected[name]}
    if wrong:
        words = ", ".join(
            f"{name} {expected[name]}, in the file {shape or 'missing'}"
            for name, shape in wrong.items()
        )
        raise ValueError(
            f"{path} must be the model of its run's {run_directory.FLAGS}: {words}. Put back the "
            "file that belongs there, or train again with --overwrite"
        )


def check(settings: config.Config) -> None:
    """Raises a ValueError where a run is named twice, or two do not see or say the same."""
    folders = [pathlib.Path(run).resolve() for run in settings.paths.runs]
    for run, folder in zip(settings.paths.runs, folders, strict=True):
        if folders.count(folder) > 1:
            raise ValueError(f'"--run" must name each run once. Received twice: {run}')
    for run in settings.paths.other_runs:
        other = flagfiles.read(run)
        shared = _shared(other.preprocessing, other.outputs)
        for flag, ours in _shared(settings.preprocessing, settings.outputs).items():
            theirs = shared[flag]
            if ours != theirs:
                raise ValueError(
                    "averaged runs must prepare images alike and agree on the meaning of their "
                    f'outputs. "--{flag}" is {_as_text(ours)} in --run={settings.paths.run} and '
                    f"{_as_text(theirs)} in --run={run}. Name runs that agree, or use one at a time"
                )


def _shared(preprocessing, outputs):
    """Returns by flag what must be one for all: what is seen, and what the outputs mean."""
    return {
        **vars(preprocessing),
        "heads": tuple(sorted(outputs.heads)),
        "mask_source": outputs.mask_source,
        "classes": outputs.classes,
        # "auto" may say the same as a rule by its name.
        "image_score": outputs.score_rule,
    }


def _as_text(value):
    return ",".join(value) if isinstance(value, tuple) else value


def output_folder(paths: command_groups.Paths, name: str = "") -> pathlib.Path:
    """Returns --output or, for one run, the folder `name` of its results; nothing is created.

    Raises:
        ValueError: There are several runs, or a run directory where results of the package's
            network go, and no --output; or it is a run directory.
    """
    if not paths.output:
        if paths.other_runs:
            raise ValueError(
                '"--output" must name a folder for the mean of several runs; it belongs in none '
                f"of them. Received: {' '.join(f'--run={run}' for run in paths.runs)}, no --output"
            )
        results = released_runs.results_folder(paths.run)
        if released_runs.is_released(paths.run) and (results / run_directory.FLAGS).is_file():
            raise ValueError(
                f'"--output" must name a folder for results of the network of the package: '
                f"{results}, where they would go, is a run directory of another"
            )
        return results / name
    folder = pathlib.Path(paths.output)
    if (folder / run_directory.FLAGS).is_file():
        raise ValueError(
            f'"--output" must not be a run directory; name a new folder. {folder} holds '
            f"{run_directory.FLAGS}"
        )
    return folder


def describe(tta: str, num_runs: int) -> str:
    """Returns what is averaged, and what it costs, in words."""
    symmetries = len(combined.SYMMETRIES[tta])
    passes = symmetries * num_runs
    if passes == 1:
        return "1 forward pass per image"
    return (
        f"mean probability of {num_runs} run{'s' if num_runs > 1 else ''} x {symmetries} "
        f"{'symmetries' if symmetries > 1 else 'symmetry'} of the image (--tta={tta}), "
        f"{passes} forward passes per image"
    )


def describe_speed(tta: str, num_runs: int, num_images: int, seconds: float) -> str:
    """Returns images per second, reading and the start of the model included, in words."""
    return (
        f"{num_images} images in {seconds:.1f} s, {num_images / seconds:.1f} images per second "
        f"including reading and start-up; {describe(tta, num_runs)}"
    )
