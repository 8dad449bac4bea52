"""Which runs may be averaged, and where what is written goes."""

import pathlib
import re
import shutil

import numpy as np
import pytest

from lbunet_tf.models import policies
from lbunet_tf.runs import ensemble
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import released_runs

TWO_HEADS = {"heads": ("mask", "melanoma")}


@pytest.fixture
def write_flags(tmp_path):
    """A function: name of a run, fields -> its Config, after writing its flags."""

    def write(name, **fields):
        settings = config.make(run=str(tmp_path / name), **{**TWO_HEADS, **fields})
        pathlib.Path(settings.paths.run).mkdir()
        (tmp_path / name / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(settings)))
        return settings

    return write


def with_others(first, *others):
    return first.replace(other_runs=tuple(other.paths.run for other in others))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 96}, '"--image_size" is 128 in --run={a} and 96 in --run={b}'),
        ({"antialias": True}, '"--antialias" is False in'),
        ({"shades_of_gray": True}, '"--shades_of_gray" is False in'),
        ({"remove_hair": True}, '"--remove_hair" is False in'),
        ({"heads": ("mask",)}, '"--heads" is mask,melanoma in --run={a} and mask in --run={b}'),
        ({"mask_source": "label"}, '"--mask_source" is lesion in'),
    ],
)
def test_runs_that_do_not_agree_are_refused_with_flag_and_both_names(write_flags, fields, message):
    first, other = write_flags("a"), write_flags("b", **fields)

    with pytest.raises(
        ValueError, match=re.escape(message.format(a=first.paths.run, b=other.paths.run))
    ):
        ensemble.check(with_others(first, other))


def test_runs_of_other_score_rules_are_refused(write_flags):
    first = write_flags("a", mask_source="label")
    other = write_flags("b", mask_source="label", image_score="max")

    with pytest.raises(ValueError, match='"--image_score" is melanoma in .* and max in'):
        ensemble.check(with_others(first, other))


def test_the_third_run_is_compared_as_well(write_flags):
    first, second, third = write_flags("a"), write_flags("b"), write_flags("c", image_size=64)

    with pytest.raises(ValueError, match=re.escape(f"64 in --run={third.paths.run}")):
        ensemble.check(with_others(first, second, third))


def test_runs_that_differ_in_training_only_agree(write_flags):
    first = write_flags("a")
    other = write_flags("b", seed=1, encoder="resnet34", epochs=3, augment="flips")

    ensemble.check(with_others(first, other))


def test_a_run_that_is_named_twice_is_refused(write_flags):
    settings = write_flags("a")

    with pytest.raises(ValueError, match='"--run" must name each run once. Received twice: .*a'):
        ensemble.check(settings.replace(other_runs=(f"{settings.paths.run}/.",)))


def test_another_run_that_is_none_is_named(write_flags, tmp_path):
    settings = write_flags("a").replace(other_runs=(str(tmp_path / "nothing"),))

    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "nothing" / "flags.cfg"))):
        ensemble.check(settings)


def test_one_run_has_its_own_folder(write_flags, tmp_path):
    settings = write_flags("a")

    assert ensemble.output_folder(settings.paths, "x") == pathlib.Path(settings.paths.run) / "x"


def test_several_runs_need_an_output(write_flags, tmp_path):
    first, other = write_flags("a"), write_flags("b")

    expected = f"Received: --run={first.paths.run} --run={other.paths.run}, no --output"
    with pytest.raises(ValueError, match=re.escape(expected)):
        ensemble.output_folder(with_others(first, other).paths, "x")


def test_nothing_is_written_into_a_run_directory(write_flags, tmp_path):
    first, other = write_flags("a"), write_flags("b")
    settings = with_others(first, other).replace(output=other.paths.run)

    with pytest.raises(ValueError, match='"--output" must not be a run directory'):
        ensemble.output_folder(settings.paths, "x")


@pytest.mark.parametrize(
    ("tta", "num_runs", "expected"),
    [
        ("none", 1, "1 forward pass per image"),
        ("flips", 1, "1 run x 4 symmetries of the image (--tta=flips), 4 forward passes per image"),
        ("none", 3, "3 runs x 1 symmetry of the image (--tta=none), 3 forward passes per image"),
        ("dihedral", 2, "2 runs x 8 symmetries of the image (--tta=dihedral), 16 forward passes"),
    ],
)
def test_the_cost_is_stated_in_forward_passes(tta, num_runs, expected):
    assert expected in ensemble.describe(tta, num_runs)


def test_the_speed_is_stated_in_images_per_second():
    assert ensemble.describe_speed("none", 1, 50, 4.0).startswith(
        "50 images in 4.0 s, 12.5 images per second"
    )


def test_the_order_of_the_heads_does_not_matter(write_flags):
    first, other = write_flags("a"), write_flags("b", heads=("melanoma", "mask"))

    ensemble.check(with_others(first, other))


def test_results_of_the_packages_network_go_into_no_run_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = config.make(run=released_runs.folder_of("isic2017"))
    assert ensemble.output_folder(settings.paths, "x") == pathlib.Path("runs/released_isic2017/x")
    (tmp_path / "runs/released_isic2017").mkdir(parents=True)
    (tmp_path / "runs/released_isic2017/flags.cfg").write_text("")

    with pytest.raises(ValueError, match='"--output" must name a folder.* runs/released_isic2017,'):
        ensemble.output_folder(settings.paths, "x")


def test_no_recipe_trains_where_results_of_the_packages_network_go():
    recipes = (pathlib.Path(__file__).parents[2] / "flags").rglob("*.cfg")
    runs = {line for path in recipes for line in path.read_text().splitlines()}

    assert f"--run={released_runs.results_folder(released_runs.folder_of('isic2017'))}" not in runs


@pytest.mark.slow
def test_a_model_of_reduced_precision_computes_in_float32(untrained_run, tmp_path):
    plain = ensemble.load_best(untrained_run)
    run = tmp_path / "run"
    shutil.copytree(untrained_run, run)
    policies.with_policy(plain, "mixed_bfloat16").save(run / "model.keras")

    model = ensemble.load_best(run)

    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    for name, logits in plain.predict(images, verbose=0).items():
        np.testing.assert_array_equal(model.predict(images, verbose=0)[name], logits)
