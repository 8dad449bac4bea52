"""The runs whose mean evaluate, predict and export take; mostly one."""

import pathlib

import keras

from lbunet_tf import config as config_lib
from lbunet_tf import flagfiles
from lbunet_tf import models
from lbunet_tf import run_directory
from lbunet_tf.models import combined

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
    return models.load_mean(config.runs, config.tta)


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
