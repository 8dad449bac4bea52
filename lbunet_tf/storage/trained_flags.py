"""The flags that a run was trained with: they stand in training.json as well.

What a network sees and means by its outputs depends on them; a flag that is missing from
flags.cfg would take its default without a word.
"""

import pathlib

from lbunet_tf import whole_files

KEY = "flags"
# Where a run and its images lie may change after training.
OF_PLACE = ("--run", "--data_dir")
# Of runs that did not keep their flags; every version has written these.
ALWAYS = ("--source", "--image_size", "--heads", "--mask_source", "--encoder")


def check(flags: pathlib.Path, finished: pathlib.Path) -> None:
    """Checks the flagfile of a finished run against what the run kept; others pass.

    Raises:
        ValueError: They differ; the message says in what, and how to restore it.
    """
    if not finished.is_file():
        return
    now = by_name(flags.read_text(encoding="utf-8").splitlines())
    kept = _read(finished)
    if kept is None:
        missing = [name for name in ALWAYS if name not in now]
        if missing:
            raise ValueError(
                f"{flags} must hold all flags that the run was trained with. It lacks "
                f"{', '.join(missing)}, and would take their defaults; put the file back"
            )
        return
    then = by_name(kept)
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    changed = [name for name in names if name not in OF_PLACE]
    if changed:
        words = "; ".join(
            f"{name} was {then.get(name, 'not there')}, is {now.get(name, 'not there')}"
            for name in changed[:10]
        )
        raise ValueError(
            f"{flags} must be the one that the run was trained with; {len(changed)} flags differ: "
            f'{words}. Put back the lines that stand in {finished} under "{KEY}"; only '
            f"{' and '.join(OF_PLACE)} may change"
        )


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
