"""Writes a dataset as `train` and `val` take it: images, YOLO label files, a COCO JSON a split, a dataset YAML.

images/<split>/<name>                  linked, copied, or cut out of a larger image
labels/<split>/<name>.txt              class cx cy w h, of the objects that are learned and scored; clipped
annotations/instances_<split>.json     everything, in original pixels, as annotated
data.yaml
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from uavdet.data.annotations import AnnotatedImage, Annotation, Box, DropLog
from uavdet.data.config import SPLITS
from uavdet.data.conversion_report import SplitCounts
from uavdet.data.image_files import ImageWriter
from uavdet.data.labels import label_file
from uavdet.data.tiling import CutObject
from uavdet.errors import DataError
from uavdet.json_output import as_plain

UNANNOTATED_SPLIT = "test-challenge"
_NO_STAND_INS: Mapping[str, str] = {}
_LEAST_SIDE = 1e-3  # pixels; less would be 0 in a label file's 8 decimals of a large image


def usable_boxes(images: Iterable[AnnotatedImage], split: str, drops: DropLog) -> Iterator[AnnotatedImage]:
    """Yield images without the boxes that are none: not finite, without area, or outside of the image."""
    for image in images:
        image.objects = _usable(image.objects, image.size, split, drops, "box")
        image.excluded = _usable(image.excluded, image.size, split, drops, "excluded box")
        image.ignore_regions = _usable(image.ignore_regions, image.size, split, drops, "ignore region")
        yield image


def _usable(entries: list[Any], size: tuple[int, int], split: str, drops: DropLog, kind: str) -> list[Any]:
    kept: list[Any] = []
    for entry in entries:
        problem = _box_problem(entry.box, size)
        if problem:
            drops.add(split, f"{kind} {problem}", entry.origin)
        else:
            kept.append(entry)
    return kept


def _box_problem(box: Box, size: tuple[int, int]) -> str:
    left, top, width, height = box
    if not abs(left) + abs(top) + abs(width) + abs(height) < float("inf"):  # false for NaN, too
        return "with a value that is not finite"
    if width <= 0 or height <= 0:
        return "without area"
    inside = clip_box(box, size)
    return "outside of the image" if min(inside[2:]) < _LEAST_SIDE else ""


def clip_box(box: Box, size: tuple[int, int]) -> Box:
    """Return the part of a box (left, top, width, height) that lies inside an image of (width, height)."""
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], float(size[0])), min(box[1] + box[3], float(size[1]))
    return left, top, right - left, bottom - top


class DatasetWriter:
    """Writes converted splits into a folder.

    Attributes:
        folder: The dataset's folder.
        names: Class names in the order of their ids.
        images: Places the image files.
        sources: Split to the files that its images come from.
    """

    def __init__(self, folder: Path, names: tuple[str, ...], link: bool) -> None:
        self.folder = folder
        self.names = names
        self.images = ImageWriter(link)
        self.sources: dict[str, set[Path]] = {}
        self._ids = {name: index for index, name in enumerate(names)}

    def write_split(self, split: str, images: Iterable[AnnotatedImage]) -> SplitCounts:
        """Write a split, boxes of which have area inside of their images.

        Raises:
            DataError: There are no images, two would have one name, or an image cannot be read or written.
        """
        counts, lines = SplitCounts(), _JsonLines(self.names)
        taken: dict[Path, str] = {}
        for image in images:
            target = self.folder / "images" / split / _safe_name(image)
            label = label_file(target)
            if label in taken:
                raise DataError(
                    f"{image.file} and {taken[label]} would both become {label.relative_to(self.folder)}. "
                    "Names in a split differ, apart from their suffix. Rename one of the two."
                )
            taken[label] = str(image.file)
            self.sources.setdefault(split, set()).add(image.file)
            self.images.write(image, target)
            counts.images += 1
            if split != UNANNOTATED_SPLIT:
                label.parent.mkdir(parents=True, exist_ok=True)
                self._write_label(label, self._label_text(image, counts))
                lines.add(image, self._ids)
                _count(image, counts)
        if not counts.images:
            raise DataError(f"The split '{split}' has no images. Add them, or remove its folder.")
        if split != UNANNOTATED_SPLIT:
            lines.write(self.folder / "annotations" / f"instances_{split}.json")
        return counts

    def _write_label(self, label: Path, text: str) -> None:
        try:
            with label.open("x", encoding="utf-8") as stream:
                stream.write(text)
        except FileExistsError:
            raise DataError(
                f"{label.relative_to(self.folder)} is there already: this file system takes two names for one, which "
                "mostly differ in capital letters alone. Rename one of the two images, or write elsewhere: out=DIR."
            ) from None

    def _label_text(self, image: AnnotatedImage, counts: SplitCounts) -> str:
        rows: dict[str, None] = {}
        for entry in image.objects:
            if entry.ignored:
                continue
            inside = clip_box(entry.box, image.size)
            row = f"{self._ids[entry.category]} {_normalised(inside, image.size)}\n"
            counts.clipped += _reaches_over(entry.box, image.size)
            counts.repeated += row in rows
            rows[row] = None
        return "".join(rows)


def write_data_yaml(
    folder: Path,
    names: Iterable[str],
    splits: Iterable[str],
    comments: Iterable[str],
    stand_ins: Mapping[str, str] = _NO_STAND_INS,
) -> Path:
    """Write the dataset YAML of a folder and return it; paths are relative to it, so that the folder can be moved.

    Args:
        folder: The dataset's folder.
        names: Class names in the order of their ids.
        splits: Its splits; those that `train` and `val` do not know are left out.
        comments: Lines for the head of the file.
        stand_ins: Split that may be missing to the one that stands for it.
    """
    given = set(splits)
    sources = {split: split if split in given else stand_ins.get(split) for split in SPLITS}
    known = {split: source for split, source in sources.items() if source in given}
    content = {
        **{split: f"images/{source}" for split, source in known.items()},
        "annotations": {split: f"annotations/instances_{source}.json" for split, source in known.items()},
        "names": dict(enumerate(names)),
    }
    file = folder / "data.yaml"
    head = "".join(f"# {line}\n" for line in comments)
    file.write_text(head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def _reaches_over(box: Box, size: tuple[int, int]) -> bool:
    """Return whether a box lies outside of the image in part, by more than rounding."""
    beyond = max(-box[0], -box[1], box[0] + box[2] - size[0], box[1] + box[3] - size[1])
    return beyond > _LEAST_SIDE


def _normalised(box: Box, size: tuple[int, int]) -> str:
    left, top, width, height = box
    values = ((left + width / 2) / size[0], (top + height / 2) / size[1], width / size[0], height / size[1])
    return " ".join(f"{value:.8f}" for value in values)


def _safe_name(image: AnnotatedImage) -> PurePosixPath:
    name = PurePosixPath(image.name)
    if name.is_absolute() or ".." in name.parts or not name.name or "\\" in image.name:
        raise DataError(
            f"{image.file}: the name '{image.name}' leads out of its split. Names are relative. Correct it."
        )
    return name


def _count(image: AnnotatedImage, counts: SplitCounts) -> None:
    scored = [entry for entry in image.objects if not entry.ignored]
    counts.objects += len(scored)
    counts.ignored += len(image.objects) - len(scored)
    counts.ignore_regions += len(image.ignore_regions)
    counts.excluded += len(image.excluded)
    counts.cut += sum(isinstance(region, CutObject) for region in image.ignore_regions)
    counts.classes.update(entry.category for entry in scored)


class _JsonLines:
    """The COCO JSON of a split, kept as text: a million annotations as dicts would need gigabytes."""

    def __init__(self, names: Iterable[str]) -> None:
        categories = [{"id": index, "name": name} for index, name in enumerate(names, start=1)]
        self._sections: dict[str, list[str]] = {
            "images": [], "annotations": [], "categories": [_encode(entry) for entry in categories],
            "ignore_regions": [], "excluded": [],
        }  # fmt: skip

    def add(self, image: AnnotatedImage, class_ids: Mapping[str, int]) -> None:
        """Add an image and everything in it."""
        image_id = len(self._sections["images"]) + 1
        width, height = image.size
        entry = {"id": image_id, "file_name": image.name, "width": width, "height": height}
        self._append("images", entry, image.flags)
        for annotation in image.objects:
            number = len(self._sections["annotations"]) + 1
            category = class_ids[annotation.category] + 1
            entry = {"id": number, "image_id": image_id, "category_id": category, **_describe(annotation)}
            self._append("annotations", entry, annotation.flags)
        for region in image.ignore_regions:
            entry = {"image_id": image_id, "bbox": list(region.box), "name": region.name}
            self._append("ignore_regions", entry, region.flags)
        for other in image.excluded:
            entry = {"image_id": image_id, "name": other.category, **_describe(other)}
            self._append("excluded", entry, other.flags)

    def write(self, file: Path) -> None:
        """Write the JSON, an entry a line."""
        file.parent.mkdir(parents=True, exist_ok=True)
        info = _encode({"description": "Converted by uavdet: boxes in original pixels, as annotated"})
        with file.open("w", encoding="utf-8") as stream:
            stream.write(f'{{"info": {info}')
            for name, lines in self._sections.items():
                stream.write(f',\n"{name}": [')
                stream.write(",".join(f"\n{line}" for line in lines))
                stream.write("]")
            stream.write("}\n")

    def _append(self, section: str, entry: dict[str, Any], flags: Mapping[str, Any]) -> None:
        self._sections[section].append(_encode({**flags, **entry}))


def _describe(annotation: Annotation) -> dict[str, Any]:
    _, _, width, height = annotation.box
    area = width * height if annotation.area is None else annotation.area
    entry: dict[str, Any] = {"bbox": list(annotation.box), "area": area, "iscrowd": int(annotation.ignored)}
    if annotation.ignored:
        entry["ignore"] = 1
    if annotation.track_id is not None:
        entry["track_id"] = annotation.track_id
    return entry


def _encode(entry: Mapping[str, Any]) -> str:
    try:
        return json.dumps(entry, allow_nan=False)
    except (TypeError, ValueError):  # a flag of NumPy's, or one that is not finite
        return json.dumps(as_plain(entry), allow_nan=False)
