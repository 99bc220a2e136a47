"""How well two sets of detections of one image agree, whatever their order.

Networks that choose queries and detections by score give them in an order that rounding decides where scores tie, so
that rows are paired by what they say, each with at most one of its class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

PAIRED = 0.5
"""IoU below which two rows are no pair."""
CONFIDENT = 0.1
"""Score from which a detection counts as one that people look at."""
FOUND_AGAIN = 0.75
"""IoU with which such a detection has to be found again."""
TIE = 2e-5
"""Logits by which scores differ at most that rounding may swap; those of float32 networks are off by 1e-6 to 1e-5."""
ROUNDING = 1.2e-7
"""By how much two sigmoids in float32 differ for one logit: two of float32's steps near 1, and no less near 0, where
ONNX Runtime's is as coarse. In logits that is more than networks are off by: 1e-3 at a score of 0.9999."""


@dataclass(frozen=True)
class Agreement:
    """The rows of one image, compared.

    Attributes:
        image: Its name.
        overlaps: (P,) IoU of the pairs.
        scores: (P,) absolute differences of their scores.
        logits: (P,) those of their scores' logits, less what `ROUNDING` explains.
        unmatched: Rows of either side without a counterpart, those apart that tie at the other's last score.
        cut: Rows of either side that tie there: another row of that score may have taken their place.
        tied: Rows of the reference without a counterpart that tie at its own last score; saturated scores all do.
        rows: Rows of the reference.
        unstable: Whether rounding decides which queries the reference chooses, so that single rows prove nothing.
    """

    image: str
    overlaps: np.ndarray
    scores: np.ndarray
    logits: np.ndarray
    unmatched: int
    cut: int
    tied: int
    rows: int
    unstable: bool = False

    @property
    def paired(self) -> float:
        """Share of the reference's rows that have a counterpart, or that rows of the same score may replace."""
        return (len(self.overlaps) + self.tied) / max(self.rows, 1)

    @property
    def median_overlap(self) -> float:
        """Median IoU of the pairs; 0 without any."""
        return float(np.median(self.overlaps)) if len(self.overlaps) else 0.0

    @property
    def median_logit(self) -> float:
        """Median difference of the pairs' logits; 0 without any."""
        return float(np.median(self.logits)) if len(self.logits) else 0.0


def compare_rows(
    reference: np.ndarray, found: np.ndarray, size: tuple[int, int], image: str = "", unstable: bool = False
) -> Agreement:
    """Pair the rows of one image so that the sum of differences is least.

    Args:
        reference: (K, 6) finite rows: cx, cy, w, h normalised, score, class; the best score first.
        found: (N, 6) finite rows.
        size: (height, width) of the network's input in pixels; boxes are taken to have sides of a pixel at least, as
            the IoU of smaller ones measures rounding.
        image: Its name.
        unstable: See `Agreement`.
    """
    overlaps = _overlaps(_corners(reference, size), _corners(found, size))
    first, second = _pair(reference, found, overlaps)
    paired = overlaps[first, second]
    alone = np.delete(reference, first, axis=0), np.delete(found, second, axis=0)
    cuts = _count_cut(alone[0], found), _count_cut(alone[1], reference)
    return Agreement(
        image=image,
        overlaps=paired,
        scores=np.abs(reference[first, 4] - found[second, 4]),
        logits=_logit_gaps(reference[first, 4], found[second, 4]),
        unmatched=len(alone[0]) + len(alone[1]) - sum(cuts),
        cut=sum(cuts),
        tied=_count_cut(alone[0], reference),
        rows=len(reference),
        unstable=unstable,
    )


def found_again(reference: np.ndarray, found: np.ndarray) -> tuple[int, int] | None:
    """Return how many confident rows (K, 6) of the reference are found again, and how many there are; None for none."""
    confident = reference[reference[:, 4] >= CONFIDENT]
    if not len(confident):
        return None
    unit = (1, 1)
    overlaps = _overlaps(_corners(confident, unit, 0.0), _corners(found, unit, 0.0))
    first, second = _pair(confident, found, overlaps)
    return int((overlaps[first, second] >= FOUND_AGAIN).sum()), len(confident)


def _pair(reference: np.ndarray, found: np.ndarray, overlaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of pairs of one class that overlap enough."""
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for category in np.unique(reference[:, 5]):
        first, second = np.flatnonzero(reference[:, 5] == category), np.flatnonzero(found[:, 5] == category)
        cost = 1 - overlaps[np.ix_(first, second)]
        cost += np.abs(reference[first, None, 4] - found[None, second, 4])
        rows, columns = linear_sum_assignment(cost)
        pairs.append(np.stack([first[rows], second[columns]]))
    joined = np.concatenate(pairs, axis=1)
    kept = joined[:, overlaps[joined[0], joined[1]] >= PAIRED]
    return kept[0], kept[1]


def _count_cut(alone: np.ndarray, other: np.ndarray) -> int:
    """Return how many rows may be missing from `other` because its last row has the same score."""
    if not len(alone) or not len(other):
        return 0
    last = other[:, 4].min()
    return int(((alone[:, 4] <= last) | (_logit_gaps(alone[:, 4], last) <= TIE)).sum())


def _corners(rows: np.ndarray, size: tuple[int, int], least: float = 1.0) -> np.ndarray:
    """Return (K, 4) float64 xyxy in pixels of the input, with sides of `least` pixels or more."""
    scale = np.array(size[::-1], dtype=np.float64)
    centre, half = rows[:, :2] * scale, np.maximum(rows[:, 2:4] * scale, least) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the IoU (K, N) of boxes with areas."""
    near = np.maximum(first[:, None, :2], second[None, :, :2])
    far = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = (far - near).clip(min=0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.asarray(both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-12))


def _logit_gaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return by how many logits scores differ at least, whatever their sigmoids rounded."""
    low = np.minimum(first, second).astype(np.float64) + ROUNDING / 2
    high = np.maximum(first, second).astype(np.float64) - ROUNDING / 2
    return np.asarray(np.maximum(_logit(high) - _logit(low), 0))


def _logit(scores: np.ndarray) -> np.ndarray:
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)))
