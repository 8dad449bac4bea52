"""What the report says besides the numbers."""

import dataclasses

import pandas as pd
import pytest

from lbunet_tf.evaluation.reports import card_facts
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import facts
from lbunet_tf.evaluation.reports import report_sentences
from lbunet_tf.settings import config

RUN = config.make(
    run="runs/a", source=("isic2017",), split_by="official", encoder="efficientnet_lite0"
)
CLASSIFIER = config.make(
    source=("isic2017",), model="classifier", encoder="vit_b16", heads=("melanoma",)
).replace(encoder_weights="none")
TWO = RUN.replace(other_runs=("runs/b",))
HAM = config.make(source=("ham10000",)).source
CHECKS = {
    "images": 40,
    "skipped": 3,
    "left_out": 2,
    "crossings": {"patient_id": 0, "content_hash": 0},
    "known": {"patient_id": 0, "content_hash": 40},
}
TEST = {"num_images": 40}


def of_images(settings, source, checks, test):
    run = evaluated_run.EvaluatedRun(
        "title", {"test": test}, settings=settings, source=source, checks=checks
    )
    return facts.of_images(run)


@pytest.mark.parametrize(
    ("settings", "source", "expected"),
    [
        (RUN, None, "lbunet (efficientnet_lite0, imagenet) on isic2017"),
        (CLASSIFIER, None, "classifier (vit_b16, none) on isic2017"),
        (TWO, None, "mean of 2 runs on isic2017"),
        (
            RUN,
            HAM,
            "lbunet (efficientnet_lite0, imagenet), trained on isic2017, on ham10000",
        ),
    ],
)
def test_the_title_says_what_was_scored_on_which_images(settings, source, expected):
    num_runs = len(settings.paths.runs)
    assert facts.title(settings.model, num_runs, settings.source, source) == expected


def test_a_runs_own_images_are_named_with_their_split():
    assert of_images(RUN, None, CHECKS, TEST)["Data"] == ("isic2017; split by official; seed 0")


def test_images_of_another_source_are_named_apart_from_val():
    source = dataclasses.replace(HAM, max_images=40, seed=3)

    assert of_images(RUN, source, CHECKS, TEST)["Data"] == (
        "test: 40 images of ham10000, drawn with seed 3; val, for the threshold: isic2017; "
        "split by official; seed 0"
    )


def test_the_split_of_several_runs_is_said_to_be_that_of_the_first():
    data = of_images(TWO, None, CHECKS, TEST)

    assert data["Data"].endswith("(the split of runs/a)")
    assert "the split of runs/a; the others' train shares no more" in data["Leak check"]


def test_what_crosses_the_split_is_counted():
    checks = {**CHECKS, "crossings": {"patient_id": 7, "lesion_id": 0}}

    leak_check = of_images(RUN, None, checks, TEST)["Leak check"]

    assert leak_check.startswith("on more than one side of the split: 7 patient_id. Known for,")


def test_images_that_were_left_out_are_counted():
    leak_check = of_images(RUN, HAM, CHECKS, TEST)["Leak check"]

    assert leak_check.startswith("2 images of the source are in train, val or calibration of a run")
    assert leak_check.endswith("Known for, of 40 images: patient_id 0, content_hash 40")


@pytest.mark.parametrize(
    ("settings", "name", "expected"), [(RUN, "Run", "runs/a"), (TWO, "Runs", "runs/a, runs/b")]
)
def test_the_runs_are_named(settings, name, expected):
    assert of_images(settings, HAM, CHECKS, TEST)[name] == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("none", "0.50, not chosen; the lines"),
        ("val", "0.50, chosen on val; the lines"),
        ("val for 1 of 2 runs, 0.5 for the others", "0.50, chosen on val for 1 of 2 runs, 0.5 for"),
    ],
)
def test_a_mask_threshold_that_was_not_chosen_is_not_said_to_be(where, expected):
    test = {**TEST, "mask_source": "lesion", "mask_cleanup": "one_region", "mask_threshold": 0.5}
    test["mask_threshold_chosen_on"] = where

    assert f"at probability {expected}" in of_images(TWO, None, CHECKS, test)["Masks"]
    run = evaluated_run.EvaluatedRun("title", {"test": test}, settings=TWO)
    uses = report_sentences.uses_of_val(run)
    assert ("Threshold of outlines" in uses) is (where != "none")


def test_each_run_has_its_training():
    training = {"runs/a": {"epochs": 3, "best_epoch": 2}, "runs/b": {}}

    assert facts.of_training(training) == {
        "Training of runs/a": "epochs 3, best_epoch 2",
        "Training of runs/b": "state unfinished",
    }


def test_the_training_of_one_run_needs_no_name():
    assert facts.of_training({"runs/a": {"epochs": 3}}) == {"Training": "epochs 3"}


@pytest.mark.parametrize(
    "learnt, tested, is_external",
    [
        (("isic2017",), ("ham10000",), True),
        (("isic2017", "ph2"), ("ph2",), False),
        (("isic2017", "ph2"), ("ph2", "ham10000"), True),
        # Their names say nothing.
        (("manifest",), ("manifest",), True),
    ],
)
def test_images_of_a_source_that_was_learnt_from_are_no_external_test(learnt, tested, is_external):
    settings, source = RUN.replace(source=learnt), config.make(source=tested).source
    run = evaluated_run.EvaluatedRun("title", {"test": TEST}, settings=settings, source=source)

    assert run.is_external is is_external
    assert ("another source" in card_facts.study(run)) is is_external


def test_a_manifest_whose_test_part_is_of_another_source_is_an_external_test():
    settings = RUN.replace(source=("manifest",))
    rows = pd.DataFrame({"split": ["train", "val", "test"], "source": ["a", "a", "b"]})
    sources = evaluated_run.sources_of(rows)

    def run(sources):
        return evaluated_run.EvaluatedRun("t", {"test": TEST}, settings=settings, sources=sources)

    assert run(sources).is_external and run(sources).tested_sources == ["b"]
    assert card_facts.study(run(sources)).startswith("Evaluation on another source (b)")
    assert not run({**sources, "test": {"a", "b"}}).is_external
    # Choices were made on it.
    assert not run({**sources, "val": {"b"}}).is_external
    assert not run({}).is_external


def test_what_a_second_run_has_learnt_from_is_no_external_test():
    settings = TWO.replace(source=("isic2017", "ham10000"))
    # Images of the first run, and those of test.
    sources = {"train": {"isic2017"}, "val": {"isic2017"}, "test": {"ham10000"}}
    run = evaluated_run.EvaluatedRun(
        "t", {"test": TEST}, settings=settings, source=HAM, sources=sources
    )

    assert not run.is_external and run.learnt_sources == ["isic2017", "ham10000"]


def test_images_that_failed_are_counted_apart():
    of = of_images(RUN, None, {**CHECKS, "failed": 2}, TEST)

    assert of["Skipped images"] == "3 (skipped.csv), 2 more failed (failures.txt)"
    assert of_images(RUN, None, CHECKS, TEST)["Skipped images"] == "3 (skipped.csv)"


def test_a_mask_threshold_that_is_not_kept_is_said_with_what_is_used():
    test = {"mask_threshold": 0.4, "mask_threshold_chosen_on": "val"}

    def said(kept, **changed):
        run = evaluated_run.EvaluatedRun("t", {"test": test | changed}, settings=RUN, kept=kept)
        return report_sentences.mask_threshold_not_kept(run)

    assert "is not kept: predict, load and export cut at 0.5." in said({})
    assert "cut at another, which the run has." in said({"mask_threshold": False})
    assert said({"mask_threshold": True}) == ""
    assert said({}, mask_threshold_chosen_on="none") == ""
