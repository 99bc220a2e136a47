"""Plain YOLO: label files beside the images, class names in a dataset YAML.

The source is the YAML, or a folder that holds one, or a folder with images/, labels/ and classes.txt. Boxes become
pixels of the image as they stand, also beyond its border, in the precision of the label files. A row with a polygon
gives its box; the points, in pixels, are the flag `polygon`. An image without a label file is background.

Label files know no ignore regions. Where the YAML names a COCO JSON that has some, they are counted as left out;
format=coco reads the JSON itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from uavdet.data.annotations import AnnotatedImage, Annotation, Box
from uavdet.data.config import SPLITS, DataConfig, load_data_config
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.coco_json import CocoJson, is_ignored
from uavdet.data.formats.folders import image_size, wrong_layout
from uavdet.data.formats.text_lines import read_lines
from uavdet.data.labels import label_file, list_images, parse_label_row, read_number
from uavdet.errors import DataError

_BOX_FIELDS = 5  # of a row without a polygon


class Yolo(DatasetFormat):
    """Any dataset in YOLO's form."""

    name = "yolo"
    title = "YOLO"
    layout = (
        "data.yaml (or another YAML, or the YAML itself as source=) with train:, val: and names:",
        "classes.txt, images/{train,val,test} and labels/{train,val,test}",
        "classes.txt, images/ and labels/",
    )

    def splits(self) -> list[str]:
        """Return the splits that the YAML names, or whose folders are there."""
        return [split for split in SPLITS if split in self._data.images]

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the YAML, or the lines of classes.txt."""
        return tuple(self._data.names.values())

    def read_folders(self) -> list[Path]:
        """Return the folders of the images and of their label files."""
        folders = [place for places in self._data.images.values() for place in places if place.is_dir()]
        return [*folders, *(label_file(folder / "any.jpg").parent for folder in folders)]

    def notes(self) -> list[str]:
        """Say how many images have no label file, and that there are annotations in another form."""
        counts = self._unlabelled.items()
        notes = [f"{split}: {count:,} x image without a label file: background." for split, count in counts]
        if self._data.annotations:
            notes.append("The YAML names COCO JSONs, which keep more than label files do; format=coco reads them.")
        return notes

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split; what label files have too much, and what they cannot have, is counted."""
        places = self._data.require(split)
        images = list_images(places)
        for image in images:
            size, file = image_size(image), label_file(image)
            objects = self._read_objects(file, size, split) if file.is_file() else []
            if not file.is_file():
                self._unlabelled[split] += 1
            yield AnnotatedImage(image, _name_below(image, places), size, objects)
        self._count_lonely_labels(split, images)
        if split in self._data.annotations:
            self._count_ignored(split, self._data.annotations[split])

    @cached_property
    def _unlabelled(self) -> Counter[str]:
        return Counter()

    @cached_property
    def _data(self) -> DataConfig:
        if self.source.is_file():
            return load_data_config(self.source)
        yamls = sorted({*self.source.glob("*.yaml"), *self.source.glob("*.yml")})
        yamls = [file for file in yamls if file.name in {"data.yaml", "data.yml"}] or yamls
        if len(yamls) > 1:
            names = ", ".join(file.name for file in yamls)
            raise DataError(f"{self.source} has the YAMLs {names}. Give one of them: source={yamls[0]}.")
        return load_data_config(yamls[0]) if yamls else self._from_folders()

    def _from_folders(self) -> DataConfig:
        """Describe a folder without a YAML."""
        classes = next(
            (self.source / n for n in ("classes.txt", "labels/classes.txt") if (self.source / n).is_file()), None
        )
        pictures = self.source / "images"
        if not pictures.is_dir() or classes is None:
            raise wrong_layout(self)
        names = _read_classes(classes)
        splits = {split: [pictures / split] for split in SPLITS if (pictures / split).is_dir()}
        return DataConfig(classes, self.source, splits or {"val": [pictures]}, {}, names)

    def _read_objects(self, file: Path, size: tuple[int, int], split: str) -> list[Annotation]:
        """Return the objects of a label file; a row that stands twice is one object."""
        objects: dict[tuple[float, ...], Annotation] = {}
        for number, line in enumerate(read_lines(file), start=1):
            if not line.strip():
                continue
            place, fields = f"{file} line {number}", line.split()
            try:
                category, corners = parse_label_row(fields, self._data.nc)
            except ValueError as error:
                raise DataError(f"{place}: {error}. Correct the file, or take the image out of the dataset.") from None
            box = _pixel_box(corners, size)
            if (key := (category, *box)) in objects:
                self.drops.add(split, "label row that stands twice", place)
                continue
            flags = {"polygon": _pixel_points(fields[1:], size)} if len(fields) > _BOX_FIELDS else {}
            objects[key] = Annotation(box, self._data.names[category], flags=flags, origin=place)
        return list(objects.values())

    def _count_ignored(self, split: str, file: Path) -> None:
        data = CocoJson(file)
        entries = {"ignore_regions": data.regions, "annotations": data.annotations}
        for section, by_image in entries.items():
            for index, entry in (pair for pairs in by_image.values() for pair in pairs):
                if section == "ignore_regions" or is_ignored(entry):
                    self.drops.add(split, "ignored region of the COCO JSON", f"{file} {section}[{index}]")

    def _count_lonely_labels(self, split: str, images: list[Path]) -> None:
        expected = {label_file(image) for image in images}
        for folder in sorted({file.parent for file in expected}):
            for file in sorted(set(folder.glob("*.txt")) - expected):
                if file.name != "classes.txt":
                    self.drops.add(split, "label file without an image", str(file))


def _read_classes(file: Path) -> dict[int, str]:
    """Return the names of a classes.txt by their ids, which are line numbers from 0."""
    lines = [line.strip() for line in read_lines(file)]
    while lines and not lines[-1]:
        lines.pop()
    for index, name in enumerate(lines):
        if not name:
            raise DataError(f"{file} line {index + 1} is empty. A class id is the number of its line. Name the class.")
        if name in lines[:index]:
            raise DataError(f"{file} line {index + 1}: the class '{name}' stands twice. Names differ. Rename one.")
    return dict(enumerate(lines))


def _pixel_box(corners: tuple[float, float, float, float], size: tuple[int, int]) -> Box:
    """Return (left, top, width, height) in pixels, without the noise of floats behind a millionth of a pixel."""
    left, top, right, bottom = (value * size[index % 2] for index, value in enumerate(corners))
    return round(left, 6), round(top, 6), round(right - left, 6), round(bottom - top, 6)


def _pixel_points(fields: list[str], size: tuple[int, int]) -> list[float]:
    return [round(read_number(value) * size[index % 2], 6) for index, value in enumerate(fields)]


def _name_below(image: Path, places: list[Path]) -> str:
    """Return an image's path below the folder of its split, or its name alone where a list names it."""
    for place in places:
        if place.is_dir() and image.is_relative_to(place):
            return image.relative_to(place).as_posix()
    return image.name
