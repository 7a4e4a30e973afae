"""Which pictures look alike: a perceptual hash of each, and those whose hashes differ in few bits.

The hash is pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010): the signs of a
picture's lowest frequencies against their median. It survives other sizes, other compression, grey and small changes
of light, and does not survive mirroring or cutting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.data.families import Families

MOST_DIFFERENT_BITS = 6
"""Of 63. On 8,600 photos of four data sets, one of the ten pairs that this finds is none; at 8 bits it is three of
eighteen, at 10 bits most of them. Of the same photos saved anew, halved or made grey, it finds every one."""
FLAT_GREY_LEVELS = 16
"""A picture whose grey levels span less shows nothing, and looks like every other of that kind."""
MOST_NEIGHBOURS = 1_000
"""So many hashes with a part in common are compared with each other: more than 100,000 photos have, fewer than a film's
frames, for which it bounds the time."""
_SIDE_PX = 32
_BANDS, _BAND_BITS = 7, 9  # hashes of at most 6 different bits have one of 7 bands in common
# The lowest eight frequencies of a cosine transform of 32 values: all that is needed of it, as a matrix.
_COSINES = np.cos(np.pi / _SIDE_PX * np.outer(np.arange(8), np.arange(_SIDE_PX) + 0.5)).astype(np.float32)


def grey_of(picture: Image.Image) -> Image.Image:
    """Return what the hash of an RGB picture is computed from: 32 x 32 grey levels."""
    return picture.convert("L").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)


def hashes_of(greys: Sequence[Image.Image]) -> list[int | None]:
    """Return the perceptual hashes of pictures, 63 bits each; None for one that shows nothing."""
    strip = Image.new("L", (_SIDE_PX, _SIDE_PX * len(greys)))  # handing over one large picture is faster
    for number, grey in enumerate(greys):
        strip.paste(grey, (0, _SIDE_PX * number))
    pixels = np.asarray(strip).reshape(-1, _SIDE_PX, _SIDE_PX)
    shows = pixels.max(axis=(1, 2)) - pixels.min(axis=(1, 2)) >= FLAT_GREY_LEVELS
    frequencies = (_COSINES @ pixels.astype(np.float32) @ _COSINES.T).reshape(-1, 64)[:, 1:]  # without the mean
    above = frequencies > np.median(frequencies, axis=1, keepdims=True)
    found = [int.from_bytes(row.tobytes(), "big") >> 1 for row in np.packbits(above, axis=1)]
    return [value if shown else None for value, shown in zip(found, shows.tolist(), strict=True)]


def look_alikes(hashes: Sequence[int | None]) -> list[list[int]]:
    """Return which pictures look alike, as lists of at least two positions each.

    Those that look like a common third are of one family.
    """
    values = np.unique(np.array([value for value in hashes if value is not None], dtype=np.uint64))
    near = Families(len(values))
    for pairs in _near_pairs(values):
        near.join(pairs)
    family_of = {int(values[at]): number for number, family in enumerate(near.members()) for at in family}
    members: dict[int, list[int]] = {}
    for position, value in enumerate(hashes):
        if value is not None:
            members.setdefault(family_of[value], []).append(position)
    return [family for family in members.values() if len(family) > 1]


def _near_pairs(values: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs (2, N) of near hashes, in any order and some of them repeatedly.

    Multi-index hashing (Norouzi et al., "Fast Search in Hamming Space", 2012): only what has a band in common is
    compared; of 100,000 photos every one with some 250 others for each band.
    """
    for band in range(_BANDS):
        bits = (values >> np.uint64(band * _BAND_BITS)) & np.uint64(2**_BAND_BITS - 1)
        order = np.argsort(bits, kind="stable")
        keys, ordered = bits[order], values[order]
        for distance in range(1, min(MOST_NEIGHBOURS, len(values) - 1) + 1):
            same = np.flatnonzero(keys[distance:] == keys[:-distance])
            if not same.size:
                break
            differing = np.bitwise_count(ordered[same] ^ ordered[same + distance])
            found = same[differing <= MOST_DIFFERENT_BITS]
            yield np.stack([order[found], order[found + distance]])
