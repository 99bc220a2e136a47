"""SeaPerson (TinyPersonV2): twelve thousand images of persons at sea, in the JSON form of TinyPerson."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.corner_json import PERSON, read_persons
from uavdet.data.formats.folders import first_existing
from uavdet.data.formats.split_files import SplitFilesFormat

_JSONS = {"train": ("rgb_train", "rgb_trainvalid"), "val": ("rgb_valid",), "test": ("rgb_test",)}
_FOLDERS = ("", "anns/release", "annotations", "anns", "release")
_IMAGE_FOLDERS = ("imgs", "images", "imgs_rgb", "")
_DEPTH = 4


class SeaPersonFormat(SplitFilesFormat):
    """Reads SeaPerson. Where `rgb_train.json` is missing, `rgb_trainvalid.json` is the training split."""

    name = "seaperson"
    title = "SeaPerson"
    dataset = "seaperson"
    classes = (PERSON,)
    layout = ("anns/release/rgb_{train,valid,trainvalid,test}.json with the images in imgs/",)

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split."""
        file = self.annotation_file(split)
        folders = [root / name for name in _IMAGE_FOLDERS for root in file.parents[:_DEPTH] if (root / name).is_dir()]
        return read_persons(file, first_existing(folders))

    def find_file(self, split: str) -> Path | None:
        """Return the JSON of a split, or None."""
        source = self.source.resolve()
        files = (source / folder / f"{name}.json" for name in _JSONS[split] for folder in _FOLDERS)
        return next((file for file in files if file.is_file()), None)
