"""Tests of `lbunet_tf.data.records.writer`, by what `prepare --records` leaves on disk."""

import json
import pathlib
import resource
import shutil
import sys

import pandas as pd
import pytest

from lbunet_tf import prepare
from lbunet_tf.data.records import writer
from lbunet_tf.data.sources import synthetic
from lbunet_tf.settings import config

pytestmark = pytest.mark.slow

SIZE = 16


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    """At most six images in a shard."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 6 * SIZE**2 * 4)


def _settings(drawn, records):
    return config.make(
        source=("manifest",),
        data_dir=(str(drawn / "manifest.csv"),),
        image_size=SIZE,
        records=str(records),
    )


@pytest.fixture
def settings(tmp_path):
    """Records of 16 drawn images, to be written."""
    synthetic.draw_folder(tmp_path / "drawn", 16, SIZE, 0)
    return _settings(tmp_path / "drawn", tmp_path / "records")


@pytest.fixture(scope="module")
def drawn_and_written(tmp_path_factory):
    """The folder of 16 drawn images, and that of their records."""
    folder = tmp_path_factory.mktemp("once")
    synthetic.draw_folder(folder / "drawn", 16, SIZE, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SHARD_BYTES", 6 * SIZE**2 * 4)
        prepare.main(_settings(folder / "drawn", folder / "records"))
    return folder / "drawn", folder / "records"


@pytest.fixture
def written(drawn_and_written, tmp_path):
    """`settings` of a copy of finished records."""
    drawn, records = drawn_and_written
    shutil.copytree(records, tmp_path / "records")
    return _settings(drawn, tmp_path / "records")


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _shards(folder):
    return sorted(folder.glob("lbunet-*"))


def test_shards_that_are_lost_or_cut_short_are_written_again_and_no_other(written, tmp_path):
    folder = tmp_path / "records"
    before = _contents(folder)
    lost, cut, *kept = _shards(folder)
    times = [path.stat().st_mtime_ns for path in kept]
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:1000])

    prepare.main(written)

    assert _contents(folder) == before
    assert [path.stat().st_mtime_ns for path in kept] == times


@pytest.fixture
def two_bad_images(tmp_path):
    """Names of an empty image and of one with an empty mask."""
    (tmp_path / "drawn/images/DRAWN_000003.png").write_bytes(b"")
    (tmp_path / "drawn/masks/DRAWN_000007_segmentation.png").write_bytes(b"")
    return ["DRAWN_000003", "DRAWN_000007"]


def _assert_all_but(bad, folder):
    written, skipped = (pd.read_csv(folder / f"{name}.csv") for name in ("manifest", "skipped"))
    assert skipped["image_id"].tolist() == bad
    assert len(written) == 14 and not set(written["image_id"]) & set(bad)
    assert (folder / "dataset_info.json").is_file()


def test_bad_files_are_left_out_and_listed_with_skip(settings, tmp_path, two_bad_images):
    prepare.main(settings.replace(on_bad_image="skip"))

    _assert_all_but(two_bad_images, tmp_path / "records")


def test_bad_files_are_an_error_at_the_end_which_loses_no_good_one(
    settings, tmp_path, two_bad_images, capsys
):
    with pytest.raises(ValueError) as error:
        prepare.main(settings)

    assert "2 could not be used" in str(error.value)
    named = capsys.readouterr().err
    assert all(name in named for name in two_bad_images)
    _assert_all_but(two_bad_images, tmp_path / "records")


def test_a_file_that_is_lost_after_the_plan_costs_its_shard_only(written, tmp_path):
    folder = tmp_path / "records"
    whole = _contents(folder)
    for shard in _shards(folder):
        shard.unlink()
    image = pathlib.Path(written.source.data_dir[0]).parent / "images/DRAWN_000003.png"
    contents = image.read_bytes()
    image.unlink()

    with pytest.raises(ValueError, match="1 of .* shards could not be written"):
        prepare.main(written)
    assert len(_shards(folder)) >= len([name for name in whole if name.startswith("lbunet")]) - 1
    image.write_bytes(contents)
    prepare.main(written)

    assert _contents(folder) == whole


@pytest.mark.parametrize("fields", [{"image_size": 32}, {"seed": 1}, {"antialias": True}])
def test_a_folder_of_other_flags_is_refused_by_their_name(written, fields):
    with pytest.raises(ValueError, match=f"was begun with --{next(iter(fields))}="):
        prepare.main(written.replace(**fields))


def test_a_plan_holds_what_decides_pixels_rows_and_splits(written, tmp_path):
    assert sorted(json.loads((tmp_path / "records" / "records.json").read_text())) == [
        "allow_missing_images",
        "antialias",
        "balance",
        "benign_count",
        "data_dir",
        "has_masks",
        "image_size",
        "max_images",
        "max_megapixels",
        "near_duplicates",
        "remove_hair",
        "seed",
        "shades_of_gray",
        "source",
        "split_by",
        "split_percent",
        "synthetic_count",
    ]


def test_a_plan_without_masks_is_not_continued_with_them(written, tmp_path):
    with pytest.raises(ValueError, match="was begun with masks. Received: --heads=melanoma"):
        prepare.main(written.replace(heads=("melanoma",)))
    path = tmp_path / "records" / "records.json"
    plan = json.loads(path.read_text())
    path.write_text(json.dumps(plan | {"has_masks": False}))
    with pytest.raises(ValueError, match="begun without masks. Received: --heads=mask"):
        prepare.main(written)


def test_a_plan_from_before_there_was_a_flag_goes_on_with_its_default(written, tmp_path):
    path = tmp_path / "records" / "records.json"
    plan = json.loads(path.read_text())
    del plan["near_duplicates"]
    path.write_text(json.dumps(plan))

    prepare.main(written)

    with pytest.raises(ValueError, match="was begun with --near_duplicates=-1. Received: .*=2"):
        prepare.main(written.replace(near_duplicates=2))


def test_a_folder_of_other_files_is_refused(settings, tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "thesis.tex").write_text("years of work")

    with pytest.raises(
        ValueError, match="new or empty folder.* holds other files, which are left as"
    ):
        prepare.main(settings)


def test_records_are_not_made_of_records(written, tmp_path):
    again = written.replace(
        source=("records",),
        data_dir=(written.preparation.records,),
        records=str(tmp_path / "again"),
        split_by="official",
    )

    with pytest.raises(ValueError, match='"--records" needs files to read'):
        prepare.main(again)


def test_a_full_disk_is_an_error_and_the_same_command_goes_on(written, tmp_path):
    folder = tmp_path / "records"
    whole = _contents(folder)
    for shard in _shards(folder):
        shard.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(
            OSError, match="there must be room for .*lbunet-train.lbunet-partial.tfrecord-0"
        ):
            prepare.main(written)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    prepare.main(written)

    assert _contents(folder) == whole


def test_options_of_beam_without_records_are_refused():
    with pytest.raises(ValueError, match='"--beam_options" .* add --records=DIR'):
        prepare.main(config.make(beam_options="--runner=DirectRunner"))


def test_without_beam_its_flag_says_how_to_install_it(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)

    with pytest.raises(ValueError, match=r"pip install 'lbunet_tf\[beam\]'"):
        prepare.main(settings.replace(beam_options="--runner=DirectRunner"))


@pytest.mark.slow
def test_beam_writes_the_same_bytes(settings, tmp_path):
    pytest.importorskip("apache_beam")
    prepare.main(settings)
    folder = tmp_path / "by_beam"

    prepare.main(settings.replace(records=str(folder), beam_options="--runner=DirectRunner"))

    assert _contents(folder) == _contents(tmp_path / "records")


def test_room_for_all_shards_is_checked_before_the_first(settings, tmp_path, monkeypatch):
    usage = shutil.disk_usage(".")
    free = usage._replace(free=5000)
    monkeypatch.setattr(writer.whole_files.shutil, "disk_usage", lambda _: free)

    # 16 images and masks of 16 px.
    with pytest.raises(OSError, match=r"records/lbunet-\*: at least 0.0 MB, and 0.0 MB are free"):
        prepare.main(settings)
    assert _shards(tmp_path / "records") == []
