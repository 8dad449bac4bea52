"""Where an evaluation is written: a run directory, or a folder that holds none of other flags."""

import os
import pathlib
import shutil
from collections.abc import Sequence

from lbunet_tf.runs import ensemble
from lbunet_tf.runs import held_out
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import command_groups
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import score_group
from lbunet_tf.storage import output_folder
from lbunet_tf.storage import spreadsheets
from lbunet_tf.storage import whole_files

# The marker of a folder of an evaluation, and what is written there.
WORK = "evaluate"
OWN = (
    *run_directory.EVALUATION,
    run_directory.CHECKS,
    run_directory.SKIPPED,
    run_directory.MANIFEST,
)

# Flags of the score that decide what an evaluation says, and that no run directory holds.
CHOICES = (
    "prevalence",
    "clinic_prevalence",
    "target_sensitivity",
    "target_specificity",
    "cost_ratio",
    "guarantee",
    "set_coverage",
    "contour_coverage",
    "subgroups",
    "subgroup_table",
    "ita_estimate",
)


def asked_of(
    runs: Sequence[str],
    score: score_group.Score,
    mask_cleanup: str,
    source: image_groups.Source | None,
) -> dict:
    """Returns what decides an evaluation, by flag; folders do not depend on how they are named.

    Args:
        runs: Whose mean is evaluated; mostly one.
        score: The flags of the score.
        mask_cleanup: `Config.mask_cleanup`.
        source: How another source is read; None for the run's own images.
    """
    asked = {
        "run": [os.path.abspath(run) for run in runs],
        "tta": score.tta,
        "mask_cleanup": mask_cleanup,
    }
    if source:
        folders = [os.path.abspath(folder) for folder in source.data_dir]
        asked |= {**vars(source), "source": list(source.source), "data_dir": folders}
        # The same images, whatever becomes of bad ones.
        del asked["on_bad_image"]
    choices = {name: getattr(score, name) for name in CHOICES}
    tables = [os.path.abspath(path) for path in score.subgroup_table]
    # Lists, as JSON gives them back.
    choices |= {"subgroups": list(score.subgroups), "subgroup_table": tables}
    return asked | choices


def folder_of(
    paths: command_groups.Paths, source: image_groups.Source | None, asked: dict
) -> pathlib.Path:
    """Returns where to write: the run directory, --output, or RUN/on_SOURCE.

    Args:
        paths: The first run, with the others in `other_runs`, and --output.
        source: How another source is read; None for the run's own images.
        asked: What `asked_of` returns.

    Raises:
        ValueError: The folder holds something else, an evaluation of other flags too.
    """
    run = pathlib.Path(paths.run)
    name = f"on_{'+'.join(source.source)}" if source else ""
    folder = ensemble.output_folder(paths, name)
    if folder == run:
        output_folder.refuse_links(run, OWN)
        return folder
    before = _asked_before(folder)
    if before is None:
        output_folder.check(folder, WORK, OWN, "--output")
        return folder
    output_folder.refuse_links(folder, OWN)
    # Earlier versions noted no choices; and a run takes what lies in it along where it is moved.
    known = {*asked} - {name for name in CHOICES if name not in before}
    if folder.parent == run and "run" in before:
        before = {**before, "run": [*asked["run"][:1], *before["run"][1:]]}
    changed = sorted(name for name in known if before.get(name) != asked[name])
    if changed:
        words = ", ".join(f"--{name} {before.get(name)}, now {asked[name]}" for name in changed)
        raise ValueError(
            f"{folder} holds an evaluation made with other flags ({words}). Give --output for "
            "another folder, or delete that one"
        )
    return folder


def _asked_before(folder):
    """Returns what decided the evaluation in a folder, None where it holds none of ours."""
    path = folder / run_directory.CHECKS
    # An evaluation of an earlier version has no marker; its checks hold what was asked.
    if path.is_symlink() or not path.is_file():
        return None
    asked = whole_files.read_json(path).get("asked")
    # An evaluation of an earlier version cleaned no mask up.
    return {"mask_cleanup": "none", **asked} if isinstance(asked, dict) else None


def write_scored(
    folder: pathlib.Path, run: pathlib.Path, scored: held_out.Scored, asked: dict
) -> None:
    """Writes what tells which images were scored; a run directory holds it already."""
    if folder == run:
        return
    output_folder.mark(folder, WORK)
    # First the file by which an older evaluation is known.
    checks = {**scored.checks, "asked": asked}
    whole_files.write_json(folder / run_directory.CHECKS, checks)
    if scored.skipped is None:
        shutil.copyfile(run / run_directory.SKIPPED, folder / run_directory.SKIPPED)
    else:
        skipped = spreadsheets.quoted_table(scored.skipped)
        whole_files.write_table(folder / run_directory.SKIPPED, skipped)
    manifest = scored.manifest.copy()
    for column in ("image", "mask"):
        # A manifest's paths may be relative to its folder, and this is another.
        manifest[column] = [os.path.abspath(path) if path else "" for path in manifest[column]]
    whole_files.write_table(folder / run_directory.MANIFEST, manifest)
