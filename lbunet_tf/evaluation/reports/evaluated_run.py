"""What a report and a model card are made of: one evaluation, its numbers and its facts."""

import dataclasses
import pathlib
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

import pandas as pd

from lbunet_tf.data import manifests
from lbunet_tf.evaluation import contract
from lbunet_tf.runs import frozen
from lbunet_tf.settings import config
from lbunet_tf.settings import image_groups

PARTS = ("train", "val", manifests.CALIBRATION, "test")


# Sources whose name does not say whose images they are.
_NAMELESS = ("manifest", "records", "folder")


@dataclasses.dataclass(frozen=True)
class EvaluatedRun:
    """One evaluation; what is not known stays at its default, and nothing is said of it.

    Attributes:
        title: What was scored on which images.
        metrics: `metrics.json`.
        settings: Of the runs, as others may see them.
        source: How another source than the runs' own was read, None without one.
        facts: On runs and images, name -> sentence.
        training_facts: On how each run was trained, likewise.
        training: Run -> `training.json`, {} of an unfinished one.
        checks: `checks.json`.
        sources: Part of the split -> the sources that its images name.
        counts: As `count_parts` gives it; train, val and calibration are of the first run.
        test: The rows of test in the predictions.
        groups: As `subgroups.measure` gives them.
        decision_curve: As `decision_curve.make_curve` gives it.
        flag_lines: The resolved flags.
        figures: PNG files.
        model_crc32: Run -> checksum of its model.
        version: Of the package.
        kept: Which of `frozen.CHOICES` the run has, and whether just as they were measured here;
            likewise its `mask_threshold`.
    """

    title: str
    metrics: Mapping[str, dict]
    settings: config.Config = config.Config()
    source: image_groups.Source | None = None
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    training_facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    training: Mapping[str, dict] = dataclasses.field(default_factory=dict)
    checks: Mapping[str, object] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)
    counts: pd.DataFrame | None = None
    test: pd.DataFrame | None = None
    groups: pd.DataFrame | None = None
    decision_curve: pd.DataFrame | None = None
    flag_lines: Sequence[str] = ()
    figures: Sequence[pathlib.Path] = ()
    model_crc32: Mapping[str, int] = dataclasses.field(default_factory=dict)
    version: str = ""
    kept: Mapping[str, bool] = dataclasses.field(
        default_factory=lambda: dict.fromkeys((*frozen.CHOICES, "mask_threshold"), True)
    )

    @property
    def scores(self) -> dict:
        """The part of the metrics on the test images."""
        return self.metrics["test"]

    @property
    def chosen_on(self) -> str:
        """The part of the split on which the operating point and the like were chosen."""
        choices = (self.scores.get(name, {}) for name in ("operating_point", "mask_contours"))
        return next((one["chosen_on"] for one in choices if "chosen_on" in one), "val")

    @property
    def is_external(self) -> bool:
        """Whether test is of a source of which nothing was learnt or chosen, by its name."""
        learnt = set(self.learnt_sources)
        if self.source:
            tested = set(self.sources.get("test") or self.source.source)
            return not tested <= learnt - set(_NAMELESS)
        tested = set(self.sources.get("test", ()))
        return bool(tested) and bool(self._named) and learnt.isdisjoint(tested)

    @property
    def learnt_sources(self) -> list[str]:
        """The sources that training and choices saw, as flags and images name them."""
        flags, named = list(dict.fromkeys(self.settings.source.source)), self._named
        if named:
            flags = [name for name in flags if self.source and name not in _NAMELESS]
        return flags + sorted(named - set(flags))

    @property
    def tested_sources(self) -> list[str]:
        """The sources of test: those of the flags, or of a run's own images as they name them."""
        return list(self.source.source) if self.source else sorted(self.sources.get("test", ()))

    @property
    def _named(self):
        """The sources that the images of the other parts name."""
        return set().union(*(names for part, names in self.sources.items() if part != "test"))

    @property
    def can_keep(self) -> bool:
        """Whether a run can have what was chosen: a mean, or a run with --tta, has none of it."""
        return frozen.is_run_as_it_is(self.settings.paths.runs, self.settings.score.tta)

    def has(self, name: str) -> bool:
        """Whether predict, load and export use one of `frozen.CHOICES`, this or another."""
        return self.can_keep and name in self.kept

    def has_as_measured(self, name: str) -> bool:
        """Whether predict, load and export use one of `frozen.CHOICES` as it was measured here."""
        return self.can_keep and self.kept.get(name, False)


def sources_of(manifest: pd.DataFrame) -> dict[str, set[str]]:
    """Returns part of the split -> the sources that its images name; without one where none does.

    Args:
        manifest: With `split`, and `source` or not.
    """
    if "source" not in manifest:
        return {}
    named = manifest[manifest["source"].fillna("") != ""]
    return {part: set(rows["source"]) for part, rows in named.groupby("split")}


def count_parts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each part of the split that has images, in the order of `PARTS`.

    `split`, `num_images`, `num_melanoma`, `num_other`, `num_unlabelled`, `num_masks`,
    `num_patients`, and `patient_key`, what counts as a patient.

    Args:
        manifest: With `image_id`, `split`, `label` and `mask`.
    """
    rows = []
    for name in PARTS:
        part = manifest[manifest["split"] == name]
        if part.empty:
            continue
        key, words = contract.patients(part)
        rows.append(
            {
                "split": name,
                "num_images": len(part),
                "num_melanoma": int((part["label"] == 1).sum()),
                "num_other": int((part["label"] == 0).sum()),
                "num_unlabelled": int(part["label"].isna().sum()),
                "num_masks": int((part["mask"].fillna("") != "").sum()),
                "num_patients": len(set(key)),
                "patient_key": words,
            }
        )
    return pd.DataFrame(rows)


def counts_of(run: EvaluatedRun, part: str) -> dict:
    """Returns the counts of one part of the split, {} where they are not known."""
    if run.counts is None or run.counts.empty:
        return {}
    rows = run.counts[run.counts["split"] == part].to_dict("records")
    return rows[0] if rows else {}
