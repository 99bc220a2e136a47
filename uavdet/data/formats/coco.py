"""Plain COCO: an instances JSON a split, and its images.

Classes are the categories of the first split that has them, in the order of the file; ids are free. Crowds, and
objects with `ignore` set, become ignored objects. `ignore_regions` and `excluded`, where a JSON has them, are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.coco_json import CocoJson
from uavdet.data.formats.folders import UNLISTED, ListedImages, first_existing, wrong_layout
from uavdet.errors import DataError

_NATIVE_SPLITS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
_JSONS = (
    "annotations/instances_{}*.json",
    "annotations/{}.json",
    "instances_{}*.json",
    "{}.json",
    "{}/_annotations.coco.json",
)
_IMAGES = ("images/{}", "{}", "images", ".")


class Coco(DatasetFormat):
    """Any dataset in COCO's form."""

    name = "coco"
    title = "COCO"
    layout = (
        "annotations/instances_{train,val,test}*.json",
        "annotations/{train,val,test}.json",
        "instances_{train,val,test}*.json",
        "{train,valid,test}/_annotations.coco.json, with the images in images/<split>, <split> (as in the JSON's "
        "name: val, val2017), images or beside it",
    )
    options: ClassVar[Mapping[str, Any]] = {"area": "box"}

    def splits(self) -> list[str]:
        """Return the splits that have a JSON."""
        splits = [split for split in _NATIVE_SPLITS if self._json_files(split)]
        if not splits:
            raise wrong_layout(self)
        return splits

    def class_names(self) -> tuple[str, ...]:
        """Return the categories of the first split."""
        return self._first_categories

    def notes(self) -> list[str]:
        """Say which areas were written."""
        boxes = "Areas are those of the boxes; area=polygon keeps the annotated ones, by which COCO sorts sizes."
        return [boxes] if self.settings["area"] == "box" else []

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split; image files of its own folder that the JSON does not list are counted."""
        file = self._json_file(split)
        places = self._image_folders(split, file)
        images = CocoJson(file).read(
            first_existing(places),
            classes=self.class_names(),
            image_name=lambda name: name.removeprefix("images/"),
            annotated_area=self.settings["area"] == "polygon",
        )
        listed = ListedImages()
        yield from listed.pass_on(images)
        for path in listed.others(lambda folder: folder.name in self._folder_names(split, file)):
            self.drops.add(split, UNLISTED, str(path))

    @cached_property
    def _first_categories(self) -> tuple[str, ...]:
        return tuple(CocoJson(self._json_file(self.splits()[0])).categories.values())

    def _json_files(self, split: str) -> list[Path]:
        patterns = [pattern.format(name) for pattern in _JSONS for name in _NATIVE_SPLITS[split]]
        return sorted({file for pattern in patterns for file in self.source.glob(pattern)})

    def _json_file(self, split: str) -> Path:
        files = self._json_files(split)
        if len(files) > 1:
            names = ", ".join(str(file.relative_to(self.source)) for file in files)
            raise DataError(f"{self.source} has {len(files)} JSONs of '{split}': {names}. Leave one of them there.")
        return files[0]

    def _folder_names(self, split: str, file: Path) -> tuple[str, ...]:
        """Return what a split's own image folder may be called."""
        own = file.stem.removeprefix("instances_") if "_annotations" not in file.name else file.parent.name
        return tuple(dict.fromkeys((own, *_NATIVE_SPLITS[split])))

    def _image_folders(self, split: str, file: Path) -> list[Path]:
        """Return where the images of a split may lie, the narrowest place first."""
        names = self._folder_names(split, file)
        places = dict.fromkeys(place.format(name) for place in _IMAGES for name in names)
        return [*(self.source / place for place in places), file.parent]
