"""A predictions table of which numbers would be wrong is refused by name and row."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from lbunet_tf.evaluation import contract
from lbunet_tf.storage import whole_files
from tests.evaluation import diagnoses


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "image_id": list("abcd"),
            "label": [1, 0, np.nan, 1],
            "score": [0.5, np.nan, 0.1, 1.0],
            "score_logit": [0.0, np.nan, special.logit(0.1), np.inf],
            "mask_tp": [3.0, np.nan, 0.0, 9.0],
            "mask_fp": [0.0, np.nan, 0.0, 9.0],
            "mask_fn": [0.0, np.nan, 0.0, 9.0],
            "mask_tn": [0.0, np.nan, 0.0, 9.0],
            "uncleaned_mask_tp": [3.0, np.nan, 0.0, 9.0],
        }
    )


def test_a_good_table_passes_and_one_of_an_earlier_version(table):
    contract.check(table, "predictions.csv")
    contract.check(table[["image_id", "label", "score"]], "predictions.csv")


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("image_id", "a", "image_id each image once"),
        ("image_id", np.nan, "image_id that is not empty"),
        ("image_id", "", "image_id that is not empty"),
        ("label", 2, "label 0, 1 or empty"),
        ("label", 0.5, "label 0, 1 or empty"),
        ("score", 1.7, "score in 0..1 or empty"),
        ("score", -0.1, "score in 0..1 or empty"),
        ("score", np.inf, "score in 0..1 or empty"),
        ("score", "high", "score in 0..1 or empty"),
        ("score", "0.1", "score as a number, not as text"),
        ("score_logit", np.nan, "score_logit where there is a score"),
        ("score_logit", "low", "score_logit where there is a score"),
        ("score_logit", np.inf, "score_logit that is the logit of its score"),
        ("score_logit", -np.inf, "score_logit that is the logit of its score"),
        ("score_logit", 9.0, "score_logit that is the logit of its score"),
        ("score_logit", special.logit(0.1 + 2e-6), "score_logit that is the logit"),
        ("mask_tp", -1, "mask_tp that is finite and not negative, or empty"),
        ("mask_fp", np.inf, "mask_fp that is finite and not negative, or empty"),
        ("mask_fn", "many", "mask_fn that is finite and not negative, or empty"),
        ("mask_tn", "4", "mask_tn as a number, not as text"),
        ("uncleaned_mask_tp", -1, "uncleaned_mask_tp that is finite and not negative"),
        ("mask_fp", np.nan, "mask_fp where there is a mask_tp"),
    ],
)
def test_a_bad_row_is_named(table, column, value, words):
    table[column] = table[column].astype(object)
    table.loc[2, column] = value

    with pytest.raises(ValueError, match=f"x.csv must have a {words}.*row 3, image '[ac]?'"):
        contract.check(table, "x.csv")


@pytest.mark.parametrize(
    "score, logit",
    [
        (0.0, -np.inf),
        (0.0, -745.0),
        (1.0, np.inf),
        (1.0, 37.0),
        (1 - 1e-12, special.logit(1 - 1e-12)),
        (0.1, special.logit(0.1 + 5e-7)),
    ],
)
def test_the_logit_of_a_score_may_be_rounded_and_that_of_0_and_1_infinite(table, score, logit):
    table.loc[2, ["score", "score_logit"]] = score, logit

    contract.check(table, "x.csv")


def test_an_infinite_logit_is_of_no_other_score_than_1(table):
    table.loc[2, ["score", "score_logit"]] = 1 - 1e-9, np.inf

    with pytest.raises(ValueError, match="score_logit that is the logit of its score.*row 3"):
        contract.check(table, "x.csv")


def test_a_table_without_ids_is_refused(table):
    with pytest.raises(ValueError, match="x.csv must have a column image_id.*Received: label, sc"):
        contract.check(table.drop(columns="image_id"), "x.csv")


def test_an_id_that_looks_like_nothing_is_one(table, tmp_path):
    table.assign(image_id=["NA", "null", "007", "d"]).to_csv(tmp_path / "x.csv", index=False)

    found = contract.read(tmp_path / "x.csv")

    assert found["image_id"].tolist() == ["NA", "null", "007", "d"]


def test_a_patient_is_the_first_that_is_known_within_a_source():
    table = pd.DataFrame(
        {
            "image_id": ["a", "b", "c", "d", "e"],
            "patient_id": ["p", "p", "", None, "p"],
            "lesion_id": ["l", "m", "n", "", "l"],
            "source": ["x", "x", "x", "x", "y"],
        }
    )

    key, words = contract.patients(table)

    assert key[0] == key[1] and len(set(key)) == 4
    assert words == "patient, else lesion, else image"


def test_without_patients_every_image_is_one(table):
    key, words = contract.patients(table)

    assert len(set(key)) == 4 and words == "image"


@pytest.fixture
def diagnosed(table):
    probabilities = [[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7], [0.1, 0.6, 0.3]]
    return diagnoses.with_probabilities(table, ["nv", "mel", "bcc"], [0, 1, -1, 1], probabilities)


def test_a_diagnosis_passes_with_unknown_classes_and_a_tie(diagnosed):
    contract.check(diagnosed, "predictions.csv")
    contract.check(diagnosed.assign(p_nv=diagnosed["p_nv"] + 9e-6), "predictions.csv")
    contract.check(diagnoses.without_scores(diagnoses.without_masks(diagnosed)), "predictions.csv")

    assert contract.classes(diagnosed) == ["nv", "mel", "bcc"]
    assert contract.with_class(diagnosed)["image_id"].tolist() == ["a", "b", "d"]


def test_a_diagnosis_is_read_as_it_was_written(diagnosed, tmp_path):
    path = tmp_path / "predictions.csv"
    whole_files.write_table(path, diagnosed)

    read = contract.read(path)

    assert contract.classes(read) == ["nv", "mel", "bcc"]
    pd.testing.assert_frame_equal(
        read.fillna({"true_class": ""})[diagnosed.columns[-5:]],
        diagnosed[diagnosed.columns[-5:]].astype(read[diagnosed.columns[-5:]].dtypes),
    )


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("p_nv", 1.2, "p_nv in 0..1"),
        ("p_mel", -0.1, "p_mel in 0..1"),
        ("p_bcc", np.nan, "p_bcc in 0..1"),
        ("p_bcc", np.inf, "p_bcc in 0..1"),
        ("p_bcc", "0.1", "p_bcc as a number, not as text"),
        ("p_nv", 0.7001, "p_nv that sums to 1 with p_mel, p_bcc"),
        ("predicted", "mel", "predicted that names the largest probability"),
        ("predicted", "", "predicted that names the largest probability"),
        ("true_class", "scc", "true_class that is empty or one of nv, mel, bcc"),
    ],
)
def test_a_bad_diagnosis_is_named(diagnosed, column, value, words):
    table = diagnosed.astype({column: object})
    table.loc[0, column] = value

    with pytest.raises(
        ValueError, match=f"^predictions.csv must have a {words}.* row 1, image 'a'"
    ):
        contract.check(table, "predictions.csv")


def test_of_equal_probabilities_the_first_is_predicted(diagnosed):
    diagnosed.loc[1, "predicted"] = "mel"

    with pytest.raises(
        ValueError, match="predicted that names .* of equal ones the first .* row 2"
    ):
        contract.check(diagnosed, "predictions.csv")


@pytest.mark.parametrize(
    "left_out, words",
    [
        (["predicted"], "true_class and predicted next to p_nv, .*Received: no predicted"),
        (
            ["true_class"],
            "true_class and predicted next to p_nv, .*Received: no true_class",
        ),
        (["p_nv", "p_mel", "p_bcc"], "p_CODE for each class next to predicted: .*predicted alone"),
        (["p_nv", "p_mel"], "p_CODE for each of two classes or more. Received: p_bcc alone"),
    ],
)
def test_half_a_diagnosis_is_refused(diagnosed, left_out, words):
    with pytest.raises(ValueError, match=f"^predictions.csv must have .*{words}"):
        contract.check(diagnosed.drop(columns=left_out), "predictions.csv")


def test_a_column_class_of_a_manifest_is_no_diagnosis(table):
    contract.check(table.assign(true_class="melanoma"), "predictions.csv")
