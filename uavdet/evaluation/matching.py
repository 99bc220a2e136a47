"""Detections matched to annotated objects by COCO's rules, for all images, IoU thresholds and area ranges at once.

Only pairs whose overlap reaches the lowest threshold can match, and few do, so pairs are kept sparse. Detections of
an image and class must take their objects one after the other, by score; those of different images or classes do not
meet. So the first detection of every image and class is matched in one step, then the second of each, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np

from uavdet.evaluation.arrays import DetectionArrays, ObjectArrays, flatten_detections, flatten_objects
from uavdet.evaluation.truth import GroundTruth, ImageDetections

# Pairs whose overlap is computed in one piece; bounds the memory.
_PAIRS = 1 << 19


@dataclass(frozen=True)
class Matching:
    """Detections matched to objects, class by class.

    D detections in the order of category, falling score, image and place within the image; T IoU thresholds, A area
    ranges, I images, K classes.

    Attributes:
        thresholds: (T,) IoU.
        image: (D,) index into the images of the ground truth.
        category: (D,) index among the sorted class ids, which is the class id where ids count from 0.
        score: (D,) scores.
        source: (D,) index of the detection within its image's `ImageDetections`.
        rank: (D,) place by score among the detections that share a limit: those of its image and class, or of its
            image.
        hit: (A, T, D) whether it matches an object that counts.
        ignored: (A, T, D) whether it takes no part: neither right nor wrong.
        objects: (A, K, I) number of objects that count.
    """

    thresholds: np.ndarray
    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    source: np.ndarray
    rank: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray

    def limited(self, max_detections: int) -> Matching:
        """Return the matching of the best `max_detections` of each image and class (or image) alone.

        Detections with lower scores never change what those with higher ones match, so nothing is matched again.
        """
        keep = self.rank < max_detections
        if keep.all():
            return self
        names = [f.name for f in fields(self) if f.name not in ("thresholds", "objects")]
        return replace(self, **{name: getattr(self, name)[..., keep] for name in names})


@dataclass(frozen=True)
class _Pairs:
    """P pairs of a detection and an object of its image and class that overlap enough to match.

    Attributes:
        detection: (P,) index of the detection.
        target: (P,) index of the object.
        overlap: (P,) IoU; with a crowd IoD.
        cover: (P,) the overlap that is asked for where the object does not count.
    """

    detection: np.ndarray
    target: np.ndarray
    overlap: np.ndarray
    cover: np.ndarray

    def __len__(self) -> int:
        return len(self.detection)

    def __getitem__(self, rows: np.ndarray | slice) -> _Pairs:
        return _Pairs(self.detection[rows], self.target[rows], self.overlap[rows], self.cover[rows])


_NO_PAIRS = _Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def match_detections(
    truth: GroundTruth,
    detections: Mapping[str, ImageDetections],
    *,
    thresholds: Sequence[float] | np.ndarray,
    area_ranges: Sequence[tuple[float, float]],
    max_detections: int,
    regions_as_crowd: bool = False,
    outside_as_crowd: bool = False,
    limit_by_image: bool = False,
) -> Matching:
    """Match detections to objects of their class, greedily by score, as pycocotools' `COCOeval.evaluateImg` does.

    A detection takes the free object of the highest IoU, the later one of equals, among those that count; where none
    is left, among those that do not count (crowds, and objects outside the area range), which makes it ignored.
    Crowds take any number of detections, by intersection over the detection's area (IoD). A detection that matches
    nothing is ignored where its own area lies outside the range, else wrong.

    Args:
        truth: The annotated images.
        detections: By image name; an image without an entry has no detection.
        thresholds: (T,) IoU above 0 that a match needs.
        area_ranges: A pairs (lowest, highest) in square pixels, both inclusive, of the annotated area.
        max_detections: Most detections of an image and class that take part, by score.
        regions_as_crowd: Treat each ignore region as a crowd of every class.
        outside_as_crowd: Treat objects outside the area range as crowds, as TinyPerson's benchmark does.
        limit_by_image: Count `max_detections` over all classes of an image, as VisDrone's toolkit does.

    Raises:
        DataError: As `flatten_objects` and `flatten_detections`.
    """
    limits = np.asarray(thresholds, dtype=np.float64)
    objects = flatten_objects(truth, regions_as_crowd=regions_as_crowd)
    classes = len(truth.names)
    objects = objects[_stable_order(objects.image * classes + objects.category)]
    found, rank = _rank(flatten_detections(truth, detections), classes, max_detections, limit_by_image)
    inside = np.stack([_inside(objects.areas, area) for area in area_ranges])
    outside = np.stack([~_inside(found.sizes, area) for area in area_ranges])
    matcher = _Matcher(objects, ~objects.crowd & inside, limits, outside_as_crowd)
    hit = np.zeros((len(area_ranges), len(limits), len(found)), dtype=bool)
    ignored = np.repeat(outside[:, None], len(limits), axis=1)
    groups = found.image * classes + found.category
    for rows, hits, matched in matcher.match(groups, _overlapping_pairs(objects, found, classes, matcher)):
        hit[:, :, rows] = hits.transpose(1, 2, 0)
        ignored[:, :, rows] = np.where(matched, ~hits, outside.T[rows][..., None]).transpose(1, 2, 0)
    return Matching(
        thresholds=limits,
        image=found.image,
        category=found.category,
        score=found.scores,
        source=found.source,
        rank=rank,
        hit=hit,
        ignored=ignored,
        objects=_count(objects, matcher.counted, classes, len(truth.images)),
    )


def _inside(areas: np.ndarray, area_range: tuple[float, float]) -> np.ndarray:
    return (areas >= area_range[0]) & (areas <= area_range[1])


def _stable_order(keys: np.ndarray) -> np.ndarray:
    """Return the stable order of (N,) non-negative integers, by 16 bits at a time: numpy sorts those in linear time."""
    order = np.argsort((keys & 0xFFFF).astype(np.uint16), kind="stable")
    if keys.max(initial=0) > 0xFFFF:
        order = order[_stable_order(keys[order] >> 16)]
    return order


def _places(groups: np.ndarray) -> np.ndarray:
    """Return (N,) how many earlier entries of `groups` (N,) have the same number."""
    order = _stable_order(groups)
    ordered = groups[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    places = np.empty(len(groups), dtype=np.int64)
    places[order] = np.arange(len(groups)) - np.repeat(first, np.diff(first, append=len(groups)))
    return places


def _rank(
    found: DetectionArrays, classes: int, max_detections: int, by_image: bool
) -> tuple[DetectionArrays, np.ndarray]:
    """Return the detections that take part, in the order of `Matching`, and their ranks."""
    by_score = np.argsort(-found.scores, kind="stable")
    image, category = found.image[by_score], found.category[by_score]
    rank = _places(image if by_image else image * classes + category)
    keep = np.flatnonzero(rank < max_detections)
    keep = keep[_stable_order(category[keep])]
    return found[by_score[keep]], rank[keep]


def _overlapping_pairs(objects: ObjectArrays, found: DetectionArrays, classes: int, matcher: _Matcher) -> _Pairs:
    """Return the pairs that can match, by image, class and falling score of the detection.

    `objects` come in the order of image and class.
    """
    groups = found.image * classes + found.category
    order = _stable_order(groups)
    owners = objects.image * classes + objects.category
    start = np.searchsorted(owners, groups[order], side="left")
    counts = np.searchsorted(owners, groups[order], side="right") - start
    order, start, counts = order[counts > 0], start[counts > 0], counts[counts > 0]
    ends = np.cumsum(counts)
    parts = [_NO_PAIRS]
    first = 0
    while first < len(order):
        begin = ends[first] - counts[first]
        last = max(int(np.searchsorted(ends, begin + _PAIRS)), first + 1)
        chunk = slice(first, last)
        detection = np.repeat(order[chunk], counts[chunk])
        offset = np.repeat(start[chunk] - (ends[chunk] - counts[chunk]), counts[chunk])
        target = np.arange(begin, begin + len(detection)) + offset
        parts.append(_overlaps(objects, found, detection, target, matcher))
        first = last
    return _Pairs(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(_Pairs)))


def _overlaps(
    objects: ObjectArrays, found: DetectionArrays, detection: np.ndarray, target: np.ndarray, matcher: _Matcher
) -> _Pairs:
    """Return those of the given pairs that can match."""
    sides: list[np.ndarray] = []
    for axis in (0, 1):
        far = np.minimum(found.boxes[detection, axis + 2], objects.boxes[target, axis + 2])
        near = np.maximum(found.boxes[detection, axis], objects.boxes[target, axis])
        side = far - near
        meet = np.flatnonzero(side > 0)
        detection, target = detection[meet], target[meet]
        sides = [kept[meet] for kept in (*sides, side)]
    both, size = sides[0] * sides[1], found.sizes[detection]
    cover = both / size
    overlap = np.where(objects.crowd[target], cover, both / (size + objects.sizes[target] - both))
    pairs = _Pairs(detection, target, overlap, cover if matcher.outside_as_crowd else overlap)
    return pairs[np.flatnonzero(pairs.cover >= matcher.limits.min())]


class _Matcher:
    """Gives objects to detections and remembers which are taken, at each area range and threshold.

    Attributes:
        counted: (A, O) whether an object counts in a range.
        limits: (T,) overlap that a match needs.
        outside_as_crowd: See `match_detections`.
    """

    def __init__(self, objects: ObjectArrays, counted: np.ndarray, limits: np.ndarray, outside_as_crowd: bool) -> None:
        self.counted = counted
        self.outside_as_crowd = outside_as_crowd
        # Boxes that are equal but for rounding match at a threshold of 1, as in pycocotools.
        self.limits = np.minimum(limits, 1 - 1e-10)
        self._counted = np.ascontiguousarray(counted.T)
        many = objects.crowd[:, None] | (~self._counted if outside_as_crowd else False)
        self._many = np.broadcast_to(many, self._counted.shape)
        self._taken = np.zeros((*self._counted.shape, len(limits)), dtype=bool)

    def match(self, groups: np.ndarray, pairs: _Pairs) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Match the best detection of each group, then the second, and so on.

        Args:
            groups: (D,) one number for each pair of image and class.
            pairs: Those that can match, by group and falling score.

        Yields:
            (N,) indices of detections, (N, A, T) whether they hit, (N, A, T) whether they match anything.
        """
        starts = np.flatnonzero(np.diff(pairs.detection, prepend=-1))
        rows, lengths = pairs.detection[starts], np.diff(starts, append=len(pairs))
        turn, block = _places(groups[rows]), np.repeat(np.arange(len(rows)), lengths)
        # Within a detection the pair that wins comes last: the highest overlap, then the later object.
        pairs = pairs[np.lexsort((pairs.target, pairs.overlap, block, turn[block]))]
        by_turn = _stable_order(turn)
        rows, turn, lengths = rows[by_turn], turn[by_turn], lengths[by_turn]
        ends = np.cumsum(lengths)
        edges = np.searchsorted(turn, np.arange(turn.max(initial=-1) + 2))
        for first, last in pairwise(edges):
            begin = ends[first] - lengths[first]
            best = self._take_best(pairs[begin : ends[last - 1]], ends[first:last] - lengths[first:last] - begin)
            yield rows[first:last], best > 1, best > 0

    def _take_best(self, pairs: _Pairs, starts: np.ndarray) -> np.ndarray:
        """Give each detection its best free object and mark that as taken.

        Args:
            pairs: Of detections that share no object.
            starts: (N,) where the pairs of each detection begin.

        Returns:
            (N, A, T): 0 where it matches nothing, 1 an object that does not count, 2 one that does.
        """
        counted = self._counted[pairs.target]
        overlap = np.where(counted, pairs.overlap[:, None], pairs.cover[:, None])
        free = ~self._taken[pairs.target] | self._many[pairs.target][..., None]
        place = np.arange(1, len(pairs) + 1, dtype=np.int32)[:, None] + np.int32(len(pairs)) * counted
        reached = np.where(free & (overlap[..., None] >= self.limits), place[..., None], np.int32(0))
        best = np.maximum.reduceat(reached, starts, axis=0)
        row, area, limit = np.nonzero(best)
        winner = pairs.target[(best[row, area, limit] - 1) % len(pairs)]
        self._taken[winner, area, limit] = True
        return (best > 0).astype(np.int8) + (best > len(pairs))


def _count(objects: ObjectArrays, counted: np.ndarray, classes: int, images: int) -> np.ndarray:
    """Return (A, K, I) how many objects count."""
    groups = objects.category * images + objects.image
    return np.stack([np.bincount(groups[rows], minlength=classes * images) for rows in counted]).reshape(
        len(counted), classes, images
    )
