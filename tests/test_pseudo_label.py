import json
import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest
from absl import flags
from PIL import Image

from lbunet_tf import models
from lbunet_tf import pseudo_label
from lbunet_tf import train
from lbunet_tf.data import manifests
from lbunet_tf.data import preparation
from lbunet_tf.data import splits
from lbunet_tf.data.sources import synthetic
from lbunet_tf.runs import run_directory
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles

pytestmark = pytest.mark.slow
SIZE = (80, 60)


@pytest.fixture(scope="module")
def new_images(tmp_path_factory):
    """A manifest of 12 images that no run has seen, 80 x 60 px; 4 have their true targets."""
    folder = tmp_path_factory.mktemp("new")
    table = synthetic.draw_folder(str(folder / "drawn"), 12, 64, seed=7)
    for column in ("image", "mask"):
        for path in table[column]:
            Image.open(path).resize(SIZE, Image.Resampling.NEAREST).save(path)
    for column in ("image_id", "patient_id", "lesion_id"):
        table[column] = "new_" + table[column]
    table.loc[4:, "mask"] = ""
    table.loc[4:, "label"] = np.nan
    table.assign(camera="A").to_csv(folder / "new.csv", index=False)
    return folder / "new.csv"


def parse(*arguments):
    values = flags.FlagValues()
    flagfiles.define_flags("pseudo_label", values)
    values(["pseudo_label", *map(str, arguments)])
    return flagfiles.from_flags("pseudo_label", values)


def label(run, output, source, *arguments):
    """Returns (the manifest that is read again, the agreement)."""
    settings = parse(
        f"--run={run}",
        "--source=manifest",
        f"--data_dir={source}",
        f"--output={output}",
        *arguments,
    )
    found = pseudo_label.pseudo_label(settings)
    return manifests.read(output / "manifest.csv"), found


@pytest.fixture
def label_run(evaluated, tmp_path):
    """An untrained run of the paper's painted labels, on the images of `evaluated`."""
    settings, run, _ = evaluated
    path = tmp_path / "label_run"
    path.mkdir()
    changed = settings.replace(run=str(path), mask_source="label", heads=("mask",))
    models.build_model(changed).save(path / run_directory.MODEL)
    (path / run_directory.FLAGS).write_text("\n".join(flagfiles.flag_lines(changed)))
    (path / run_directory.FINISHED).write_text("{}")
    shutil.copy(run / run_directory.MANIFEST, path)
    return path


def test_images_and_flags_are_those_of_the_command_line_and_the_rest_the_runs(evaluated):
    settings, run, _ = evaluated

    parsed = parse(f"--run={run}", "--source=ph2", "--data_dir=/d", "--confidence=0.8")

    assert (parsed.source.source, parsed.source.data_dir, parsed.pseudo_labels.confidence) == (
        ("ph2",),
        ("/d",),
        0.8,
    )
    assert (parsed.preprocessing.image_size, parsed.outputs.heads) == (
        settings.preprocessing.image_size,
        settings.outputs.heads,
    )
    # Not the run's: 48 drawn images would be another set than was asked for.
    assert parsed.source.synthetic_count == config.make().source.synthetic_count


def test_every_image_gets_targets_where_nothing_must_be_sure(evaluated, new_images, tmp_path):
    _, run, _ = evaluated

    manifest, _ = label(
        run, tmp_path / "out", new_images, "--confidence=0.5", "--mask_confidence=0"
    )

    assert len(manifest) == 12
    assert manifest["label"].notna().all()
    assert list(manifest["pseudo_label"]) == ["0"] * 4 + ["1"] * 8
    assert set(manifest["split"]) == {"train"} and set(manifest["camera"]) == {"A"}
    assert all(pathlib.Path(path).is_file() for path in manifest["image"])


def test_true_targets_are_kept_as_they_were(evaluated, new_images, tmp_path):
    _, run, _ = evaluated
    before = manifests.read(new_images)

    manifest, _ = label(
        run, tmp_path / "out", new_images, "--confidence=0.5", "--mask_confidence=0"
    )

    assert list(manifest["mask"][:4]) == list(before["mask"][:4])
    assert list(manifest["label"][:4]) == list(before["label"][:4])


def test_masks_have_the_size_of_their_image_and_only_two_values(evaluated, new_images, tmp_path):
    _, run, _ = evaluated

    manifest, _ = label(run, tmp_path / "out", new_images, "--mask_confidence=0")

    own = manifest[manifest["pseudo_mask"] == "1"]
    pictures = [Image.open(path) for path in own["mask"]]
    assert len(own) and {picture.size for picture in pictures} == {SIZE}
    assert {picture.mode for picture in pictures} == {"1"}


def test_unsure_targets_stay_empty_and_are_told_in_the_table(evaluated, new_images, tmp_path):
    _, run, _ = evaluated

    manifest, _ = label(run, tmp_path / "out", new_images, "--confidence=1", "--mask_confidence=1")

    # Left: the four with true targets.
    assert len(manifest) == 4 and set(manifest["pseudo_mask"]) == {"0"}
    targets = pd.read_csv(tmp_path / "out" / "targets.csv")
    assert len(targets) == 12 and not targets["is_sure_mask"].any()
    assert targets["mask_confidence"].between(0, 1).all() and targets["score"].notna().all()


def test_images_that_the_run_was_validated_or_tested_on_are_left_out(
    evaluated, new_images, tmp_path
):
    _, run, _ = evaluated
    of_run = manifests.read(run / "manifest.csv")
    table = manifests.read(new_images).assign(patient_id="", lesion_id="")
    val, test = (of_run[of_run["split"] == split].iloc[0] for split in ("val", "test"))
    table.loc[5, "patient_id"] = test["patient_id"]
    table.loc[6, "image_id"] = val["image_id"]
    # The same picture under another name.
    table.loc[7, "image"] = test["image"]
    table.to_csv(tmp_path / "leaky.csv", index=False)

    manifest, _ = label(
        run, tmp_path / "out", tmp_path / "leaky.csv", "--confidence=0.5", "--mask_confidence=0"
    )

    assert set(table["image_id"]) - set(manifest["image_id"]) == set(table["image_id"][5:8])


def test_agreement_is_measured_beside_trivial_masks_and_never_on_test(evaluated, tmp_path):
    _, run, _ = evaluated
    of_run = manifests.read(run / "manifest.csv").assign(split="")
    of_run.to_csv(tmp_path / "own.csv", index=False)

    manifest, found = label(run, tmp_path / "out", tmp_path / "own.csv")

    assert json.loads((tmp_path / "out" / "agreement.json").read_text()) == found
    assert set(found["masks"]) == {"train", "val"} == set(found["labels"])
    counts = manifests.read(run / "manifest.csv")["split"].value_counts()
    for split in ("train", "val"):
        kinds = found["masks"][split]["all"]
        assert {kind["num_masks"] for kind in kinds.values()} == {counts[split]}
    assert len(manifest) == counts["train"]


def test_the_agreement_of_val_is_what_evaluate_found(evaluated, tmp_path):
    _, run, metrics = evaluated
    of_run = manifests.read(run / "manifest.csv").assign(split="")
    of_run.to_csv(tmp_path / "own.csv", index=False)

    _, found = label(run, tmp_path / "out", tmp_path / "own.csv")

    weak = found["masks"]["val"]["all"]["weak"]
    evaluated_at_half = metrics["val"] | metrics["val"]["uncleaned"]
    assert weak == pytest.approx({name: evaluated_at_half[name] for name in weak}, abs=1e-6)


def test_weak_masks_are_trained_on_beside_the_runs_own_images(evaluated, new_images, tmp_path):
    settings, run, _ = evaluated
    label(run, tmp_path / "out", new_images, "--confidence=0.5", "--mask_confidence=0")
    joined = settings.replace(
        run=str(tmp_path / "again"),
        source=("manifest", "manifest"),
        data_dir=(str(run / "manifest.csv"), str(tmp_path / "out" / "manifest.csv")),
        split_by="official",
        epochs=1,
    )

    prepared = preparation.prepare(joined)
    again = train.train(joined)

    assert set(prepared.crossings.values()) == {0}
    before = manifests.read(run / "manifest.csv")["split"].value_counts()
    after = prepared.manifest["split"].value_counts()
    assert (after["val"], after["test"]) == (before["val"], before["test"])
    assert after["train"] == before["train"] + 12
    assert np.isfinite(pd.read_csv(again / "history.csv")["val_loss"]).all()


def test_a_runs_own_images_are_trained_on_with_weak_masks_and_scored_on_true_ones(
    evaluated, tmp_path
):
    settings, run, _ = evaluated
    of_run = manifests.read(run / "manifest.csv").assign(split="")
    of_run.to_csv(tmp_path / "own.csv", index=False)
    flags_given = ("--weak_targets=activation", "--mask_threshold=otsu", "--ignore_true_masks")

    label(run, tmp_path / "out", tmp_path / "own.csv", *flags_given)

    weak = settings.replace(
        source=("manifest", "manifest"),
        data_dir=tuple(str(tmp_path / "out" / name) for name in ("held_out.csv", "manifest.csv")),
        split_by="official",
    )
    manifest = preparation.prepare(weak).manifest
    by_split = manifest.groupby("split")["mask"].agg(list)
    assert all(str(tmp_path / "out" / "masks") in path for path in by_split["train"])
    assert not any(str(tmp_path) in path for path in by_split["val"] + by_split["test"])
    assert set(splits.crossings(manifest).values()) == {0}


def test_the_label_map_of_a_label_run_becomes_masks(label_run, new_images, tmp_path):
    manifest, found = label(
        label_run, tmp_path / "out", new_images, "--weak_targets=label_map", "--mask_threshold=otsu"
    )

    own = manifest[manifest["pseudo_mask"] == "1"]
    assert len(own) == 8 and found["masks"]["new"]["all"]["weak"]["num_masks"] == 4
    shares = [np.mean(np.asarray(Image.open(path)) > 0) for path in own["mask"]]
    assert all(0 < share < 1 for share in shares)


def test_targets_of_one_kind_leave_the_other_as_it_was(evaluated, new_images, tmp_path):
    _, run, _ = evaluated

    manifest, _ = label(run, tmp_path / "out", new_images, "--targets=melanoma", "--confidence=0.5")

    assert manifest["label"].notna().all()
    assert list(manifest["mask"] == "") == [False] * 4 + [True] * 8


def test_a_second_round_reads_the_first_and_does_not_delete_it(evaluated, new_images, tmp_path):
    _, run, _ = evaluated
    sureness = ("--confidence=0.5", "--mask_confidence=0")
    first, _ = label(run, tmp_path / "out", new_images, *sureness)
    read = tmp_path / "out" / "manifest.csv"
    with pytest.raises(ValueError, match='"--data_dir" must not lie in the folder that --overwr'):
        label(run, tmp_path / "out", read, "--overwrite", *sureness)

    second, _ = label(run, tmp_path / "second", read, *sureness)

    columns = ["image_id", "label", "pseudo_mask", "pseudo_label"]
    pd.testing.assert_frame_equal(first[columns], second[columns])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--targets=outline"], '"--targets" must be mask, melanoma, or both'),
        (["--confidence=1.5"], '"--confidence" must be at most 1. Received: 1.5'),
        (["--confidence=0.4"], '"--confidence" must be at least 0.5. Received: 0.4'),
        (["--mask_confidence=2"], '"--mask_confidence" must be at most 1'),
        (["--weak_targets=label_map"], "needs a run of --mask_source=label"),
        (["--targets=melanoma", "--ignore_true_masks"], "add mask to --targets"),
        (["--source=", "--data_dir="], '"--source" must name at least one of'),
        (["--data_dir="], '"--data_dir" must name the folder of --source=manifest'),
        (["--mask_threshold=best"], '"--mask_threshold" must be one of auto, half, otsu'),
    ],
)
def test_flags_that_do_not_fit_are_named(evaluated, new_images, tmp_path, arguments, message):
    _, run, _ = evaluated

    with pytest.raises(ValueError, match=message):
        label(run, tmp_path / "out", new_images, *arguments)


def test_a_label_run_has_neither_outlines_nor_a_head_to_look_at(label_run, new_images, tmp_path):
    with pytest.raises(
        ValueError, match="--weak_targets=prediction.* give --weak_targets=label_map"
    ):
        label(label_run, tmp_path / "out", new_images)
    with pytest.raises(ValueError, match="needs a run with melanoma in its --heads"):
        label(label_run, tmp_path / "out", new_images, "--weak_targets=activation")


def test_a_run_that_scores_nothing_gives_no_labels(label_run, new_images, tmp_path):
    flagfile = label_run / "flags.cfg"
    flagfile.write_text(flagfile.read_text() + "\n--mask_source=lesion")

    with pytest.raises(ValueError, match="needs a run that scores melanoma.*Give --targets=mask"):
        label(label_run, tmp_path / "out", new_images)


@pytest.mark.parametrize("arguments", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["manifest.csv", "masks/drawn.png", "thesis.txt"])
def test_a_folder_of_somebody_else_is_left_as_it_is(
    evaluated, new_images, tmp_path, name, arguments
):
    _, run, _ = evaluated
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("years of work")

    with pytest.raises(ValueError, match='"--output" must be a new or empty folder'):
        label(run, tmp_path / "out", new_images, *arguments)

    assert path.read_text() == "years of work"


def test_older_targets_are_replaced_with_overwrite_only_and_files_of_others_stay(
    evaluated, new_images, tmp_path
):
    _, run, _ = evaluated
    output = tmp_path / "out"
    label(run, output, new_images, "--mask_confidence=0")
    num_masks = len(list((output / "masks").iterdir()))
    (output / "masks" / "mine.png").write_text("drawn by hand")
    few = manifests.read(new_images).iloc[:6]
    few.to_csv(tmp_path / "few.csv", index=False)

    with pytest.raises(ValueError, match="holds targets already.*--overwrite"):
        label(run, output, new_images)
    label(run, output, tmp_path / "few.csv", "--mask_confidence=0", "--overwrite")

    left = {path.name for path in (output / "masks").iterdir()}
    assert "mine.png" in left and len(left) == 3 and num_masks == 8


def test_ids_are_no_paths_and_a_bad_image_costs_itself_only(
    evaluated, new_images, tmp_path, capsys
):
    _, run, _ = evaluated
    (tmp_path / "victim.png").write_text("precious")
    table = manifests.read(new_images)
    table["image_id"] = ["../../victim", "a/b", "A", "a", *table["image_id"][4:]]
    table["mask"] = ""
    bad = tmp_path / "bad.png"
    bad.write_bytes(pathlib.Path(table["image"].iloc[11]).read_bytes()[:500])
    table.loc[11, "image"] = str(bad)
    table.to_csv(tmp_path / "odd.csv", index=False)
    arguments = ("--mask_confidence=0", "--targets=mask")

    manifest, _ = label(run, tmp_path / "out", tmp_path / "odd.csv", *arguments)
    with pytest.raises(ValueError, match="1 could not be used.*failures.txt"):
        pseudo_label.main(
            parse(
                f"--run={run}",
                "--source=manifest",
                f"--data_dir={tmp_path / 'odd.csv'}",
                f"--output={tmp_path / 'out'}",
                "--overwrite",
                *arguments,
            )
        )

    assert "bad.png" in capsys.readouterr().err
    assert list(manifest["image_id"][:4]) == ["../../victim", "a/b", "A", "a"]
    assert len(manifest) == 11
    masks = [pathlib.Path(path).resolve() for path in manifest["mask"]]
    assert len(set(masks)) == 11 and all(mask.is_file() for mask in masks)
    assert {mask.parent for mask in masks} == {(tmp_path / "out" / "masks").resolve()}
    assert (tmp_path / "victim.png").read_text() == "precious"


def test_images_that_vanish_meanwhile_are_listed_and_masks_that_cannot_be_written_are_errors(
    evaluated, new_images, tmp_path, monkeypatch, caplog
):
    _, run, _ = evaluated
    gone = pathlib.Path(manifests.read(new_images)["image"].iloc[5])
    begin = pseudo_label._begin

    def vanished(settings, rows, output):
        begin(settings, rows, output)
        # The file stays for the other tests.
        rows.loc[rows["image"] == str(gone), "image"] = str(tmp_path / "gone.png")

    monkeypatch.setattr(pseudo_label, "_begin", vanished)
    arguments = ("--mask_confidence=0", "--targets=mask", "--on_bad_image=skip")
    output = tmp_path / "out"
    manifest, _ = label(run, output, new_images, *arguments)

    skipped = pd.read_csv(output / "skipped.csv")
    assert "gone.png" in skipped["reason"].iloc[-1] and (output / "failures.txt").read_text() == ""
    assert "1 images could not be used and were left out" in caplog.text

    def full(*unused):
        raise PermissionError("masks may not be written")

    monkeypatch.setattr(pseudo_label.storage_pictures, "write_mask", full)
    label(run, tmp_path / "other", new_images, *arguments)
    assert "masks may not be written" in (tmp_path / "other" / "failures.txt").read_text()


def test_no_target_at_all_is_an_error_that_says_where_to_look(evaluated, new_images, tmp_path):
    _, run, _ = evaluated
    table = manifests.read(new_images).iloc[4:].assign(diagnosis="")
    table.to_csv(tmp_path / "bare.csv", index=False)

    with pytest.raises(ValueError, match="must get a target.*targets.csv; lower --confidence"):
        label(run, tmp_path / "out", tmp_path / "bare.csv", "--confidence=1", "--mask_confidence=1")

    assert not (tmp_path / "out" / "manifest.csv").exists()
