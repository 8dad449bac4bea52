"""The model card of an evaluation: Markdown, from the same numbers as the report."""

from lbunet_tf.evaluation.reports import card_facts
from lbunet_tf.evaluation.reports import clear_derm
from lbunet_tf.evaluation.reports import document
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import rendering
from lbunet_tf.evaluation.reports import repetition
from lbunet_tf.evaluation.reports import report_classes
from lbunet_tf.evaluation.reports import report_limits
from lbunet_tf.evaluation.reports import report_sentences
from lbunet_tf.evaluation.reports import report_tables
from lbunet_tf.evaluation.reports import tripod_ai
from lbunet_tf.runs import frozen


def build_card(run: evaluated_run.EvaluatedRun) -> str:
    """Returns the Markdown of a run's model card.

    What a run's files cannot say is "Not answered", with what the reader must supply.
    """
    return rendering.markdown(
        "model_card.md.jinja",
        title=run.title,
        description={
            "Network": card_facts.network(run),
            "Input": card_facts.inputs(run),
            "Output": card_facts.outputs(run),
            "Training": card_facts.development(run),
            **repetition.version(run.version, run.model_crc32),
        },
        known_classes=card_facts.known_classes(run),
        data={"Study": card_facts.study(run), **run.facts},
        counts=report_tables.parts(run.counts),
        sections=[section for section in _sections(run) if section.blocks],
        limits=report_limits.of_run(run),
        commands=repetition.commands(run.settings.paths.runs, run.settings.score, run.source),
        checklists={
            "CLEAR-Derm (Daneshjou et al., JAMA Dermatology 2022)": clear_derm.answers(run),
            "TRIPOD+AI (Collins et al., BMJ 2024)": tripod_ai.answers(run),
        },
    )


def _sections(run):
    test = run.scores
    summary = report_classes.summary(test)
    summary += [*report_sentences.summary(test, run.chosen_on), *report_sentences.intervals(test)]
    point = report_sentences.operating_point(test)
    point.append(report_sentences.optimism(run, "operating_point"))
    sets = [report_sentences.sets(test["prediction_sets"])] if "prediction_sets" in test else []
    contours = [report_sentences.contours(test["mask_contours"])] if "mask_contours" in test else []
    if contours and "operating_point" not in test:
        contours.append(report_sentences.optimism(run, "mask_contours"))
    not_kept = {name: report_sentences.not_kept(run, name) for name in frozen.CHOICES}
    notes = [note.text for note in report_sentences.label_note(test)]
    return [
        _section("Evaluation", [*notes, *summary, card_facts.performance(run)], []),
        _section(
            "Diagnosis",
            [
                *(f"{name}: {text}" for name, text in report_classes.meanings(test).items()),
                *report_classes.notes(test),
            ],
            [
                *report_classes.overall(run.metrics),
                *report_classes.per_class(test),
                *report_classes.confusion(test),
            ],
        ),
        _section(
            "Operating point",
            [*point, not_kept["operating_point"]],
            [*report_tables.thresholds(test, run.chosen_on), *report_tables.prevalences(test)],
        ),
        _section(
            "Calibration",
            [report_sentences.clinic(test), not_kept["calibrated"]],
            report_tables.calibration(test),
        ),
        _section("Prediction sets", [*sets, not_kept["prediction_sets"]], report_tables.sets(test)),
        _section(
            "Outlines",
            [
                report_sentences.mask_threshold_not_kept(run),
                *contours,
                not_kept["mask_contours"],
            ],
            [*report_tables.masks(test), *report_tables.contours(test)],
        ),
        _section("Groups", [card_facts.groups(run)], report_tables.groups(run.groups)),
    ]


def _section(title, sentences, tables):
    text = " ".join(sentence for sentence in sentences if sentence)
    return document.Section("", title, [*([document.Paragraph(text)] if text else []), *tables])
