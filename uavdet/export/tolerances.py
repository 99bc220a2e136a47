"""How far an exported file may be from its checkpoint, by precision, and how far tensors are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Precision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True)
class RowTolerance:
    """What the rows of every image have to keep to, on images where rounding decides nothing.

    Attributes:
        overlap: Least IoU of a pair.
        score: Greatest difference of a pair's scores.
        median_overlap: Least median of an image's IoU. A fault moves all boxes a little, rounding none: the median sees
            faults that leave every single box within its tolerance.
        median_logit: Greatest median difference of the scores' logits.
    """

    overlap: float = 0.999
    score: float = 1e-3
    median_overlap: float = 0.9999
    median_logit: float = 3e-5


@dataclass(frozen=True)
class Tolerance:
    """What a file of a precision has to keep to.

    Attributes:
        ap: AP that may be lost, in points of 100.
        ap_small: AP of small objects that may be lost, in points; None where it is not looked at.
        rows: For each row, or None where rounding moves single rows and only their sum counts.
        confident: Share of the checkpoint's confident detections that have to be found again, where no AP can tell.
        scores: Greatest difference of the scores, both sorted, where no AP can tell.
    """

    ap: float
    ap_small: float | None
    rows: RowTolerance | None = None
    confident: float = 1.0
    scores: float = 1e-3


TOLERANCES: dict[str, Tolerance] = {
    "fp32": Tolerance(ap=0.1, ap_small=0.1, rows=RowTolerance()),
    "fp16": Tolerance(ap=0.3, ap_small=0.5, confident=0.98, scores=0.02),
    "bf16": Tolerance(ap=0.3, ap_small=0.5, confident=0.9, scores=0.05),
    "int8": Tolerance(ap=1.0, ap_small=None, confident=0.8, scores=0.1),
}
"""AP's are those that an export has to keep to by the project's promise; the others are set by measurement: good
float32 exports keep median IoU above 0.99998 and median logits below 5e-6."""


def relative_error(wanted: np.ndarray, given: np.ndarray, *, shuffled: bool = False) -> float:
    """Return the norm of the difference over the norm of what is wanted; infinite for numbers that are not finite.

    Args:
        wanted: Any shape; whole numbers are taken as they are.
        given: Of the same number of entries, or the error is infinite.
        shuffled: Compare the entries in rising order, as their own may differ without a fault.
    """
    first, second = (np.asarray(array, dtype=np.float64).reshape(-1) for array in (wanted, given))
    if len(first) != len(second):
        return float("inf")
    usual = np.isfinite(first)
    if not np.isfinite(second[usual]).all():
        return float("inf")
    first, second = (np.sort(part[usual]) if shuffled else part[usual] for part in (first, second))
    return float(np.linalg.norm(first - second) / max(float(np.linalg.norm(first)), 1e-12))
