"""Each section of a whole evaluation says what it must, and is left out where it has nothing."""

import functools
import re

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import clinic
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report
from lbunet_tf.evaluation.reports import report_figures
from lbunet_tf.evaluation.reports import report_limits
from lbunet_tf.settings import config
from tests.evaluation import diagnoses
from tests.evaluation import pages


def _build_whole(evaluate_whole, change=None, **fields):
    return report.build_report(evaluate_whole(change, **fields))


@pytest.fixture
def build_whole(evaluate_whole):
    """A function: the HTML of a whole evaluation, after changes as in `evaluate_whole`."""
    return functools.partial(_build_whole, evaluate_whole)


ORDER = """summary data diagnosis ranking operating-point calibration sets outlines groups examples
val limits repeat numbers""".split()


def test_sections_stand_in_the_order_a_reviewer_asks_and_are_all_linked(build_whole, tmp_path):
    page = pages.Page(build_whole(diagnoses.add, figures=pages.draw_nothing(tmp_path)))

    sections = [value["id"] for tag, value in page.tags if tag == "section"]
    assert sections == ORDER
    linked = [link for link in page.links if link.startswith("#")]
    assert linked == [f"#{name}" for name in ORDER[1:]]


def test_headings_follow_each_other_and_tables_name_rows_and_columns(build_whole):
    page = pages.Page(build_whole())

    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert dict(page.tags)["html"]["lang"] == "en" and "main" in page.tag_names
    assert len(page.ids) == len(set(page.ids))


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(build_whole, tmp_path):
    page = pages.Page(build_whole(figures=pages.draw_nothing(tmp_path)))

    boxes = [attributes for tag, attributes in page.tags if attributes.get("class") == "scroll"]
    assert len(boxes) > 8
    assert all(box["tabindex"] == "0" and box["role"] == "region" for box in boxes)
    assert all(box["aria-label"] for box in boxes)


def test_every_picture_has_a_text_with_its_key_numbers(build_whole, whole_table, tmp_path):
    curve = pd.DataFrame({"threshold": [0.1, 0.2, 0.3]})
    for suffix in ("", "_at_prevalence"):
        curve[f"net_benefit{suffix}"], curve[f"flag_all{suffix}"] = [0.2, 0.1, -0.1], [0.3, 0, -1]
    training = {"runs/a": {"epochs": 9, "best_epoch": 7, "val_loss": 0.5, "monitor": "val_loss"}}

    page = pages.Page(
        build_whole(
            diagnoses.add,
            figures=pages.draw_nothing(tmp_path),
            decision_curve=curve,
            training=training,
        )
    )

    texts = [image["alt"] for image in page.images]
    assert len(texts) == len(report_figures.CAPTIONS)
    assert not set(texts) & set(report_figures.CAPTIONS.values())
    assert all(re.search(r"\d", text) for text in texts)
    assert any("at 1 of 3 thresholds, the lowest 0.20, the highest 0.20" in t for t in texts)
    assert any("number 7 was kept; the loss of val was 0.500" in text for text in texts)
    test = whole_table[whole_table["split"] == "test"]
    lowest = test["score"][test["label"] == 1].min()
    assert any(f"melanomas of the lowest score {lowest:.2f} (melanoma)" in t for t in texts)


def test_a_picture_of_what_is_not_known_has_its_caption_as_text(build_whole, tmp_path):
    nothing = dict.fromkeys(("counts", "test", "decision_curve"))
    page = pages.Page(build_whole(figures=pages.draw_nothing(tmp_path), training={}, **nothing))

    assert all(image["alt"] for image in page.images)
    assert report_figures.CAPTIONS["training_curves"] in [image["alt"] for image in page.images]


def test_the_summary_has_the_numbers_with_their_intervals_and_who_counts(build_whole):
    summary = pages.section(build_whole(lambda table: table.assign(label=LABELS)), "summary")

    assert "On 60 test images, 20 of them melanomas" in summary
    assert re.search(r"AUC +0\.\d{3} +0\.\d{3} to 0\.\d{3}", summary)
    assert "No patients are known: each of the 60 images counts as one." in summary


LABELS = [0.0, 0.0, 1.0] * 40


def test_parts_of_the_split_are_counted(build_whole):
    counts = evaluated_run.count_parts(
        pd.DataFrame(
            {
                "image_id": list("abcdef"),
                "split": ["train"] * 3 + ["val", "calibration", "test"],
                "label": [1, 0, np.nan, 1, 0, 1],
                "mask": ["m", "", "m", "m", "m", "m"],
                "patient_id": ["p", "p", "q", "r", "", ""],
                "lesion_id": [""] * 5 + ["l"],
            }
        )
    )

    data = pages.section(build_whole(counts=counts), "data")

    assert re.search(r"images +melanomas +others +without a label +with a mask +patients", data)
    assert re.search(r"train +3 +1 +1 +1 +2 +2 ", data)
    assert re.search(r"calibration +1 +0 +1 +0 +1 +not known ", data)
    assert re.search(r"test +1 +1 +0 +0 +1 +1 \(by lesion\)", data)


def test_patients_that_nobody_knows_are_not_counted(build_whole):
    assert "patients" not in pages.section(build_whole(), "data").partition("Images by part")[2]


def test_predictive_values_are_given_by_prevalence_and_said_to_hold_at_one_only(build_whole):
    text = build_whole(lambda table: table.assign(label=LABELS))

    point = pages.section(text, "operating-point")
    assert re.search(r"0\.5% +[\d.]+%", point) and "33.3% (these images)" in point
    assert "hold at this prevalence only" in pages.section(text, "data")


def test_what_val_was_used_for_is_listed(build_whole):
    used = pages.section(build_whole(), "val")

    assert "of 9 epochs, number 7 was kept" in used
    assert "Operating point on val" in re.sub(" +", " ", used)
    assert "coverage 0.9" in used


def test_nothing_is_promised_of_sets_on_another_source(build_whole):
    source = config.make(source=("ham10000",), data_dir=("data/ham",)).source

    text = build_whole(is_own=False, source=source)

    assert "nothing is promised of these" in pages.section(text, "sets")
    limits = pages.section(text, "limits")
    assert "One other source was tested (ham10000)" in limits
    assert "images of one patient may count as several" in limits
    assert "Nothing is promised of the prediction sets" in limits
    assert "--source=ham10000 --data_dir=data/ham" in pages.section(text, "repeat")


@pytest.mark.parametrize("is_promised", [True, False])
def test_nothing_is_promised_of_an_operating_point_on_other_images(
    build_whole, evaluate_whole, is_promised
):
    point = evaluate_whole().scores["operating_point"] | {"is_promised": is_promised}

    text = build_whole(added={"operating_point": point})

    section = pages.section(text, "operating-point")
    assert ("nothing is promised of these" in section) is not is_promised
    limits = pages.section(text, "limits")
    assert ("Nothing is promised of the operating point" in limits) is not is_promised


NOT_KEPT = "predict, load and export do not use it"


@pytest.mark.parametrize("flags", [{"tta": "flips"}, {"other_runs": ("runs/b",)}], ids=str)
def test_what_is_chosen_of_a_mean_is_said_not_to_be_kept(build_whole, flags):
    settings = config.make(run="runs/a", heads=("mask", "melanoma"), **flags)

    text = build_whole(
        added={"mask_contours": {**CONTOURS, "is_promised": True}}, settings=settings
    )

    for name in ("operating-point", "calibration", "sets", "outlines"):
        assert NOT_KEPT in pages.section(text, name)
    assert NOT_KEPT not in build_whole()


def test_contours_alone_have_no_operating_point_and_name_the_part_that_chose_them(build_whole):
    contours = {**CONTOURS, "is_promised": True, "chosen_on": "calibration"}

    text = build_whole(
        lambda table: table.assign(score=np.nan, label=np.nan), added={"mask_contours": contours}
    )

    assert pages.section(text, "operating-point") == ""
    assert "The images of calibration chose nothing else" in pages.section(text, "outlines")
    assert "on calibration: 0.9 of the lesion" in pages.section(text, "val")
    assert "Val has also chosen the epoch" not in text


def test_a_threshold_is_named_where_test_has_no_labels(build_whole):
    text = build_whole(
        lambda table: table.assign(label=table["label"].where(table["split"] == "val"))
    )

    assert "are flagged. Chosen on val" in pages.section(text, "operating-point")
    used = pages.section(text, "val")
    assert "Operating point" in used and "Calibration" in used and "coverage 0.9" in used
    assert pages.section(text, "ranking") == ""


def test_own_images_are_said_to_be_no_external_test(build_whole):
    limits = pages.section(build_whole(), "limits")

    assert "No external test set" in limits and "isic2017" in limits
    assert "Patients are not known: images of one patient may be on two sides" in limits
    assert "3 images of the source were missing or unusable" in limits
    assert "not a medical device" in limits


def test_patients_that_are_known_in_part_are_counted(build_whole):
    checks = {"images": 1300, "known": {"patient_id": 1200}}

    text = build_whole(lambda table: table.assign(patient_id=table["image_id"]), checks=checks)

    assert "Patients are known for 1,200 of 1,300 images" in pages.section(text, "limits")


def test_the_limits_count_melanomas_and_groups(build_whole):
    labels = [1.0] * 5 + [0.0] * 55

    limits = pages.section(build_whole(lambda table: table.assign(label=labels * 2)), "limits")

    assert "Test has 5 melanomas" in limits and "by 20.0 percentage points" in limits
    assert "For 2 of 2 groups there are too few patients" in limits
    assert "sex female and sex male" in limits


def test_a_split_that_is_not_clean_is_a_limit(build_whole):
    checks = {"skipped": 0, "crossings": {"patient_id": 7, "lesion_id": 0}}

    limits = pages.section(build_whole(checks=checks), "limits")

    assert "on more than one side of it are 7 patient_id" in limits
    assert "could not be used" not in limits


@pytest.mark.parametrize("groups", [None, pd.DataFrame()])
def test_without_groups_the_report_says_that_nothing_is_known_of_them(build_whole, groups):
    text = build_whole(groups=groups)

    assert pages.section(text, "groups") == ""
    assert "No groups of patients were scored apart" in pages.section(text, "limits")


def test_groups_have_their_numbers_with_intervals_and_no_empty_column(build_whole):
    row = {"attribute": "sex", "group": "male", "num_images": 90, "num_melanoma": 23}
    row |= {"auc": 0.8537, "auc_low": 0.7581, "auc_high": 0.9164, "auc_note": "Obuchowski"}
    row |= {"sensitivity": 0.6, "sensitivity_low": np.nan, "sensitivity_high": np.nan}

    groups = pages.section(build_whole(groups=pd.DataFrame([row])), "groups")

    assert "sex: male 90 (23) 0.854\n(0.758 to 0.916) 0.600\n(not estimable)" in groups
    assert "minus that of the others" not in groups
    row |= {"auc_difference": 0.05, "auc_difference_low": np.nan}
    groups = pages.section(build_whole(groups=pd.DataFrame([row])), "groups")
    assert "minus that of the others" in groups and "Calibration and prediction" not in groups
    scored, _, compared = groups.partition("Differences from the other images")
    assert "minus" not in scored
    assert "sex: male 90 (23) 0.050\n(not estimable)" in compared
    row |= {"set_size": 1.431, "set_size_low": 1.377, "set_size_high": 1.489}
    groups = pages.section(build_whole(groups=pd.DataFrame([row])), "groups")
    assert "Calibration and prediction sets of groups" in groups
    assert "sex: male 90 (23) 1.431\n(1.377 to 1.489)" in groups


def test_differences_of_groups_have_a_table_and_hold_within_an_attribute(build_whole):
    groups = pages.section(build_whole(), "groups")

    compared = groups.partition("Differences from the other images")[2]
    for name in ("AUC", "sensitivity", "specificity", "Dice"):
        assert f"{name} minus that of the others" in compared
    assert "for all groups of one attribute at once, but not over several attributes" in groups


def test_scores_without_outlines_make_no_section_of_outlines(build_whole):
    def without_masks(table):
        masks = [name for name in table if name.startswith("mask_")]
        return table.assign(**dict.fromkeys(masks, np.nan)).drop(columns="dice")

    text = build_whole(without_masks)

    assert pages.section(text, "outlines") == ""
    assert "lesion Dice" not in text and "0." in pages.section(text, "ranking")


def test_outlines_without_scores_make_no_section_of_scores(build_whole):
    text = build_whole(lambda table: table.assign(score=np.nan, label=np.nan))

    for name in ("ranking", "operating-point", "calibration", "sets"):
        assert pages.section(text, name) == ""
    assert "Dice, mean over images" in pages.section(text, "outlines")
    assert "no number says anything about a diagnosis" in pages.section(text, "limits")


def test_one_class_has_no_ranking_and_the_limits_say_what_is_missing(build_whole):
    text = build_whole(lambda table: table.assign(label=0.0))

    assert pages.section(text, "ranking") == ""
    assert "No melanomas are among the scored test images" in pages.section(text, "limits")


def test_label_as_mask_is_a_limit(build_whole):
    limits = pages.section(build_whole(mask_source="label"), "limits")

    assert "The masks are the image's class on every pixel" in limits


CONTOURS = {
    "asked": 0.9,
    "confidence": 0.95,
    "outer": 0.0625,
    "inner": 0.9375,
    "num_masks": 150,
    "num_empty": 0,
    "missed_fraction": 0.0417,
    "inner_precision": 0.9721,
    "inner_empty_fraction": 0.0133,
    "outer_area": 0.3142,
    "inner_area": 0.1618,
}


@pytest.mark.parametrize("is_promised", [True, False])
def test_contours_are_shown_where_they_were_measured(build_whole, is_promised):
    contours = {**CONTOURS, "is_promised": is_promised}

    outlines = pages.section(build_whole(added={"mask_contours": contours}), "outlines")

    for value in ("0.0625", "0.9375", "0.0417", "0.9721", "0.0133", "0.3142", "0.1618", "150"):
        assert value in outlines
    assert ("nothing is promised of these" in outlines) is not is_promised
    assert "contour" not in build_whole()


def test_skin_tone_is_called_an_estimate_and_said_to_move_with_the_light(build_whole):
    found = {"num_estimated": 1995, "num_without": 1, "changed_darker": 0.238}
    found |= {"changed_brighter": 0.13, "num_very_light": 1607, "num_light": 187}
    found |= {"num_intermediate": 102, "num_tan": 67, "num_brown": 21, "num_dark": 11}

    groups = pages.section(build_whole(added={"ita_estimate": found}), "groups")

    assert "very light 1,607" in groups and "dark 11" in groups
    assert "an estimate of a photograph: with 10 % less brightness 24%" in groups
    assert "Skin tone" not in pages.section(build_whole(), "groups")


def test_the_prevalence_of_a_clinic_stands_with_its_assumption(build_whole, evaluate_whole):
    calibrated = dict(evaluate_whole().scores["calibrated"])
    found = clinic.describe(0.1582, 0.0176, {"sensitivity": 0.8, "specificity": 0.76})

    text = build_whole(added={"calibrated": {**calibrated, "clinic_prevalence": found}})

    section = pages.section(text, "calibration")
    assert "where 1.76% of lesions are melanomas, instead of 15.82%" in section
    assert "0.5 becomes 0.087" in section and "5.6% of the flagged" in section
    assert "Assumed, not measured" in section


@pytest.mark.parametrize("is_promised", [True, False])
def test_what_is_not_promised_is_a_limit(build_whole, is_promised):
    contours = {**CONTOURS, "is_promised": is_promised}

    limits = pages.section(build_whole(added={"mask_contours": contours}), "limits")

    assert ("Nothing is promised of the contours" in limits) is not is_promised


def test_the_commands_and_the_model_are_named(build_whole):
    repeat = pages.section(build_whole(), "repeat")

    assert "lbunet train --flagfile=runs/a/flags.cfg --run=runs/a-again" in repeat
    assert "lbunet evaluate --run=runs/a \n" in repeat
    assert "9.8.7" in repeat and "123456" in repeat


def test_what_was_asked_of_an_evaluation_stands_in_its_command(build_whole):
    settings = config.make(
        run="runs/a b", other_runs=("runs/b",), tta="flips", target_sensitivity=0.9
    )

    repeat = pages.section(build_whole(settings=settings), "repeat")

    assert "lbunet evaluate '--run=runs/a b' --run=runs/b" in repeat
    assert "--target_sensitivity=0.9 --tta=flips" in repeat
    assert repeat.count("--output=") == 1


@pytest.mark.parametrize("where", ["group", "source", "run"])
def test_names_of_groups_sources_and_runs_are_escaped(build_whole, where):
    evil = '<img src=x onerror="alert(1)">'
    settings = config.make(run=evil if where == "run" else "a", source=("isic2017",))

    text = build_whole(
        lambda table: table.assign(
            **({"sex": np.where(table.index % 2, evil, "male")} if where == "group" else {}),
            **({"source": np.where(table.index % 2, evil, "b")} if where == "source" else {}),
        ),
        settings=settings,
    )

    assert "<img src=x" not in text
    assert evil in pages.Page(text).text


def test_a_browser_is_told_to_load_nothing(build_whole):
    page = pages.Page(build_whole())

    (policy,) = [
        attributes["content"]
        for tag, attributes in page.tags
        if tag == "meta" and "http-equiv" in attributes
    ]
    assert "default-src 'none'" in policy and "script" not in policy


def test_groups_that_are_separated_perfectly_are_not_said_to_be_too_small():
    groups = pd.DataFrame(
        {
            "attribute": "sex",
            "group": ["female", "male", "unknown"],
            "auc": [1.0, 0.8, None],
            "auc_low": None,
            "auc_note": [
                "perfect separation has no variance",
                "n = 4 patients with melanoma images, 10 needed",
                "n = 0 patients with melanoma images",
            ],
        }
    )

    assert report_limits.without_interval(groups) == ["sex male", "sex unknown"]


def test_a_calibration_that_changes_nothing_is_no_second_curve(tmp_path):
    one = {"expected_calibration_error": 0.1, "slope": None}
    path = tmp_path / "reliability.png"
    path.write_bytes(b"")

    def text(kind):
        test = {"calibration": one, "calibrated": {**one, "kind": kind}}
        run = evaluated_run.EvaluatedRun("t", {"test": test}, figures=[path])
        return str(report_figures.drawn(run, "reliability"))

    assert "after calibration" in text("platt") and "after calibration" not in text("none")
