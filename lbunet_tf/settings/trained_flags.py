"""The flags that a run was trained with: they stand in training.json as well.

What a network sees and means by its outputs depends on them; a flag that is missing from
flags.cfg would take its default without a word. training.json is given to others, so paths stand
there as their SHA-256.
"""

import hashlib
import pathlib
from collections.abc import Collection

from lbunet_tf.storage import whole_files

KEY = "flags"
# Where a run and its images lie may change after training.
OF_PLACE = ("--run", "--data_dir")
# Of runs that did not keep their flags; every version has written these.
ALWAYS = ("--source", "--image_size", "--heads", "--mask_source", "--encoder")


def kept(lines: list[str], path_flags: Collection[str]) -> list[str]:
    """Returns what a run keeps of its flagfile lines: none of place, of paths their SHA-256.

    Args:
        lines: Of its flagfile.
        path_flags: Which flags are paths, as in "--teacher".
    """
    return [f"{name}={value}" for name, value in _without_paths(lines, path_flags).items()]


def check(flags: pathlib.Path, finished: pathlib.Path, path_flags: Collection[str]) -> None:
    """Checks the flagfile of a finished run against what the run kept; others pass.

    Args:
        flags: The flagfile.
        finished: training.json.
        path_flags: Which flags are paths, as in "--teacher".

    Raises:
        ValueError: They differ; the message says in what, and how to restore it.
    """
    if not finished.is_file():
        return
    # Not splitlines: it also splits at characters that may stand in a path.
    try:
        lines = flags.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{flags} must be UTF-8; save it in that encoding. {error}") from error
    lines_kept = _read(finished)
    if lines_kept is None:
        _refuse_gutted(flags, by_name(lines))
        return
    now, then = _without_paths(lines, path_flags), by_name(lines_kept)
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if changed:
        words = "; ".join(
            f"{name} differs"
            if name in path_flags and name in then and name in now
            else f"{name} was {then.get(name, 'not there')}, is {now.get(name, 'not there')}"
            for name in changed[:10]
        )
        raise ValueError(
            f"{flags} must be the one that the run was trained with; {len(changed)} flags differ: "
            f'{words}. Put back the lines that are in {finished} under "{KEY}" (of paths only '
            f"their SHA-256); only {' and '.join(OF_PLACE)} may change"
        )


def _refuse_gutted(flags, now):
    missing = [name for name in ALWAYS if name not in now]
    if missing:
        raise ValueError(
            f"{flags} must hold all flags that the run was trained with. It lacks "
            f"{', '.join(missing)}, so their defaults would be used; put the file back"
        )


def _without_paths(lines, path_flags):
    return {
        name: _hashed(value) if name in path_flags else value
        for name, value in by_name(lines).items()
        if name not in OF_PLACE
    }


def _hashed(value):
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"


def by_name(lines: list[str]) -> dict[str, str]:
    """Returns name -> value of flagfile lines; of a flag that stands twice, the last, as absl."""
    pairs = (line.strip().partition("=") for line in lines)
    return {name: value for name, _, value in pairs if name.startswith("-")}


def _read(finished):
    """Returns the lines that a run kept, None of a run that kept none."""
    try:
        lines = whole_files.read_json(finished).get(KEY)
        is_text = lines is None or all(isinstance(line, str) for line in lines)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{finished} must be what lbunet_tf.train wrote. {error}") from error
    if not is_text:
        raise ValueError(f'{finished} must hold text under "{KEY}"')
    return lines
