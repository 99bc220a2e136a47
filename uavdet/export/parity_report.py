"""What a comparison of an exported file with its checkpoint came to, for people and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from uavdet.export.divergence import Divergence
from uavdet.export.tolerances import Tolerance


@dataclass(frozen=True)
class Precisions:
    """AP in [0, 1] of the checkpoint and of the file on the same images; NaN where there is no object to score."""

    checkpoint: float
    exported: float

    @property
    def lost(self) -> float:
        """Points of 100 that the file loses; NaN where either is."""
        return 100 * (self.checkpoint - self.exported)


@dataclass(frozen=True)
class RowFigures:
    """How well the rows agree, over all images; those of pairs over images where rounding decides nothing.

    Attributes:
        rows: Rows of the checkpoint that were compared.
        unmatched: Rows of either without a counterpart.
        cut: Rows of either that tie at the other's last one, where any of them may stand.
        unstable: Images in which rounding decides which queries are chosen.
        worst_iou: Least IoU of a pair.
        worst_score_difference: Greatest difference of a pair's scores.
        worst_image: The image of the least IoU.
        median_iou: Least median IoU of an image.
        median_logit_difference: Greatest median difference of an image's scores, in logits.
        paired: Least share of an image's rows that have a counterpart, or whose place rows of one score may take.
        score_difference: Greatest difference of an image's scores, both sorted.
        confident: Share of the checkpoint's confident rows that were found again; None where it has none.
    """

    rows: int
    unmatched: int
    cut: int
    unstable: int
    worst_iou: float
    worst_score_difference: float
    worst_image: str
    median_iou: float
    median_logit_difference: float
    paired: float
    score_difference: float
    confident: float | None


@dataclass(frozen=True)
class ParityReport:
    """The outcome.

    Attributes:
        file: The exported file.
        precision: Its precision.
        output: Layout of its outputs.
        tolerance: What it had to keep to.
        failures: What it did not keep to, a line each; none where it passed.
        source: Where the images come from.
        images: Their number.
        batches: Numbers of images a run.
        figures: How rows agree, or None where the file did not run.
        ap: AP of both, or None where nothing is annotated.
        ap_small: AP of small objects of both, likewise.
        divergence: The first node that computes something else, or None where none was looked for or found.
        seconds: Wall-clock time.
    """

    file: str
    precision: str
    output: str
    tolerance: Tolerance
    failures: tuple[str, ...] = ()
    source: str = ""
    images: int = 0
    batches: tuple[int, ...] = ()
    figures: RowFigures | None = None
    ap: Precisions | None = None
    ap_small: Precisions | None = None
    divergence: Divergence | None = field(default=None)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the file agrees with its checkpoint."""
        return not self.failures

    @property
    def reason(self) -> str:
        """Why the file failed, in one line; empty where it passed."""
        if self.passed:
            return ""
        more = f" (and {len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
        where = f"; {self.divergence.line()}" if self.divergence is not None else ""
        return f"{self.failures[0]}{more}{where}"

    def summary(self) -> str:
        """Return the outcome in one line."""
        if not self.passed:
            return f"parity: failed. {self.reason}."
        if self.figures is None:
            return "parity: passed."
        parts = [f"{self.figures.rows} detections of {self.images} images ({self.source})"]
        parts.append(f"worst IoU {self.figures.worst_iou:.5f}")
        parts.append(f"worst score difference {self.figures.worst_score_difference:.1e}")
        if self.ap is not None and math.isfinite(self.ap.lost):
            parts.append(f"AP {100 * self.ap.exported:.2f} after {100 * self.ap.checkpoint:.2f}")
        return f"parity: passed. {', '.join(parts)}."

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, ready for JSON; numbers that are not finite become None."""
        values: dict[str, Any] = _plain(asdict(self))
        return {"passed": self.passed, "reason": self.reason, **values}

    def write(self, path: str | Path) -> Path:
        """Write the report as JSON and return its path."""
        path = Path(path)
        path.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
        return path


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
