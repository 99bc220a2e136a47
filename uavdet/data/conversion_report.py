"""What a conversion did: the numbers of each split, what was left out and why, as a table and as plain values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uavdet.data.annotations import DropLog


@dataclass
class SplitCounts:
    """The numbers of one split.

    Attributes:
        images: Images, or tiles.
        objects: Objects in the label files and the JSON.
        ignored: Ignored objects, in the JSON alone.
        ignore_regions: Regions without a class, in the JSON alone.
        excluded: Objects of classes that are not detected, in the JSON's `excluded` alone.
        clipped: Objects that reach over the image's border; clipped in the label files, as annotated in the JSON.
        repeated: Objects whose label row stands there already; once in the label file, as annotated in the JSON.
        cut: Objects of which a tile shows too little; ignore regions of that tile.
        classes: Objects by class.
    """

    images: int = 0
    objects: int = 0
    ignored: int = 0
    ignore_regions: int = 0
    excluded: int = 0
    clipped: int = 0
    repeated: int = 0
    cut: int = 0
    classes: Counter[str] = field(default_factory=Counter)


_INFORMATION = {
    "clipped": "object that reaches over the border: clipped in the label file, as annotated in the JSON",
    "repeated": "object that stands twice: once in the label file, as annotated in the JSON",
    "ignored": "object that is not scored: ignored in training and in scores, kept in the JSON (iscrowd, ignore)",
    "excluded": "object of a class that is not detected: background, kept in the JSON apart (excluded)",
    "cut": "object of which a tile shows less than 70 %: an ignore region of that tile",
}


@dataclass
class ConversionReport:
    """What a conversion wrote.

    Attributes:
        format: The format's name.
        source: What was read.
        out: The folder that was written.
        data: The dataset YAML in it.
        names: Class names in the order of their ids.
        splits: Split to its numbers.
        drops: What was left out.
        notes: Sentences about the conversion.
    """

    format: str
    source: Path
    out: Path
    data: Path
    names: tuple[str, ...]
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    drops: DropLog = field(default_factory=DropLog)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        dropped = [
            {"split": split, "reason": reason, "count": count, "first": self.drops.places[split, reason]}
            for (split, reason), count in self.drops.counts.items()
        ]
        splits = {split: {**vars(counts), "classes": self._by_class(counts)} for split, counts in self.splits.items()}
        return {
            "format": self.format,
            "source": str(self.source),
            "out": str(self.out),
            "data": str(self.data),
            "names": list(self.names),
            "splits": splits,
            "dropped": dropped,
            "notes": self.notes,
        }

    def table(self) -> str:
        """Return the table for people: splits, classes, what was left out."""
        lines = [f"{self.format}: {self.source} -> {self.out}", "", *self._split_rows(), "", *self._class_rows()]
        remarks = [*self._drop_rows(), *self._information_rows(), *self.notes]
        return "\n".join([*lines, "", *remarks, f"Use it with data={self.data}."])

    def _by_class(self, counts: SplitCounts) -> dict[str, int]:
        return {name: counts.classes[name] for name in self.names}

    def _split_rows(self) -> list[str]:
        head = ["split", "images", "objects", "ignored", "ignore regions", "excluded", "left out"]
        rows = [
            [name, c.images, c.objects, c.ignored, c.ignore_regions, c.excluded, self._dropped_of(name)]
            for name, c in self.splits.items()
        ]
        return align_rows([head, *rows])

    def _dropped_of(self, split: str) -> int:
        return sum(count for (name, _), count in self.drops.counts.items() if name == split)

    def _class_rows(self) -> list[str]:
        rows = [[name, *(counts.classes[name] for counts in self.splits.values())] for name in self.names]
        return align_rows([["objects by class", *self.splits], *rows])

    def _drop_rows(self) -> list[str]:
        if not len(self.drops):
            return ["Nothing was left out."]
        return [
            f"Left out, {split}: {count:,} x {reason}; first: {self.drops.places[split, reason]}"
            for (split, reason), count in self.drops.counts.items()
        ]

    def _information_rows(self) -> list[str]:
        return [
            f"{split}: {getattr(counts, key):,} x {text}"
            for split, counts in self.splits.items()
            for key, text in _INFORMATION.items()
            if getattr(counts, key)
        ]


def align_rows(rows: list[list[Any]]) -> list[str]:
    """Return rows of a table as lines, the first column to the left, numbers to the right."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
