"""`lbunet_tf.load` says of an image what the command predict writes to disk."""

import csv
import io
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

import lbunet_tf
from lbunet_tf import predict
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import frozen
from lbunet_tf.runs import mask_threshold
from lbunet_tf.serving import outlines
from lbunet_tf.settings import flagfiles
from tests import dicom_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """A JPEG, a PNG, a JPEG that EXIF turns, a BMP, and a DICOM where pydicom is installed."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 255, (5, 5, 3)).astype("uint8")) for _ in range(5)]
    big = [image.resize((60, 40 + 7 * number)) for number, image in enumerate(coarse)]
    exif = Image.Exif()
    exif[0x0112] = 6
    big[0].save(folder / "a.jpg")
    big[1].save(folder / "b.png")
    big[2].save(folder / "c.jpg", exif=exif.tobytes())
    big[3].save(folder / "d.bmp")
    try:
        import pydicom
    except ImportError:
        pass
    else:
        dicom_files.write_rgb(pydicom, folder / "e.dcm", np.asarray(big[4]))
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def loaded(untrained_run):
    return lbunet_tf.load(untrained_run)


def lines_of(settings, paths):
    assert predict.predict(settings, paths) == []
    with open(pathlib.Path(settings.paths.output) / "scores.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("tta, cleanup", [("none", "none"), ("flips", "one_region")])
def test_scores_and_masks_are_those_of_the_command(
    untrained_run, other_untrained_run, paths, tmp_path, tta, cleanup
):
    runs = [untrained_run] if tta == "none" else [untrained_run, other_untrained_run]
    settings = flagfiles.read(str(untrained_run)).replace(output=str(tmp_path / "out"), tta=tta)
    settings = settings.replace(other_runs=tuple(map(str, runs[1:])), mask_cleanup=cleanup)
    lines = lines_of(settings, paths)

    found = lbunet_tf.load(*runs, tta=tta, mask_cleanup=cleanup).predict(paths)

    assert [f"{one.score:.6f}" for one in found] == [line["score"] for line in lines]
    for one, line in zip(found, lines, strict=True):
        mask = np.asarray(Image.open(pathlib.Path(settings.paths.output) / line["mask"]))
        np.testing.assert_array_equal(one.mask, mask)
        assert one.mask.dtype == bool and one.size == mask.shape
        assert f"{one.lesion_fraction:.6f}" == line["lesion_share"]
        assert one.probabilities.dtype == np.float32
        if cleanup == "none":
            np.testing.assert_array_equal(one.probabilities >= 0.5, mask)


@pytest.mark.parametrize(
    ("cleanup", "expected"), [("one_region", (0.4, 0.7)), ("none", (0.4, 0.6))]
)
def test_contours_lie_around_the_outline_in_use(untrained_run, tmp_path, cleanup, expected):
    run = tmp_path / "run"
    shutil.copytree(untrained_run, run)
    mask_threshold.write(run, outlines.MaskRule(0.7, "one_region"), 7)
    facts = {"coverage": 0.95, "confidence": 0.95, "chosen_on": "val", "num_empty": 0}
    facts |= {"num_masks": 40, "num_patients": 40}
    frozen.write(run, "conformal.json", {"mask_contours": {"outer": 0.4, "inner": 0.6, **facts}})

    found = lbunet_tf.load(run, mask_cleanup=cleanup).contours

    assert (found.outer, found.inner) == expected


def test_arrays_give_what_their_files_give(loaded, paths):
    arrays = [np.asarray(Image.open(path)) for path in (paths[1], paths[3])]
    of_files = loaded.predict([paths[1], paths[3]])

    for number, one in enumerate(loaded.predict(arrays)):
        assert one.score == of_files[number].score
        np.testing.assert_array_equal(one.mask, of_files[number].mask)
    assert loaded.predict(arrays[0]).score == pytest.approx(of_files[0].score, abs=1e-6)
    assert loaded.predict(pathlib.Path(paths[1])).size == of_files[0].size
    batch = loaded.predict(np.stack([arrays[0], arrays[0]]))
    assert [one.size for one in batch] == [of_files[0].size] * 2
    assert loaded.predict([]) == []


def test_several_batches_give_what_one_gives(loaded, paths):
    one_by_one = loaded.predict(paths, batch_size=1)

    together = loaded.predict(paths, batch_size=len(paths))

    for first, second in zip(one_by_one, together, strict=True):
        assert first.score == pytest.approx(second.score, abs=1e-5)


def test_a_run_of_label_as_mask_has_a_score_and_no_mask(untrained_run, tmp_path, paths):
    for path in untrained_run.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = flagfiles.read(str(untrained_run)).replace(mask_source="label")
    (tmp_path / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(settings)))

    found = lbunet_tf.load(tmp_path).predict(paths[0])

    assert 0 < found.score < 1
    assert (found.mask, found.lesion_fraction, found.probabilities) == (None, None, None)


def test_the_first_bad_image_is_named(loaded, paths, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    stream = io.BytesIO()
    Image.open(paths[0]).save(stream, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(stream.getvalue()[:300])
    bad = [str(tmp_path / "text.jpg"), str(tmp_path / "cut.jpg"), "/nowhere/x.jpg"]

    with pytest.raises(ValueError, match="text.jpg: it is not a JPEG, PNG or BMP file"):
        loaded.predict([paths[0], *bad])
    for path in bad:
        with pytest.raises(ValueError, match=pathlib.Path(path).name):
            loaded.predict(path)


@pytest.mark.parametrize(
    "array, received",
    [
        (np.zeros((4, 5), "uint8"), r"uint8 of shape \(4, 5\)"),
        (Image.new("RGB", (5, 4)), r"numpy.asarray.*Received: Image"),
        (None, "Received: NoneType"),
        (np.zeros((4, 5, 3)), r"float64 of shape \(4, 5, 3\)"),
        (np.zeros((4, 5, 4), "uint8"), r"uint8 of shape \(4, 5, 4\)"),
        (np.zeros((0, 5, 3), "uint8"), r"uint8 of shape \(0, 5, 3\)"),
        (7, "int"),
    ],
)
def test_an_array_that_is_no_image_is_refused(loaded, array, received):
    good = np.zeros((4, 5, 3), "uint8")

    with pytest.raises(ValueError, match=rf"images\[1\] must be a path, or .* {received}"):
        loaded.predict([good, array])
    # Several by mistake, or one: either way a sentence and no TypeError.
    with pytest.raises(ValueError, match=rf"images\[0\] must be a path, or .* {received}"):
        loaded.predict(array)


def test_limits_and_wrong_keywords_are_named(untrained_run, loaded, tmp_path):
    Image.new("RGB", (1001, 1000)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="large.png: it has 1001 x 1000 px"):
        lbunet_tf.load(untrained_run, max_megapixels=1).predict(str(tmp_path / "large.png"))
    with pytest.raises(ValueError, match='"tta" must be one of none, flips, dihedral'):
        lbunet_tf.load(untrained_run, tta="all")
    with pytest.raises(ValueError, match="must be a run directory"):
        lbunet_tf.load(tmp_path)
    with pytest.raises(ValueError, match="at least one run directory"):
        lbunet_tf.load()
    with pytest.raises(ValueError, match='"batch_size" must be at least 1'):
        loaded.predict(str(tmp_path / "large.png"), batch_size=0)


def test_an_image_for_which_the_network_gives_no_number_is_named(untrained_run, paths, monkeypatch):
    class NotANumber:
        def __call__(self, images, training):
            mask = np.zeros((len(images), 8, 8, 1))
            mask[1] = np.nan
            return {"mask": mask, "melanoma": np.zeros((len(images), 1))}

    monkeypatch.setattr(ensemble, "load_mean", lambda settings: NotANumber())

    with pytest.raises(ValueError, match="b.png: the network gives NaN or infinity"):
        lbunet_tf.load(untrained_run).predict(paths[:3])


def test_the_keras_model_takes_what_the_run_was_trained_on(loaded):
    assert loaded.keras_model.input_shape == (None, 32, 32, 3)
    assert set(loaded.keras_model.output) == {"mask", "melanoma"}
