"""The runs whose mean evaluate, predict and export take; mostly one."""

import pathlib

import keras
from absl import logging

from lbunet_tf.models import combined
from lbunet_tf.models import saved_models
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config as config_lib
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import process

# What must be one for all: what is done before the network, and what its outputs mean. By
# property of Config, with the flag that decides it.
SHARED = {
    "image_size": "image_size",
    "antialias": "antialias",
    "shades_of_gray": "shades_of_gray",
    "remove_hair": "remove_hair",
    "heads": "heads",
    "mask_source": "mask_source",
    "score_rule": "image_score",
}


def load_mean(config: config_lib.Config) -> keras.Model:
    """Returns the model of the mean over the runs of --run and the symmetries of --tta."""
    check(config)
    return combined.build_mean([load_best(pathlib.Path(run)) for run in config.runs], config.tta)


def load_best(run: pathlib.Path) -> keras.Model:
    """Returns the model of the best epoch by --monitor.

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
        logging.warning("%s is not finished; taking its best epoch so far", run)
    process.set_keras()
    model = saved_models.load(path)
    _check_outputs(path, model, flagfiles.read(str(run)))
    return model


def _check_outputs(path, model, config):
    """Raises a ValueError where a model is not the one that the flags of its run describe."""
    size = config.image_size
    expected = {"mask": (None, size, size, 1), "melanoma": (None, 1)}
    expected = {"input": (None, size, size, 3), **{head: expected[head] for head in config.heads}}
    outputs = model.output if isinstance(model.output, dict) else {}
    # A list in runs of deep supervision.
    inputs = model.inputs if len(model.inputs) == 1 else [None]
    found = {"input": getattr(inputs[0], "shape", None)}
    found |= {name: getattr(outputs.get(name), "shape", None) for name in config.heads}
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


def check(config: config_lib.Config) -> None:
    """Raises a ValueError where a run is named twice, or two do not see or say the same."""
    folders = [pathlib.Path(run).resolve() for run in config.runs]
    for run, folder in zip(config.runs, folders, strict=True):
        if folders.count(folder) > 1:
            raise ValueError(f'"--run" must name each run once. Received twice: {run}')
    for run in config.other_runs:
        other = flagfiles.read(run)
        for name, flag in SHARED.items():
            ours, theirs = getattr(config, name), getattr(other, name)
            if ours != theirs:
                raise ValueError(
                    "the runs of one mean must see images alike and mean the same by their "
                    f'outputs. "--{flag}" says {_words(ours)} in --run={config.run} and '
                    f"{_words(theirs)} in --run={run}. Name runs that agree, or take one at a time"
                )


def _words(value):
    return ",".join(value) if isinstance(value, tuple) else value


def output_folder(config: config_lib.Config, default: pathlib.Path) -> pathlib.Path:
    """Returns --output or, for one run, `default`; nothing is created.

    Raises:
        ValueError: There are several runs and no --output, or it is a run directory.
    """
    if not config.output:
        if config.other_runs:
            raise ValueError(
                '"--output" must name a folder for the mean of several runs; it belongs into none '
                f"of them. Received: {' '.join(f'--run={run}' for run in config.runs)}, no --output"
            )
        return default
    folder = pathlib.Path(config.output)
    if (folder / run_directory.FLAGS).is_file():
        raise ValueError(
            f'"--output" must be no run directory; name a new folder. {folder} holds '
            f"{run_directory.FLAGS}"
        )
    return folder


def describe(config: config_lib.Config) -> str:
    """Returns what is averaged, and what it costs, in words."""
    symmetries, runs = len(combined.SYMMETRIES[config.tta]), len(config.runs)
    passes = symmetries * runs
    if passes == 1:
        return "1 forward pass an image"
    return (
        f"mean probability of {runs} run{'s' if runs > 1 else ''} x {symmetries} "
        f"{'symmetries' if symmetries > 1 else 'symmetry'} of the image (--tta={config.tta}), "
        f"{passes} forward passes an image"
    )


def describe_speed(config: config_lib.Config, num_images: int, seconds: float) -> str:
    """Returns images per second, reading and the start of the model included, in words."""
    return (
        f"{num_images} images in {seconds:.1f} s, {num_images / seconds:.1f} images per second "
        f"with reading and start; {describe(config)}"
    )
