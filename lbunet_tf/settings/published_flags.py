"""The flags as a report or an exported model shows them to others."""

import pathlib

from lbunet_tf.settings import config


def without_folders(settings: config.Config) -> config.Config:
    """Returns the flags as a report or an exported model shows them to others.

    A path that is absolute or leaves the working directory tells whose machine it was: its last
    part stays, and of runs as many parts as tell them apart.
    """
    shown = settings.values()
    for name, value in shown.items():
        if isinstance(value, str):
            shown[name] = _last_parts(value, 1)
        elif isinstance(value, tuple):
            shown[name] = tuple(
                _last_parts(item, 1) if isinstance(item, str) else item for item in value
            )
    run, *others = _names_of_runs(settings.paths.runs)
    return config.make(**(shown | {"run": run, "other_runs": tuple(others)}))


def _names_of_runs(runs):
    names = runs
    for number in range(max(len(pathlib.PurePath(run).parts) for run in runs), 0, -1):
        fewer = [_last_parts(run, number) for run in runs]
        if len(set(fewer)) < len(set(runs)):
            break
        names = fewer
    return names


def _last_parts(path, number):
    parts = pathlib.PurePath(path.lstrip("/")).parts
    is_outside = ".." in parts or path.startswith(("/", "~"))
    return "/".join(parts[-number:]) if is_outside else path
