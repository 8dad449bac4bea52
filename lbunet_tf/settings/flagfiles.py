"""Flags as a command line or a flagfile gives them, read into a `Config` and written back.

The only module that touches absl flags; everything else takes a `Config` or plain values.
"""

import csv
import io
import os
import pathlib
import re
import typing
from collections.abc import Sequence

from absl import flags
from absl import logging

from lbunet_tf.settings import config
from lbunet_tf.settings import fields
from lbunet_tf.settings import flagfile_lines
from lbunet_tf.settings import released_runs
from lbunet_tf.settings import trained_flags


def define_flags(entry: str, flag_values=flags.FLAGS) -> None:
    """Defines the flags of one entry. Call it under `__main__` only."""
    for field in config.accepted_by(entry):
        keywords = {"flag_values": flag_values}
        if field.name == "run" and entry in fields.COMBINE:
            flags.DEFINE_multi_string("run", [], field.metadata["help"], **keywords)
        elif field.metadata["many"]:
            flags.DEFINE_list(
                field.name,
                [str(item) for item in field.default],
                field.metadata["help"],
                **keywords,
            )
        elif isinstance(field.default, bool):
            flags.DEFINE_bool(field.name, field.default, field.metadata["help"], **keywords)
        elif isinstance(field.default, int):
            flags.DEFINE_integer(field.name, field.default, field.metadata["help"], **keywords)
        elif isinstance(field.default, float):
            flags.DEFINE_float(field.name, field.default, field.metadata["help"], **keywords)
        else:
            flags.DEFINE_string(field.name, field.default, field.metadata["help"], **keywords)


def describe_wrong(entry: str, arguments: Sequence[str]) -> str:
    """Returns what is wrong with the flags of a command line, "" where they can be read.

    For a command that is starting, before it imports what takes seconds.
    """
    flag_values = flags.FlagValues()
    flag_values.append_flag_values(flags.FLAGS)
    define_flags(entry, flag_values)
    flag_values.set_gnu_getopt(flags.FLAGS.is_gnu_getopt())
    try:
        parse([entry, *arguments], flag_values, is_early=True)
    except flagfile_lines.PipeError:
        # It can be read once only: by the command itself.
        return ""
    except ValueError as error:
        return describe(error)
    return ""


def describe(error: ValueError) -> str:
    """Returns a line on a wrong flag, and where all flags are."""
    text = str(error)
    end = "" if text.endswith((".", "?")) else "."
    return f"ERROR: {text}{end} All flags: --help"


def parse(arguments: Sequence[str], flag_values=flags.FLAGS, is_early: bool = False) -> list[str]:
    """Returns what is left of a command line after its flags.

    Args:
        arguments: Its words, the name of the program first.
        flag_values: Which flags there are; they are set.
        is_early: Whether the command parses them again: then nothing is logged, and no pipe read.

    Raises:
        ValueError: A flag is unknown, its value cannot be read, or a flagfile is not one.
    """
    files = flagfile_lines.Files(is_early=is_early)
    expanded = flagfile_lines.expand(list(arguments), files)
    try:
        left = flag_values(expanded)
    except flags.Error as error:
        raise ValueError(_in_words(error, files.origins)) from error
    # Not before: absl warns of what is logged while it has not read the flags.
    for path, found in files.replaced.items() if not is_early else ():
        logging.info("there is no %s here; reading the package's %s", path, found)
    return left


# What absl says of a value that cannot be read -> what it must be.
KINDS = {
    "invalid literal for int": "a whole number",
    "could not convert string to float": "a number",
    r"\('Non-boolean": "true or false",
}


def _in_words(error, origins):
    """Returns what is wrong with a flag: what must hold, what came, and in which file it stands."""
    text = str(error).removeprefix("ERROR:: ").replace(" ?", "?")
    illegal = re.match(rf"flag --(\w+)=(.*): ({'|'.join(KINDS)})", text, re.DOTALL)
    if illegal:
        wrong = f"{illegal[1]}={illegal[2]}"
        needed = next(kind for reason, kind in KINDS.items() if re.match(reason, illegal[3]))
        text = f'"--{illegal[1]}" must be {needed}. Received: {illegal[2]}'
        # With its value: the command line may be wrong where the flagfile is right.
        places = [place for line, place in origins.items() if line.lstrip("-") == wrong]
    else:
        unknown = getattr(error, "flagname", "")
        places = [
            place
            for line, place in origins.items()
            if line.lstrip("-").partition("=")[0] == unknown
        ]
    return f"{places[0]}: {text}" if places else text


def from_flags(entry: str, flag_values=flags.FLAGS) -> config.Config:
    """Returns the Config of parsed flags.

    `train`, `prepare`, `compare` and `tune` start from the defaults, the others from the first
    run's own flags; what the command line names replaces them. What `compare` is given for its
    runs is not in its own Config, but in `overrides`; what `evaluate` is given about another
    source, in `other_source`. `pseudo_label` takes all about its source from the command line.
    """
    if entry in (*fields.DATA, *fields.TUNE):
        return config.check(config.make(**_values(config.accepted_by(entry), flag_values)))
    if entry in fields.COMPARE:
        return config.check(config.make(**_values(config.fields_of(entry), flag_values)))
    taken = [
        field for field in config.accepted_by(entry) if field.name not in config.FLAGS["source"]
    ]
    given = _values(_present(taken, flag_values), flag_values)
    if entry in config.FIELDS["precision"].metadata["entries"]:
        # How a network was trained is not how it is asked.
        given.setdefault("precision", config.FIELDS["precision"].default)
    runs = given.pop("run", "")
    if not runs and entry in fields.RELEASED:
        # Not a run of that name here, which nobody has named.
        runs = released_runs.teacher_of(released_runs.DEFAULT)
        name = released_runs.DEFAULT
        logging.info("no --run is given: taking the network of the package, --run=%s", name)
    named = map(os.path.expanduser, [runs] if isinstance(runs, str) else runs)
    run, *others = map(released_runs.folder_of, named)
    if not all((run, *others)):
        raise ValueError(
            f'"--run" must name the run directory to {entry}, as in --run=runs/paper. '
            "Received: nothing"
        )
    if entry in fields.PSEUDO:
        # Its images are not the run's: they are named here alone.
        given |= _values([config.FIELDS[name] for name in config.FLAGS["source"]], flag_values)
        given["source_weights"] = ()
    return read(run).replace(**given, other_runs=tuple(others))


def overrides(flag_values=flags.FLAGS) -> dict:
    """Returns the flags of training that `compare` was given; they replace every flagfile's."""
    own = config.fields_of("compare")
    others = [field for field in config.accepted_by("compare") if field not in own]
    return _values(_present(others, flag_values), flag_values)


def other_source(flag_values=flags.FLAGS) -> dict:
    """Returns the flags by which `evaluate` was given another source; {} without one.

    Raises:
        ValueError: They name no --source, and would change nothing.
    """
    taken = [config.FIELDS[name] for name in config.FLAGS["source"]]
    given = _values(_present(taken, flag_values), flag_values)
    if given and not given.get("source"):
        names = ", ".join(f"--{name}" for name in given)
        raise ValueError(
            '"--source" must name another source where a flag about its images is given; the '
            f"run's own images are those of its manifest.csv. Received: {names} without --source"
        )
    return given


def named_in(entry: str, arguments: Sequence[str]) -> dict:
    """Returns the flags that a command line names itself, those of its flagfiles left out."""
    flag_values = flags.FlagValues()
    define_flags(entry, flag_values)
    # What follows a "--flagfile X" of two words, or a flag of absl's own, is still read.
    flag_values.set_gnu_getopt()
    kept = [argument for argument in arguments if not re.match("--?flagfile(=|$)", argument)]
    flag_values([entry, *kept], known_only=True)
    return _values(_present(config.accepted_by(entry), flag_values), flag_values)


def _present(taken, flag_values):
    return [field for field in taken if flag_values[field.name].present]


def _values(taken, flag_values):
    values = {field.name: flag_values[field.name].value for field in taken}
    return {
        name: _as_tuple(config.FIELDS[name], value)
        if config.FIELDS[name].metadata["many"]
        else value
        for name, value in values.items()
    }


def _as_tuple(field, items):
    """Returns the items of a list flag as the type that its field is declared with."""
    (kind, _) = typing.get_args(field.type)
    try:
        return tuple(kind(item) for item in items)
    except ValueError as error:
        numbers = "whole numbers" if kind is int else "numbers"
        raise ValueError(
            f'"--{field.name}" must be {numbers}. Received: {",".join(items)}'
        ) from error


# What is asked of one command is no property of the run.
NO_PROPERTIES = ("overwrite", "verify_images")
PATH_FLAGS = tuple(
    f"--{name}" for name, field in config.FIELDS.items() if field.metadata["is_path"]
)


def flag_lines(settings: config.Config) -> list[str]:
    """Returns the flagfile lines that repeat a training run; `read_flagfile` reads them back.

    Raises:
        ValueError: A value is none that its flag may have, so that it could not be read back.
    """
    return shown_lines(config.check(settings))


def shown_lines(settings: config.Config) -> list[str]:
    """Returns the lines of `flag_lines` for others to see.

    What `published_flags` has shortened need be no value of its flag.
    """
    values = settings.values()
    return [
        f"--{field.name}={_as_text(values[field.name])}"
        for field in config.fields_of("train")
        if field.name not in NO_PROPERTIES
    ]


def _as_text(value):
    """Returns a value as absl reads it: an item of a list with a comma or a quote is quoted."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, tuple):
        return str(value)
    line = io.StringIO()
    if value:
        csv.writer(line, lineterminator="").writerow(value)
    return line.getvalue()


def read(run: str) -> config.Config:
    """Returns the Config that `RUN/flags.cfg` holds, with `run` as named here."""
    path = pathlib.Path(run) / "flags.cfg"
    if not path.is_file():
        raise ValueError(
            f'"--run" must be a run directory that lbunet_tf.train wrote. Looked for {path}'
        )
    trained_flags.check(path, path.with_name("training.json"), PATH_FLAGS)
    return read_flagfile(path).replace(run=str(run))


def read_flagfile(path: pathlib.Path) -> config.Config:
    """Returns the Config of a flagfile of `train`."""
    flag_values = flags.FlagValues()
    define_flags("train", flag_values)
    files = flagfile_lines.Files()
    arguments = flagfile_lines.lines_of(str(path), files)
    try:
        flag_values(["train", *arguments])
        return from_flags("train", flag_values)
    except flags.Error as error:
        text = _in_words(error, files.origins)
        raise ValueError(f"{path} must hold only flags of this version. {text}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
