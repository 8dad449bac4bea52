import csv
import os
import pathlib
import types

import numpy as np
import pytest
from PIL import Image

from lbunet_tf import predict
from lbunet_tf.runs import ensemble
from lbunet_tf.runs import frozen
from lbunet_tf.runs import written_predictions
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import output_folder
from tests import dicom_files

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(untrained_run, tmp_path):
    return flagfiles.read(str(untrained_run)).replace(output=str(tmp_path / "out"))


@pytest.fixture
def folder(tmp_path):
    """Six images of several sizes and formats."""
    path = tmp_path / "images"
    path.mkdir()
    rng = np.random.default_rng(0)
    for number, suffix in enumerate(("jpg", "png", "bmp", "jpg", "png", "jpg")):
        pixels = rng.integers(0, 255, (40 + 7 * number, 60, 3)).astype("uint8")
        Image.fromarray(pixels).save(path / f"image{number}.{suffix}")
    return path


def read_scores(settings):
    with open(pathlib.Path(settings.paths.output) / "scores.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_gives_a_score_a_mask_and_an_overlay_for_each_image(settings, folder):
    assert predict.predict(settings, [str(folder)]) == []
    rows = read_scores(settings)
    assert [row["image_id"] for row in rows] == [f"image{number}" for number in range(6)]
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    for kind, suffix in (("masks", "png"), ("overlays", "jpg")):
        sizes = [
            Image.open(pathlib.Path(settings.paths.output) / kind / f"image{number}.{suffix}").size
            for number in range(6)
        ]
        assert sizes == [(60, 40 + 7 * number) for number in range(6)]


def test_the_lesion_area_is_that_of_the_written_mask(settings, folder):
    predict.predict(settings, [str(folder)])
    for row in read_scores(settings):
        picture = Image.open(f"{settings.paths.output}/masks/{row['image_id']}.png")
        mask = np.asarray(picture.convert("L"))
        assert picture.mode == "1" and set(np.unique(mask)) <= {0, 255}
        assert int(row["lesion_pixels"]) == (mask == 255).sum()
        assert float(row["lesion_share"]) == pytest.approx((mask == 255).mean(), abs=1e-6)


@pytest.mark.parametrize(
    "size, shown", [("1024", (1000, 667)), ("2048", (1500, 1000)), ("full", (3000, 2000))]
)
def test_overlays_are_shrunk_to_a_size_and_masks_are_not(settings, tmp_path, size, shown):
    Image.new("RGB", (3000, 2000), (180, 130, 110)).save(tmp_path / "large.jpg")

    predict.predict(settings.replace(overlay_size=size), [str(tmp_path / "large.jpg")])

    output = pathlib.Path(settings.paths.output)
    assert Image.open(output / "overlays/large.jpg").size == shown
    assert Image.open(output / "masks/large.png").size == (3000, 2000)


def test_an_overlay_is_no_longer_than_a_jpeg_may_be(settings, tmp_path):
    Image.new("RGB", (66_000, 20), (180, 130, 110)).save(tmp_path / "long.png")

    assert predict.predict(settings.replace(overlay_size="full"), [str(tmp_path)]) == []

    output = pathlib.Path(settings.paths.output)
    assert Image.open(output / "overlays/long.jpg").size == (33_000, 10)
    assert Image.open(output / "masks/long.png").size == (66_000, 20)


def test_an_image_that_is_gone_before_its_overlay_is_drawn_costs_no_other(
    settings, folder, monkeypatch
):
    read = written_predictions.new_images.read_image

    def gone(path, *arguments):
        if path.endswith("image3.jpg"):
            raise ValueError(f"{path} is gone")
        return read(path, *arguments)

    # Of the second reading alone: the first is the predictor's.
    monkeypatch.setattr(written_predictions, "new_images", types.SimpleNamespace(read_image=gone))
    failures = predict.predict(settings.replace(overlay_size="full"), [str(folder)])

    assert failures == [f"{folder}/image3.jpg is gone"]
    assert [row["image_id"] for row in read_scores(settings)] == [
        f"image{number}" for number in (0, 1, 2, 4, 5)
    ]


@pytest.mark.parametrize("write", [("scores",), ("masks",), ("scores", "overlays")])
def test_only_what_is_asked_for_is_written(settings, folder, write):
    predict.predict(settings.replace(write=write), [str(folder)])

    output = pathlib.Path(settings.paths.output)
    written = {name for name in ("masks", "overlays") if list(output.glob(f"{name}/*"))}
    assert written == set(write) - {"scores"}
    rows = read_scores(settings)
    assert len(rows) == 6 and all(bool(row["mask"]) == ("masks" in write) for row in rows)


def test_parts_on_several_machines_give_each_image_once_as_in_one(settings, folder):
    predict.predict(settings, [str(folder)])
    whole = {row["image_id"]: float(row["score"]) for row in read_scores(settings)}

    found = []
    for number in (1, 2, 3, 4):
        predict.predict(settings.replace(shard=f"{number}/4"), [str(folder)])
        part = settings.replace(output=f"{settings.paths.output}-{number}-of-4")
        found += [(row["image_id"], float(row["score"])) for row in read_scores(part)]

    assert len(found) == 6 and dict(found) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1.5/3"])
def test_a_part_that_is_none_is_refused(settings, shard):
    with pytest.raises(ValueError, match='"--shard" must be which part of how many'):
        settings.replace(shard=shard)


def test_something_else_to_write_is_refused(settings):
    with pytest.raises(ValueError, match='"--write" must name some of scores, masks, overlays'):
        settings.replace(write=("heatmaps",))


def test_a_result_does_not_depend_on_the_other_files_of_its_batch(settings, folder):
    predict.predict(settings, [str(folder)])
    together = {row["image_id"]: float(row["score"]) for row in read_scores(settings)}
    alone = settings.replace(output=settings.paths.output + "_alone")
    predict.predict(alone, [str(folder / "image3.jpg")])
    assert float(read_scores(alone)[0]["score"]) == pytest.approx(together["image3"], abs=1e-5)


def test_unreadable_files_are_named_and_lose_no_other_result(settings, folder):
    (folder / "image0_text.jpg").write_text("no image")
    whole = (folder / "image0.jpg").read_bytes()
    (folder / "image2_cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "image9.png").write_bytes(b"")
    failures = predict.predict(settings, [str(folder)])
    assert len(read_scores(settings)) == 6
    assert [name for name in ("image0_text.jpg", "image2_cut.jpg", "image9.png")] == [
        line.split(": ")[0].split("/")[-1] for line in failures
    ]


def test_main_ends_with_an_error_where_a_file_could_not_be_read(settings, folder, capsys):
    (folder / "broken.jpg").write_text("no image")
    with pytest.raises(ValueError, match="1 could not be used.*out/failures.txt"):
        predict.main(settings, [str(folder)])
    assert "broken.jpg" in capsys.readouterr().err


def test_each_id_of_a_csv_has_its_results_where_two_name_one_image(settings, folder):
    (folder / "list.csv").write_text(
        "image_id,image\nlesion1,image1.png\nlesion2,image1.png\nlesion3,image4.png\n"
    )

    assert predict.predict(settings, [str(folder / "list.csv")]) == []

    first, second, third = read_scores(settings)
    ids = [row["image_id"] for row in (first, second, third)]
    assert ids == ["lesion1", "lesion2", "lesion3"]
    assert first["score"] == second["score"] != third["score"]
    for kind in ("masks", "overlays"):
        written = sorted(path.stem for path in pathlib.Path(settings.paths.output, kind).iterdir())
        assert written == ids


def test_files_globs_and_csvs_are_read_once_each(settings, folder):
    (folder / "list.csv").write_text("image\nimage4.png\nimage5.jpg\n")
    paths = [str(folder / "image1.png"), str(folder / "*.png"), str(folder / "list.csv")]
    predict.predict(settings, paths)
    assert [row["image_id"] for row in read_scores(settings)] == ["image1", "image4", "image5"]


def test_files_of_one_name_in_two_folders_get_results_of_their_own(settings, folder):
    (folder / "more").mkdir()
    (folder / "more" / "image1.png").write_bytes((folder / "image4.png").read_bytes())
    predict.predict(settings, [str(folder / "image1.png"), str(folder / "more")])
    assert [row["image_id"] for row in read_scores(settings)] == ["image1", "image1_2"]


def test_several_runs_give_the_mean_of_their_probabilities(settings, other_untrained_run, folder):
    several = []
    for run in (settings.paths.run, str(other_untrained_run)):
        alone = settings.replace(run=run, output=f"{settings.paths.output}_{len(several)}")
        predict.predict(alone, [str(folder)])
        several.append([float(row["score"]) for row in read_scores(alone)])

    predict.predict(settings.replace(other_runs=(str(other_untrained_run),)), [str(folder)])

    result = [float(row["score"]) for row in read_scores(settings)]
    assert np.abs(np.subtract(*several)).max() > 0.01
    np.testing.assert_allclose(result, np.mean(several, axis=0), atol=2e-6)


def test_several_runs_without_output_are_refused(settings, other_untrained_run, folder):
    settings = settings.replace(other_runs=(str(other_untrained_run),), output="")

    with pytest.raises(ValueError, match='"--output" must name a folder for the mean of several'):
        predict.predict(settings, [str(folder)])


def test_with_flips_a_mirrored_image_has_the_mirrored_mask_and_the_same_score(settings, tmp_path):
    (tmp_path / "images").mkdir()
    # At the network's size nothing is resized, and the mirrored image is exactly that.
    pixels = np.random.default_rng(4).integers(0, 255, (32, 32, 3)).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "images" / "left.png")
    Image.fromarray(pixels[:, ::-1]).save(tmp_path / "images" / "right.png")

    predict.predict(settings.replace(tta="flips"), [str(tmp_path / "images")])

    left, right = (
        np.asarray(Image.open(f"{settings.paths.output}/masks/{name}.png"))
        for name in ("left", "right")
    )
    np.testing.assert_array_equal(left, right[:, ::-1])
    scores = [float(row["score"]) for row in read_scores(settings)]
    assert scores[0] == pytest.approx(scores[1], abs=2e-6)


def test_the_log_states_passes_and_images_per_second(settings, folder, caplog):
    caplog.set_level("INFO", logger="absl")

    predict.predict(settings.replace(tta="dihedral"), [str(folder / "image1.png")])

    assert "images per second" in caplog.text and "8 forward passes per image" in caplog.text


def test_a_path_that_is_not_there_is_named(settings):
    with pytest.raises(ValueError, match="no such file, folder or glob: /nowhere/x.jpg"):
        predict.predict(settings, ["/nowhere/x.jpg"])


def test_older_predictions_are_replaced_only_with_overwrite(settings, folder):
    predict.predict(settings, [str(folder / "image1.png")])
    with pytest.raises(ValueError, match="--overwrite"):
        predict.predict(settings, [str(folder)])
    predict.predict(settings.replace(overwrite=True), [str(folder / "image4.png")])
    masks = pathlib.Path(settings.paths.output) / "masks"
    assert [path.name for path in masks.iterdir()] == ["image4.png"]


def test_a_strangers_folder_is_refused_even_with_overwrite(settings, folder):
    output = pathlib.Path(settings.paths.output)
    (output / "masks").mkdir(parents=True)
    (output / "scores.csv").write_text("reader,score\nA,3\n")
    (output / "masks" / "true.png").write_text("drawn by hand")
    with pytest.raises(ValueError, match="holds other files"):
        predict.predict(settings.replace(overwrite=True), [str(folder)])
    assert (output / "masks" / "true.png").read_text() == "drawn by hand"
    assert (output / "scores.csv").read_text() == "reader,score\nA,3\n"


def test_overwrite_leaves_the_files_of_others(settings, folder):
    output = pathlib.Path(settings.paths.output)
    predict.predict(settings, [str(folder / "image1.png")])
    (output / "masks" / "mine.png").write_text("drawn by hand")
    (output / "notes.txt").write_text("mine")
    predict.predict(settings.replace(overwrite=True), [str(folder / "image4.png")])
    assert sorted(path.name for path in (output / "masks").iterdir()) == ["image4.png", "mine.png"]
    assert (output / "notes.txt").read_text() == "mine"


def test_a_mask_of_somebody_else_is_not_replaced(settings, folder):
    output = pathlib.Path(settings.paths.output)
    predict.predict(settings, [str(folder / "image1.png")])
    (output / "masks" / "image4.png").write_text("drawn by hand")
    with pytest.raises(ValueError, match="files from elsewhere are never replaced.*image4.png"):
        predict.predict(settings.replace(overwrite=True), [str(folder / "image4.png")])
    assert (output / "masks" / "image4.png").read_text() == "drawn by hand"
    assert [row["image_id"] for row in read_scores(settings)] == ["image1"]


def cut(settings, num_lines):
    """Makes the folder what a kill leaves: so many lines, the next one cut, no list of failures."""
    output = pathlib.Path(settings.paths.output)
    lines = (output / "scores.csv").read_bytes().splitlines(keepends=True)
    (output / "scores.csv").write_bytes(b"".join(lines[: num_lines + 1]) + lines[num_lines + 1][:9])
    (output / "failures.txt").unlink()
    marker = output_folder.read_marker(output)
    output_folder.mark(output, predict.WORK, marker["files"], asked=marker["asked"], finished=False)


def test_the_same_command_continues_after_a_kill_and_ends_as_if_undisturbed(
    settings, folder, caplog
):
    output = pathlib.Path(settings.paths.output)
    predict.predict(settings, [str(folder)])
    whole = {path.relative_to(output): path.read_bytes() for path in output.rglob("[!.]*.*")}
    cut(settings, 4)
    # Of these, one lost its mask and one was put in place of another since, with an older date.
    (output / "masks" / "image1.png").unlink()
    os.utime(folder / "image2.bmp", (10**9, 10**9))
    caplog.set_level("INFO", logger="absl")

    # With --overwrite too: it replaces what is finished or of something else.
    assert predict.predict(settings.replace(overwrite=True), [str(folder)]) == []

    assert "2 images are predicted already" in caplog.text
    after = {path.relative_to(output): path.read_bytes() for path in output.rglob("[!.]*.*")}
    assert after == whole


def test_a_prediction_that_was_interrupted_refuses_other_images_and_other_flags(settings, folder):
    predict.predict(settings, [str(folder)])
    cut(settings, 4)
    with pytest.raises(ValueError, match="holds predictions of other images.*--overwrite"):
        predict.predict(settings, [str(folder / "image1.png")])
    with pytest.raises(ValueError, match="other runs or flags.*--overwrite"):
        predict.predict(settings.replace(tta="flips"), [str(folder)])


def test_the_same_command_tries_only_what_failed(settings, folder):
    good = (folder / "image3.jpg").read_bytes()
    (folder / "image3.jpg").write_bytes(good[:200])
    assert len(predict.predict(settings, [str(folder)])) == 1
    scores = pathlib.Path(settings.paths.output) / "scores.csv"
    before = scores.read_text().splitlines()
    (folder / "image3.jpg").write_bytes(good)

    assert predict.predict(settings, [str(folder)]) == []

    after = scores.read_text().splitlines()
    assert len(after) == 7 and set(before) < set(after)
    assert [line.split(",")[0] for line in after[1:]] == [f"image{number}" for number in range(6)]


def test_an_image_that_is_damaged_later_leaves_no_picture_of_what_it_was(settings, folder):
    good = (folder / "image3.jpg").read_bytes()
    (folder / "image3.jpg").write_bytes(good[:200])
    predict.predict(settings, [str(folder)])
    before = (folder / "image2.bmp").read_bytes()
    (folder / "image2.bmp").write_bytes(before[:100])
    (folder / "image3.jpg").write_bytes(good)

    (failure,) = predict.predict(settings, [str(folder)])

    assert "image2.bmp" in failure
    output = pathlib.Path(settings.paths.output)
    names = {path.stem for name in ("masks", "overlays") for path in (output / name).iterdir()}
    assert names == {"image0", "image1", "image3", "image4", "image5"}


def test_pictures_of_an_image_that_is_taken_out_go_and_it_may_come_back(settings, folder):
    output, image = pathlib.Path(settings.paths.output), folder / "image4.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    predict.predict(settings, [str(folder)])
    # As a kill leaves it: the mask is there, its line is not.
    stray = output / "masks" / "image4.png"
    stray.write_bytes((output / "masks" / "image1.png").read_bytes())
    image.unlink()

    assert predict.predict(settings, [str(folder)]) == []
    assert not stray.exists()

    image.write_bytes(whole)
    assert predict.predict(settings.replace(overwrite=True), [str(folder)]) == []
    assert len(read_scores(settings)) == 6 and stray.is_file()


def test_an_image_that_fails_leaves_no_picture(settings, folder, monkeypatch):
    def fail(*arguments):
        raise ValueError("gone meanwhile")

    monkeypatch.setattr(written_predictions, "_overlay", fail)
    failures = predict.predict(settings, [str(folder)])

    assert len(failures) == 6 and "gone meanwhile" in failures[0]
    assert not list(pathlib.Path(settings.paths.output).rglob("*.png"))


def test_what_an_evaluation_freezes_while_predict_starts_is_an_error(
    settings, folder, monkeypatch, untrained_run
):
    load = ensemble.load_mean
    point = {"threshold": 0.5, "rule": "Youden", "chosen_on": "val"}

    def evaluated_meanwhile(loaded):
        frozen.write(
            pathlib.Path(untrained_run),
            "operating_point.json",
            {**point, "num_melanoma": 20, "num_other": 20},
        )
        return load(loaded)

    monkeypatch.setattr(ensemble, "load_mean", evaluated_meanwhile)
    try:
        with pytest.raises(ValueError, match="must stay as it is .* threshold None .* then 0.5"):
            predict.predict(settings, [str(folder)])
    finally:
        (pathlib.Path(untrained_run) / "operating_point.json").unlink()

    monkeypatch.undo()
    assert predict.predict(settings, [str(folder)]) == []


def test_images_out_of_reach_keep_what_is_predicted_of_them(settings, folder):
    names = folder.parent / "list.csv"
    files = sorted(path.name for path in folder.iterdir())
    names.write_text("image\n" + "\n".join(f"images/{name}" for name in files) + "\n")
    predict.predict(settings, [str(names)])
    cut(settings, 4)
    folder.rename(folder.parent / "unmounted")

    assert len(predict.predict(settings, [str(names)])) == 2
    (folder.parent / "unmounted").rename(folder)
    before = read_scores(settings)

    assert [row["image_id"] for row in before] == [f"image{number}" for number in range(4)]
    assert predict.predict(settings, [str(names)]) == []
    assert read_scores(settings)[:4] == before and len(read_scores(settings)) == 6


def test_an_image_keeps_its_id_where_another_of_its_name_goes_or_comes(settings, folder):
    for name in ("more", "yet"):
        (folder / name).mkdir()
        (folder / name / "image1.png").write_bytes((folder / "image4.png").read_bytes())
    (folder / "image1.png").write_bytes(b"damaged")
    paths = [str(folder / "image1.png"), str(folder / "more"), str(folder / "yet")]
    assert len(predict.predict(settings, paths)) == 1
    before = read_scores(settings)
    assert [row["image_id"] for row in before] == ["image1_2", "image1_3"]

    assert predict.predict(settings, paths[1:]) == []

    assert read_scores(settings) == before


def test_odd_ids_stay_data_and_their_files_inside_the_folder(settings, folder, tmp_path):
    (tmp_path / "victim.png").write_text("precious")
    odd = ["../../victim", str(tmp_path / "victim"), "x" * 300, "", "A", "a", "=1+1"]
    names = [path.name for path in sorted(folder.iterdir())]
    with open(folder / "list.csv", "w", newline="", encoding="utf-8") as file:
        lines = [("image_id", "image"), *zip(odd, [*names, "image1.png"], strict=True)]
        csv.writer(file).writerows(lines)

    failures = predict.predict(settings, [str(folder / "list.csv")])

    output = pathlib.Path(settings.paths.output)
    assert [line.split(": ")[1] for line in failures] == ["its image_id is empty"]
    rows = read_scores(settings)
    assert [row["image_id"] for row in rows] == [*odd[:3], "A", "a", "'=1+1"]
    assert (tmp_path / "victim.png").read_text() == "precious"
    masks = [(output / row["mask"]).resolve() for row in rows]
    assert all(mask.is_file() and mask.parent == (output / "masks").resolve() for mask in masks)
    assert len({str(mask).casefold() for mask in masks}) == 6


def test_a_name_that_is_no_utf_8_is_predicted_and_shown(settings, folder):
    os.rename(folder / "image1.png", os.fsencode(folder) + b"/caf\xe9.png")
    assert predict.predict(settings, [str(folder)]) == []
    row = next(row for row in read_scores(settings) if row["image_id"].startswith("caf"))
    assert (row["image_id"], row["mask"]) == ("caf\\xe9", "masks/caf%E9.png")


@pytest.mark.parametrize("name", ["scores.csv", "masks", "overlays"])
def test_links_inside_the_output_folder_are_not_followed(settings, folder, tmp_path, name):
    predict.predict(settings, [str(folder / "image1.png")])
    output = pathlib.Path(settings.paths.output)
    os.rename(output / name, tmp_path / "elsewhere")
    (output / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="links inside an output folder are not followed"):
        predict.predict(settings.replace(overwrite=True), [str(folder / "image4.png")])
    assert (tmp_path / "elsewhere").exists()


def test_a_full_disk_says_what_is_missing_and_the_same_command_continues(settings, folder, room):
    for number in range(6, 10):
        noise = np.random.default_rng(number).integers(0, 255, (40, 60, 3)).astype("uint8")
        Image.fromarray(noise).save(folder / f"image{number}.png")
    big = np.random.default_rng(9).integers(0, 255, (400, 600, 3)).astype("uint8")
    Image.fromarray(big).save(folder / "image9.png")
    small = settings.replace(batch_size=2)
    with room(60_000), pytest.raises(OSError, match="must be room.*images that are left take"):
        predict.predict(small, [str(folder)])
    assert len(read_scores(settings)) == 8
    assert predict.predict(small, [str(folder)]) == []
    assert len(read_scores(settings)) == 10


class _OneNotANumber:
    """A model of two heads that gives NaN for the second image of a batch."""

    def __call__(self, images, training):
        mask = np.zeros((len(images), 8, 8, 1))
        mask[1, 3, 3] = np.nan
        return {"mask": mask, "melanoma": np.zeros((len(images), 1))}


def test_an_image_for_which_the_network_gives_no_number_is_no_healthy_skin(
    settings, folder, monkeypatch
):
    monkeypatch.setattr(ensemble, "load_mean", lambda settings: _OneNotANumber())
    paths = [str(folder / name) for name in ("image0.jpg", "image1.png", "image2.bmp")]
    (failure,) = predict.predict(settings, paths)
    assert failure.startswith(paths[1]) and "NaN or infinity" in failure
    assert [row["image_id"] for row in read_scores(settings)] == ["image0", "image2"]


def test_label_masks_give_scores_and_no_areas(settings, folder):
    predict.predict(settings.replace(mask_source="label"), [str(folder)])
    assert set(read_scores(settings)[0]) == {"image_id", "image", "score", "width", "height"}
    assert not (pathlib.Path(settings.paths.output) / "masks").exists()


def test_an_exif_rotation_is_applied_to_image_and_mask(settings, folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(folder / "image1.png")
    upright.save(folder / "turned.jpg", exif=exif.tobytes())
    predict.predict(settings, [str(folder / "turned.jpg")])
    mask = Image.open(f"{settings.paths.output}/masks/turned.png")
    assert mask.size == upright.size[::-1]


def test_a_dicom_gives_a_score_and_nothing_of_the_patient(settings, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    path = tmp_path / "scan.dcm"
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype("uint8")
    dicom_files.write_rgb(pydicom, path, pixels)
    assert predict.predict(settings, [str(path)]) == []
    (row,) = read_scores(settings)
    assert (row["width"], row["height"]) == ("40", "30")
    written = b"".join(
        file.read_bytes()
        for file in pathlib.Path(settings.paths.output).rglob("*")
        if file.is_file()
    )
    assert b"Doe" not in written and b"4711" not in written


def test_a_picture_above_the_limit_is_named_and_the_others_are_predicted(
    settings, folder, tmp_path
):
    Image.new("RGB", (1001, 1000)).save(tmp_path / "huge.png")
    limited = settings.replace(max_megapixels=1)

    failures = predict.predict(limited, [str(tmp_path / "huge.png"), str(folder / "image0.jpg")])

    assert len(failures) == 1 and "huge.png: it has 1001 x 1000 px" in failures[0]
    assert [row["image_id"] for row in read_scores(settings)] == ["image0"]
