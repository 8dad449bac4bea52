"""Output folders: which of them are ours, and which of their files may be replaced or deleted.

A folder is ours by a marker file that we wrote, not by the names of what it holds. Without
--overwrite nothing is deleted, ever. With it, only files on the list of the work that wrote the
folder are; other files in it stay. A link in it is never followed for writing or deleting.
"""

import contextlib
import glob
import os
import pathlib
import shutil
from collections.abc import Iterator
from collections.abc import Sequence

import lbunet_tf
from lbunet_tf.storage import whole_files

MARKER = ".lbunet_tf.json"
_OF_DESKTOPS = {".DS_Store", "Thumbs.db", "desktop.ini", ".directory"}


def read_marker(folder: str | os.PathLike) -> dict | None:
    """Returns what `mark` wrote to a folder, None where it is not ours."""
    path = pathlib.Path(folder) / MARKER
    if path.is_symlink() or not path.is_file():
        return None
    try:
        content = whole_files.read_json(path)
    except ValueError:
        return None
    is_ours = content.get("package") == "lbunet_tf"
    return content if is_ours and isinstance(content.get("work"), str) else None


def is_ours(folder: str | os.PathLike, work: str) -> bool:
    """Returns whether a folder has the marker of one kind of work: `train`, `predict`, ..."""
    marker = read_marker(folder)
    return marker is not None and marker["work"] == work


def mark(folder: str | os.PathLike, work: str, files: Sequence[str] = (), **facts) -> None:
    """Makes a folder, new or empty or ours, the output of one kind of work.

    Args:
        folder: Made where it is not there.
        work: The verb, as in `whole_files.locked`.
        files: What is written there besides the work's own list, as pictures named after images.
        **facts: What the work wants to know of its folder later, as JSON.
    """
    content = {"package": "lbunet_tf", "version": lbunet_tf.__version__, "work": work, **facts}
    content["files"] = list(files)
    whole_files.write_json(pathlib.Path(folder) / MARKER, content)


def is_new(folder: str | os.PathLike) -> bool:
    """Returns whether a folder is not there yet, or holds nothing of anyone.

    Neither what a desktop leaves nor the half of a marker that a kill has left is.
    """
    folder = pathlib.Path(folder)
    if not os.path.lexists(folder):
        return True
    of_nobody = {*_OF_DESKTOPS, whole_files.partial_path(folder / MARKER).name}
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= of_nobody


def check(folder: str | os.PathLike, work: str, own: Sequence[str], argument: str) -> None:
    """Refuses a folder that may not become the output of a kind of work.

    Args:
        folder: New, empty, or the output of the same work before.
        work: The verb.
        own: Patterns of what the work writes there, as `pathlib.Path.glob` takes them.
        argument: What names the folder: `--output`.

    Raises:
        ValueError: It is a file, holds other files and no marker of this work, or has a link
            where the work writes.
    """
    folder = pathlib.Path(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise ValueError(f'"{argument}" must be a folder. {folder} is a file or a broken link')
    if is_new(folder):
        return
    if not is_ours(folder, work):
        raise ValueError(
            f'"{argument}" must be a new or empty folder, or one that this command wrote (it then '
            f"holds {MARKER}; an output from before the marker does not). {folder} holds other "
            "files, which are left as they are. Name another folder, or empty this one yourself"
        )
    refuse_links(folder, own)


def holds(folder: str | os.PathLike, path: str | os.PathLike) -> bool:
    """Returns whether a path lies in a folder, whatever links lead to either."""
    above = os.path.realpath(folder)
    return os.path.commonpath([above, os.path.realpath(path)]) == above


def refuse_links(folder: str | os.PathLike, own: Sequence[str]) -> None:
    """Raises a ValueError where a folder has a link in the place of what is written there."""
    folder = pathlib.Path(folder)
    for pattern in (MARKER, *own):
        for path in _on_the_way(folder, pathlib.PurePath(pattern).parts):
            if path.is_symlink():
                raise ValueError(
                    f"links inside an output folder are not followed for writing. {path} is a "
                    f"link to {os.readlink(path)}; delete it, or name another folder"
                )


def _on_the_way(folder, parts):
    """Yields what matches a pattern, and every folder that it is reached by."""
    for count, part in enumerate(parts, start=1):
        if part == "**":
            for above in _matches(folder, str(pathlib.PurePath(*parts[: count - 1]))):
                for root, folders, files in os.walk(above):
                    yield from (pathlib.Path(root, name) for name in (*folders, *files))
            return
        yield from _matches(folder, str(pathlib.PurePath(*parts[:count])))


def refuse_files_of_others(folder: str | os.PathLike, files: Sequence[str]) -> None:
    """Raises a ValueError where a file that is to be written is there and not on our list.

    Args:
        folder: Ours, or new.
        files: What is to be written besides the work's own list.
    """
    listed = set((read_marker(folder) or {}).get("files", ()))
    strange = [name for name in files if name not in listed and (folder / name).exists()]
    if strange:
        raise ValueError(
            f"files from elsewhere are never replaced. {pathlib.Path(folder) / strange[0]} and "
            f"{len(strange) - 1} more were not written by this command; move them away, or name "
            "another folder"
        )


def delete_own(folder: str | os.PathLike, own: Sequence[str]) -> None:
    """Deletes the files of a folder that match `own` or that its marker lists.

    As `delete_files` does. The marker stays.

    Raises:
        ValueError: Another process works on the folder or on something in it.
    """
    whole_files.refuse_where_locked(folder)
    delete_files(folder, [*own, *map(glob.escape, _listed(folder))])


def delete_listed(folder: str | os.PathLike, keep: Sequence[str]) -> None:
    """Deletes the files that the marker of a folder lists and `keep` lacks, as `delete_files`."""
    gone = sorted(set(_listed(folder)) - set(keep))
    if gone:
        delete_files(folder, list(map(glob.escape, gone)))


def _listed(folder):
    """Returns the files that a marker lists; whoever wrote it, only those inside the folder."""
    names = map(str, (read_marker(folder) or {}).get("files", ()))
    return [name for name in names if name and _is_inside(name)]


def delete_files(folder: str | os.PathLike, patterns: Sequence[str]) -> None:
    """Deletes the files of a folder that match, and subfolders that this leaves empty.

    Other files stay, and so does the marker. A link is deleted, not what it points to.
    """
    folder = pathlib.Path(folder)
    parents = set()
    for pattern in patterns:
        for path in list(_matches(folder, pattern)):
            if path.is_symlink() or path.is_file():
                path.unlink()
                parents |= set(path.relative_to(folder).parents)
    # The deepest first.
    for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
        if parent.parts and not any((folder / parent).iterdir()):
            (folder / parent).rmdir()


@contextlib.contextmanager
def staged(folder: pathlib.Path, work: str) -> Iterator[pathlib.Path]:
    """Yields a path for a new folder, which becomes `folder` whole where the block succeeds.

    It is in a folder of its own next to `folder`, whose marker tells a later call that what a kill
    left there may be deleted.

    Raises:
        ValueError: A folder of somebody else has the name of that one.
    """
    staging = folder.parent / f"partial-{folder.name}"
    if not is_new(staging):
        if staging.is_symlink() or not is_ours(staging, work):
            raise ValueError(
                f"{staging} must not exist: {folder.name} is first written there. "
                "It holds something else, which is left as it is; move it away"
            )
        shutil.rmtree(staging)
    mark(staging, work)
    try:
        yield staging / "whole"
        whole_files.put_in_place(staging / "whole", folder)
    finally:
        shutil.rmtree(staging)


def _is_inside(name):
    path = pathlib.PurePath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _matches(folder: pathlib.Path, pattern: str) -> Iterator[pathlib.Path]:
    """Yields the files that match, except those that are reached through a link."""
    for path in folder.glob(pattern):
        between = path.relative_to(folder).parents
        if not any((folder / parent).is_symlink() for parent in between if parent.parts):
            yield path
