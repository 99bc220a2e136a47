"""AI-TOD and AI-TOD-v2: tiny objects in 28,036 aerial images of 800x800 pixels; COCO JSONs.

Version 2 has the images of version 1 and new annotations. The `area` of the JSON is kept, as its evaluation uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.coco_json import CocoJson
from uavdet.data.formats.folders import UNLISTED, ListedImages, first_existing
from uavdet.data.formats.split_files import SplitFilesFormat

_SPLIT_NAMES = {"train": ("train", "trainval"), "val": ("val",), "test": ("test",)}
_JSON_FOLDERS = ("annotations", "annotations_v2", "")


class AiTodFormat(SplitFilesFormat):
    """Reads AI-TOD. Categories are matched by name, whatever their ids; `_` and spaces count as `-`.

    Where a `trainval` JSON is there and no `train` one, it is the training split; the authors report test results of
    models that they train on both.

    Attributes:
        file_names: What the JSON of a split may be called, for `{split}`.
    """

    name = "aitod"
    title = "AI-TOD"
    dataset = "ai-tod"
    classes = ("airplane", "bridge", "storage-tank", "ship", "swimming-pool", "vehicle", "person", "wind-mill")
    layout: ClassVar[tuple[str, ...]] = (
        "annotations/aitod_{train,val,trainval,test}_v1.json with images/<split>/*.png or <split>/images/*.png",
    )
    file_names: ClassVar[tuple[str, ...]] = ("aitod_{split}_v1.json", "small_{split}_v1_1.0.json")

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split; image files of its own folder that the JSON does not list are counted."""
        data, folders = CocoJson(self.annotation_file(split)), self._image_folders(split)
        rename = {name: name.lower().replace("_", "-").replace(" ", "-") for name in data.categories.values()}
        listed = ListedImages()
        yield from listed.pass_on(data.read(first_existing(folders), rename=rename, classes=self.classes))
        for path in listed.others(lambda folder: split in (folder.name, folder.parent.name)):
            self.drops.add(split, UNLISTED, str(path))

    def find_file(self, split: str) -> Path | None:
        """Return the JSON of a split, or None."""
        files = (
            self.source / folder / pattern.format(split=name)
            for name in _SPLIT_NAMES[split]
            for pattern in self.file_names
            for folder in _JSON_FOLDERS
        )
        return next((file for file in files if file.is_file()), None)

    def _image_folders(self, split: str) -> list[Path]:
        """Return where a split's images may be; the images of train and val may lie together."""
        names = [split] if split == "test" else [split, "trainval", "train", "val"]
        places = [place for name in names for place in (f"images/{name}", f"{name}/images", name)]
        return [folder for place in (*places, "images", "") if (folder := self.source / place).is_dir()]


class AiTodV2Format(AiTodFormat):
    """Reads AI-TOD-v2."""

    name = "aitod-v2"
    title = "AI-TOD-v2"
    dataset = "ai-tod-v2"
    layout = ("annotations/aitodv2_{train,val,trainval,test}.json with images/<split>/*.png or <split>/images/*.png",)
    file_names = ("aitodv2_{split}.json", "aitod_{split}_v2.json")
