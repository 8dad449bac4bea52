"""Writes the report and the model card of an evaluation, from what it measured and its runs."""

import dataclasses
import pathlib
from collections.abc import Sequence

import pandas as pd

import lbunet_tf
from lbunet_tf.data import manifests
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import facts
from lbunet_tf.evaluation.reports import model_card
from lbunet_tf.evaluation.reports import report
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import published_flags
from lbunet_tf.storage import whole_files


def describe(
    settings: config.Config,
    source: image_groups.Source | None,
    manifest: pd.DataFrame,
    checks: dict,
    metrics: dict[str, dict],
    how_scored: str,
    model_crc32: Sequence[int],
) -> evaluated_run.EvaluatedRun:
    """Returns an evaluation with the facts of its runs, without figures, groups and test rows.

    Args:
        settings: Of the first run, with the others in `other_runs`.
        source: Of another source than the run's own, or None.
        manifest: Of the images that were scored.
        checks: `checks.json` of them.
        metrics: `metrics.json`.
        how_scored: What was averaged, in words.
        model_crc32: Checksum of the model of each run, in their order.
    """
    shown = published_flags.without_folders(settings)
    runs = dict(zip(shown.paths.runs, map(pathlib.Path, settings.paths.runs), strict=True))
    learnt = dataclasses.replace(
        shown, source=dataclasses.replace(shown.source, source=_sources(settings.paths.runs))
    )
    training = {name: _training(run) for name, run in runs.items()}
    rows = counted(settings.paths.run, source, manifest)
    run = evaluated_run.EvaluatedRun(
        title=facts.title(learnt.model, len(runs), learnt.source, source),
        metrics=metrics,
        settings=learnt,
        source=_shown_source(settings.paths.run, source),
        training_facts=facts.of_training(training),
        training=training,
        checks=checks,
        sources=evaluated_run.sources_of(rows),
        counts=evaluated_run.count_parts(rows),
        flag_lines=flagfiles.shown_lines(shown),
        model_crc32=dict(zip(runs, model_crc32, strict=True)),
        version=lbunet_tf.__version__,
    )
    return dataclasses.replace(run, facts={"Scored": how_scored, **facts.of_images(run)})


def write(output: pathlib.Path, run: evaluated_run.EvaluatedRun) -> None:
    """Writes both files; the report last, by which `compare` knows that an evaluation is whole.

    Args:
        output: Where the evaluation is; its decision curve is read there.
        run: With its figures, groups and test rows.
    """
    curve = output / run_directory.DECISION_CURVE
    if curve.is_file():
        run = dataclasses.replace(run, decision_curve=whole_files.read_table(curve))
    whole_files.write_text(output / run_directory.MODEL_CARD, model_card.build_card(run))
    whole_files.write_text(output / run_directory.REPORT, report.build_report(run))


def _sources(runs):
    """Returns the sources that the runs learnt from, each once."""
    names = [name for run in runs for name in flagfiles.read(run).source.source]
    return tuple(dict.fromkeys(names))


def _training(run):
    finished = run / run_directory.FINISHED
    return whole_files.read_json(finished) if finished.is_file() else {}


def _shown_source(run, source):
    """Returns how another source was read, as others may see it."""
    if not source:
        return None
    of_source = config.make(run=run, **vars(source))
    return published_flags.without_folders(of_source).source


def counted(run: str, source: image_groups.Source | None, manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows to count: of another source the images of test, the rest of the run's."""
    if not source:
        return manifest
    own = manifests.read(pathlib.Path(run) / run_directory.MANIFEST)
    parts = [own[own["split"] != "test"], manifest[manifest["split"] == "test"]]
    return pd.concat(parts, ignore_index=True)
