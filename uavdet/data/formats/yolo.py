"""Plain YOLO: label files beside the images, class names in a dataset YAML.

The source is the YAML, or a folder that holds one, or a folder with images/, labels/ and classes.txt. Boxes become
pixels of the image as they stand, in the precision of the label files; what the files never said (ignore regions,
boxes beyond the border) stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from uavdet.data.annotations import AnnotatedImage, Annotation
from uavdet.data.config import SPLITS, DataConfig, load_data_config
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.folders import wrong_layout
from uavdet.data.labels import ImageLabels, label_file, list_images, read_split
from uavdet.errors import DataError


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

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split; a label file without an image, and a row that stands twice, is counted."""
        places = self._data.require(split)
        images = list_images(places)
        labels = read_split(images, self._data.nc)
        if labels.problems:
            more = f" ({len(labels.problems)} problems in all)" if len(labels.problems) > 1 else ""
            raise DataError(f"{labels.problems[0]}{more}. Correct the file, or take the image out of the dataset.")
        for entry in labels.images:
            yield self._annotated(entry, places)
        for _ in range(labels.duplicates):
            self.drops.add(split, "label row that stands twice", f"in {', '.join(map(str, places))}")
        self._count_lonely_labels(split, images)

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
        names = [line.strip() for line in classes.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        splits = {split: [pictures / split] for split in SPLITS if (pictures / split).is_dir()}
        return DataConfig(classes, self.source, splits or {"val": [pictures]}, {}, dict(enumerate(names)))

    def _annotated(self, labels: ImageLabels, places: list[Path]) -> AnnotatedImage:
        height, width = labels.shape
        file = label_file(labels.image)
        objects = []
        for category, cx, cy, w, h in labels.rows.astype("float64").tolist():
            box = ((cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height)
            objects.append(Annotation(box, self._data.names[int(category)], origin=str(file)))
        return AnnotatedImage(labels.image, _name_below(labels.image, places), (width, height), objects)

    def _count_lonely_labels(self, split: str, images: list[Path]) -> None:
        expected = {label_file(image) for image in images}
        for folder in sorted({file.parent for file in expected}):
            for file in sorted(set(folder.glob("*.txt")) - expected):
                if file.name != "classes.txt":
                    self.drops.add(split, "label file without an image", str(file))


def _name_below(image: Path, places: list[Path]) -> str:
    """Return an image's path below the folder of its split, or its name alone where a list names it."""
    for place in places:
        if place.is_dir() and image.is_relative_to(place):
            return image.relative_to(place).as_posix()
    return image.name
