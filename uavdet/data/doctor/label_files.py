"""Reads YOLO label files and names every bad row, where training stops at the first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uavdet.data.labels import label_file, parse_label_rows

_NOT_LABELS = frozenset({"classes.txt", "notes.txt", "readme.txt", "license.txt", "obj.names.txt"})
"""Text files that annotation tools leave beside label files."""
CLIPPED = 0.01
"""Share of the image's side by which a box must reach over its edge to be mentioned: less is a converter's rounding."""


@dataclass(slots=True)
class LabelFacts:
    """What is known of the label file of one image.

    Attributes:
        file: The label file.
        found: Whether it exists.
        rows: (N, 5) float32: class, cx, cy, w, h, normalised and clipped to the image; the usable rows, each once.
        problems: (line, kind, text) of every row that training refuses; line 0 is the file as a whole.
        repeats: (line, earlier line) of rows that stand twice.
        clipped: Lines whose box reaches over the edge of the image by more than 1 % of its side.
    """

    file: Path
    found: bool = True
    rows: np.ndarray = field(default_factory=lambda: np.zeros((0, 5), np.float32))
    problems: list[tuple[int, str, str]] = field(default_factory=list)
    repeats: list[tuple[int, int]] = field(default_factory=list)
    clipped: list[int] = field(default_factory=list)


def examine_labels(image: Path, nc: int) -> LabelFacts:
    """Read the label file of an image.

    Args:
        image: The image file.
        nc: Number of classes.
    """
    facts = LabelFacts(label_file(image))
    try:
        text = facts.file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        facts.found = False
        return facts
    except UnicodeDecodeError as error:
        facts.problems.append((0, "unreadable label file", f"is no UTF-8 text (byte {error.start})"))
        return facts
    except OSError as error:
        facts.problems.append((0, "unreadable label file", f"cannot be read ({type(error).__name__})"))
        return facts
    try:
        facts.rows, repeated = parse_label_rows(text, nc)
    except ValueError:
        repeated = 1
    if repeated:
        _read_line_by_line(facts, text, nc)
    facts.clipped = _clipped_lines(text)
    return facts


def _read_line_by_line(facts: LabelFacts, text: str, nc: int) -> None:
    first_line: dict[tuple[float, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            rows, _ = parse_label_rows(line, nc)
        except ValueError as error:
            facts.problems.append((number, _kind(line, nc), str(error).removeprefix("line 1: ")))
            continue
        for row in map(tuple, rows.tolist()):
            if row in first_line:
                facts.repeats.append((number, first_line[row]))
            else:
                first_line[row] = number
    facts.rows = np.array(list(first_line), dtype=np.float32).reshape(-1, 5)


def _kind(line: str, nc: int) -> str:
    """Return what is wrong with a refused row, in a few words."""
    try:
        values = np.array([float(value) for value in line.split()])
    except ValueError:
        return "malformed row"
    if (len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0)) or not np.isfinite(values).all():
        return "malformed row"
    if values[0] not in range(nc):
        return "unknown class"
    if len(values) == 5 and values[3:].min() <= 0:
        return "inverted or empty box"
    return "box outside the image"


def _clipped_lines(text: str) -> list[int]:
    numbered = [(n, line.split()) for n, line in enumerate(text.splitlines(), start=1)]
    numbered = [(n, fields) for n, fields in numbered if len(fields) == 5]
    try:
        boxes = np.array([fields[1:] for _, fields in numbered], dtype=np.float64).reshape(-1, 4)
    except ValueError:
        return []  # such a file has problems that are reported anyway
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    inside_rules = (boxes >= -CLIPPED).all(1) & (boxes <= 1 + CLIPPED).all(1)
    over = ((low < -CLIPPED) | (high > 1 + CLIPPED)).any(1) & inside_rules
    return [numbered[index][0] for index in np.flatnonzero(over)]


def find_orphans(images: Iterable[Path], known: set[Path]) -> list[Path]:
    """Return the label files in the folders of these images' label files that belong to no image.

    Folders that hold images as well are left out: text files there may be lists of images.

    Args:
        images: The images of a split.
        known: The label files of the images of all splits, and other text files that are none.
    """
    folders = {label_file(image).parent for image in images}
    beside = {image.parent for image in images} & folders
    found = [path for folder in folders - beside if folder.is_dir() for path in folder.glob("*.txt")]
    return sorted(path for path in found if path not in known and path.name.lower() not in _NOT_LABELS)
