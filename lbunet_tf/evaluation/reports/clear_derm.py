"""The 25 items of CLEAR-Derm (Daneshjou et al., JAMA Dermatology 2022), answered from a run."""

from lbunet_tf.evaluation.reports import card_facts
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report_limits
from lbunet_tf.evaluation.reports import report_sentences
from lbunet_tf.evaluation.reports import report_words


def answers(run: evaluated_run.EvaluatedRun) -> list[card_facts.Item]:
    """Returns the items in their order, each answered, or with what the reader must supply."""
    named = {**_of_images(run), **_of_data(run), **_of_technique(run), **_of_use(run)}
    return [
        card_facts.Item(number, name, answer)
        for number, (name, answer) in enumerate(named.items(), start=1)
    ]


def _of_images(run):
    ask = card_facts.not_answered
    drawn = report_limits.DRAWN in {*run.settings.source.source, *report_limits.sources_of(run)}
    sources = report_words.listing(
        list(dict.fromkeys([*run.settings.source.source, *report_limits.sources_of(run)]))
    )
    return {
        "Kind of images": ask("devices, lighting, and whether all images are dermoscopic"),
        "Artefacts in images": ask("hair, ink, rulers, dark corners, and what was excluded"),
        "Technical acquisition": ask("cameras, resolution, compression, and who took the images"),
        "Preprocessing": f"{card_facts.inputs(run)} Augmentation in training: "
        f"{run.settings.augmentation.augment}.",
        "Synthetic images": "The images of one source are drawn by lbunet_tf itself."
        if drawn
        else ask("whether any image of the sources is synthetic; lbunet_tf made none"),
        "Public images": ask(f"references and licences of the sources ({sources or 'not named'})"),
    }


def _of_data(run):
    ask = card_facts.not_answered
    metadata = card_facts.metadata(run)
    external = (
        f"{card_facts.study(run)} {run.scores['num_images']} images."
        if run.is_external
        else "None: all test images are of sources that were also trained on."
    )
    return {
        "Data on patients": metadata
        or ask("age, sex, site and more; the table of images has none"),
        "Skin colour": ask("skin colours of the patients, and how they were assessed"),
        "Bias from data on patients": "No data on the patient enter the network. "
        + ask("biases of how patients and images were selected, which the pixels can show"),
        "Partitions of the data": card_facts.partition(run),
        "Sample sizes": card_facts.parts(run),
        "External test set": external,
        "Several vendors": ask("the vendors of the devices"),
        "Classes and their balance": card_facts.imbalance(run),
        "Images of another kind": "None were tested: how the network behaves on images that are "
        "unlike those of its training is not known.",
        "How labels were made": ask("who made diagnoses and outlines, and how"),
        "Accepted diagnoses": ask("which diagnoses stand for melanoma and for its absence"),
        "Histopathology": ask("which melanomas were confirmed by histopathology"),
    }


def _of_technique(run):
    ask, groups = card_facts.not_answered, card_facts.groups(run)
    return {
        "Development of the algorithm": f"{card_facts.network(run)} {card_facts.development(run)}",
        "How others can evaluate it": ask(
            "where others get the model; with it, the commands above repeat this evaluation"
        ),
        "Performance": f"{card_facts.performance(run)} {report_sentences.who_counts(run.scores)}"
        if "patient_key" in run.scores
        else card_facts.performance(run),
        "Comparison and novelty": ask("other methods or readers on the same images"),
        "Assessment of bias": f"{groups} {ask('what differences mean')}"
        if groups
        else ask("groups of patients; the table of images has no column to tell them apart"),
    }


def _of_use(run):
    known = card_facts.known_classes(run) or "It knows melanoma and its absence, no other disease."
    return {
        "Uses and conditions": "Research on single lesions in dermoscopic images. "
        f"{known} Not for diagnosis.",
        "Effects on clinicians and patients": card_facts.not_answered(
            "what a missed melanoma and a false alarm would lead to where it is used"
        ),
    }
