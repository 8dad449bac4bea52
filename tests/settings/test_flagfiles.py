import pathlib
import re
import typing

import hypothesis
import pytest
from absl import flags
from hypothesis import strategies

from lbunet_tf.models import backbones
from lbunet_tf.settings import config
from lbunet_tf.settings import entry
from lbunet_tf.settings import fields
from lbunet_tf.settings import flagfile_lines
from lbunet_tf.settings import flagfiles
from lbunet_tf.settings import released_runs


def parse(command, *arguments):
    values = flags.FlagValues()
    flagfiles.define_flags(command, values)
    values([command, *arguments])
    return flagfiles.from_flags(command, values)


def test_later_flags_win_over_the_flagfile(tmp_path):
    flagfile = tmp_path / "x.cfg"
    flagfile.write_text("# A comment.\n--epochs=7\n--seed=3\n")
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flagfiles.define_flags("train", values)
    values(["train", f"--flagfile={flagfile}", "--epochs=9"])
    settings = flagfiles.from_flags("train", values)
    assert (settings.budget.epochs, settings.source.seed) == (9, 3)


def test_split_percent_of_words_raises_an_error_that_names_the_flag():
    with pytest.raises(ValueError, match='"--split_percent" must be whole numbers'):
        parse("train", "--split_percent=most,some,few")


def test_a_run_is_read_back_from_its_flags(tmp_path):
    settings = config.make(
        run=str(tmp_path),
        source=("isic2020", "ham10000"),
        data_dir=("/a", "/b"),
        cache=False,
        split_percent=(60, 20, 20),
        learning_rate=3e-4,
    )
    (tmp_path / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(settings)))
    assert flagfiles.read(str(tmp_path)) == settings


def test_evaluate_takes_what_the_run_says_and_what_the_command_line_replaces(tmp_path):
    settings = config.make(run=str(tmp_path), batch_size=4, image_size=96)
    (tmp_path / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(settings)))
    read = parse("evaluate", f"--run={tmp_path}", "--batch_size=32", "--prevalence=0.1")
    assert read == settings.replace(batch_size=32, prevalence=0.1)


def test_evaluate_of_a_folder_without_flags_names_the_file(tmp_path):
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "flags.cfg"))):
        parse("evaluate", f"--run={tmp_path}")


def test_evaluate_without_run_says_what_to_give():
    with pytest.raises(ValueError, match='"--run" must name the run directory to evaluate'):
        parse("evaluate")


@pytest.mark.parametrize("command", fields.COMBINE)
def test_run_may_be_given_several_times(command, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flags.cfg").write_text(f"--seed={seed}")

    settings = parse(command, f"--run={tmp_path / 'a'}", f"--run={tmp_path / 'b'}", "--tta=flips")

    assert settings.paths.runs == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert (settings.paths.run, settings.source.seed, settings.score.tta) == (
        str(tmp_path / "a"),
        1,
        "flips",
    )


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
    own = config.make(run=str(tmp_path), source=("isic2017",), max_images=200, seed=4)
    (tmp_path / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(own)))
    values = parse_source(f"--run={tmp_path}", "--source=ph2,ham10000", "--max_images=9")

    settings = flagfiles.from_flags("evaluate", values)

    assert settings == own
    # Only what is given: neither the run's draw nor its seed is meant for another source.
    assert flagfiles.other_source(values) == {"source": ("ph2", "ham10000"), "max_images": 9}


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "pseudo_label"])
def test_a_tilde_in_the_name_of_a_run_is_the_home_folder(command, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(config.make())))

    assert parse(command, "--run=~/a").paths.run == str(tmp_path / "a")


def test_without_a_run_predict_takes_that_of_the_package_whatever_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "isic2017").mkdir()
    (tmp_path / "isic2017" / "flags.cfg").write_text("")

    assert parse("predict").paths.run == str(released_runs.FOLDER / "isic2017")
    assert parse("predict", "--run=isic2017").paths.run == "isic2017"


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

    settings = flagfiles.from_flags("compare", values)

    assert (settings.paths.run, settings.comparison.seeds, settings.comparison.experiments) == (
        "r",
        (0, 2),
        ("a.cfg", "b.cfg"),
    )
    # Given, although it is the default: it replaces what a flagfile says.
    assert flagfiles.overrides(values) == {"epochs": 30}


def test_tune_takes_every_flag_of_train():
    settings = parse("tune", "--run=r", "--space=loss", "--trials=5", "--epochs=7")

    assert (
        settings.search.space,
        settings.search.trials,
        settings.search.objective,
        settings.budget.epochs,
    ) == ("loss", 5, "dice", 7)


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

    with pytest.raises(ValueError, match=re.escape(f"{path} must hold only flags")):
        flagfiles.read_flagfile(path)


def test_prepare_takes_every_flag_of_train():
    accepted = {field.name for field in config.accepted_by("prepare")}

    assert {field.name for field in config.fields_of("train")} < accepted


def test_prepare_explains_only_the_flags_that_change_what_it_does():
    text = entry.help_text("prepare", "What it does.")

    assert "--output=" in text and "--learning_rate=" not in text


@pytest.mark.parametrize(
    "command", ["train", "prepare", "evaluate", "predict", "export", "compare", "tune"]
)
def test_help_names_every_flag_of_the_entry(command):
    text = entry.help_text(command, "What it does.")
    missing = [
        field.name
        for field in config.fields_of(command)
        if f"--{field.name}=" not in text and f"--[no]{field.name}" not in text
    ]
    assert missing == []


def test_help_without_docstrings_still_names_the_flags():
    # As under python -OO.
    text = entry.help_text("train", None)

    assert text.startswith("python -m lbunet_tf.train\n") and "--learning_rate=X" in text


def test_help_of_evaluate_names_the_flags_of_another_source():
    text = entry.help_text("evaluate", "What it does.")

    names = [name for name in config.FLAGS["source"] if name != "allow_missing_images"]
    assert [name for name in names if f"--{name}=" not in text] == []
    assert "--other_runs" not in text


def test_help_says_what_comes_from_the_run():
    def default_of(command, flag):
        text = " ".join(entry.help_text(command, "What it does.").split())
        return re.search(rf"--{flag}=.*?Default: (.*?)\.(?: |$)", text)[1]

    assert default_of("predict", "batch_size") == "that of the run"
    assert default_of("train", "batch_size") == str(config.FIELDS["batch_size"].default)
    assert default_of("predict", "overlay_size") != "that of the run"
    assert default_of("pseudo_label", "synthetic_count") == "1000"


def test_help_fits_a_terminal_of_100_columns():
    lines = entry.help_text("train", "What it does.").splitlines()
    assert [line for line in lines if len(line) > 100] == []


# What flagfiles, CSV, shells and Python's splitlines give a meaning to, and what is not ASCII.
MEANINGFUL = ",\"'#=-~/\\ \tx;$\x0b\x0c\x1c\x85\u2028é字😀"
MODELS = {
    "unet": {"encoder_weights": "none"},
    "classifier": {"model": "classifier", "heads": ("melanoma",)},
}
# What a value needs of other flags.
PARTNERS = {
    "data_dir": lambda value: {"source": ("folder",) * max(len(value), 1)},
    "source_weights": lambda value: {"source": tuple(map(str, range(max(len(value), 1))))},
    "model": lambda value: MODELS.get(value, {}),
    "encoder": lambda value: (
        {**MODELS["classifier"], "image_size": 224} if value in backbones.BACKBONES else {}
    ),
    "image_score": lambda value: (
        {"heads": ("diagnosis",)} if value == "diagnosis" else {"mask_source": "label"}
    ),
    "classes": lambda value: {"heads": ("mask", "diagnosis")},
    "monitor": lambda value: {"heads": ("mask", "melanoma", "diagnosis")},
}
POSITIVE = strategies.floats(1e-30, 1e30)
SPECIAL = {
    "heads": strategies.sampled_from([("mask",), ("mask", "melanoma"), ("diagnosis",)]),
    "head_weights": strategies.one_of(
        strategies.tuples(*[POSITIVE] * 2), strategies.tuples(*[POSITIVE] * 3)
    ),
    "source_weights": strategies.lists(POSITIVE, max_size=3).map(tuple),
    "class_weights": strategies.sampled_from([(), ("mask",), ("mask", "melanoma")]),
    "split_percent": strategies.integers(1, 98).map(lambda train: (train, 99 - train, 1)),
    "near_duplicates": strategies.integers(-1, 10),
    "learning_rate": POSITIVE,
    "label_smoothing": strategies.floats(0, 0.99),
    "average_weights": strategies.floats(0, 0.99),
    "warmup_epochs": strategies.integers(0, 29),
    "frozen_epochs": strategies.integers(0, 29),
}


def texts():
    meaningful = strategies.text(MEANINGFUL, max_size=8)
    return (meaningful | strategies.text(max_size=8)).filter(
        lambda text: text == text.strip() and not set(text) & set("\0\n\r")
    )


def values_of(field):
    """Returns what a flag may be."""
    if field.name in SPECIAL:
        return SPECIAL[field.name]
    if field.metadata["choices"] and not field.metadata["many"]:
        return strategies.sampled_from(field.metadata["choices"])
    if field.metadata["many"]:
        return strategies.lists(texts(), max_size=3).map(tuple)
    if field.type is bool:
        return strategies.booleans()
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    if field.type is int:
        return strategies.integers(low, 2**31 - 1 if high is None else high)
    if field.type is float:
        return strategies.floats(low, 3e38 if high is None else high)
    return texts()


KEPT = [f for f in config.fields_of("train") if f.name not in flagfiles.NO_PROPERTIES]


@pytest.mark.parametrize("field", KEPT, ids=lambda field: field.name)
@hypothesis.settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(data=strategies.data())
def test_any_value_of_any_flag_is_read_back(tmp_path, field, data):
    value = data.draw(values_of(field))
    partners = PARTNERS.get(field.name, lambda value: {})(value)
    base = config.make(heads=("mask", "melanoma"), teacher=("t",))
    settings = base.replace(**{**partners, field.name: value})

    (tmp_path / "flags.cfg").write_text("\n".join(flagfiles.flag_lines(settings)), encoding="utf-8")

    assert flagfiles.read_flagfile(tmp_path / "flags.cfg") == settings.replace(overwrite=False)


TEXTS = [
    field
    for field in config.FIELDS.values()
    if (field.metadata["choices"] is None or field.metadata["many"])
    and str in (field.type, *typing.get_args(field.type))
]


@pytest.mark.parametrize("text", [" x", "x\u3000", "x\ny", "x\ry", "x\0y", "x\udce9"])
@pytest.mark.parametrize("field", TEXTS, ids=lambda field: field.name)
def test_a_text_that_a_flagfile_cannot_hold_is_refused_by_name(field, text):
    value = (text,) if isinstance(field.default, tuple) else text

    with pytest.raises(ValueError, match=f'^"--{field.name}" must .*{re.escape(repr(text))}$'):
        config.make().replace(**{field.name: value})


def test_a_comma_in_a_path_is_quoted_on_the_command_line_and_in_flags_cfg(tmp_path):
    settings = parse("train", "--source=folder", '--data_dir="/data/Lesions, 2024"')

    assert settings.source.data_dir == ("/data/Lesions, 2024",)
    assert '--data_dir="/data/Lesions, 2024"' in flagfiles.flag_lines(settings)


def test_a_list_that_an_earlier_version_wrote_without_quotes_is_read(tmp_path):
    path = tmp_path / "flags.cfg"
    path.write_text('--source=isic2020,ham10000\n--data_dir=/a "b" c,/d\n--split_percent=60,20,20')

    settings = flagfiles.read_flagfile(path)

    assert settings.source.data_dir == ('/a "b" c', "/d")
    assert (settings.source.source, settings.split.split_percent) == (
        ("isic2020", "ham10000"),
        (60, 20, 20),
    )


@pytest.mark.parametrize(
    "field",
    [field for field in config.FIELDS.values() if field.metadata["is_path"]],
    ids=lambda field: field.name,
)
def test_a_leading_tilde_of_a_path_is_the_home_folder(monkeypatch, field):
    monkeypatch.setenv("HOME", "/home/somebody")
    is_list = isinstance(field.default, tuple)

    settings = config.make(**{field.name: ("~/a", "b~") if is_list else "~/a"})

    expected = ("/home/somebody/a", "b~") if is_list else "/home/somebody/a"
    assert settings.values()[field.name] == expected


def test_every_flag_that_names_files_is_known_as_a_path():
    # A new one is added here and to the flag, or it keeps its tilde.
    paths = {field.name for field in config.FIELDS.values() if field.metadata["is_path"]}
    assert paths == {
        "run",
        "other_runs",
        "experiments",
        "data_dir",
        "encoder_weights",
        "teacher",
        "output",
        "preview",
        "calibration_images",
        "records",
        "subgroup_table",
    }


def test_a_flagfile_of_windows_is_read(tmp_path):
    path = tmp_path / "x.cfg"
    path.write_bytes("\ufeff--epochs=7\r\n# comment\r\n\r\n--run=Läsionen\r\n".encode())

    settings = flagfiles.read_flagfile(path)

    assert (settings.budget.epochs, settings.paths.run) == (7, "Läsionen")


def test_a_flagfile_names_another_where_its_flags_stand(tmp_path):
    outer, inner = tmp_path / "outer.cfg", tmp_path / "inner.cfg"
    inner.write_text("--epochs=7\n--seed=7\n--patience=7\n")
    outer.write_text(f"--epochs=1\n--flagfile={inner}\n--seed=2\n")
    values = flags.FlagValues()
    flagfiles.define_flags("train", values)

    left = flagfiles.parse(["train", "--flagfile", str(outer), "--patience=9"], values)

    settings = flagfiles.from_flags("train", values)
    assert (left, settings.budget.epochs, settings.source.seed, settings.budget.patience) == (
        ["train"],
        7,
        2,
        9,
    )


@pytest.mark.parametrize(
    "content, words",
    [
        ("--run=L\xe4sionen".encode("latin-1"), "must be text in UTF-8"),
        (b"--flagfile=x.cfg", "must not lead back to itself"),
        (b"--flagfile=", '"--flagfile" must name a file'),
        (b"--flagfile=missing.cfg", "missing.cfg"),
        (b"epochs=7", "must hold one flag on each line, .* Received: 'epochs=7'"),
        (b"--epochs=7\n--\n--seed=1", "must hold one flag on each line, .* Received: '--'"),
        (b"--epochs=seven", 'line 1: "--epochs" must be a whole number. Received: seven'),
        (b"--epohcs=7", "epohcs"),
        (b'--data_dir="/a,/b', "data_dir"),
    ],
)
def test_a_flagfile_that_is_none_is_refused(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.cfg").write_bytes(content)
    values = flags.FlagValues()
    flagfiles.define_flags("train", values)

    with pytest.raises(ValueError, match=words):
        flagfiles.parse(["train", "--flagfile=x.cfg"], values)


def test_a_folder_is_no_flagfile(tmp_path):
    with pytest.raises(ValueError, match=f'"--flagfile" must name a file.*{tmp_path}'):
        flagfiles.parse(["train", f"--flagfile={tmp_path}"], flags.FlagValues())


def test_a_wrong_value_in_the_flags_of_a_run_names_the_file(tmp_path):
    (tmp_path / "flags.cfg").write_text("--batch_size=0")

    with pytest.raises(ValueError, match=f'{tmp_path}/flags.cfg: "--batch_size" must be at'):
        flagfiles.read(str(tmp_path))


@pytest.mark.parametrize("recipe", ["flags/quickstart.cfg", "flags/initial_weights/lite1.cfg"])
def test_a_recipe_that_is_not_here_is_the_one_of_the_package(tmp_path, monkeypatch, caplog, recipe):
    caplog.set_level("INFO", logger="absl")
    monkeypatch.chdir(tmp_path)
    name = pathlib.Path(recipe)

    flag_values = flags.FlagValues()
    flagfiles.define_flags("train", flag_values)
    flagfiles.parse(["train", f"--flagfile={name}"], flag_values)

    found = flagfile_lines.find(name)
    assert found.is_file() and found.parts[-len(name.parts) :] == name.parts
    assert f"there is no {name} here; reading the package's {found}" in caplog.text


def test_a_recipe_in_the_working_directory_wins_over_that_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flags").mkdir()
    (tmp_path / "flags/quickstart.cfg").write_text("--epochs=77\n")

    assert flagfiles.read_flagfile(pathlib.Path("flags/quickstart.cfg")).budget.epochs == 77


@pytest.mark.parametrize(
    "name",
    ["flags/none.cfg", "quickstart.cfg", "a/flags/quickstart.cfg", "flags/../flags/paper.cfg"],
)
def test_other_names_are_not_looked_for_in_the_package(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)

    assert flagfile_lines.find(pathlib.Path(name)) == pathlib.Path(name)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--encodr=resnet50",
            "Unknown .* flag 'encodr'. Did you mean: encoder, .*[^ ]$",
        ),
        ("--epochs=thirty", '"--epochs" must be a whole number. Received: thirty'),
        ("--learning_rate=a:b", '"--learning_rate" must be a number. Received: a:b'),
        ("--cache=perhaps", '"--cache" must be true or false. Received: perhaps'),
    ],
)
def test_a_wrong_line_is_named_by_its_file_and_number(tmp_path, line, message):
    inner = tmp_path / "inner.cfg"
    inner.write_text(f"# Of others.\n--seed=1\n\n{line}\n")
    outer = tmp_path / "outer.cfg"
    outer.write_text(f"--flagfile={inner}\n")

    with pytest.raises(ValueError, match=rf"{re.escape(str(inner))}, line 4: {message}"):
        read(f"--flagfile={outer}")
    with pytest.raises(ValueError, match=f"^{message}"):
        read(line)


def test_a_wrong_value_of_the_command_line_is_not_put_on_a_flagfile(tmp_path):
    path = tmp_path / "good.cfg"
    path.write_text("--epochs=7\n")

    with pytest.raises(ValueError, match='^"--epochs" must be a whole number. Received: a: b$'):
        read(f"--flagfile={path}", "--epochs=a: b")


def read(*arguments):
    values = flags.FlagValues()
    flagfiles.define_flags("train", values)
    return flagfiles.parse(["train", *arguments], values)
