"""Finds identical files, and images that look alike, within splits and across them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from uavdet.data.doctor.images import THUMBNAIL, ImageFacts

HASH_DISTANCE = 14
"""Most bits of 64 in which near-duplicates differ; `perceptual_hash` argues it."""
CORRELATION = 0.7
"""Least correlation of the thumbnails of near-duplicates; `perceptual_hash` argues it."""
KEPT_PAIRS = 200
"""Pairs that are listed, across splits and within; all are counted."""
_FREQUENCIES = 8
_BITS = _FREQUENCIES**2
_BLOCK = 256
_FLAT = 2.0  # standard deviation in grey levels below which a thumbnail shows nothing to compare


@dataclass(frozen=True, order=True)
class Pair:
    """Two images that look alike: bits in which they differ, correlation, and their numbers."""

    distance: int
    correlation: float
    first: int
    second: int


@dataclass
class Duplicates:
    """Identical and similar images; images are numbers in the list that was given.

    Attributes:
        identical: Groups of images whose files are the same byte for byte.
        across: The closest pairs of near-duplicates in different splits.
        within: The closest pairs of near-duplicates in one split.
        counts: How many pairs of near-duplicates there are, by their splits.
        partners: (split, other split) to how many images of `split` have an identical or near-duplicate image in the
            other.
    """

    identical: list[list[int]] = field(default_factory=list)
    across: list[Pair] = field(default_factory=list)
    within: list[Pair] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    partners: dict[tuple[str, str], int] = field(default_factory=dict)


def perceptual_hash(thumbnail: np.ndarray) -> np.ndarray:
    """Return the perceptual hash of a grey picture: (64,) bool.

    A bit says whether a coefficient of the discrete cosine transform is above the median of 64: those of frequencies 1
    to 8 in both directions. Frequency 0, means over rows and columns, is left out: aerial pictures differ little
    there (sky above ground, dark corners), and unrelated pairs came out alike.

    The thresholds come from 503 thermal and 137 colour drone images. Recompression, noise and halving the size move
    at most 2 bits of 64, brightness and contrast up to 8, a shift by 3 % of the width or a crop of 2 % a side up to 8
    in nine of ten images. Of 126,253 pairs of the thermal images 74 lie within 14 bits, all of one place, also from
    another height (60 and 70 m); within 16 bits unrelated ones begin. Hence `HASH_DISTANCE`. The difference hash moves
    as little for the same picture, and has five times as many pairs within 14 bits. Among the 50 million pairs of
    10,000 images some fall within 14 bits by chance; therefore the thumbnails must correlate as well. Unrelated pairs
    within 16 bits do so by 0.64 at most, those of one place by 0.76 or more where the height differs. Hence
    `CORRELATION`.

    Flips and turns are not recognised, nor a place seen from a much different height or angle.

    Args:
        thumbnail: (32, 32) uint8.
    """
    spectrum = cv2.dct(thumbnail.astype(np.float32))[1 : _FREQUENCIES + 1, 1 : _FREQUENCIES + 1].ravel()
    return spectrum > np.median(spectrum)


def find_duplicates(images: Sequence[ImageFacts], splits: Sequence[str]) -> Duplicates:
    """Compare all images with one another.

    Args:
        images: The images; those without a thumbnail are left out.
        splits: The split of each.
    """
    found = Duplicates(identical=_identical(images))
    names = sorted(set(splits))
    split_ids = np.array([names.index(split) for split in splits], dtype=np.int64)
    partner = np.zeros((len(images), len(names)), dtype=bool)
    for group in found.identical:
        partner[np.ix_(np.array(group), split_ids[group])] = True
    for first, second, distance, correlation in _near_pairs(images):
        partner[first, split_ids[second]] = True
        partner[second, split_ids[first]] = True
        _count(found, names, split_ids, first, second)
        same = split_ids[first] == split_ids[second]
        rows = np.stack([distance, correlation, first, second], 1)
        found.within = _closest([*found.within, *_pairs(rows[same])])
        found.across = _closest([*found.across, *_pairs(rows[~same])])
    for a, split in enumerate(names):
        for b, other in enumerate(names):
            count = int(partner[split_ids == a, b].sum())
            if a != b and count:
                found.partners[split, other] = count
    return found


def _identical(images: Sequence[ImageFacts]) -> list[list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        if image.digest:
            groups[image.digest].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _near_pairs(images: Sequence[ImageFacts]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield near-duplicates in blocks: numbers of the first and of the second image, distances, correlations.

    Hashes as rows of ±1: their products are 64 - 2 * distance, and a matrix product is the fastest way to all of them.
    """
    readable = [
        (index, image.thumbnail, image.digest) for index, image in enumerate(images) if image.thumbnail is not None
    ]
    usable = [entry for entry in readable if float(np.std(entry[1])) > _FLAT]
    if len(usable) < 2:
        return
    numbers = np.array([index for index, _, _ in usable])
    digests = np.unique([digest for _, _, digest in usable], return_inverse=True)[1]
    hashes = np.array([perceptual_hash(thumbnail) for _, thumbnail, _ in usable], dtype=np.float32) * 2 - 1
    pictures = np.array([_normalise(thumbnail) for _, thumbnail, _ in usable])
    for start in range(0, len(usable), _BLOCK):
        distance = (_BITS - hashes[start : start + _BLOCK] @ hashes[start:].T) / 2
        first, second = np.nonzero(distance <= HASH_DISTANCE)
        apart = (second > first) & (digests[first + start] != digests[second + start])
        first, second = first[apart], second[apart]
        if not len(first):
            continue
        rows, back = np.unique(first, return_inverse=True)
        correlation = (pictures[rows + start] @ pictures[start:].T)[back, second]
        alike = correlation >= CORRELATION
        bits = distance[first[alike], second[alike]]
        yield numbers[first[alike] + start], numbers[second[alike] + start], bits, correlation[alike]


def _normalise(thumbnail: np.ndarray) -> np.ndarray:
    values = thumbnail.astype(np.float32).reshape(THUMBNAIL * THUMBNAIL)
    values -= values.mean()
    return values / np.linalg.norm(values)


def _pairs(rows: np.ndarray) -> list[Pair]:
    """Return the closest of some pairs; rows are distance, correlation, first, second."""
    if len(rows) > KEPT_PAIRS:
        rows = rows[np.argpartition(rows[:, 0] - rows[:, 1] / 2, KEPT_PAIRS)[:KEPT_PAIRS]]
    return [Pair(int(d), round(float(c), 3), int(i), int(j)) for d, c, i, j in rows]


def _closest(pairs: list[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (pair.distance, -pair.correlation))[:KEPT_PAIRS]


def _count(found: Duplicates, names: list[str], ids: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    low, high = np.minimum(ids[first], ids[second]), np.maximum(ids[first], ids[second])
    counts = np.bincount(low * len(names) + high, minlength=len(names) ** 2)
    for number in np.flatnonzero(counts).tolist():
        found.counts[names[number // len(names)], names[number % len(names)]] += int(counts[number])


def describe_duplicates(found: Duplicates, images: Sequence[ImageFacts], splits: Sequence[str]) -> dict[str, Any]:
    """Return duplicates as plain data, images by file."""
    return {
        "identical": [[str(images[index].file) for index in group] for group in found.identical],
        "near_counts": {" / ".join(dict.fromkeys(pair)): count for pair, count in sorted(found.counts.items())},
        "images_with_partner": [
            {"split": split, "other": other, "images": count, "of": list(splits).count(split)}
            for (split, other), count in found.partners.items()
        ],
        "near_across": [_describe_pair(pair, images, splits) for pair in found.across],
        "near_within": [_describe_pair(pair, images, splits) for pair in found.within],
    }


def _describe_pair(pair: Pair, images: Sequence[ImageFacts], splits: Sequence[str]) -> dict[str, Any]:
    return {
        "first": str(images[pair.first].file),
        "second": str(images[pair.second].file),
        "splits": [splits[pair.first], splits[pair.second]],
        "distance": pair.distance,
        "correlation": pair.correlation,
    }
