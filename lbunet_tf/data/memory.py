"""How much memory there is, so that a cache is kept only where it fits."""

import math
import os
import pathlib

from absl import logging

# While a cache is filled it takes its size twice, and the training needs room too.
MAX_SHARE = 0.3


def pixel_bytes(num_images: int, size_px: int) -> int:
    """Returns what images and masks take: three bytes a pixel of RGB and one of the mask."""
    return num_images * size_px**2 * 4


def fits(num_images: int, size_px: int) -> bool:
    """Returns whether so many images and masks may be kept in memory; logs the estimate."""
    needed, available = pixel_bytes(num_images, size_px), available_bytes()
    if needed <= MAX_SHARE * available:
        logging.info(
            "keeping %d images in memory: %.0f MB of %.0f MB available (--nocache: none)",
            num_images,
            needed / 1e6,
            available / 1e6,
        )
        return True
    logging.warning(
        "--cache: %d images of %d px take %.0f MB, more than %.0f %% of the %.0f MB of memory that "
        "is available; they are NOT kept, and are read again in every epoch. Records are read "
        "fastest: python -m lbunet_tf.prepare --records=DIR",
        num_images,
        size_px,
        needed / 1e6,
        100 * MAX_SHARE,
        available / 1e6,
    )
    return False


def available_bytes(root: pathlib.Path = pathlib.Path("/")) -> int:
    """Returns what the machine has left, or the container where it has less."""
    return min([_machine_bytes(root), *map(_group_bytes, _groups(root))])


def _machine_bytes(root):
    path = root / "proc/meminfo"
    if not path.is_file():
        # Not Linux: what it has, in use or not.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for line in path.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{path} must have a line MemAvailable. Give --nocache to train without a cache")


def _groups(root):
    """Yields the folders of the control groups, of version 1 and 2, that this process is in."""
    path = root / "proc/self/cgroup"
    for line in path.read_text().splitlines() if path.is_file() else ():
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / controllers
        folder = top / name.lstrip("/")
        # Any of them may have a limit; inside a container only the top is there.
        yield from (group for group in (folder, *folder.parents) if group.is_relative_to(top))


def _group_bytes(group):
    """Returns what is left of a group's limit; infinite where there is none."""
    for limit, use in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        if (group / limit).is_file() and (group / limit).read_text().strip() != "max":
            lines = (group / "memory.stat").read_text().splitlines()
            stat = {name: int(value) for name, value in map(str.split, lines)}
            # Files that were read count as use until something needs the room.
            files = stat.get("inactive_file", 0) + stat.get("active_file", 0)
            used = int((group / use).read_text()) - files
            return max(int((group / limit).read_text()) - used, 0)
    return math.inf
