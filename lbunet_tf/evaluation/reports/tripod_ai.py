"""The 27 items of TRIPOD+AI (Collins et al., BMJ 2024), answered from a run."""

from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation.reports import card_facts
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report_sentences
from lbunet_tf.evaluation.reports import report_words


def answers(run: evaluated_run.EvaluatedRun) -> list[card_facts.Item]:
    """Returns the items in their order, each answered, or with what the reader must supply."""
    named = {
        **_of_introduction(run),
        **_of_methods(run),
        **_of_analysis(run),
        **_of_openness(),
        **_of_results(run),
        **_of_discussion(),
    }
    return [
        card_facts.Item(number, name, answer)
        for number, (name, answer) in enumerate(named.items(), start=1)
    ]


def _of_introduction(run):
    ask = card_facts.not_answered
    return {
        "Title": ask("a title that names melanoma, the patients, and the kind of study"),
        "Abstract": ask("a structured abstract; the section Evaluation has its numbers"),
        "Background": ask("clinical context, intended users, known inequalities in health"),
        "Objectives": card_facts.study(run),
    }


def _of_methods(run):
    ask = card_facts.not_answered
    sources = report_words.listing(list((run.source or run.settings.source).source))
    outcome = "the classes were" if "diagnosis" in run.scores else "melanoma was"
    return {
        "Data": ask(f"when and why the images were collected ({sources or 'source not named'})"),
        "Participants": ask("setting, number and places of centres, who was eligible, treatments"),
        "Preparation of data": card_facts.inputs(run),
        "Outcome": ask(f"how, when and by whom {outcome} established, and whether blinded"),
        "Predictors": "The pixels of the image; nothing about the patient.",
        "Sample size": ask("why these were enough images; their number is in item 20"),
        "Missing data": _missing(run),
    }


def _missing(run):
    test = run.scores
    counts = evaluated_run.counts_of(run, "test")
    found = [f"{run.checks['skipped']} images skipped"] if "skipped" in run.checks else []
    if run.checks.get("failed"):
        found.append(f"{run.checks['failed']} could not be read")
    if counts:
        found.append(f"{counts['num_unlabelled']} test images without a label")
        if test["mask_source"] != scores.NO_MASKS:
            found.append(f"{counts['num_images'] - counts['num_masks']} without a mask")
    if "diagnosis" in test:
        unknown = test["num_images"] - test["diagnosis"]["num_with_class"]
        found.append(f"{unknown} of an unknown class")
    if "num_unscored" in test:
        found.append(f"{test['num_unscored']} without a score")
    words = f"{', '.join(found)}. " if found else ""
    return f"{words}Nothing was imputed: an image counts in the numbers that need what it has."


def _of_analysis(run):
    chosen = report_sentences.uses_of_val(run)
    choices = "; ".join(f"{name.lower()} ({where})" for name, where in chosen.items())
    return {
        "Analytical methods": f"{card_facts.network(run)} {card_facts.development(run)} Chosen or "
        f"fitted on images that are not test: {choices or 'nothing'}.",
        "Class imbalance": card_facts.imbalance(run),
        "Fairness": card_facts.groups(run)
        or card_facts.not_answered("groups of patients; none could be scored apart"),
        "Output of the model": card_facts.outputs(run),
        "Training versus evaluation": f"{card_facts.study(run)} {card_facts.partition(run)}",
    }


def _of_openness():
    ask = card_facts.not_answered
    return {
        "Ethical approval": ask("approval and consent for the images"),
        "Open science": ask(
            "funding, conflicts of interest, protocol, registration, where data and code are"
        ),
        "Patients and the public": ask("whether they took part in the study"),
    }


def _of_results(run):
    checksums = ", ".join(map(str, run.model_crc32.values()))
    crc = f" (CRC-32 {checksums})" if checksums else ""
    learnt = [card_facts.part(run, name) for name in ("train", "val")]
    known = "; ".join(words for words in learnt if words)
    return {
        "Participants in each part": f"{card_facts.parts(run)} {card_facts.metadata(run)}".strip(),
        "Development": f"{known}." if known else card_facts.not_answered("images of the training"),
        "Specification": f"The whole network is model.keras{crc}; lbunet predict uses it.",
        "Performance": f"{card_facts.performance(run)} {card_facts.groups(run)}".strip(),
        "Updating": _updating(run),
    }


def _updating(run):
    fitted = run.scores.get("calibrated", {"kind": "none"})
    if fitted["kind"] == "none":
        return "The model was not updated or recalibrated."
    how = f"({fitted['kind']}, fitted on {fitted['chosen_on']})"
    if not run.has_as_measured("calibrated"):
        return f"The model was not updated. A calibration {how} was measured, and is not kept."
    return f"Probabilities can be calibrated {how}; the network itself was not changed."


def _of_discussion():
    ask = card_facts.not_answered
    return {
        "Interpretation": ask("what the results mean, also for fairness, next to other studies"),
        "Limitations": "The section Limits has those that a run can tell. "
        + ask("limits of the patients, the labels and the design of the study"),
        "Use in today's care": ask(
            "how poor images are handled, who uses it and with what training; as it is, it is "
            "research software"
        ),
    }
