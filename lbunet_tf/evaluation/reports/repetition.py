"""What it takes to repeat a run and its evaluation: versions and commands."""

import shlex
from collections.abc import Mapping
from collections.abc import Sequence

from lbunet_tf.settings import config
from lbunet_tf.settings import image_groups
from lbunet_tf.settings import score_group


def version(package: str, model_crc32: Mapping[str, int]) -> dict[str, str]:
    """Returns which package and which model it was, name -> value; what is not known is left out.

    Args:
        package: Its version.
        model_crc32: Run -> checksum of its model.
    """
    checksums = [f"{value} ({name})" for name, value in model_crc32.items()]
    facts = {"Version of lbunet_tf": package, "CRC-32 of the model": ", ".join(checksums)}
    return {name: text for name, text in facts.items() if text}


def commands(
    runs: Sequence[str], score: score_group.Score, source: image_groups.Source | None = None
) -> list[str]:
    """Returns the commands, one per line, as a shell reads them; [] without a run.

    Args:
        runs: As others may see them.
        score: How they were scored.
        source: How another source than the runs' own is read, with folders as others may see
            them; None without one.
    """
    if not any(runs):
        return []
    lines = [["train", f"--flagfile={run}/flags.cfg", f"--run={run}-again"] for run in runs]
    evaluation = ["evaluate", *(f"--run={run}" for run in runs)]
    if source:
        evaluation += _changed({config.FIELDS[name]: value for name, value in vars(source).items()})
    asked = {
        field: getattr(score, field.name)
        for field in config.fields_of("evaluate")
        if field.name in config.FLAGS["score"]
    }
    evaluation += _changed(asked)
    if len(runs) > 1:
        evaluation.append("--output=runs/mean")
    return [shlex.join(["lbunet", *words]) for words in (*lines, evaluation)]


def _changed(values):
    """Returns the flags that are not at their default."""
    return [
        f"--{field.name}={_as_text(value)}"
        for field, value in values.items()
        if value != field.default
    ]


def _as_text(value):
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
