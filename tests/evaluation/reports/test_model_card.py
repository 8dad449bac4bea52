"""The model card has the numbers of the report, and answers 25 and 27 items or says it does not."""

import re

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation.reports import card_facts
from lbunet_tf.evaluation.reports import clear_derm
from lbunet_tf.evaluation.reports import model_card
from lbunet_tf.evaluation.reports import tripod_ai
from lbunet_tf.settings import config
from tests.evaluation import diagnoses

CHECKLISTS = [(clear_derm, 25), (tripod_ai, 27)]


def without_masks(table):
    masks = [name for name in table if name.startswith("mask_")]
    return table.assign(**dict.fromkeys(masks, np.nan)).drop(columns="dice")


VARIANTS = {
    "whole": {},
    "labels alone": {"change": without_masks},
    "outlines alone": {
        "change": lambda table: table.assign(score=np.nan, label=np.nan),
        "settings": config.make(run="runs/a", source=("isic2017",), heads=("mask",)),
    },
    "one class": {"change": lambda table: table.assign(label=0.0)},
    "label as mask": {"mask_source": "label"},
    "another source": {
        "is_own": False,
        "source": config.make(source=("ham10000",), data_dir=("ham",)).source,
    },
    "no labels of test": {
        "change": lambda table: table.assign(label=table["label"].where(table["split"] == "val"))
    },
    "mean": {"settings": config.make(run="runs/a", heads=("melanoma",), other_runs=("runs/b",))},
    "classes": {"change": diagnoses.add},
    "classes without masks": {"change": lambda table: diagnoses.alone(table, has_scores=True)},
    "classes alone": {"change": diagnoses.alone},
    "no groups": {"groups": pd.DataFrame()},
    "unfinished": {"training": {"runs/a": {}}},
    "nothing known": {
        **dict.fromkeys(("counts", "test", "groups")),
        **dict.fromkeys(("training", "checks", "model_crc32"), {}),
        **{"version": "", "settings": config.Config()},
    },
}


def rows_of(card, title):
    """Returns the (number, name, answer) rows of the checklist of a card."""
    _, _, rest = card.partition(f"## {title}")
    rows = rest.partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return [row for row in cells if row[0].strip().isdigit()]


@pytest.mark.parametrize(("checklist", "count"), CHECKLISTS)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_item_is_answered_or_named_as_not_answered(evaluate_whole, variant, checklist, count):
    items = checklist.answers(evaluate_whole(**variant))

    assert [item.number for item in items] == list(range(1, count + 1))
    assert len({item.name for item in items}) == count
    for item in items:
        assert item.answer.endswith(".") and "None." != item.answer and "  " not in item.answer
        # Some are answered in part.
        known, is_open, asked = item.answer.partition(card_facts.NOT_ANSWERED)
        assert known == "" or known.rstrip().endswith(".")
        assert not is_open or (len(asked) > 3 and card_facts.NOT_ANSWERED not in asked)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_card_has_both_checklists_as_tables(evaluate_whole, variant):
    card = model_card.build_card(evaluate_whole(**variant))

    assert [row[0] for row in rows_of(card, "CLEAR-Derm")] == [str(n) for n in range(1, 26)]
    assert [row[0] for row in rows_of(card, "TRIPOD+AI")] == [str(n) for n in range(1, 28)]
    assert "not a medical device" in card


# What no file of a run knows.
UNKNOWN = {
    clear_derm: ("Histopathology", "Skin colour", "How labels were made", "Several vendors"),
    tripod_ai: ("Ethical approval", "Open science", "Patients and the public", "Outcome"),
}


@pytest.mark.parametrize("checklist", UNKNOWN)
def test_what_no_file_says_is_not_answered(evaluate_whole, checklist):
    answers = {item.name: item.answer for item in checklist.answers(evaluate_whole())}

    for name in UNKNOWN[checklist]:
        assert answers[name].startswith(card_facts.NOT_ANSWERED)


def test_the_numbers_are_those_of_the_metrics_with_their_intervals(evaluate_whole):
    run = evaluate_whole()

    card = model_card.build_card(run)

    auc = run.metrics["test"]["intervals"]["auc"]
    assert f"AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in card
    assert f"Dice {run.metrics['test']['dice']:.3f} (" in card
    at = run.metrics["test"]["at_val_threshold"]
    assert f"it flags {at['tp']} of {at['tp'] + at['fn']} melanomas" in card
    assert "| val | 60 |" in card and "| test | 60 |" in card
    assert "123456" in card and "9.8.7" in card
    assert "lbunet evaluate --run=runs/a" in card


def test_another_source_is_an_external_test(evaluate_whole):
    answers = {
        item.name: item.answer
        for item in clear_derm.answers(evaluate_whole(**VARIANTS["another source"]))
    }

    assert answers["External test set"] == (
        "Evaluation on another source (ham10000) of a network developed on isic2017. 60 images."
    )
    own = {item.name: item.answer for item in clear_derm.answers(evaluate_whole())}
    assert own["External test set"].startswith("None:")


def test_groups_are_counted_where_there_are_some(evaluate_whole):
    answers = {item.name: item.answer for item in tripod_ai.answers(evaluate_whole())}
    assert answers["Fairness"].startswith("2 groups by sex were scored apart; for 1 of them")

    without = tripod_ai.answers(evaluate_whole(groups=pd.DataFrame()))
    answers = {item.name: item.answer for item in without}
    assert answers["Fairness"].startswith(card_facts.NOT_ANSWERED)


def test_outlines_alone_say_nothing_of_an_auc_or_of_melanoma(evaluate_whole):
    run = evaluate_whole(**VARIANTS["outlines alone"])
    answers = {item.name: item.answer for item in tripod_ai.answers(run)}

    assert answers["Fairness"] == (
        "2 groups by sex were scored apart. Dice that differs from that of the others: none whose "
        "interval excludes 0."
    )
    card = model_card.build_card(run)
    assert "AUC" not in card.partition("## CLEAR-Derm")[0]
    assert "melanoma and its absence" not in card and "count as benign" not in card
    assert card.count("It knows no disease: it outlines a lesion, whatever that lesion is.") == 2


def test_what_a_mean_does_not_keep_is_no_output_of_it(evaluate_whole):
    fitted = {"calibrated": {"kind": "platt", "chosen_on": "val"}}
    run, mean = (evaluate_whole(added=fitted, **VARIANTS[name]) for name in ("whole", "mean"))

    assert "whether the image is flagged and the set of classes" in card_facts.outputs(run)
    assert "flagged" not in card_facts.outputs(mean) and "set" not in card_facts.outputs(mean)
    card = model_card.build_card(mean)
    assert card.count("predict, load and export do not use it") == 3
    assert "(platt, fitted on val) was measured, and is not kept." in card
    assert "can be calibrated" not in card


def test_groups_of_another_dice_are_named(evaluate_whole):
    row = {"attribute": "sex", "dice": 0.8, "dice_difference": -0.1, "dice_difference_low": -0.15}
    groups = [{**row, "group": "male", "dice_difference_high": -0.05}]
    groups.append({**row, "group": "female", "dice_difference_high": 0.05})

    text = card_facts.groups(evaluate_whole(groups=pd.DataFrame(groups)))

    assert text.endswith("that of the others: sex male (-0.100).") and "AUC" not in text


def test_what_is_known_of_patients_is_counted(evaluate_whole):
    run = evaluate_whole(lambda table: table.assign(age=[30.0, np.nan] * 60, site=""))

    assert card_facts.metadata(run) == "Known, of 60 test images: age 30, sex 60."


@pytest.mark.parametrize("where", ["title", "facts", "group"])
def test_names_from_outside_stay_text(evaluate_whole, where):
    evil = "<script>|[a](javascript:x)\n# b"
    changes = {
        "title": {"title": evil},
        "facts": {"facts": {evil: evil}},
        "group": {"change": lambda table: table.assign(sex=np.where(table.index % 2, evil, "m"))},
    }

    card = model_card.build_card(evaluate_whole(**changes[where]))

    assert r"\<script\>\|\[a\](javascript:x) \# b" in card
    assert not re.search(r"(?<!\\)<", card)
    assert "\n# b" not in card


def test_tables_have_the_cells_of_their_header(evaluate_whole):
    card = model_card.build_card(evaluate_whole())

    widths, previous = [], ""
    for line in card.splitlines():
        if line.startswith("|") and previous.startswith("|"):
            widths.append(line.count("|") == previous.count("|"))
        previous = line
    assert len(widths) > 80 and all(widths)
