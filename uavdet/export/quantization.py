"""How a file is quantized: which rows, for what runtime, by which statistics.

The rows to keep in float are given (`int8_exclude`), or chosen: at first every row is quantized; while the parity gate
rejects the file, the rows that cost most stay float, so many that at least half of the remaining error goes (errors of
rows are taken to be independent, so that their squares add up), and the file is written again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from uavdet.errors import UsageError, suggest_name
from uavdet.export.quantize import Statistics, quantize_graph
from uavdet.export.sensitivity import RowCost


@dataclass(frozen=True)
class Quantization:
    """What is quantized, and how.

    Attributes:
        target: "tensorrt" or "cpu"; see `quantize`.
        rows: Names of the convolutions that can be quantized, by row of the network.
        statistics: Statistics of the tensors around them.
        costs: What every row costs, the highest first.
        kept: Rows that stay float.
        automatic: Whether `kept` may grow until the file passes its gate.
        source: Where the images come from, for people.
    """

    target: str
    rows: Mapping[str, tuple[str, ...]]
    statistics: Statistics
    costs: tuple[RowCost, ...]
    kept: tuple[str, ...] = ()
    automatic: bool = True
    source: str = ""

    @property
    def convolutions(self) -> list[str]:
        """Names of the convolutions that are quantized."""
        return [name for row, names in self.rows.items() if row not in self.kept for name in names]

    def apply(self, graph: Any) -> Any:
        """Return the quantized form of an ONNX model in float32."""
        return quantize_graph(graph, self.convolutions, self.statistics, self.target)

    def keep_more(self) -> Quantization | None:
        """Return a quantization that keeps more rows in float; None where nothing sensible is left to try."""
        left = [cost for cost in self.costs if cost.row not in self.kept]
        if not self.automatic or len(left) < 2:
            return None
        goal = sum(cost.error**2 for cost in left) / 2
        more: list[str] = []
        for cost in left:
            more.append(cost.row)
            goal -= cost.error**2
            if goal <= 0:
                break
        return replace(self, kept=(*self.kept, *more)) if len(more) < len(left) else None

    def as_dict(self) -> dict[str, Any]:
        """Return what metadata hold: the target, the images, and the table of rows."""
        rows = [
            {
                "row": cost.row,
                "convolutions": cost.convolutions,
                "error": round(cost.error, 5),
                "int8": cost.row not in self.kept,
            }
            for cost in self.costs
        ]
        return {"target": self.target, "calibration": self.source, "rows": rows}


def check_rows(kept: Collection[str], rows: Collection[str]) -> None:
    """Refuse rows that hold nothing to quantize.

    Args:
        kept: Names of `int8_exclude`.
        rows: Names of the rows that can be quantized.

    Raises:
        UsageError: One of them cannot be, or nothing would be left.
    """
    for name in kept:
        if name not in rows:
            raise UsageError(
                f"int8_exclude={name} is no row with convolutions that are quantized.{suggest_name(name, rows)} "
                f"Rows: {', '.join(rows)}."
            )
    if len(set(kept)) == len(rows):
        raise UsageError(
            "int8_exclude leaves nothing to quantize. Name fewer rows, or leave int8 out to export in single precision."
        )
