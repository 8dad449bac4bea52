import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf.drawing import figures
from lbunet_tf.drawing import sheets
from lbunet_tf.evaluation import scores

LABELS = np.array([1, 0, 1, 0, 0])
SCORES = np.array([0.8, 0.2, 0.4, 0.6, 0.1])


@pytest.fixture
def path(tmp_path):
    """A PNG in a folder that is not there yet."""
    return tmp_path / "figures" / "figure.png"


def _is_drawn(path):
    """Whether the PNG can be read, has a sensible size, and is not of one colour."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    return min(pixels.shape) > 200 and pixels.std() > 1


def _history(epochs, heads=("mask",)):
    rng = np.random.default_rng(31)
    names = ["loss", "accuracy", "auc"]
    if len(heads) > 1:
        names = ["loss", *(f"{head}_{name}" for head in heads for name in names)]
    columns = {name: rng.random(epochs) for name in [*names, *(f"val_{name}" for name in names)]}
    return pd.DataFrame({"epoch": range(1, epochs + 1), **columns})


def _sheet(count, true_value=None):
    rng = np.random.default_rng(32)
    pictures = []
    for _ in range(count):
        true = np.zeros((16, 16))
        true[4:9, 5:12] = 1
        if true_value is not None:
            true[:] = true_value
        image = rng.integers(0, 256, (16, 16, 3)).astype("uint8")
        pictures.append({"image": image, "true": true, "predicted": rng.random((16, 16))})
    return pictures


def _mask_rows(make_predictions, count):
    return scores.best_median_worst(
        make_predictions(
            mask_tp=np.arange(count),
            mask_fp=np.ones(count),
            mask_fn=np.ones(count),
            label=np.ones(count),
        )
    )


@pytest.mark.parametrize(
    "labels",
    [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, np.nan], [np.nan, np.nan, np.nan]],
    ids=["both classes", "one class", "some unknown", "all unknown"],
)
def test_class_balance_is_drawn(path, labels):
    manifest = pd.DataFrame({"split": ["train", "val", "test"], "label": labels})

    figures.class_balance(manifest, path)

    assert _is_drawn(path)


def test_class_balance_of_another_source_has_no_bars_of_train(path):
    manifest = pd.DataFrame({"split": ["val", "test"], "label": [0.0, 1.0]})

    figures.class_balance(manifest, path)

    assert _is_drawn(path)


@pytest.mark.parametrize("num_runs", [1, 3])
@pytest.mark.parametrize("num_curves", [0, 1, 2, 9])
def test_roc_is_drawn(path, num_curves, num_runs):
    points = (np.array([0, 0.2, 1]), np.array([0, 0.7, 1]))

    figures.roc({f"curve {n}": [points] * num_runs for n in range(num_curves)}, path)

    assert _is_drawn(path)


@pytest.mark.parametrize("epochs", [1, 2, 30])
@pytest.mark.parametrize("heads", [("mask",), ("mask", "melanoma")], ids="-".join)
def test_training_curves_are_drawn(path, epochs, heads):
    figures.training_curves(_history(epochs, heads), 1, path)

    assert _is_drawn(path)


def test_training_curves_of_the_loss_alone_are_drawn(path):
    figures.training_curves(_history(3)[["epoch", "loss", "val_loss"]], 3, path)

    assert _is_drawn(path)


@pytest.mark.parametrize("labels", [LABELS, 0 * LABELS, 0 * LABELS + 1])
@pytest.mark.parametrize("thresholds", [(0.5,), (0.5, 0.31)])
def test_confusion_matrices_are_drawn(path, labels, thresholds):
    at = {
        f"threshold {value}": scores.threshold_scores(labels, SCORES, value, 0.018)
        for value in thresholds
    }

    figures.confusion_matrix(at, path)

    assert _is_drawn(path)


@pytest.mark.parametrize("classes", [("nv", "rest"), tuple("abcdefgh"), ("benign", "malignant")])
def test_true_by_predicted_classes_are_drawn(path, classes):
    counts = np.arange(len(classes) ** 2).reshape((len(classes), len(classes)))
    # A class without images.
    counts[0] = 0

    figures.class_confusion(counts, classes, path)

    assert _is_drawn(path)


@pytest.mark.parametrize(
    "labels", [[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], ids=["both", "none", "all"]
)
def test_threshold_curves_are_drawn(path, make_predictions, labels):
    table = make_predictions(label=np.array(labels, float), score=SCORES)
    curves = scores.threshold_curves(table, 0.018)

    figures.threshold_curves(curves, {"0.5": 0.5, "chosen on val": 0.31}, 0.018, path)

    assert _is_drawn(path)


@pytest.mark.parametrize("count", [1, 2, 3, 12])
@pytest.mark.parametrize("label_masks", [False, True], ids=["lesion masks", "label masks"])
def test_a_mask_sheet_is_drawn(path, make_predictions, count, label_masks):
    rows = _mask_rows(make_predictions, count)

    sheets.mask_sheet(_sheet(len(rows)), rows, label_masks, path)

    assert _is_drawn(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 1], ids=["empty", "full"])
def test_a_mask_sheet_of_empty_or_full_masks_is_drawn_without_warnings(
    path, make_predictions, value
):
    rows = _mask_rows(make_predictions, 3)

    sheets.mask_sheet(_sheet(len(rows), value), rows, False, path)

    assert _is_drawn(path)


@pytest.fixture
def example_rows(make_predictions):
    """Three ranks of two, one and one images."""
    ranks = ["nearest", "nearest", "melanomas", "others"]
    return make_predictions(label=[1.0] * 4, score=[0.5] * 4, image_id=list("abcd")).assign(
        rank=ranks, truth="melanoma"
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("label_masks", [False, True], ids=["lesion masks", "label masks"])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_an_example_sheet_is_drawn(path, example_rows, count, label_masks):
    sheets.example_sheet(_sheet(count), example_rows.head(count), label_masks, path)

    assert _is_drawn(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 1], ids=["empty", "full"])
def test_an_example_sheet_without_outlines_is_drawn_without_warnings(path, example_rows, value):
    sheets.example_sheet(_sheet(4, value), example_rows, False, path)

    assert _is_drawn(path)


def test_an_example_sheet_of_a_network_without_masks_has_the_images_alone(path, example_rows):
    pictures = [{"image": np.zeros((8, 8, 3), "uint8")} for _ in range(len(example_rows))]

    sheets.example_sheet(pictures, example_rows, False, path)

    assert _is_drawn(path)


def test_an_example_sheet_has_a_line_for_each_rank(tmp_path, example_rows):
    for number in (2, 4):
        sheets.example_sheet(
            _sheet(number), example_rows.head(number), True, tmp_path / f"{number}.png"
        )

    one, three = (Image.open(tmp_path / f"{number}.png").height for number in (2, 4))
    assert three > 2 * one


NAMES = {
    "formula": "a_$1^{2$",
    "two dollars": r"$\frac{1}$",
    "percent and backslash": r"100 % \n \unknown",
    "CJK and emoji": "皮膚病変 😀",
    "right to left": "آفة",
    "lines and NUL": "a\nb\tc\0d\x1b[31m",
    "underscore": "_left out of legends",
    "long": "x" * 100_000,
    "empty": "",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_name_is_drawn_as_text_of_bounded_size(tmp_path, make_predictions, name):
    points = (np.array([0, 0.2, 1]), np.array([0, 0.7, 1]))
    rows = _mask_rows(make_predictions, 3).assign(image_id=name)
    images = np.stack([picture["image"] for picture in _sheet(2)])
    columns = {"unchanged": (images, np.zeros((2, 16, 16)))}

    figures.roc({name: [points], f"{name} again": [points]}, tmp_path / "roc.png")
    sheets.mask_sheet(_sheet(3), rows, False, tmp_path / "mask_sheet.png")
    sheets.contact_sheet(columns, [name, name], tmp_path / "preview.png")
    sheets.example_sheet(
        _sheet(3), rows.assign(truth="melanoma", score=0.5), False, tmp_path / "example_sheet.png"
    )

    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert _is_drawn(path) and max(image.size) < 3000


def test_a_name_with_an_underscore_in_front_is_in_the_legend(tmp_path):
    points = [(np.array([0, 0.2, 1]), np.array([0, 0.7, 1]))]

    for name in ("_", "_" * 60):
        figures.roc({name: points}, tmp_path / f"{len(name)}.png")

    # The legend, within the axes, is as wide as its longest text.
    narrow, wide = (Image.open(tmp_path / f"{length}.png").width for length in (1, 60))
    assert wide > narrow


@pytest.mark.parametrize(
    "changes",
    [
        {"text.usetex": True},
        {"figure.facecolor": "black", "text.color": "white", "axes.facecolor": "black"},
        {"font.family": "A font that is not there", "font.size": 40},
        {"savefig.dpi": 1000, "savefig.format": "svg"},
        {"lines.linewidth": 9, "axes.prop_cycle": "cycler('color', ['r'])"},
        {"text.parse_math": True, "axes.formatter.use_mathtext": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_users_own_style_changes_no_figure(tmp_path, changes):
    curves = {"test": [(np.array([0, 0.2, 1]), np.array([0, 0.7, 1]))]}
    figures.roc(curves, tmp_path / "plain.png")

    with matplotlib.rc_context(changes):
        figures.roc(curves, tmp_path / "styled.png")
        kept = {name: matplotlib.rcParams[name] for name in changes}

    assert (tmp_path / "styled.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    with matplotlib.rc_context(changes):
        assert kept == {name: matplotlib.rcParams[name] for name in changes}


def test_reliability_is_drawn_with_its_band(path):
    x = np.linspace(0.1, 0.9, 30)
    curves = {"as it is": (x, x**2, x**2 / 2, x), "platt": (x, x, x - 0.1, x + 0.1)}

    figures.reliability(curves, path)

    assert _is_drawn(path)


@pytest.mark.parametrize("value", [0.05, 0.0, -0.2])
def test_a_decision_curve_is_drawn_also_where_nothing_is_gained(path, value):
    names = ("net_benefit", "flag_all", "net_benefit_at_prevalence", "flag_all_at_prevalence")
    curve = pd.DataFrame({"threshold": np.linspace(0.01, 0.6, 60), **dict.fromkeys(names, value)})

    figures.decision_curve(curve, 0.018, path)

    assert _is_drawn(path)


def test_speeds_are_drawn_with_names_that_overlap_no_axis(path):
    figures.speed(["a/seed", "b" * 60], [0.9, 310.0], [0.5, 0.91], path)

    assert path.stat().st_size > 5000
