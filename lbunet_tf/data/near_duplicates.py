"""Near-duplicates: images that look alike, found without comparing all pairs."""

import itertools

import numpy as np
import pandas as pd
import scipy.fft
from absl import logging
from PIL import Image

from lbunet_tf.data import components

HASH = "perceptual_hash"
GROUP = "near_duplicate_group"
THUMBNAIL_PX = 32
# Of a hash of 64 bits.
NUM_BANDS, BAND_BITS = 4, 16
# Candidates compared at a time, about 150 MB.
BLOCK = 1 << 22


def perceptual_hash(image: np.ndarray) -> str:
    """Returns 64 bits of an image as 16 hexadecimal digits.

    The signs of the 64 lowest frequencies but the mean, of the cosine transform of the image in
    32 x 32 gray pixels: much like pHash, which compares with their median. An even image is 0.

    Args:
        image: (H, W, 3) uint8.
    """
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    gray = np.asarray(Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX))
    rows, columns = _lowest_frequencies()
    # The tolerance keeps rounding out of the bits of an even image.
    signs = scipy.fft.dctn(gray.astype("float64"))[rows, columns] > 1e-6
    return np.packbits(signs).tobytes().hex()


def _lowest_frequencies():
    """Returns rows and columns of the 64 lowest frequencies, by their sum."""
    positions = sorted(
        itertools.product(range(12), repeat=2), key=lambda position: (sum(position), position)
    )
    return np.array(positions[1:65]).T


def with_groups(manifest: pd.DataFrame, max_bits: int) -> pd.DataFrame:
    """Returns the manifest with `near_duplicate_group`: the first image_id of each group, or "".

    Images whose `perceptual_hash` differs in at most `max_bits` bits share a group, and so do
    those that are so joined over others. An image without a hash has no group.
    """
    hashes = manifest[HASH][manifest[HASH].fillna("") != ""]
    groups = pd.Series(group(hashes, max_bits), hashes.index)
    is_shared = groups.duplicated(keep=False)
    names = manifest["image_id"].groupby(groups[is_shared]).transform("min").fillna("")
    sizes = names[names != ""].value_counts()
    logging.info(
        "near-duplicates, at most %d of 64 bits apart: %d of %d images, in %d groups, the largest "
        "of %d",
        max_bits,
        sizes.sum(),
        len(manifest),
        len(sizes),
        sizes.max() if len(sizes) else 0,
    )
    return manifest.assign(**{GROUP: names})


def with_joint_groups(
    rows: pd.DataFrame, others: pd.DataFrame, max_bits: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns both with the near-duplicate groups of all their images."""
    columns = ["image_id", HASH]
    both = [rows.reindex(columns=columns), others.reindex(columns=columns)]
    groups = with_groups(pd.concat(both, ignore_index=True), max_bits)[GROUP].to_numpy()
    count = len(rows)
    return rows.assign(**{GROUP: groups[:count]}), others.assign(**{GROUP: groups[count:]})


def group(hashes: pd.Series, max_bits: int) -> np.ndarray:
    """Returns (N,) int: hashes of at most `max_bits` different bits have one number, chains too."""
    values = np.frombuffer(bytes.fromhex("".join(hashes)), ">u8").astype("uint64")
    # Equal hashes are one: a thousand black images are no half a million pairs.
    distinct, position = np.unique(values, return_inverse=True)
    first, second = find_pairs(distinct, max_bits)
    return components.of_pairs(first, second, len(distinct))[position]


def find_pairs(hashes: np.ndarray, max_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (first, second), the pairs of hashes that differ in at most `max_bits` bits.

    Four bands of 16 bits share the different bits, so of max_bits = 4 r + a one of the first
    a + 1 bands has at most r of them, or one of the others at most r - 1 (Norouzi et al. 2012,
    multi-index hashing). Only hashes that agree so far are compared.

    Args:
        hashes: (N,) uint64, each once.
        max_bits: From 0.
    """
    radius, rest = divmod(max_bits, NUM_BANDS)
    found = [np.empty((0, 2), "int64")]
    for band in range(NUM_BANDS):
        keys = (hashes >> np.uint64(band * BAND_BITS)).astype("uint16")
        found += _pairs_of_band(hashes, keys, radius if band <= rest else radius - 1, max_bits)
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _pairs_of_band(hashes, keys, radius, max_bits):
    """Yields (P, 2) pairs whose keys differ in at most `radius` bits, the lower position first."""
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(keys, minlength=1 << BAND_BITS)
    starts = np.cumsum(counts) - counts
    for flips in _masks(radius):
        partners = keys ^ flips
        num_partners = counts[partners]
        block = np.cumsum(num_partners) // BLOCK
        for number in np.unique(block):
            chosen = np.flatnonzero(block == number)
            repeats = num_partners[chosen]
            first = np.repeat(chosen, repeats)
            within = np.arange(len(first)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
            second = order[np.repeat(starts[partners[chosen]], repeats) + within]
            is_near = np.bitwise_count(hashes[first] ^ hashes[second]) <= max_bits
            is_near &= first < second
            yield np.stack([first[is_near], second[is_near]], axis=1)


def _masks(radius):
    """Returns every key with at most `radius` bits of 1."""
    bits = [1 << bit for bit in range(BAND_BITS)]
    chosen = (ones for k in range(radius + 1) for ones in itertools.combinations(bits, k))
    return [np.uint16(sum(ones)) for ones in chosen]
