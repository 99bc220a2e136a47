"""What a stream did: frames in, processed and dropped, and how long each step took."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STAGES = ("decode", "preprocess", "inference", "postprocess", "track", "age", "write")
"""Steps whose milliseconds frames carry; `age` is from decoding to publishing, which sinks' writing is behind."""

PERCENTILES = (50, 95, 99)

_RATIO = math.log(1.01)
_SHORTEST = 1e-3


class Durations:
    """Percentiles of any number of durations in bounded memory.

    A histogram whose bins grow by 1%, so that a percentile (nearest rank) is within 0.5% of the true one; durations
    below a microsecond count as one. A day is at most 2,520 bins.
    """

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self.count = 0
        self._total = 0.0
        self._least, self._most = math.inf, 0.0

    def add(self, milliseconds: float) -> None:
        """Count a duration."""
        bounded = max(milliseconds, _SHORTEST)
        self._bins[int(math.log(bounded / _SHORTEST) / _RATIO)] += 1
        self.count += 1
        self._total += bounded
        self._least, self._most = min(self._least, bounded), max(self._most, bounded)

    @property
    def mean(self) -> float:
        """The mean in milliseconds; NaN of none."""
        return self._total / self.count if self.count else math.nan

    def percentile(self, share: float) -> float:
        """Return the smallest duration that `share` percent do not exceed, in milliseconds; NaN of none."""
        rank, seen = math.ceil(share / 100 * self.count), 0
        for place in sorted(self._bins):
            seen += self._bins[place]
            if seen >= rank:
                middle = _SHORTEST * math.exp((place + 0.5) * _RATIO)
                return min(max(middle, self._least), self._most)
        return math.nan

    def summary(self) -> dict[str, float]:
        """Return p50, p95, p99 and the mean, in milliseconds."""
        rows = {f"p{share}": self.percentile(share) for share in PERCENTILES}
        return {key: round(value, 3) for key, value in (rows | {"mean": self.mean}).items()}


@dataclass
class SourceReport:
    """What became of the frames of one source.

    Attributes:
        name: The source.
        received: Frames that were decoded whole.
        processed: Frames that were published.
        dropped: Frames that were not, by the step that they did not reach.
        corrupt: Packets and frames that could not be decoded.
        reconnects: How often a lost connection was made again.
        stalls: How often nothing came for `stall_timeout`.
        error: Why it ended before its end, or None.
    """

    name: str
    received: int = 0
    processed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    corrupt: int = 0
    reconnects: int = 0
    stalls: int = 0
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        row: dict[str, Any] = {
            "source": self.name,
            "frames_in": self.received,
            "processed": self.processed,
            "dropped": self.dropped.total(),
            "dropped_before": dict(+self.dropped),
            "corrupt": self.corrupt,
            "reconnects": self.reconnects,
            "stalls": self.stalls,
        }
        return row | ({"error": self.error} if self.error else {})


@dataclass
class StreamReport:
    """What a stream did.

    Attributes:
        sources: One report a source.
        stages: Durations by step of the frames that were published; those of `STAGES` that were taken.
        seconds: From start to end.
    """

    sources: list[SourceReport]
    stages: dict[str, Durations] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def processed(self) -> int:
        """Frames that were published, of all sources."""
        return sum(source.processed for source in self.sources)

    @property
    def dropped(self) -> int:
        """Frames that were decoded and not published, of all sources."""
        return sum(source.dropped.total() for source in self.sources)

    def count(self, slot: int, timings: Mapping[str, float]) -> None:
        """Count a frame that was published."""
        self.sources[slot].processed += 1
        for stage, milliseconds in timings.items():
            self.stages.setdefault(stage, Durations()).add(milliseconds)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, durations in milliseconds."""
        rows = [source.as_dict() for source in self.sources]
        sums = ("frames_in", "processed", "dropped", "corrupt", "reconnects", "stalls")
        return {
            **{key: sum(row[key] for row in rows) for key in sums},
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.processed / self.seconds, 2) if self.seconds else None,
            "milliseconds": {stage: self.stages[stage].summary() for stage in self._measured()},
            "sources": rows,
        }

    def table(self) -> str:
        """Return the report as text for people."""
        lines = _count_lines(self.sources)
        if self._measured():
            lines += ["", f"{'milliseconds':14}" + "".join(f"{f'p{share}':>9}" for share in PERCENTILES)]
        for stage in self._measured():
            durations = self.stages[stage]
            lines.append(f"{stage:14}" + "".join(f"{durations.percentile(share):9.1f}" for share in PERCENTILES))
        if self.seconds and self.processed:
            lines += ["", f"{self.processed / self.seconds:.1f} frames a second over {self.seconds:.1f} s"]
        return "\n".join(lines)

    def _measured(self) -> list[str]:
        """Return the steps that have durations, in their order; steps of others' making stand behind."""
        return [*(stage for stage in STAGES if stage in self.stages), *sorted(self.stages.keys() - set(STAGES))]


def _count_lines(sources: Sequence[SourceReport]) -> list[str]:
    """Return the table of frames: a row a source, and their sum where there are several."""
    columns = ("frames_in", "processed", "dropped", "corrupt", "reconnects")
    rows = [source.as_dict() for source in sources]
    if len(rows) > 1:
        rows.append({"source": "all", **{key: sum(row[key] for row in rows) for key in columns}})
    width = min(max([len(row["source"]) for row in rows], default=6), 48)
    lines = [f"{'':{width}}" + "".join(f"{name.replace('_', ' '):>11}" for name in columns)]
    for row in rows:
        lines.append(f"{row['source'][-width:]:{width}}" + "".join(f"{row[key]:11}" for key in columns))
        if row.get("error"):
            lines.append(f"  {row['error']}")
    return lines
