"""The runs of a comparison: of flagfiles or finished, under one split and one budget."""

import pathlib

from lbunet_tf.data import manifests
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import command_groups
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfile_lines
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import released_runs


def named_runs(
    folder: str, comparison: command_groups.Comparison, overrides: dict
) -> dict[str, config.Config]:
    """Returns the Config of every run by its name, EXPERIMENT/seed-N.

    Args:
        folder: Of the comparison.
        comparison: The flags.
        overrides: Values of training's flags that replace those of every flagfile.

    Raises:
        ValueError: An experiment is no flagfile and no finished run, or one is named twice; or the
            runs have no common split and budget.
    """
    if not comparison.experiments:
        raise ValueError(
            '"--experiments" must name flagfiles or finished run directories, as in '
            "--experiments=flags/paper_unet.cfg,runs/paper. Received: nothing"
        )
    if "seed" in overrides:
        raise ValueError(f'compare takes "--seeds=0,1,2". Received: --seed={overrides["seed"]}')
    if (pathlib.Path(folder) / run_directory.FLAGS).is_file():
        raise ValueError(f'"--run" must be a folder for the comparison. {folder} is a run')
    runs = {}
    for path in map(pathlib.Path, map(released_runs.folder_of, comparison.experiments)):
        name = _name(path)
        if f"{name}/seed-{comparison.seeds[0]}" in runs:
            raise ValueError(f'"--experiments" must have different names. Received twice: {name}')
        for seed in comparison.seeds:
            run = pathlib.Path(folder) / name / f"seed-{seed}"
            runs[f"{name}/seed-{seed}"] = (
                _finished_run(path, comparison.seeds)
                if path.is_dir()
                else _flagfile_run(
                    flagfile_lines.find(path), {**overrides, "seed": seed, "run": str(run)}
                )
            )
    _check_budget(runs)
    return runs


def _name(path):
    """Returns the name of an experiment; RUN/NAME/seed-0 of another comparison is NAME."""
    if path.is_dir():
        return path.parent.name if path.name.startswith("seed-") else path.name
    return path.stem


def _flagfile_run(path, changes):
    if not path.is_file():
        raise ValueError(
            '"--experiments" must name flagfiles or finished run directories, relative to the '
            f"working directory. There is no {path}"
        )
    settings = flagfiles.read_flagfile(path)
    try:
        return settings.replace(**changes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _finished_run(path, seeds):
    if released_runs.is_released(path):
        raise ValueError(
            '"--experiments" must name flagfiles or runs with their images. The network of the '
            f"package comes without them: name its flagfile. Received: {path}"
        )
    if not (path / run_directory.FINISHED).is_file():
        raise ValueError(
            f'"--experiments" must name flagfiles or finished runs. {path} is a folder without '
            f"{run_directory.FINISHED}; finish its training first"
        )
    settings = flagfiles.read(str(path))
    if tuple(seeds) != (settings.source.seed,):
        raise ValueError(
            f'{path} has one seed, so "--seeds" must be {settings.source.seed}. Received: '
            f"--seeds={','.join(map(str, seeds))}. Name its flagfile to train the others"
        )
    return settings


def _check_budget(runs):
    """Raises a ValueError that names what differs where runs have no common split and budget."""
    (first, reference), *others = ((name, _shared(run)) for name, run in runs.items())
    for flag, value in reference.items():
        for name, other in others:
            if other[flag] != value:
                raise ValueError(
                    f'experiments must share one split and one budget. "--{flag}" is '
                    f"{value} in {first} and {other[flag]} in {name}. "
                    f"Give --{flag} here to set it in every flagfile, or compare them separately"
                )
    classes = {name: run.outputs.classes for name, run in runs.items() if run.outputs.class_names}
    if len(set(classes.values())) > 1:
        listed = ", ".join(f"{value} in {name}" for name, value in classes.items())
        raise ValueError(
            f'experiments with a diagnosis head must share "--classes". Received: {listed}'
        )


def _shared(run):
    """Returns by flag what makes one split and one budget."""
    shared = vars(run.source) | vars(run.split) | vars(run.budget)
    # Folders may be named differently, the rows may not: `check_split` compares them. Seeds are
    # the comparison's own.
    return {flag: value for flag, value in shared.items() if flag not in ("data_dir", "seed")}


def check_split(first: str, other: str) -> None:
    """Raises a ValueError where two runs of a seed do not have the same rows on the same sides."""
    sides = []
    for run in (first, other):
        manifest = manifests.read(pathlib.Path(run) / run_directory.MANIFEST)
        sides.append(dict(zip(manifest["image_id"], manifest["split"], strict=True)))
    different = [
        name for name in {**sides[0], **sides[1]} if sides[0].get(name) != sides[1].get(name)
    ]
    if different:
        raise ValueError(
            f"experiments must share one split. {len(different)} images, {min(different)} among "
            f"them, are on another side of the split in {other} than in "
            f"{first}. Train them from the same images and flags"
        )
