"""The diagnosis of a dataset as text: tables, what is wrong, and advice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from uavdet.data.doctor.advice import Advice
from uavdet.data.doctor.findings import Finding, count_kinds

if TYPE_CHECKING:
    from uavdet.data.doctor.diagnosis import Diagnosis

_SHOWN_PLACES = 3
_SHOWN_CLASSES = 20
_SHOWN_SIZES = 3


def write_report(diagnosis: Diagnosis) -> str:
    """Return the tables of a diagnosis, its findings by kind and its advice."""
    height, width = diagnosis.settings.imgsz
    queries = diagnosis.settings.queries
    title = (
        f"{diagnosis.config.yaml_file}: {diagnosis.config.nc} classes, looked at for an input of {width}x{height} "
        f"and {'a model without queries' if queries is None else f'{queries} queries'}"
    )
    parts = [
        [title],
        _table(_IMAGE_HEAD, [_image_row(*item) for item in diagnosis.statistics.items()]),
        _table(_COUNT_HEAD, [_count_row(*item) for item in diagnosis.statistics.items()]),
        _table(_SIZE_HEAD, [row for item in diagnosis.statistics.items() for row in _size_rows(*item)]),
        _class_table(diagnosis),
        [*_describe_pictures(diagnosis), *_describe_ignore(diagnosis), *_describe_duplicates(diagnosis)],
        list_findings(diagnosis.findings),
        list_advice(diagnosis.advice),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


_IMAGE_HEAD = ("split", "images", "unreadable", "no label file", "no box", "EXIF rotated", ">8 bit", "grey", "sizes")
_COUNT_HEAD = ("split", "objects", "an image: p50", "p95", "p99", "max", "at the border", "longer than 3:1")
_SIZE_HEAD = (
    "box sizes", "side p5", "p50", "p95", "COCO small", "medium", "large",
    "AI-TOD very tiny", "tiny", "small", "medium",
)  # fmt: skip


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    """Return lines of columns, the first to the left, the others to the right."""
    cells = [head, *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _image_row(name: str, split: dict[str, Any]) -> tuple[Any, ...]:
    sizes = list(split["sizes"])
    shown = " ".join(sizes[:_SHOWN_SIZES]) + (f" and {len(sizes) - _SHOWN_SIZES} more" if sizes[_SHOWN_SIZES:] else "")
    return (
        name,
        split["images"],
        split["unreadable"],
        split["without_label_file"],
        split["without_box"],
        split["rotated_by_exif"],
        split["more_than_8_bits"],
        split["modes"].get("grey", 0) + split["grey_in_colour"],
        shown or "-",
    )


def _count_row(name: str, split: dict[str, Any]) -> tuple[Any, ...]:
    counts = split["objects_per_image"]
    numbers = [f"{counts[key]:g}" if counts else "-" for key in ("p50", "p95", "p99", "max")]
    return (name, split["objects"], *numbers, split["touching_border"], split["elongated"])


def _size_rows(name: str, split: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows = []
    for key, title in (("original", "original pixels"), ("network", "at the input")):
        sides = split[key]["side"]
        numbers = [f"{sides[p]:.1f}" if sides else "-" for p in ("p5", "p50", "p95")]
        rows.append((f"{name}, {title}", *numbers, *split[key]["coco"].values(), *split[key]["aitod"].values()))
    return rows


def _class_table(diagnosis: Diagnosis) -> list[str]:
    names = [name for name, split in diagnosis.statistics.items() if split["images"]]
    if not names:
        return []
    classes = {
        label: [diagnosis.statistics[name]["classes"][label] for name in names]
        for label in diagnosis.config.names.values()
    }
    ordered = sorted(classes.items(), key=lambda item: -sum(entry["objects"] for entry in item[1]))
    head = ("class", *(f"{name} {column}" for name in names for column in ("objects", "images")))
    rows = [
        (label, *(entry[column] for entry in entries for column in ("objects", "images")))
        for label, entries in ordered[:_SHOWN_CLASSES]
    ]
    hidden = ordered[_SHOWN_CLASSES:]
    return [*_table(head, rows), *([f"and {len(hidden)} classes with fewer objects"] if hidden else [])]


def _describe_pictures(diagnosis: Diagnosis) -> list[str]:
    lines = []
    for name, split in diagnosis.statistics.items():
        odd = {mode: count for mode, count in split["modes"].items() if mode in {"alpha", "palette", "cmyk"}}
        if odd:
            listed = ", ".join(f"{count} {mode}" for mode, count in odd.items())
            lines.append(f"{name}: {listed} images; training reads them as three colours without transparency.")
        if split["rotated_by_exif"]:
            lines.append(
                f"{name}: {split['rotated_by_exif']} images are rotated or mirrored by EXIF; uavdet rotates them "
                "first, and reads labels as those of the upright image."
            )
    return lines


def _describe_ignore(diagnosis: Diagnosis) -> list[str]:
    return [
        f"{name}: {split.ignore.regions} ignore regions in {split.ignore.images} images, "
        f"{split.ignore.area_share:.2%} of all pixels."
        for name, split in diagnosis.splits.items()
        if split.ignore is not None and split.ignore.regions
    ]


def _describe_duplicates(diagnosis: Diagnosis) -> list[str]:
    found = diagnosis.duplicates
    copies = sum(len(group) - 1 for group in found.identical)
    lines = [f"{copies} files are copies of another, byte for byte."] if copies else []
    for (first, second), count in sorted(found.counts.items(), key=lambda item: item[0][0] == item[0][1]):
        place = f"within {first}" if first == second else f"between {first} and {second}"
        lines.append(f"{count:,} pairs of near-duplicates {place}.")
    sizes = {name: len(split.images) for name, split in diagnosis.splits.items()}
    lines += [
        f"{count} of {sizes[split]} {split} images have an identical or near-duplicate image in {other}."
        for (split, other), count in found.partners.items()
        if other == "train"
    ]
    return lines


def list_findings(findings: Iterable[Finding]) -> list[str]:
    """Return what is wrong, by kind, with the first places of each."""
    findings = list(findings)
    lines = []
    for stops, title in ((True, "What stops training or scoring:"), (False, "What it survives:")):
        chosen = [finding for finding in findings if finding.stops == stops]
        lines += [title] if chosen else []
        for kind, count in count_kinds(chosen).items():
            lines.append(f"  {kind}: {count:,}")
            same = [finding for finding in chosen if finding.kind == kind]
            lines += [f"    {finding.split}: {finding}" for finding in same[:_SHOWN_PLACES]]
            lines += ["    ..."] if count > _SHOWN_PLACES else []
    return lines or ["No problem was found."]


def list_advice(advice: Iterable[Advice]) -> list[str]:
    """Return advice as lines; where nothing is to be done, the first says so."""
    advice = list(advice)
    changes = [f"  {entry}" for entry in advice if entry.change]
    kept = [f"  {entry}" for entry in advice if not entry.change]
    lines = ["Advice:", *changes] if changes else ["Advice: nothing to change."]
    return [*lines, *kept]
