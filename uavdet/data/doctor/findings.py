"""What is wrong with a dataset, one finding a place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd.

    Attributes:
        split: The split that it was found in, or "" for the dataset as a whole.
        kind: What it is, in a few words; findings are counted by it.
        place: File, and line where there is one.
        text: What is wrong with the place.
        stops: Whether training or scoring refuses the dataset for it.
    """

    split: str
    kind: str
    place: str
    text: str
    stops: bool = True

    def __str__(self) -> str:
        return f"{self.place} {self.text}".strip()

    def as_dict(self) -> dict[str, str | bool]:
        """Return the finding as plain data."""
        return {"split": self.split, "kind": self.kind, "place": self.place, "text": self.text, "stops": self.stops}


def count_kinds(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many findings there are of each kind, the most frequent first."""
    return dict(Counter(finding.kind for finding in findings).most_common())
