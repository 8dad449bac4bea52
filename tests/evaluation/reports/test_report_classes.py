"""What a report and a model card say of classes, and of networks without masks and scores."""

import re

import numpy as np
import pytest

from lbunet_tf.drawing import figures
from lbunet_tf.evaluation.reports import model_card
from lbunet_tf.evaluation.reports import report
from lbunet_tf.evaluation.reports import report_classes
from lbunet_tf.settings import config
from tests.evaluation import diagnoses
from tests.evaluation import pages


def few_of_a_class(table):
    """The whole table with 4 classes: 5 test images of `df`, none of `vasc`, 6 unknown."""
    true = np.arange(len(table)) % 2
    is_test = np.flatnonzero(table["split"] == "test")
    true[is_test[:5]], true[is_test[5:11]] = 2, -1
    return diagnoses.add(table, ("mel", "nv", "df", "vasc"), true)


@pytest.fixture
def classes(evaluate_whole):
    """An evaluation with masks, scores and seven classes."""
    return evaluate_whole(diagnoses.add)


@pytest.fixture
def small(evaluate_whole):
    return evaluate_whole(few_of_a_class)


@pytest.fixture
def alone(evaluate_whole):
    """An evaluation of a network that tells nevi from the rest, and nothing else."""
    flags = {"heads": ("diagnosis",), "classes": "nv_vs_rest"}
    settings = config.make(run="runs/a", source=("isic2017",), **flags)
    return evaluate_whole(diagnoses.alone, settings=settings)


def sections_of(run):
    return [
        value["id"] for tag, value in pages.Page(report.build_report(run)).tags if tag == "section"
    ]


def test_the_diagnosis_comes_after_the_data(classes):
    assert sections_of(classes)[:4] == ["summary", "data", "diagnosis", "ranking"]


def test_a_report_without_a_diagnosis_has_no_section_of_it(evaluate_whole):
    run = evaluate_whole()

    assert "diagnosis" not in sections_of(run)
    assert "alanced accuracy" not in report.build_report(run) + model_card.build_card(run)


def test_classes_alone_have_no_empty_sections(alone):
    assert sections_of(alone) == [
        *("summary", "data", "diagnosis", "groups", "val", "limits", "repeat", "numbers"),
    ]


@pytest.mark.parametrize("name", ["classes", "small", "alone"])
def test_no_page_shows_what_is_no_number(name, request):
    run = request.getfixturevalue(name)

    text = pages.Page(report.build_report(run)).text + model_card.build_card(run)

    assert not re.search(r"\bnan\b|\bNaN\b|\bNone\b(?! were|:)|\binf\b", text)


def test_the_summary_of_classes_alone_says_what_is_not_there(alone):
    text = pages.section(report.build_report(alone), "summary")

    assert "No output of this network scores melanoma, so there is no operating point." in text
    assert "The network draws no outlines." in text
    assert "On 60 test images of 2 classes" in text and "would reach 50%" in text


def test_the_numbers_of_a_diagnosis_are_shown_with_their_intervals(classes):
    found = classes.scores["diagnosis"]

    text = pages.section(report.build_report(classes), "diagnosis")

    for name in report_classes.WORDS:
        value = found[name]
        assert (f"{value:.4f}" if isinstance(value, float) else str(value)) in text
    for code, one in found["per_class"].items():
        assert report_classes.name_of(code) in text
        assert f"{one['recall']:.4f}" in text
    for meaning in report_classes.meanings(classes.scores).values():
        assert meaning in text


def test_the_balanced_accuracy_is_the_first_number_to_see(alone):
    (card, *_) = report_classes.cards(alone.scores)

    found = alone.scores["diagnosis"]["intervals"]["balanced_accuracy"]
    assert card.name == "balanced accuracy"
    assert card.interval == f"{found['low']:.3f} to {found['high']:.3f}"
    assert ">balanced accuracy</dt>" in report.build_report(alone)


def test_a_class_without_images_and_images_without_a_class_are_named(small):
    page = report.build_report(small)

    text = pages.section(page, "diagnosis")
    assert "No test image is of vasc (vascular lesion): recall and AUC are not defined" in text
    assert "6 test images are of an unknown class, and are not counted." in text
    (row,) = re.findall(r"<tr><th[^>]*>vasc \(vascular lesion\).*?</tr>", page)
    assert row.count("not defined") == 3 and ">0<" in row


def test_why_an_interval_is_missing_is_said(small):
    text = pages.section(report.build_report(small), "summary")

    assert "patients with images of the class df 5; 10 needed" in text


def test_the_limits_count_the_images_of_small_classes(small):
    text = pages.section(report.build_report(small), "limits")

    assert "No test image is of the class vasc: nothing is known of it." in text
    # One of five images; a third of that in the mean of three classes.
    assert "df 5. In the smallest, one image more or less" in text
    assert "the recall by 20.0 percentage points, and the balanced accuracy by 6.7." in text
    assert "Every image is given one of the classes" in text


def test_without_a_known_class_that_is_said_and_there_is_no_section(evaluate_whole):
    run = evaluate_whole(lambda table: diagnoses.add(table).assign(true_class=""))

    assert "diagnosis" not in sections_of(run)
    assert "No test image has a known class" in report.build_report(run)


def test_images_of_one_class_are_said_to_tell_nothing_apart(evaluate_whole):
    run = evaluate_whole(
        lambda table: diagnoses.add(table, ("mel", "nv"), np.zeros(len(table), int))
    )

    text = pages.section(report.build_report(run), "summary")
    assert "All 60 test images with a known class are mel, so nothing says how classes" in text


def test_the_figure_of_classes_has_a_text_and_scrolls_where_classes_are_many(
    classes, alone, tmp_path, evaluate_whole
):
    path = tmp_path / "class_confusion.png"
    figures.class_confusion(np.eye(2, dtype=int), ["nv", "rest"], path)
    for run, is_wide in ((classes, True), (alone, False)):
        page = pages.Page(report.build_report(_with_figure(run, path)))
        (image,) = page.images
        assert image["alt"].startswith("Matrix of true by predicted class of the test images: ")
        assert (image.get("class") == "wide-image") == is_wide


def _with_figure(run, path):
    return type(run)(**{**vars(run), "figures": [path]})


def test_the_text_of_the_figure_names_what_a_class_is_taken_for():
    diagnosis = {
        "classes": ["mel", "nv", "df"],
        "confusion": [[3, 2, 0], [0, 4, 0], [0, 0, 0]],
        "balanced_accuracy": 0.8,
    }

    assert report_classes.seen({"diagnosis": diagnosis}) == (
        "Matrix of true by predicted class of the test images: mel 3 of 5 right, most often taken "
        "for nv (2); nv 4 of 4 right; df 0 of 0 right."
    )


def test_groups_have_their_balanced_accuracy(alone):
    text = pages.section(report.build_report(alone), "groups")

    assert "balanced accuracy of the classes" in text
    assert "those of differences" not in text and "melanomas" not in text
    assert set(alone.groups["num_with_class"]) == {30}


def test_the_card_has_the_counts_and_knows_its_classes(alone):
    card = model_card.build_card(alone)

    (nevi,) = re.findall(r"\| true nv \|.*", card)
    counts = alone.scores["diagnosis"]["confusion"][0]
    assert [int(count) for count in re.findall(r"(\d+) \(", nevi)] == counts
    assert "It knows nv (nevus) and rest (anything else)" in card
    assert "basal cell carcinoma, count as benign" not in card
    assert "melanoma and its absence" not in card
    assert "**Output**: a probability for each of 2 classes (nv, rest), which sum to 1." in card
    assert "every image is given one of these classes, whatever it shows." in card
    assert "Test images by class: nv 30, rest 30. In training:" in card
    assert "Balanced accuracy 0." in card
    assert "mask loss" not in card and "without a mask" not in card


def test_a_card_without_a_diagnosis_still_says_what_counts_as_benign(evaluate_whole):
    card = model_card.build_card(evaluate_whole())

    assert "It knows melanoma and its absence only: other" in card
    assert "It knows melanoma and its absence, no other disease." in card
