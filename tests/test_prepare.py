"""Tests of `lbunet_tf.prepare`, inside the process but where it is killed."""

import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lbunet_tf import prepare
from lbunet_tf.data import manifests
from lbunet_tf.settings import config
from lbunet_tf.storage import whole_files


@pytest.fixture
def settings(drawn_folder):
    return config.make(
        source=("synthetic",), data_dir=(str(drawn_folder),), synthetic_count=40, image_size=64
    )


def test_a_preview_is_a_sheet_with_a_column_for_the_image_and_for_each_version(settings, tmp_path):
    paths = [tmp_path / "sheets" / f"{name}.png" for name in ("none", "flips")]

    for path in paths:
        prepare.main(settings.replace(augment=path.stem, preview=str(path)))

    plain, versions = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    assert plain.shape[0] / versions.shape[0] == pytest.approx(1, abs=0.1)
    assert versions.shape[1] / plain.shape[1] == pytest.approx(8, rel=0.15)
    # The outline of a lesion.
    assert (plain == (0, 255, 0)).all(axis=-1).sum() > 100


def test_without_the_flag_no_preview_is_drawn(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    prepare.main(settings)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["output", "preview"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_somebody_else_is_not_replaced(settings, tmp_path, flag, overwrite):
    path = tmp_path / "thesis.tex"
    path.write_text("years of work")

    with pytest.raises(ValueError, match=f'"--{flag}" must be a new file.*thesis.tex'):
        prepare.main(settings.replace(overwrite=overwrite, **{flag: str(path)}))

    assert path.read_text() == "years of work"


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_manifest_that_is_read_is_not_replaced(settings, tmp_path, overwrite):
    rows = tmp_path / "rows.csv"
    prepare.main(settings.replace(output=str(rows)))
    before = rows.read_bytes()
    again = settings.replace(
        source=("manifest",), data_dir=(str(rows),), split_by="official", overwrite=overwrite
    )
    (tmp_path / "link.csv").symlink_to(rows)

    for path in (rows, tmp_path / "link.csv"):
        with pytest.raises(ValueError, match='"--output" must not be a file that is read'):
            prepare.main(again.replace(output=str(path)))

    assert rows.read_bytes() == before


def test_what_prepare_wrote_is_replaced_by_other_content_with_overwrite_only(settings, tmp_path):
    rows, sheet = tmp_path / "rows.csv", tmp_path / "sheet.png"
    settings = settings.replace(output=str(rows), preview=str(sheet))
    prepare.main(settings)
    before = [rows.read_bytes(), sheet.read_bytes()]
    # The same command, as after a kill.
    prepare.main(settings)
    assert [rows.read_bytes(), sheet.read_bytes()] == before

    other = settings.replace(seed=1, data_dir=(str(tmp_path / "drawn"),))
    with pytest.raises(ValueError, match="rows.csv is there already, with other.*--overwrite"):
        prepare.main(other)
    assert [rows.read_bytes(), sheet.read_bytes()] == before

    prepare.main(other.replace(overwrite=True))
    assert rows.read_bytes() != before[0] and sheet.read_bytes() != before[1]


@pytest.mark.parametrize("name", ["sheet", "sheet.jpg", "sheet.bmp"])
def test_a_preview_of_another_format_is_refused_before_images_are_read(settings, tmp_path, name):
    settings = settings.replace(data_dir=(str(tmp_path / "drawn"),))

    with pytest.raises(ValueError, match=f'"--preview" must name a .png file.*{name}$'):
        prepare.main(settings.replace(preview=str(tmp_path / name)))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag, name", [("output", "manifest.csv"), ("preview", "a/b.png")])
def test_the_files_of_records_are_not_replaced_by_others(settings, tmp_path, flag, name):
    records = tmp_path / "records"
    changed = {"records": str(records), flag: str(records / name), "overwrite": True}

    with pytest.raises(ValueError, match=f'"--{flag}" must not lie among the records of'):
        prepare.main(settings.replace(**changed))

    assert not records.exists()


def test_a_carriage_return_in_a_cell_comes_back(tmp_path, write_image):
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.png", colour=(ord(name), 100, 100))
    table = pd.DataFrame({"image_id": [*"abc"], "image": ["a.png", "b.png", "c.png"]})
    table["label"], table["split"], table["note"] = [0, 1, 1], ["train", "val", "test"], "x\ry"
    whole_files.write_table(tmp_path / "given.csv", table)
    output = tmp_path / "checked.csv"

    prepare.main(
        config.make(
            source=("manifest",),
            data_dir=(str(tmp_path / "given.csv"),),
            split_by="official",
            output=str(output),
            mask_source="label",
            heads=("mask",),
        )
    )

    assert manifests.read(output)["note"].tolist() == ["x\ry"] * 3


def test_what_is_missing_is_named(tmp_path, write_image, capsys):
    for number in range(4):
        write_image(tmp_path / f"{number}.png", colour=(number, 100, 100))
    names = [f"{number}.png" for number in range(4)] + [f"gone{number}.png" for number in range(12)]
    table = pd.DataFrame({"image_id": names, "image": names, "label": [0, 1] * 8})
    whole_files.write_table(tmp_path / "given.csv", table)

    prepare.main(
        config.make(
            source=("manifest",),
            data_dir=(str(tmp_path / "given.csv"),),
            allow_missing_images=True,
            mask_source="label",
            heads=("mask",),
        )
    )

    printed = capsys.readouterr().out
    assert f"  {tmp_path / 'gone0.png'}: image is missing; left out\n" in printed
    assert "gone9.png" in printed and "gone10.png" not in printed
    assert "  ... and 2 more\n" in printed


def test_records_are_not_written_among_files_of_somebody_else(settings, tmp_path):
    (tmp_path / "manifest.csv").write_text("image_id,image\n")

    with pytest.raises(ValueError, match='"--records" must be a new or empty folder'):
        prepare.main(settings.replace(records=str(tmp_path)))

    assert (tmp_path / "manifest.csv").read_text() == "image_id,image\n"


@pytest.fixture
def with_bad_image(tmp_path):
    """Flags of 12 images in two folders, of which one is cut short."""
    rng = np.random.default_rng(0)
    for name in ("melanoma", "nevus"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 255, (20, 20, 3)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{name}{number}.jpg")
    bad = tmp_path / "data" / "nevus" / "nevus3.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    return config.make(
        source=("folder",),
        data_dir=(str(tmp_path / "data"),),
        mask_source="label",
        output=str(tmp_path / "rows.csv"),
    )


def test_a_bad_image_costs_itself_only_and_is_named_last(with_bad_image, capsys):
    with pytest.raises(ValueError, match="1 could not be used.*--on_bad_image=skip"):
        prepare.main(with_bad_image)

    rows = manifests.read(with_bad_image.paths.output)
    assert len(rows) == 11 and "nevus3" not in set(rows["image_id"])
    assert "nevus3.jpg" in capsys.readouterr().err


def test_with_skip_a_bad_image_is_no_error(with_bad_image):
    prepare.main(with_bad_image.replace(on_bad_image="skip"))
    assert len(manifests.read(with_bad_image.paths.output)) == 11


def _start(settings, records):
    """Starts a process that prepares records, at most four in a shard."""
    code = (
        "from lbunet_tf import prepare\nfrom lbunet_tf.settings import entry\n"
        "from lbunet_tf.data.records import writer\n"
        f"writer.SHARD_BYTES = {4 * settings.preprocessing.image_size**2 * 4}\n"
        "entry.run(prepare.main, 'prepare')"
    )
    flags = [f"--source={settings.source.source[0]}", f"--data_dir={settings.source.data_dir[0]}"]
    flags += [
        f"--synthetic_count={settings.source.synthetic_count}",
        f"--image_size={settings.preprocessing.image_size}",
    ]
    command = [sys.executable, "-c", code, *flags, f"--records={records}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_records_whose_writing_was_killed_are_those_of_an_undisturbed_run(settings, tmp_path):
    prepare_whole = _start(settings, tmp_path / "whole")
    folder = tmp_path / "killed"
    for file in ("manifest.csv", "lbunet-train.tfrecord-00002-*"):
        process = _start(settings, folder)
        while not list(folder.glob(file)) and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert len(list(folder.glob("lbunet-train.tfrecord-*"))) < 7

    assert _start(settings, folder).wait() == 0

    assert prepare_whole.wait() == 0
    assert _contents(folder) == _contents(tmp_path / "whole")
