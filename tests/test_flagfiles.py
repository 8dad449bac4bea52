import dataclasses
import re

import pytest
from absl import flags

from lbunet_tf import config as config_lib
from lbunet_tf import entry as entry_lib
from lbunet_tf import flagfiles


def parse(entry, *arguments):
    values = flags.FlagValues()
    flagfiles.define_flags(entry, values)
    values([entry, *arguments])
    return flagfiles.from_flags(entry, values)


def test_later_flags_win_over_the_flagfile(tmp_path):
    flagfile = tmp_path / "x.cfg"
    flagfile.write_text("# A comment.\n--epochs=7\n--seed=3\n")
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flagfiles.define_flags("train", values)
    values(["train", f"--flagfile={flagfile}", "--epochs=9"])
    config = flagfiles.from_flags("train", values)
    assert (config.epochs, config.seed) == (9, 3)


def test_split_percent_of_words_raises_an_error_that_names_the_flag():
    with pytest.raises(ValueError, match='"--split_percent" must be whole numbers'):
        parse("train", "--split_percent=most,some,few")


def test_a_run_is_read_back_from_its_flags(tmp_path):
    config = config_lib.Config(
        run=str(tmp_path),
        source=("isic2020", "ham10000"),
        data_dir=("/a", "/b"),
        cache=False,
        split_percent=(60, 20, 20),
        learning_rate=3e-4,
    )
    (tmp_path / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(config)))
    assert flagfiles.read(str(tmp_path)) == config


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
    config = config_lib.Config(run=path, data_dir=(path, "b"), encoder_weights=path, epochs=3)
    result = flagfiles.without_folders(config)
    assert (result.run, result.data_dir, result.encoder_weights) == (shown, (shown, "b"), shown)
    assert result.epochs == 3


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
    config = config_lib.Config(run=runs[0], other_runs=runs[1:])
    assert flagfiles.without_folders(config).runs == shown


def test_evaluate_takes_what_the_run_says_and_what_the_command_line_replaces(tmp_path):
    config = config_lib.Config(run=str(tmp_path), batch_size=4, image_size=96)
    (tmp_path / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(config)))
    read = parse("evaluate", f"--run={tmp_path}", "--batch_size=32", "--prevalence=0.1")
    assert read == dataclasses.replace(config, batch_size=32, prevalence=0.1)


def test_evaluate_of_a_folder_without_flags_names_the_file(tmp_path):
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "flags.cfg"))):
        parse("evaluate", f"--run={tmp_path}")


def test_evaluate_without_run_says_what_to_give():
    with pytest.raises(ValueError, match='"--run" must name the run directory to evaluate'):
        parse("evaluate")


@pytest.mark.parametrize("entry", config_lib.COMBINE)
def test_run_may_be_given_several_times(entry, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flags.cfg").write_text(f"--seed={seed}")

    config = parse(entry, f"--run={tmp_path / 'a'}", f"--run={tmp_path / 'b'}", "--tta=flips")

    assert config.runs == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert (config.run, config.seed, config.tta) == (str(tmp_path / "a"), 1, "flips")


def test_an_empty_second_run_says_what_to_give(tmp_path):
    (tmp_path / "flags.cfg").write_text("")

    with pytest.raises(ValueError, match='"--run" must name the run directory to predict'):
        parse("predict", f"--run={tmp_path}", "--run=")


def parse_source(*arguments):
    values = flags.FlagValues()
    flagfiles.define_flags("evaluate", values)
    values(["evaluate", *arguments])
    return values


def test_evaluate_keeps_another_source_apart_from_the_runs_own(tmp_path):
    own = config_lib.Config(run=str(tmp_path), source=("isic2017",), max_images=200, seed=4)
    (tmp_path / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(own)))
    values = parse_source(f"--run={tmp_path}", "--source=ph2,ham10000", "--max_images=9")

    config = flagfiles.from_flags("evaluate", values)

    assert config == own
    # Only what is given: neither the run's draw nor its seed is meant for another source.
    assert flagfiles.other_source(values) == {"source": ("ph2", "ham10000"), "max_images": 9}


def test_evaluate_without_another_source_has_none():
    assert flagfiles.other_source(parse_source("--run=r")) == {}


@pytest.mark.parametrize("flag", ["--max_images=9", "--data_dir=d", "--seed=1", "--source="])
def test_flags_about_another_source_need_its_name(flag):
    with pytest.raises(ValueError, match='"--source" must name another source where .* Received:'):
        flagfiles.other_source(parse_source("--run=r", flag))


def test_compare_keeps_what_it_is_given_for_its_runs_apart():
    values = flags.FlagValues()
    flagfiles.define_flags("compare", values)
    values(["compare", "--run=r", "--seeds=0,2", "--experiments=a.cfg,b.cfg", "--epochs=30"])

    config = flagfiles.from_flags("compare", values)

    assert (config.run, config.seeds, config.experiments) == ("r", (0, 2), ("a.cfg", "b.cfg"))
    # Given, although it is the default: it replaces what a flagfile says.
    assert flagfiles.overrides(values) == {"epochs": 30}


def test_tune_takes_every_flag_of_train():
    config = parse("tune", "--run=r", "--space=loss", "--trials=5", "--epochs=7")

    assert (config.space, config.trials, config.objective, config.epochs) == ("loss", 5, "dice", 7)


@pytest.mark.parametrize("spelling", [["--flagfile=x.cfg"], ["--flagfile", "x.cfg"]])
def test_what_a_command_line_names_itself_is_known_from_what_its_flagfile_says(spelling):
    arguments = ["--run=r", *spelling, "--v=1", "--nocache", "--heads=mask,melanoma"]

    named = flagfiles.named_in("tune", arguments)

    assert named == {"run": "r", "cache": False, "heads": ("mask", "melanoma")}


def test_seeds_must_be_whole_numbers():
    with pytest.raises(ValueError, match='"--seeds" must be whole numbers. Received: one,two'):
        parse("compare", "--seeds=one,two")


def test_a_flagfile_that_names_an_unknown_flag_is_named(tmp_path):
    path = tmp_path / "x.cfg"
    path.write_text("--epohcs=3\n")

    with pytest.raises(ValueError, match=re.escape(f"{path} must hold flags")):
        flagfiles.read_flagfile(path)


def test_prepare_takes_every_flag_of_train():
    accepted = {field.name for field in config_lib.accepted_by("prepare")}

    assert {field.name for field in config_lib.fields_of("train")} < accepted


def test_prepare_explains_only_the_flags_that_change_what_it_does():
    text = entry_lib.help_text("prepare", "What it does.")

    assert "--output=" in text and "--learning_rate=" not in text


@pytest.mark.parametrize(
    "entry", ["train", "prepare", "evaluate", "predict", "export", "compare", "tune"]
)
def test_help_names_every_flag_of_the_entry(entry):
    text = entry_lib.help_text(entry, "What it does.")
    missing = [
        field.name
        for field in config_lib.fields_of(entry)
        if f"--{field.name}=" not in text and f"--[no]{field.name}" not in text
    ]
    assert missing == []


def test_help_of_evaluate_names_the_flags_of_another_source():
    text = entry_lib.help_text("evaluate", "What it does.")

    names = [name for name in config_lib.OTHER_SOURCE if name != "allow_missing_images"]
    assert [name for name in names if f"--{name}=" not in text] == []
    assert "--other_runs" not in text


def test_help_fits_a_terminal_of_100_columns():
    lines = entry_lib.help_text("train", "What it does.").splitlines()
    assert [line for line in lines if len(line) > 100] == []
