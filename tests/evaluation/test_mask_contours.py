"""Contours with a promise, by worked values and by simulation."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import conformal
from lbunet_tf.evaluation import intervals
from lbunet_tf.evaluation import mask_contours
from lbunet_tf.serving import outlines

BINS = mask_contours.NUM_BINS


def counts_of(lesion, other):
    """(N, 2, 128) counts of pixels, from {bin: pixels} of each image's lesion and of its rest."""
    found = np.zeros((len(lesion), 2, BINS), "int64")
    for number, pair in enumerate(zip(other, lesion, strict=True)):
        for row, pixels in enumerate(pair):
            for bin_number, count in pixels.items():
                found[number, row, bin_number] += count
    return found


def drawn(count, seed, spread=1.0):
    """Counts of `count` images whose lesion's logits vary from image to image."""
    random = np.random.default_rng(seed)
    shift = random.normal(0, spread, count)
    found = np.zeros((count, 2, BINS), "int64")
    for number in range(count):
        for row, mean in ((0, -4.0), (1, 3.0)):
            logits = random.normal(mean + shift[number], 2.0, 300)
            position = np.floor((logits / mask_contours.MAX_LOGIT + 1) / 2 * BINS)
            bins = np.clip(position, 0, BINS - 1).astype(int)
            found[number, row] = np.bincount(bins, minlength=BINS)
    return found


def test_what_is_missed_and_what_is_wrong_by_hand():
    counts = counts_of(lesion=[{100: 3, 40: 1}], other=[{100: 1, 10: 5}])

    missed, wrong = mask_contours.missed(counts)[0], mask_contours.wrong(counts)[0]

    assert [missed[number] for number in (0, 40, 41, 100, 101, 128)] == [0, 0, 0.25, 0.25, 1, 1]
    assert [wrong[number] for number in (0, 11, 41, 100, 101, 128)] == [0.6, 0.2, 0.25, 0.25, 0, 0]


def test_bins_begin_at_equal_steps_of_the_logit():
    assert mask_contours.probability(0) == 0
    assert mask_contours.probability(64) == 0.5
    assert mask_contours.probability(80) == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert mask_contours.probability(128) > 1


def test_the_outer_bin_is_the_highest_of_the_bound():
    # (sum + 1) / 10 <= 0.2 of nine images: they may miss 1 in all.
    risk = np.zeros((9, 129))
    risk[:, 51:] = 1 / 9
    risk[:, 71:] = 1.01 / 9

    assert mask_contours.outer_bin(risk, 0.2) == 70


@pytest.mark.parametrize("count, is_whole", [(8, True), (9, False)])
def test_nine_masks_are_needed_for_a_tenth(count, is_whole, caplog):
    risk = np.zeros((count, 129))

    found = mask_contours.outer_bin(risk, 0.1)

    assert (found == 0) == is_whole
    assert ("needs the masks of 9 patients" in caplog.text) == is_whole


def test_the_p_value_by_hand():
    # No error in 29 images: 0.9 ** 29 = 0.0471, and Hoeffding's bound is the same.
    assert mask_contours.hoeffding_bentkus(0.0, 29, 0.1) == pytest.approx(0.9**29)
    assert mask_contours.hoeffding_bentkus(0.0, 28, 0.1) > 0.05
    assert mask_contours.hoeffding_bentkus(0.1, 1000, 0.1) == 1
    # exp(-100 (0.05 ln 0.5 + 0.95 ln(0.95 / 0.9))); Bentkus' e P(Bin(100, 0.1) <= 5) is 0.1565.
    assert mask_contours.hoeffding_bentkus(0.05, 100, 0.1) == pytest.approx(0.15650, abs=1e-4)


@pytest.mark.parametrize("count, has_one", [(28, False), (29, True)])
def test_the_inner_contour_needs_29_masks_for_a_tenth(count, has_one, caplog):
    risk = np.zeros((count, 129))

    found = mask_contours.inner_bin(risk, 0.1)

    assert (found < BINS) == has_one
    assert ("cannot be promised" in caplog.text) != has_one


def test_the_inner_bin_stops_at_the_first_that_fails_though_a_lower_one_would_pass():
    risk = np.zeros((200, 129))
    risk[:, 90] = 0.5

    assert mask_contours.inner_bin(risk, 0.1) == 91


def test_a_patient_of_many_images_counts_once():
    risk = np.array([[0.0], [0.0], [0.0], [1.0]])

    found = intervals.by_patient(risk, np.array(["a", "a", "a", "b"]))

    assert found[:, 0].tolist() == [0.0, 1.0]


def test_the_outer_contour_misses_what_was_asked_for_over_redraws():
    missed = []
    for seed in range(60):
        counts = drawn(140, seed)
        # Of an outline that says nothing.
        found = mask_contours.fit(counts[:40], np.arange(40), 0.1, threshold=1 - 1e-6)
        missed.append(mask_contours.measure(found, counts[40:], np.arange(100))["missed_fraction"])

    # Not above, and no more than 2 / (n + 1) and a bin below.
    assert 0.03 < np.mean(missed) < 0.1 + 2 * np.std(missed) / np.sqrt(60)


def test_the_inner_contour_is_lesion_with_the_confidence_asked_for():
    wrong, areas = [], []
    for seed in range(60):
        counts = drawn(1140, seed, spread=1.5)
        found = mask_contours.fit(counts[:140], np.arange(140), 0.1)
        measured = mask_contours.measure(found, counts[140:], np.arange(1000))
        wrong.append(measured["inner_wrong_fraction"])
        areas.append(measured["inner_area"])

    # At most 5 % of draws may be above; of 60, 8 or more would be a chance of 0.01.
    assert np.sum(np.array(wrong) > 0.1) < 8
    assert np.mean(areas) > 0.2


def test_patients_of_many_hard_images_do_not_break_the_outer_contour():
    easy, hard = {100: 10}, {30: 10}
    patients = np.repeat(np.arange(40), [1] * 30 + [10] * 10)
    lesion = [easy] * 30 + [hard] * 100
    counts = counts_of(lesion, [{0: 10}] * 130)

    found = mask_contours.fit(counts, patients, 0.1)

    # A quarter of the patients is hard: only below bin 30 is a tenth of a patient's lesion missed.
    assert found.outer == mask_contours.probability(30)


def test_the_outline_lies_between_its_contours():
    # A network that is nearly always right: both promises hold at almost any threshold.
    counts = counts_of([{127: 100}] * 60, [{0: 100}] * 60)

    found = mask_contours.fit(counts, np.arange(60), 0.1, threshold=0.55)

    assert found.outer == mask_contours.probability(65) < 0.55 < mask_contours.probability(66)
    assert found.inner == mask_contours.probability(66)


def test_what_is_measured_by_hand():
    counts = counts_of(lesion=[{100: 4}, {100: 2, 20: 2}], other=[{100: 1, 5: 5}, {5: 6}])
    found = outlines.Contours(mask_contours.probability(50), mask_contours.probability(100))

    measured = mask_contours.measure(found, counts, np.array(["a", "b"]))

    assert measured["missed_fraction"] == pytest.approx((0 + 0.5) / 2)
    assert measured["inner_wrong_fraction"] == pytest.approx((0.2 + 0) / 2)
    assert measured["inner_precision"] == pytest.approx((0.8 + 1) / 2)
    assert measured["inner_empty_fraction"] == 0
    assert measured["inner_area"] == pytest.approx((5 / 10 + 2 / 10) / 2)


def test_ends_within_a_bin_are_measured_as_the_promise_is_kept():
    counts = counts_of(lesion=[{64: 3, 65: 1}], other=[{64: 1, 5: 5}])
    # Of bin 64 some pixels lie on either side of 0.52.
    found = outlines.Contours(0.52, 0.52)

    measured = mask_contours.measure(found, counts, np.array(["a"]))

    assert measured["missed_fraction"] == 0 and measured["outer_area"] == 0.5
    assert measured["inner_wrong_fraction"] == 0 and measured["inner_area"] == 0.1


def test_without_an_inner_region_its_precision_is_not_defined():
    counts = counts_of(lesion=[{100: 4}], other=[{5: 5}])
    found = outlines.Contours(0.0, mask_contours.probability(BINS))

    measured = mask_contours.measure(found, counts, np.array(["a"]))

    assert measured["inner_precision"] is None and measured["inner_empty_fraction"] == 1
    assert measured["missed_fraction"] == 0 and measured["outer_area"] == 1


def test_every_bin_is_found_again_from_its_probability():
    found = [mask_contours._bin_of(mask_contours.probability(number)) for number in range(129)]

    assert found == list(range(129))


def test_as_many_patients_are_needed_as_for_prediction_sets():
    assert [conformal.least(alpha) for alpha in (0.1, 0.05, 0.2)] == [9, 19, 4]


@pytest.fixture
def written(tmp_path):
    """(path, rows, counts) of histograms of three images of 16 pixels, and their table."""
    counts = np.zeros((3, 2, BINS), "uint32")
    counts[:, 0, 5], counts[:, 1, 90] = [10, 12, 16], [6, 4, 0]
    rows = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "mask_tp": [5.0, 4.0, 0.0],
            "mask_fn": [1.0, 0.0, 0.0],
            "mask_fp": [2.0, 0.0, 1.0],
            "mask_tn": [8.0, 12.0, 15.0],
        }
    )
    path = tmp_path / "mask_histograms.npz"
    np.savez_compressed(path, image_id=np.array(["a", "b", "c"]), counts=counts)
    return path, rows, counts


def test_histograms_are_paired_by_id(written):
    path, rows, counts = written

    found = mask_contours.read(path, rows.iloc[[2, 0]])

    np.testing.assert_array_equal(found, counts[[2, 0]])


@pytest.mark.parametrize(
    "content, words",
    [
        ({"image_id": ["a", "b", "x"]}, "hold each image once.*image 'c'"),
        ({"image_id": ["a", "b", "b"]}, "hold each image once.*image 'b'"),
        ({"image_id": ["a", "b"]}, r"shape \(2, 2, 128\).*\(3, 2, 128\)"),
        ({"counts": np.ones((3, 2, 64), "uint32")}, r"shape \(3, 2, 128\).*\(3, 2, 64\)"),
        ({"counts": np.ones((3, 2, BINS))}, "whole numbers.*float64"),
        ({"counts": None}, "a whole file of histograms.*ValueError"),
    ],
)
def test_histograms_of_another_kind_are_refused_by_the_name_of_the_file(written, content, words):
    path, rows, counts = written
    np.savez(path, **{"image_id": ["a", "b", "c"], "counts": counts, **content})

    with pytest.raises(ValueError, match=f"mask_histograms.npz must .*{words}") as caught:
        mask_contours.read(path, rows)

    assert "Evaluate the run again" in str(caught.value)


@pytest.mark.parametrize(
    "column, words",
    [
        ("mask_fn", r"mask_tp \+ mask_fn of each image.*inside the mask.* 4 pixels and 5"),
        ("mask_tn", r"mask_fp \+ mask_tn of each image.*outside the mask.* 12 pixels and 13"),
    ],
)
def test_histograms_of_other_predictions_are_refused(written, column, words):
    path, rows, _ = written
    rows.loc[1, column] += 1

    with pytest.raises(ValueError, match=f"{words} in the table of image 'b'"):
        mask_contours.read(path, rows)


@pytest.mark.parametrize("num_bytes", [0, 30, -40])
def test_a_broken_file_of_histograms_is_named(written, num_bytes):
    path, rows, _ = written
    content = path.read_bytes()
    path.write_bytes(content[:num_bytes])

    with pytest.raises(ValueError, match="mask_histograms.npz must be a whole file.*Evaluate the"):
        mask_contours.read(path, rows)


def test_a_file_without_counts_is_named(written):
    path, rows, _ = written
    np.savez(path, image_id=["a", "b", "c"])

    with pytest.raises(ValueError, match="mask_histograms.npz must be a whole file.*KeyError"):
        mask_contours.read(path, rows)
