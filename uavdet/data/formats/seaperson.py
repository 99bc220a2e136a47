"""SeaPerson (TinyPersonV2): twelve thousand images of persons at sea, in the JSON form of TinyPerson."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.corner_json import PERSON, read_persons
from uavdet.data.formats.folders import first_existing, wrong_layout

_JSONS = {"train": ("rgb_train", "rgb_trainvalid"), "val": ("rgb_valid",), "test": ("rgb_test",)}
_FOLDERS = ("", "anns/release", "annotations", "anns", "release")
_IMAGE_FOLDERS = ("imgs", "images", "imgs_rgb", "")
_DEPTH = 4


class SeaPersonFormat(DatasetFormat):
    """Reads SeaPerson. Where `rgb_train.json` is missing, `rgb_trainvalid.json` is the training split."""

    name = "seaperson"
    title = "SeaPerson"
    dataset = "seaperson"
    classes = (PERSON,)
    layout = ("anns/release/rgb_{train,valid,trainvalid,test}.json with the images in imgs/",)

    def splits(self) -> list[str]:
        """Return the splits whose JSON is found."""
        splits = [split for split in _JSONS if self._file(split)]
        if not splits:
            raise wrong_layout(self)
        return splits

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split."""
        file = self._file(split)
        if file is None:
            raise wrong_layout(self)
        folders = [root / name for name in _IMAGE_FOLDERS for root in file.parents[:_DEPTH] if (root / name).is_dir()]
        return read_persons(file, first_existing(folders))

    def _file(self, split: str) -> Path | None:
        source = self.source.resolve()
        files = (source / folder / f"{name}.json" for name in _JSONS[split] for folder in _FOLDERS)
        return next((file for file in files if file.is_file()), None)
