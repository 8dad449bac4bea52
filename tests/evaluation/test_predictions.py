import functools

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf.data import diagnoses
from lbunet_tf.data import manifests
from lbunet_tf.data import prediction_columns
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import pixel_histograms
from lbunet_tf.evaluation import predictions
from lbunet_tf.evaluation import scores
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import outlines

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def predict(make_config, make_network, drawn_manifest, tmp_path_factory):
    """A function of Config's fields: predicts and returns what lies on disk afterwards.

    What is asked for twice is predicted once.
    """

    def run(rows=drawn_manifest, **fields):
        settings = make_config(**fields)
        folder = tmp_path_factory.mktemp("predicted")
        predictions.predict_run(
            settings.preprocessing,
            settings.outputs,
            settings.device,
            folder,
            make_network(settings.outputs.heads),
            rows,
        )
        assert [path.name for path in folder.iterdir() if "partial" in path.name] == []
        with np.load(folder / run_directory.HISTOGRAMS) as file:
            histograms = dict(file)
        if (folder / run_directory.MASK_HISTOGRAMS).is_file():
            with np.load(folder / run_directory.MASK_HISTOGRAMS) as file:
                histograms["of_masks"] = dict(file)
        return pd.read_csv(folder / run_directory.PREDICTIONS), histograms

    once = functools.cache(run)
    return lambda rows=None, **fields: once(**fields) if rows is None else run(rows, **fields)


def _mask_logits(manifest):
    """(N, 16, 16): what the tiny network says, in float64."""
    images = np.stack([np.asarray(Image.open(path)) for path in manifest["image"]])
    return images.astype("float64").sum(-1) * 0.02 - 6.0


def _masks(manifest):
    paths = manifest["mask"]
    return np.stack(
        [np.asarray(Image.open(path)) > 0 if path else np.zeros((16, 16), bool) for path in paths]
    )


def test_the_table_has_a_row_an_image_of_val_and_test_in_their_order(predict, manifest):
    table, _ = predict()

    assert list(table["image_id"]) == list(manifest["image_id"])


def test_training_images_are_not_in_the_table(predict, manifest):
    manifest.loc[[0, 7], "split"] = "train"

    table, _ = predict(manifest)

    assert not {"image_0", "image_7"} & set(table["image_id"])


def test_further_columns_of_the_manifest_are_carried_through(predict):
    table, _ = predict()

    assert set(table["clinic"]) == {"north"}


def test_the_score_is_the_melanoma_heads_probability(predict, manifest):
    table, _ = predict()

    mean_pixel = _mask_logits(manifest).mean((1, 2))
    np.testing.assert_allclose(table["score"], 1 / (1 + np.exp(-mean_pixel)), rtol=1e-5)


def test_pixel_counts_agree_with_counts_by_hand(predict, manifest):
    table, _ = predict()

    true, predicted = _masks(manifest), _mask_logits(manifest) >= 0
    known = (manifest["mask"] != "").to_numpy()
    expected = {
        "mask_tp": (true & predicted).sum((1, 2)),
        "mask_fp": (~true & predicted).sum((1, 2)),
        "mask_fn": (true & ~predicted).sum((1, 2)),
        "mask_tn": (~true & ~predicted).sum((1, 2)),
    }
    for name, counts in expected.items():
        np.testing.assert_array_equal(table[name][known], counts[known])


def test_rows_without_a_mask_have_no_counts(predict, manifest):
    table, _ = predict()

    without = (manifest["mask"] == "").to_numpy()
    np.testing.assert_array_equal(table["mask_tp"].isna(), without)


def test_with_label_masks_rows_without_a_label_have_no_counts(predict, manifest):
    table, _ = predict(mask_source="label", heads=("mask",))

    np.testing.assert_array_equal(table["mask_tp"].isna(), manifest["label"].isna())


def test_each_image_has_its_own_dice_iou_and_thresholded_jaccard(predict, manifest):
    table, _ = predict()

    true, predicted = _masks(manifest), _mask_logits(manifest) >= 0
    both, either = (true & predicted).sum((1, 2)), (true | predicted).sum((1, 2))
    iou = both / either
    known = (manifest["mask"] != "").to_numpy()
    expected = {
        "dice": 2 * both / (both + either),
        "iou": iou,
        "thresholded_jaccard": np.where(iou >= 0.65, iou, 0),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], np.where(known, values, np.nan), rtol=1e-12)


def test_with_label_masks_each_images_dice_carries_its_name(predict):
    table, _ = predict(mask_source="label", heads=("mask",))

    names = {"dice", "iou", "thresholded_jaccard"}
    assert {f"label_as_mask_{name}" for name in names} <= set(table.columns)
    assert not names & set(table.columns)


def test_histograms_count_the_pixels_of_known_masks_only(predict, manifest):
    _, histograms = predict()

    known = manifest["mask"] != ""
    masks = _masks(manifest)
    for split in ("val", "test"):
        chosen = masks[(known & (manifest["split"] == split)).to_numpy()]
        np.testing.assert_array_equal(histograms[split].sum(1), [(~chosen).sum(), chosen.sum()])


def test_the_predicted_share_is_known_without_a_mask(predict, manifest):
    table, _ = predict()

    share = (_mask_logits(manifest) >= 0).mean((1, 2))
    np.testing.assert_allclose(table["predicted_share"], share, atol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_the_table_does_not_depend_on_the_batch_size(predict, batch_size):
    expected, _ = predict(batch_size=2)

    table, _ = predict(batch_size=batch_size)

    pd.testing.assert_frame_equal(table, expected, rtol=1e-5)


def test_every_number_can_be_recomputed_from_the_files_on_disk(
    make_config, make_network, manifest, tmp_path, predict
):
    settings = make_config()
    in_memory, _ = predictions.predict_run(
        settings.preprocessing,
        settings.outputs,
        settings.device,
        tmp_path,
        make_network(),
        manifest,
    )

    on_disk, histograms = predict()

    assert scores.evaluate_table(on_disk, histograms, "lesion", 0.018) == scores.evaluate_table(
        in_memory, histograms, "lesion", 0.018
    )


def test_a_logit_of_zero_is_of_the_same_class_in_counts_and_histograms(
    make_config, make_network, manifest, tmp_path
):
    # A network whose last ReLU is dead says 0 everywhere: that is one class, not both.
    silent = make_network(scale=0.0, bias=0.0)

    settings = make_config()
    table, _ = predictions.predict_run(
        settings.preprocessing, settings.outputs, settings.device, tmp_path, silent, manifest
    )

    with np.load(tmp_path / run_directory.HISTOGRAMS) as histograms:
        accuracy = scores.pixel_scores(histograms["test"], "lesion")["pixel_accuracy"]
    test = table[table["split"] == "test"].dropna(subset="mask_tp")
    right = (test["mask_tp"] + test["mask_tn"]).sum()
    assert accuracy == right / (len(test) * 16 * 16)


@pytest.fixture(scope="module")
def cleaned(make_config, make_network, drawn_manifest, tmp_path_factory):
    """(predictions table, rule) with outlines of one region, by a threshold chosen on val."""
    settings = make_config()
    return predictions.predict_run(
        *(settings.preprocessing, settings.outputs, settings.device),
        tmp_path_factory.mktemp("cleaned"),
        make_network(),
        drawn_manifest,
        outlines.MaskRule(0.5, "one_region"),
    )


@pytest.fixture(scope="module")
def add_columns(make_config, make_network, drawn_manifest, tmp_path_factory):
    """A function of a cleanup and Config's fields: the columns that predictions.csv gains."""

    def run(cleanup, **fields):
        settings = make_config(**fields)
        folder = tmp_path_factory.mktemp("columns")
        network = make_network(
            settings.outputs.heads, num_classes=len(settings.outputs.class_names)
        )
        predictions.predict_run(
            *(settings.preprocessing, settings.outputs, settings.device, folder),
            *(network, drawn_manifest, outlines.MaskRule(0.5, cleanup)),
            has_skin_tone=settings.outputs.has_mask,
        )
        written = pd.read_csv(folder / run_directory.PREDICTIONS)
        return set(written.columns) - set(drawn_manifest.columns)

    return functools.cache(run)


def _dice_by_rule(rows):
    """Returns threshold -> mean Dice of one region, by SciPy on float64 logits."""
    known = (rows["mask"] != "").to_numpy()
    true, logits = _masks(rows)[known], _mask_logits(rows)[known]
    found = {}
    for threshold in predictions.THRESHOLDS:
        limit = np.log(threshold / (1 - threshold))
        masks = np.stack([outlines.one_region(image, limit) for image in logits])
        both = (true & masks).sum((1, 2))
        found[threshold] = (2 * both / (true.sum((1, 2)) + masks.sum((1, 2)))).mean()
    return found


def test_the_threshold_is_the_one_of_the_best_mean_dice_on_val(cleaned, drawn_manifest):
    _, rule = cleaned

    dice = _dice_by_rule(drawn_manifest[drawn_manifest["split"] == "val"])

    assert rule.cleanup == "one_region"
    assert dice[rule.threshold] == max(dice.values()) > dice[0.5]


@pytest.mark.parametrize("split", ["val", "test"])
def test_outlines_are_counted_by_the_threshold_of_val(cleaned, drawn_manifest, split):
    table, rule = cleaned

    dice = _dice_by_rule(drawn_manifest[drawn_manifest["split"] == split])

    of_split = table[table["split"] == split]
    assert of_split["dice"].mean() == pytest.approx(dice[rule.threshold], abs=1e-9)


def test_what_is_not_cleaned_up_is_in_the_table_too(cleaned, predict):
    table, _ = cleaned

    plain, _ = predict()

    for name in contract.MASK_COUNTS:
        pd.testing.assert_series_equal(
            table[f"uncleaned_{name}"], plain[name], check_names=False, check_dtype=False
        )
    metrics = scores.evaluate_table(table, predict()[1], "lesion", 0.018)["test"]
    expected = scores.evaluate_table(plain, predict()[1], "lesion", 0.018)["test"]
    assert metrics["uncleaned"]["dice"] == expected["dice"] != metrics["dice"]


@pytest.mark.parametrize("cleanup", ["none", "one_region"])
@pytest.mark.parametrize(
    "fields",
    [
        {"heads": ("mask", "melanoma")},
        {"heads": ("mask",), "mask_source": "label"},
        *({"heads": ("diagnosis",), "classes": classes} for classes in diagnoses.CLASS_SETS),
    ],
    ids=lambda fields: "-".join((*fields["heads"], *list(fields.values())[1:])),
)
def test_a_manifest_must_not_have_the_columns_that_a_run_adds(
    add_columns, drawn_manifest, fields, cleanup
):
    for column in add_columns(cleanup, **fields):
        with pytest.raises(ValueError, match=f"Received: {column}; rename them"):
            manifests.check(drawn_manifest.assign(**{column: 1.0}))


def test_a_manifest_may_have_every_column_that_no_run_adds(add_columns):
    added = add_columns("one_region", heads=("mask", "melanoma"))
    added |= add_columns("none", heads=("mask",), mask_source="label")
    for classes in diagnoses.CLASS_SETS:
        added |= add_columns("none", heads=("diagnosis",), classes=classes)

    assert set(prediction_columns.RESERVED) == added


def test_without_masks_in_val_the_threshold_stays(make_config, make_network, manifest, tmp_path):
    manifest.loc[manifest["split"] == "val", "mask"] = ""
    settings = make_config()

    _, rule = predictions.predict_run(
        *(settings.preprocessing, settings.outputs, settings.device, tmp_path),
        *(make_network(), manifest, outlines.MaskRule(0.37, "one_region")),
    )

    assert rule == outlines.MaskRule(0.37, "one_region")


def test_the_sheet_has_image_mask_and_probability_of_each_row(make_config, make_network, manifest):
    rows = manifest.iloc[[7, 5]]

    sheet = predictions.predict_sheet(
        *(make_config().preprocessing, make_config().outputs, make_network(), rows),
        outlines.MaskRule(),
    )

    for picture, (_, row), logits in zip(sheet, rows.iterrows(), _mask_logits(rows), strict=True):
        np.testing.assert_array_equal(picture["image"], np.asarray(Image.open(row["image"])))
        np.testing.assert_array_equal(picture["true"], np.asarray(Image.open(row["mask"])) > 0)
        np.testing.assert_allclose(picture["predicted"], 1 / (1 + np.exp(-logits)), rtol=1e-4)


def test_confusion_counts_of_a_hand_made_mask():
    true = np.array([1, 1, 1, 0, 0, 0]).reshape(1, 2, 3, 1)
    predicted = np.array([1, 0, 0, 1, 1, 1], bool).reshape(1, 2, 3, 1)

    counts = predictions.confusion_counts(true, predicted, np.array([True]))

    assert {name: count.item() for name, count in counts.items()} == {
        "mask_tp": 1,
        "mask_fp": 3,
        "mask_fn": 2,
        "mask_tn": 0,
    }


@pytest.mark.parametrize(
    "logit, bin",
    [
        (-80.0, 0),
        (-30.0, 0),
        (-15.0, 16384),
        (-1e-6, 32767),
        (0.0, 32768),
        (15.0, 49152),
        (30.0, 65535),
        (80.0, 65535),
    ],
)
def test_pixels_fall_into_the_bin_of_their_logit(make_histogram, logit, bin):
    histogram = make_histogram([logit], [1])

    assert np.argwhere(histogram).tolist() == [[1, bin]]


def test_histograms_add_up_over_batches():
    histogram = np.zeros((2, pixel_histograms.NUM_BINS), "int64")

    for _ in range(3):
        pixel_histograms.add(histogram, np.array([-15.0, -15.0]), np.array([0, 1]))

    assert histogram[:, 16384].tolist() == [3, 3]


def test_images_whose_logits_are_not_finite_are_counted_and_named():
    logits = {"mask": np.full((3, 2, 2, 1), [[[[0.0]]], [[[np.nan]]], [[[np.inf]]]])}

    with pytest.raises(ValueError, match="NaN or infinity for 2 of 3 images, the first is 'b'"):
        predictions.refuse_not_finite(logits, ["a", "b", "c"])


def test_finite_logits_of_any_size_pass():
    predictions.refuse_not_finite({"mask": np.full((1, 2, 2, 1), -3e38)}, ["a"])


def test_each_image_with_a_mask_has_its_own_histogram(predict, manifest):
    _, histograms = predict()

    found = histograms["of_masks"]
    known = (manifest["mask"] != "").to_numpy()
    assert found["image_id"].tolist() == manifest["image_id"][known].tolist()
    true, logits = _masks(manifest)[known], _mask_logits(manifest)[known]
    assert found["counts"].shape == (known.sum(), 2, 128)
    np.testing.assert_array_equal(found["counts"][:, 1].sum(1), true.sum((1, 2)))
    # Bin 80 begins at a logit of 3.
    above = (true & (logits >= 3)).sum((1, 2)), (~true & (logits >= 3)).sum((1, 2))
    np.testing.assert_array_equal(found["counts"][:, 1, 80:].sum(1), above[0])
    np.testing.assert_array_equal(found["counts"][:, 0, 80:].sum(1), above[1])


def test_label_masks_have_no_histograms_of_their_own(predict):
    _, histograms = predict(mask_source="label", heads=("mask",))

    assert "of_masks" not in histograms
