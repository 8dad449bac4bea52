import pytest

from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import published_flags


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/jane/isic2017", "isic2017"),
        ("/home/jane/isic2017/", "isic2017"),
        ("../jane/isic2017", "isic2017"),
        ("~/isic2017", "isic2017"),
        ("runs/paper", "runs/paper"),
        ("imagenet", "imagenet"),
        ("", ""),
    ],
)
def test_of_a_path_elsewhere_others_see_the_last_part(path, shown):
    settings = config.make(run=path, data_dir=(path, "b"), encoder_weights=path, epochs=3)
    result = published_flags.without_folders(settings)
    assert (result.paths.run, result.source.data_dir, result.model.encoder_weights) == (
        shown,
        (shown, "b"),
        shown,
    )
    assert result.budget.epochs == 3


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        (("/a/b/unet/seed-0", "/a/b/lbunet/seed-0"), ("unet/seed-0", "lbunet/seed-0")),
        (("/a/one", "/a/two", "three"), ("one", "two", "three")),
        (("/a/b", "/b"), ("a/b", "b")),
        (("/a/x", "x"), ("a/x", "x")),
    ],
)
def test_runs_of_one_name_stay_apart(runs, shown):
    settings = config.make(run=runs[0], other_runs=runs[1:])
    assert published_flags.without_folders(settings).paths.runs == shown


def test_what_is_left_of_a_path_need_be_no_value_of_its_flag():
    settings = config.make(
        source=("isic2017",), data_dir=("/media/usb/ ISIC 2017",), encoder_weights="/presets/none"
    ).replace(frozen_epochs=2)
    config.check(settings)

    lines = flagfiles.shown_lines(published_flags.without_folders(settings))

    assert "--data_dir= ISIC 2017" in lines and "--encoder_weights=none" in lines
