"""A damaged file of what was chosen is named, with what must hold; it is never used as it is."""

import pytest

from lbunet_tf.runs import frozen
from lbunet_tf.storage import whole_files

SETS = {
    "benign": 0.6,
    "melanoma": 0.1,
    "rule": "class-conditional LAC",
    "coverage": 0.9,
    "chosen_on": "val",
    "num_melanoma": 20,
    "num_patients_melanoma": 18,
    "num_benign": 40,
    "num_patients_benign": 35,
}
CONTOURS = {
    "outer": 0.2,
    "inner": 0.8,
    "coverage": 0.95,
    "confidence": 0.95,
    "chosen_on": "calibration",
    "num_masks": 50,
    "num_patients": 40,
    "num_empty": 0,
}
POINT = {"threshold": 0.4, "rule": "a", "chosen_on": "val", "num_melanoma": 9, "num_other": 9}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"a model")
    return tmp_path


def without(content, name):
    return {key: value for key, value in content.items() if key != name}


def freeze_contours(run, contours, sets=SETS):
    frozen.write(run, "conformal.json", {**sets, "mask_contours": contours})


def test_sets_and_contours_that_were_frozen_are_read(run):
    freeze_contours(run, CONTOURS)

    assert frozen.read_sets(run).items() >= SETS.items()
    assert frozen.read_contours(run) == CONTOURS


@pytest.mark.parametrize("name", ["benign", "coverage", "chosen_on", "num_patients_benign"])
def test_sets_that_lack_something_are_named_with_contours_next_to_them_or_without(run, name):
    for contours in ({}, {"mask_contours": CONTOURS}):
        frozen.write(run, "conformal.json", {**without(SETS, name), **contours})

        with pytest.raises(ValueError, match=f"conformal.json must be as .* It lacks {name}"):
            frozen.read_sets(run)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("benign", "0.6", "two probabilities. Received: \\('0.6', 0.1\\)"),
        ("melanoma", float("nan"), "two probabilities"),
        ("coverage", "x", "a number above 0 and below 1 as \"coverage\". Received: 'x'"),
        ("coverage", 1.0, "a number above 0 and below 1"),
        ("coverage", float("nan"), "a number above 0 and below 1"),
        ("chosen_on", 3, 'one of val, calibration as "chosen_on". Received: 3'),
        (
            "num_melanoma",
            "ten",
            "a whole number of at least 1 as \"num_melanoma\". Received: 'ten'",
        ),
        ("num_benign", True, "a whole number"),
        ("num_patients_benign", 0, "a whole number of at least 1"),
    ],
)
def test_sets_of_a_wrong_kind_are_named(run, name, value, words):
    frozen.write(run, "conformal.json", {**SETS, name: value})

    with pytest.raises(ValueError, match=f"conformal.json must hold {words}.*Delete it"):
        frozen.read_sets(run)


@pytest.mark.parametrize("name", without(CONTOURS, "outer"))
def test_contours_that_lack_something_are_named(run, name):
    freeze_contours(run, without(CONTOURS, name))

    with pytest.raises(ValueError, match="conformal.json must hold .*mask.contours"):
        frozen.read_contours(run)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"outer": 0.9}, "an outer mask contour outside the inner one. Received: .0.9, 0.8"),
        ({"inner": float("inf")}, "two probabilities of mask contours"),
        ({"coverage": "x"}, 'a number above 0 and below 1 as "coverage" of mask_contours'),
        ({"confidence": 95.0}, 'a number above 0 and below 1 as "confidence" of mask_contours'),
        ({"chosen_on": "test"}, "one of val, calibration"),
        ({"num_empty": -1}, "a whole number of at least 0"),
    ],
)
def test_contours_of_a_wrong_kind_are_named(run, changes, words):
    freeze_contours(run, {**CONTOURS, **changes})

    with pytest.raises(ValueError, match=f"conformal.json must hold {words}"):
        frozen.read_contours(run)


def test_damaged_contours_leave_the_sets_and_sets_the_contours(run):
    freeze_contours(run, 7)
    assert frozen.read_sets(run)["benign"] == 0.6

    freeze_contours(run, CONTOURS, {**SETS, "coverage": "x"})
    assert frozen.read_contours(run) == CONTOURS


@pytest.mark.parametrize(
    "kind, parameters",
    [
        ("none", []),
        ("temperature", [2.0]),
        ("platt", [0.0, -0.4]),
        ("beta", [0.3, 1.0, -1.3]),
        ("isotonic", [-2.0, -2.0, 3.0, 0.0, 0.4, 1.0]),
    ],
)
def test_a_calibration_that_was_frozen_is_read(run, kind, parameters):
    frozen.write(run, "calibration.json", {"kind": kind, "parameters": parameters})

    found = frozen.read_calibration(run)

    assert (found.kind, found.parameters) == (kind, tuple(parameters))


@pytest.mark.parametrize(
    "kind, parameters, words",
    [
        ("temperature", [0.0], "a temperature above 0"),
        ("temperature", [-1.0], "a temperature above 0"),
        ("temperature", [float("nan")], "a temperature above 0"),
        ("platt", [float("inf"), 0.0], "a slope of at least 0"),
        ("platt", [1.0, float("nan")], "a slope of at least 0"),
        ("platt", [-1.0, 0.0], "a slope of at least 0"),
        ("beta", [1.0, -0.1, 0.0], "slopes of at least 0"),
        ("isotonic", [3.0, -2.0, 0.1, 0.4], "corners in order"),
        ("isotonic", [-2.0, 3.0, 0.4, 0.1], "corners in order"),
        ("isotonic", [-2.0, 3.0, -0.1, 0.4], "corners in order"),
        ("isotonic", [-2.0, 3.0, 0.1, 1.4], "corners in order"),
        ("isotonic", [-2.0, float("inf"), 0.1, 0.4], "corners in order"),
    ],
)
def test_parameters_of_wrong_probabilities_are_refused(run, kind, parameters, words):
    frozen.write(run, "calibration.json", {"kind": kind, "parameters": parameters})

    needed = f"calibration.json must hold finite parameters of {kind}: {words}"
    with pytest.raises(ValueError, match=needed):
        frozen.read_calibration(run)


@pytest.mark.parametrize("offset", [float("inf"), float("nan"), "1"])
def test_an_offset_that_is_not_finite_is_refused(run, offset):
    content = {"kind": "none", "parameters": [], "offset": offset}
    frozen.write(run, "calibration.json", content)

    with pytest.raises(ValueError, match="a finite number as its offset"):
        frozen.read_calibration(run)


def test_facts_on_a_calibration_are_needed_only_where_they_are_told(run):
    content = {"kind": "platt", "parameters": [1.0, 0.0]}
    frozen.write(run, "calibration.json", content)

    assert frozen.read_calibration(run).kind == "platt"
    with pytest.raises(ValueError, match="calibration.json must be .* lacks chosen_on, prevalence"):
        frozen.read_calibration_facts(run)
    frozen.write(run, "calibration.json", {**content, "chosen_on": "val", "prevalence": 7})
    with pytest.raises(ValueError, match='below 1 as "prevalence". Received: 7'):
        frozen.read_calibration_facts(run)


@pytest.mark.parametrize(
    "name, value", [("chosen_on", None), ("num_melanoma", "ten"), ("num_other", 0), ("rule", 1)]
)
def test_a_point_that_lacks_what_a_report_says_of_it_is_named(run, name, value):
    frozen.write(run, "operating_point.json", POINT)
    assert frozen.read_point(run).items() >= POINT.items()
    frozen.write(run, "operating_point.json", {**POINT, name: value})

    with pytest.raises(ValueError, match=f'operating_point.json must hold .* as "{name}"'):
        frozen.read_point(run)


def test_a_file_that_is_no_json_is_found_before_something_is_added_to_it(run):
    frozen.refuse_unreadable(run, "conformal.json")
    whole_files.write_text(run / "conformal.json", "{")

    with pytest.raises(ValueError, match="conformal.json must be JSON"):
        frozen.refuse_unreadable(run, "conformal.json")
