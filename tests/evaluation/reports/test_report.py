"""The report holds every number, reads without anything else, and is honest about its limits."""

import re

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.drawing import figures
from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report
from lbunet_tf.evaluation.reports import report_figures
from lbunet_tf.runs import run_directory
from tests.evaluation import pages


@pytest.fixture
def evaluate(random_table, make_histogram):
    """A function: metrics of the random table with masks, after a change to it."""

    def run(mask_source="lesion", change=lambda table: table):
        rng = np.random.default_rng(41)
        for name in ("tp", "fp", "fn"):
            random_table[f"mask_{name}"] = rng.integers(1, 50, len(random_table))
        histogram = make_histogram(rng.normal(0, 3, 500), rng.integers(0, 2, 500))
        return scores.evaluate_table(
            change(random_table), {"val": histogram, "test": histogram}, mask_source, 0.018
        )

    return run


def _build(metrics, drawn=(), title="lbunet on isic2020", context=None, flag_lines=("--seed=0",)):
    run = evaluated_run.EvaluatedRun(
        title, metrics, facts=context or {}, flag_lines=list(flag_lines), figures=list(drawn)
    )
    return report.build_report(run)


def test_the_report_is_well_formed_html(evaluate):
    text = _build(evaluate())

    assert text.startswith("<!doctype html>")
    assert pages.Page(text).open == []


def test_the_report_needs_nothing_beside_it(evaluate, tmp_path):
    path = tmp_path / "roc.png"
    figures.roc({"test": [([0, 1], [0, 1])]}, path)

    text = _build(evaluate(), [path])

    page = pages.Page(text)
    own = ("data:image/png;base64,", "#")
    assert page.images and all(link.startswith(own) for link in page.links)
    assert not page.tag_names & {"script", "link", "iframe"}
    assert not re.search(r"https?://|@import|url\(", text)


def test_every_figure_has_a_caption(evaluate, tmp_path):
    paths = pages.draw_nothing(tmp_path)

    page = pages.Page(_build(evaluate(), paths))

    assert len(page.images) == len(paths)
    assert all(caption in page.text for caption in report_figures.CAPTIONS.values())


def test_every_figure_is_known_to_the_run_directory():
    assert set(report_figures.CAPTIONS) == set(run_directory.FIGURE_NAMES)


@pytest.mark.parametrize("mask_source", ["lesion", "label"])
def test_the_report_holds_every_number_of_val_and_test(evaluate, mask_source):
    metrics = evaluate(mask_source)

    text = pages.Page(_build(metrics)).text

    numbers = [
        value
        for split in ("val", "test")
        for value in metrics[split].values()
        if isinstance(value, float)
    ]
    assert len(numbers) > 15
    assert [value for value in numbers if f"{value:.4f}" not in text] == []


def test_the_report_holds_every_number_of_the_thresholds(evaluate):
    metrics = evaluate()

    words = pages.Page(_build(metrics)).words

    for place in ("at_0.5", "at_val_threshold"):
        for value in metrics["test"][place].values():
            assert (f"{value:.4f}" if isinstance(value, float) else str(value)) in words


@pytest.mark.parametrize("where", ["title", "context", "flag_lines"])
def test_the_report_escapes_what_comes_from_outside(evaluate, where):
    evil = "<script>alert('x')</script> & more"
    given = {"title": evil, "context": {evil: evil}, "flag_lines": [f"--data_dir={evil}"]}

    text = _build(evaluate(), **{where: given[where]})

    assert "<script" not in text
    assert evil in pages.Page(text).text


def test_the_report_says_that_it_is_no_medical_device(evaluate):
    assert "not a medical device" in pages.Page(_build(evaluate())).text


def test_label_masks_are_named_as_such(evaluate):
    text = pages.Page(_build(evaluate("label"))).text

    assert "Label-as-mask" in text
    assert "outline of the lesion" not in text


def test_pixel_numbers_of_label_masks_are_named_as_such(evaluate):
    words = pages.Page(_build(evaluate("label"))).words

    assert {"label-as-mask: pixel AUC", "label-as-mask: pixel accuracy at 0.5"} <= set(words)
    assert not {"pixel AUC", "pixel accuracy at 0.5"} & set(words)


def test_lesion_masks_are_not_called_label_masks(evaluate):
    assert "abel-as-mask" not in pages.Page(_build(evaluate("lesion"))).text


def test_an_undefined_number_is_said_to_be_so(evaluate):
    metrics = evaluate(change=lambda table: table.assign(label=0.0))

    text = pages.section(_build(metrics), "numbers")

    assert re.search(r"\bAUC +not defined +not defined", text)


def test_a_threshold_that_was_not_chosen_is_not_said_to_be(evaluate):
    # Val of one class: there is no threshold of it, only 0.5.
    metrics = evaluate(
        change=lambda table: table.assign(label=table["label"].where(table["split"] == "test", 0.0))
    )

    text = pages.Page(_build(metrics)).text

    assert "chosen on validation images" not in text


def test_an_undefined_auc_is_explained(evaluate):
    metrics = evaluate(change=lambda table: table.assign(label=0.0))

    text = pages.Page(_build(metrics)).text

    reason = "AUC is not defined: of 60 scored test images 0 are melanomas, and it needs both"
    assert reason in text


def test_a_defined_auc_is_not_said_to_be_undefined(evaluate):
    assert "not defined" not in pages.Page(_build(evaluate())).text


def test_a_report_without_scored_images_says_that_nothing_scores_melanoma(evaluate):
    metrics = evaluate(change=lambda table: table.assign(score=np.nan))

    page = pages.Page(_build(metrics))

    assert page.open == []
    assert "No output of this network scores melanoma; it finds outlines only." in page.text
    assert "Test images at a threshold" not in page.text


def test_a_report_without_labels_does_not_deny_the_score(evaluate):
    metrics = evaluate(change=lambda table: table.assign(label=np.nan))
    metrics["test"]["num_unscored"] = 0

    text = pages.Page(_build(metrics)).text

    assert "No test image has both a melanoma score and a label." in text
    assert "No output of this network scores melanoma" not in text
    assert "Nothing scores melanoma here" not in text


def test_accuracy_in_the_table_of_thresholds_is_not_said_to_be_at_a_half(evaluate):
    text = _build(evaluate())

    table = pages.section(text, "operating-point")
    assert "accuracy" in table and "accuracy at 0.5" not in table
    assert "accuracy at 0.5" in pages.section(text, "numbers")


def test_the_report_ends_with_the_flags_that_repeat_the_run(evaluate):
    text = pages.Page(_build(evaluate(), flag_lines=["--seed=7", "--model=unet"])).text

    assert "--seed=7\n--model=unet" in text


def test_several_sources_stand_in_a_table_of_their_own(evaluate):
    metrics = evaluate(change=lambda table: table.assign(source=["ab"[n % 2] for n in table.index]))

    page = pages.Page(_build(metrics))

    assert "Test images by source" in page.text
    for part in metrics["test"]["by_source"].values():
        assert f"{part['auc']:.4f}" in page.text and f"{part['dice']:.4f}" in page.text


def test_one_source_has_no_such_table(evaluate):
    assert "by source" not in _build(evaluate())


def test_a_comparison_is_a_page_of_the_same_kind(tmp_path):
    path = tmp_path / "roc.png"
    figures.roc({"small": [([0, 1], [0, 1])]}, path)
    table = pd.DataFrame({"experiment": ["small", "<b>large</b>"], "AUC": ["0.750", "0.875"]})
    drawn = report_figures.of_comparison(path, ["small, AUC 0.750"])

    text = report.build_comparison("two & more", table, {"Test images": "8 of them"}, [drawn])

    page = pages.Page(text)
    assert page.open == [] and "<b>large" not in text
    assert "<b>large</b>" in page.text and "two & more" in page.text and "8 of them" in page.text
    (image,) = page.images
    assert image["alt"] == "ROC curves of the test images: small, AUC 0.750."
    assert "not a medical device" in page.text
