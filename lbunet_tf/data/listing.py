"""What counts as an image, and which folders count, where a folder is listed."""

import collections
import functools
import glob
import itertools
import os
import pathlib
import re
from collections.abc import Iterable
from collections.abc import Sequence

from absl import logging

from lbunet_tf.storage import output_folder

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".jpe", ".jfif")
# Pictures that are not read: they are counted aloud, not passed over.
OTHER_SUFFIXES = (".tif", ".tiff", ".webp", ".gif", ".heic", ".heif", ".avif", ".jp2", ".raw")
MASK_ENDINGS = ("_segmentation", "_mask")
# Beside names that begin with a dot: what Windows, macOS and network drives leave.
OF_THE_SYSTEM = (
    *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found", "__pycache__"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
)
OWN = "folders of earlier results"
# Folders of pictures that were written before there was a marker, by the table next to them.
OWN_PICTURES = {
    "masks": ("scores.csv", "manifest.csv"),
    "overlays": ("scores.csv",),
    "figures": ("metrics.json",),
}


def reason_to_leave_out(name: str) -> str:
    """Returns why a file or folder of this name is never an image nor a class, "" if it may be."""
    if name.startswith("."):
        return "hidden"
    if name.lower() in OF_THE_SYSTEM:
        return "of the system"
    return "superpixels" if name.lower().endswith("_superpixels.png") else ""


def _reason_of_file(name):
    """Returns why a file is no image, also where its name says that it is of another format."""
    other = os.path.splitext(name)[1].lower() in OTHER_SUFFIXES
    return reason_to_leave_out(name) or ("pictures of other formats" if other else "")


def is_image(name: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> bool:
    """Returns whether a name has the suffix of an image, in capitals or not."""
    return os.path.splitext(name)[1].lower() in suffixes


def owner_of_mask(stem: str) -> str:
    """Returns the name of the image that a mask belongs to, "" for an image."""
    for ending in MASK_ENDINGS:
        if stem.lower().endswith(ending):
            return stem[: -len(ending)]
    return ""


def children(
    folder: pathlib.Path, left_out: dict[pathlib.Path, str]
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Returns (folders, files) of a folder, sorted; `left_out` gains what is left out, and why."""
    names = os.listdir(folder)
    folders, files = [], []
    for name in sorted(names):
        path = folder / name
        if reason := reason_to_leave_out(name):
            left_out[path] = reason
        elif not path.is_dir():
            files.append(path)
        elif _is_own(name, names) or _holds_own(os.listdir(path)):
            left_out[path] = OWN
        else:
            folders.append(path)
    return folders, files


def images_by_stem(folder: pathlib.Path) -> dict[str, str]:
    """Returns stem -> name of the images in a folder, .jpg before other suffixes."""
    names = os.listdir(folder) if folder.is_dir() else []
    images = [name for name in names if is_image(name) and not reason_to_leave_out(name)]
    found = {}
    for name in sorted(images, key=_preference):
        found.setdefault(os.path.splitext(name)[0], name)
    return found


def _preference(name):
    return IMAGE_SUFFIXES.index(os.path.splitext(name)[1].lower()), name


def images_below(folder: pathlib.Path, suffixes: Sequence[str]) -> list[pathlib.Path]:
    """Returns every image in and below a folder, sorted; what is left out is counted aloud.

    Masks of images that are there are no images. A folder that cannot be read is among the
    images, so that it is named where they are read; links to folders are not followed.
    """
    left_out = {}
    found = _walk(folder, suffixes, left_out)
    left_out |= dict.fromkeys(masks_among(found, folder), "masks")
    say_left_out(folder, left_out)
    return sorted(path for path in found if path not in left_out)


def _walk(top, suffixes, left_out):
    found, unreadable = [], []
    for here, folders, names in os.walk(top, onerror=unreadable.append):
        here = pathlib.Path(here)
        if here != top and _holds_own(names):
            left_out[here] = OWN
            folders.clear()
            continue
        for name in folders:
            if reason := reason_to_leave_out(name) or _reason_not_to_enter(here / name, names):
                left_out[here / name] = reason
        left_out |= {here / name: reason for name in names if (reason := _reason_of_file(name))}
        folders[:] = [name for name in folders if here / name not in left_out]
        images = [here / name for name in names if is_image(name, suffixes)]
        found += [path for path in images if path not in left_out]
    return found + [pathlib.Path(error.filename) for error in unreadable]


def _reason_not_to_enter(folder, names_beside):
    if _is_own(folder.name, names_beside):
        return OWN
    # It may lead back to where it stands.
    return "links to folders" if folder.is_symlink() else ""


def matches(pattern: str, suffixes: Sequence[str]) -> list[pathlib.Path]:
    """Returns the files that a glob matches, and the images below the folders that it matches.

    Sorted, without what a listed folder leaves out. What the pattern spells out is taken: a
    folder's name, or `*_mask.png`.
    """
    spelt = pathlib.PurePath(pattern).parts
    top = pathlib.Path(*itertools.takewhile(lambda part: not glob.has_magic(part), spelt))
    if "**" in spelt:
        # Unlike glob.glob, it does not follow links to folders, which may lead in a circle.
        matched = top.glob(str(pathlib.PurePath(*spelt[len(top.parts) :])))
    else:
        matched = map(pathlib.Path, glob.glob(pattern))
    is_own = functools.cache(_is_own_folder)
    found, left_out = set(), {}
    for path in matched:
        wrong, reason = _reason_of_match(path, top, spelt, is_own)
        if reason:
            left_out[wrong] = reason
        else:
            found |= set(_walk(path, suffixes, left_out)) if path.is_dir() else {path}
    if not owner_of_mask(pathlib.PurePath(pattern).stem):
        masks = masks_among(_images_beside(found, suffixes), top)
        left_out |= dict.fromkeys(masks & found, "masks")
    say_left_out(pattern, left_out)
    return sorted(found - left_out.keys())


def _reason_of_match(path, top, spelt, is_own):
    """Returns (what is left out, why): a match, or a folder above it; "" where nothing is."""
    for depth in range(len(top.parts), len(path.parts)):
        name, wrong = path.parts[depth], pathlib.Path(*path.parts[: depth + 1])
        if name in spelt:
            continue
        reason = reason_to_leave_out(name)
        if reason and reason != reason_to_leave_out(spelt[-1]):
            return wrong, reason
        if is_own(wrong):
            return wrong, OWN
    return path, ""


def _images_beside(paths, suffixes):
    """Returns the images among paths, and those in their folders."""
    images = {path for path in paths if is_image(path.name, suffixes)}
    folders = {path.parent for path in images}
    return images | {
        folder / name for folder in folders for name in images_by_stem(folder).values()
    }


def _is_own_folder(path):
    return (
        path.is_dir()
        and os.access(path, os.R_OK | os.X_OK)
        and (_holds_own(os.listdir(path)) or _is_own(path.name, os.listdir(path.parent)))
    )


def masks_among(images: Iterable[pathlib.Path], top: pathlib.Path) -> set[pathlib.Path]:
    """Returns the files that are masks of others: A_mask.png, A_segmentation.png next to A.jpg.

    In a folder below `top` that is named for masks (masks, ..._GroundTruth), also A.png and
    A_ANYTHING.png of an image A in another folder; in PH2's A_lesion and A_roi those of A alone.
    """
    images = list(images)
    stems = collections.defaultdict(set)
    for path in images:
        if not owner_of_mask(path.stem):
            stems[path.parent].add(path.stem.lower())
    everywhere = collections.Counter(
        stem for folder, own in stems.items() if not is_for_masks(folder, top) for stem in own
    )
    # Folder -> the images elsewhere whose masks it is for.
    owners = {}
    for folder in {path.parent for path in images}:
        image = _image_of_folder(folder.name.lower())
        if is_for_masks(folder, top):
            owners[folder] = everywhere
        elif everywhere[image] > (image in stems[folder]):
            owners[folder] = {image}
    return {
        path
        for path in images
        if owner_of_mask(path.stem).lower() in stems[path.parent]
        or _belongs(path.stem.lower(), owners.get(path.parent, ()))
    }


def is_for_masks(folder: pathlib.Path, top: pathlib.Path) -> bool:
    """Returns whether a folder below `top` is named for masks: masks, ..._GroundTruth."""
    named = re.search("mask|segmentation|ground.?truth", folder.name.lower())
    return folder != top and named is not None


def _image_of_folder(name):
    """Returns the A of PH2's folders A_lesion and A_roi, "" for another folder."""
    found = re.fullmatch("(.+)_(?:lesion|roi)", name)
    return found[1] if found else ""


def _belongs(stem, stems):
    words = stem.split("_")
    return any("_".join(words[:number]) in stems for number in range(len(words), 0, -1))


def _is_own(name, names_beside):
    """Returns whether a folder is one that we write, by the files next to it."""
    return bool(set(OWN_PICTURES.get(name, ())) & set(names_beside))


def _holds_own(names):
    """Returns whether a folder is one that we write, by the files in it: a marker, or a run's."""
    return output_folder.MARKER in names or {"flags.cfg", "manifest.csv"} <= set(names)


def say_left_out(path: str | os.PathLike, left_out: dict[pathlib.Path, str]) -> None:
    """Logs how much of a listed folder is left out, and why."""
    counts = collections.Counter(left_out.values())
    if counts:
        words = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        logging.info("left out of %s: %s", path, words)
