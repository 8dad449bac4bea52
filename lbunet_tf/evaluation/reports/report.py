"""The report of a run: one HTML file that needs no other, and that of a comparison."""

from collections.abc import Sequence

import pandas as pd

from lbunet_tf.evaluation.reports import document
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import rendering
from lbunet_tf.evaluation.reports import repetition
from lbunet_tf.evaluation.reports import report_classes
from lbunet_tf.evaluation.reports import report_figures
from lbunet_tf.evaluation.reports import report_limits
from lbunet_tf.evaluation.reports import report_sentences
from lbunet_tf.evaluation.reports import report_tables


def build_report(run: evaluated_run.EvaluatedRun) -> str:
    """Returns the HTML of a run's report, from what a reviewer asks first to all numbers."""
    sections = [
        document.Section("summary", "Summary", _summary(run)),
        document.Section("data", "Data and splits", _data(run)),
        document.Section("diagnosis", "Diagnosis", _diagnosis(run)),
        document.Section("ranking", "Ranking", _ranking(run)),
        document.Section("operating-point", "Operating point", _operating_point(run)),
        document.Section("calibration", "Calibration", _calibration(run)),
        document.Section("sets", "Prediction sets", _sets(run)),
        document.Section("outlines", "Outlines", _outlines(run)),
        document.Section("groups", "Groups", _groups(run)),
        document.Section("sources", "Sources", _sources(run.scores)),
        document.Section("examples", "Examples", _examples(run)),
        document.Section("val", "What val was used for", _val(run)),
        document.Section("limits", "Limits", [document.Items(report_limits.of_run(run))]),
        document.Section("repeat", "How to repeat it", _repetition(run)),
        document.Section("numbers", "All numbers", report_tables.numbers(run.metrics)),
    ]
    return rendering.page(run.title, [section for section in sections if section.blocks])


def build_comparison(
    title: str,
    table: pd.DataFrame,
    facts: dict[str, str],
    figures: Sequence[document.Figure] = (),
) -> str:
    """Returns the HTML of a comparison.

    Args:
        title: What was compared.
        table: One row per experiment, text in the cells, words as names.
        facts: What a reader must know besides the numbers, name -> sentences.
        figures: As `report_figures.of_comparison` gives them.
    """
    rows = table.astype(str).to_numpy().tolist()
    experiments = document.Table("Scores of the test images", list(table.columns), rows)
    sections = [
        document.Section("experiments", "Experiments", [experiments]),
        document.Section("facts", "How to read it", [document.Facts(facts)]),
        document.Section("figures", "Figures", list(figures)),
    ]
    return rendering.page(title, [one for one in sections if one.blocks], is_wide=True)


def _paragraphs(*texts):
    return [document.Paragraph(text) for text in texts if text]


def _summary(run):
    test = run.scores
    return [
        *_paragraphs(
            " ".join(report_classes.summary(test)),
            " ".join(report_sentences.summary(test, run.chosen_on)),
        ),
        *report_sentences.cards(test),
        *_paragraphs(" ".join(report_sentences.intervals(test))),
        *report_sentences.label_note(test),
    ]


def _data(run):
    facts = [document.Facts(run.facts)] if run.facts else []
    return [
        *_paragraphs(report_sentences.prevalence(run.scores)),
        *report_tables.parts(run.counts),
        *report_figures.drawn(run, "class_balance"),
        *facts,
    ]


def _diagnosis(run):
    meanings = report_classes.meanings(run.scores)
    return [
        *report_classes.overall(run.metrics),
        *report_classes.per_class(run.scores),
        *_paragraphs(" ".join(report_classes.notes(run.scores))),
        *report_figures.drawn(run, "class_confusion"),
        *([document.Facts(meanings)] if meanings else []),
    ]


def _ranking(run):
    return [*report_tables.ranking(run.metrics), *report_figures.drawn(run, "roc")]


def _operating_point(run):
    test = run.scores
    return [
        *_paragraphs(
            *report_sentences.operating_point(test),
            report_sentences.not_kept(run, "operating_point"),
            report_sentences.optimism(run, "operating_point"),
        ),
        *report_tables.thresholds(test, run.chosen_on),
        *report_figures.drawn(run, "confusion_matrix"),
        *report_tables.prevalences(test),
        *report_figures.drawn(run, "threshold_curves", "decision_curve"),
    ]


def _calibration(run):
    reason = run.scores.get("calibration", {}).get("not_estimable")
    return [
        *_paragraphs(f"Not estimable: {reason}." if reason else ""),
        *report_tables.calibration(run.scores),
        *_paragraphs(
            report_sentences.clinic(run.scores), report_sentences.not_kept(run, "calibrated")
        ),
        *report_figures.drawn(run, "reliability"),
    ]


def _sets(run):
    test = run.scores
    if "prediction_sets" not in test:
        return []
    return [
        *_paragraphs(
            report_sentences.sets(test["prediction_sets"]),
            report_sentences.not_kept(run, "prediction_sets"),
        ),
        *report_tables.sets(test),
    ]


def _outlines(run):
    test = run.scores
    found = test.get("mask_contours")
    return [
        *report_tables.masks(test),
        *_paragraphs(
            report_sentences.mask_threshold_not_kept(run),
            report_sentences.contours(found) if found else "",
            report_sentences.not_kept(run, "mask_contours"),
            # Where scores have a point, it stands there.
            "" if "operating_point" in test else report_sentences.optimism(run, "mask_contours"),
        ),
        *report_tables.contours(test),
    ]


def _groups(run):
    tables = report_tables.groups(run.groups)
    how = "In brackets 95 % intervals by patient"
    if any(name.endswith("_difference") for name in (() if run.groups is None else run.groups)):
        how += (
            "; those of differences hold for all groups of one attribute at once, but not over "
            "several attributes"
        )
    how += (
        ". A difference may come from the images, the labels, or how ill a group is, as well as "
        "from the network."
    )
    if "balanced_accuracy" in (() if run.groups is None else run.groups):
        how += " Balanced accuracy is of the classes that a group has, which may differ."
    return [
        *_paragraphs(how if tables else ""),
        *tables,
        *_paragraphs(report_sentences.skin_tone(run.scores)),
    ]


def _sources(test):
    tables = report_tables.sources(test)
    if not tables:
        return []
    return [
        *_paragraphs(
            "The sources contain melanoma in different proportions, so the pooled AUC partly "
            "measures how well the sources are told apart. The scores below do not."
        ),
        *tables,
    ]


def _examples(run):
    return report_figures.drawn(run, "mask_sheet", "example_sheet")


def _val(run):
    uses = report_sentences.uses_of_val(run)
    return [
        *([document.Facts(uses)] if uses else []),
        *_paragraphs("Nothing was chosen on test."),
        *report_figures.drawn(run, "training_curves"),
    ]


def _repetition(run):
    known = {**repetition.version(run.version, run.model_crc32), **run.training_facts}
    commands = repetition.commands(run.settings.paths.runs, run.settings.score, run.source)
    return [
        *([document.Facts(known)] if known else []),
        *([document.Code("Commands", commands)] if commands else []),
        document.Code("Flags of the training", list(run.flag_lines)),
    ]
