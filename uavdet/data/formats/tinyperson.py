"""TinyPerson: persons at sea and on the beach, seen from afar; COCO JSONs with marks of what is not scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.corner_json import PERSON, read_persons
from uavdet.data.formats.folders import first_existing, wrong_layout
from uavdet.data.formats.split_files import SplitFilesFormat

_FOLDERS = ("", "annotations/task", "annotations", "mini_annotations")
_ENDINGS = ("_sw640_sh512_all_erase", "_sw640_sh512_all", "_all", "", "_with_dense")
_ERASED = "erase_with_uncertain_dataset"
_DEPTH = 5


class TinyPersonFormat(SplitFilesFormat):
    """Reads TinyPerson with one class, as its benchmark does; it has no validation split of its own.

    `source` decides which of the release's JSONs are read:

    - the release's folder: whole images, `annotations/task/tiny_set_{train,test}_all.json`, without dense images;
    - its `erase_with_uncertain_dataset`: training images in which what is not scored is painted over;
    - a folder of JSONs, as `erase_with_uncertain_dataset/annotations/corner/task` or `mini_annotations`: these, with
      training images cut into parts of 640x512 pixels. `tiny_set_train_with_dense.json` alone in a folder adds the
      dense images, which the evaluation leaves out.

    A split that the folder does not have is read from the folders above it, so that the test images are always there.
    """

    name = "tinyperson"
    title = "TinyPerson"
    dataset = "tinyperson"
    stand_ins: ClassVar[Mapping[str, str]] = {"val": "test"}
    classes = (PERSON,)
    split_names = ("train", "test")
    layout = (
        "annotations/task/tiny_set_{train,test}_all.json with the images in train/ and test/",
        "another folder of such JSONs, as mini_annotations/, with train/ and test/ above it",
    )

    def notes(self) -> list[str]:
        """Say what stands for the validation split."""
        return ["TinyPerson has no val split; papers select on test, so val: in data.yaml is test."]

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split; parts of images have a crop."""
        file = self.annotation_file(split)
        folders = [folder / split for folder in file.parents[: _DEPTH + 1]]
        if file.stem.endswith("_erase"):
            folders = [folder.parent / _ERASED / split for folder in folders] + folders
        folders = [folder for folder in folders if folder.is_dir()]
        if not folders:
            raise wrong_layout(self)
        return read_persons(file, first_existing(folders))

    def find_file(self, split: str) -> Path | None:
        """Return the JSON of a split, or None."""
        source = self.source.resolve()
        files = (
            base / folder / f"tiny_set_{split}{ending}.json"
            for base in (source, *source.parents[:_DEPTH])
            for folder in _FOLDERS
            for ending in _ENDINGS
        )
        return next((file for file in files if file.is_file()), None) if source.is_dir() else None
