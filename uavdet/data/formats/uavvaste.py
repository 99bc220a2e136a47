"""UAVVaste: rubbish in 772 drone images; one COCO JSON with polygons, and one with the authors' split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.coco_json import CocoJson, load_json
from uavdet.data.formats.folders import first_existing, wrong_layout
from uavdet.errors import DataError, UsageError

_SPLITS = ("train", "val", "test")
_AREAS = ("box", "polygon")
_ANNOTATIONS = "annotations/annotations.json"
_SPLIT_FILE = "annotations/train_val_test_distribution_file.json"


class UavVasteFormat(DatasetFormat):
    """Reads UAVVaste in its official split of 540, 116 and 116 images.

    The JSON's `area` is that of the polygon, 0.6 of the box's on average, and decides which objects count as small.
    `area=polygon` keeps it; `area=box`, the default, is what Ultralytics and most papers score.
    """

    name = "uavvaste"
    title = "UAVVaste"
    dataset = "uavvaste"
    classes = ("rubbish",)
    layout = (f"{_ANNOTATIONS} and {_SPLIT_FILE} with the images in images/",)
    options: ClassVar[Mapping[str, Any]] = {"area": "box"}

    def splits(self) -> list[str]:
        """Return the splits of the official split file.

        Raises:
            DataError: The annotations or the split file are missing, or an image is in two splits.
            UsageError: `area` is neither box nor polygon.
        """
        if self.settings["area"] not in _AREAS:
            raise UsageError(f"area={self.settings['area']} is unknown. It is {' or '.join(_AREAS)}.")
        if not (self.source / _ANNOTATIONS).is_file():
            raise wrong_layout(self)
        members = self._read_splits()
        return [split for split in _SPLITS if members[split]]

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split; an image that no split has is counted in `drops` with the training split."""
        file, folders = self.source / _ANNOTATIONS, [self.source / "images", self.source]
        data, members = CocoJson(file), self._read_splits()
        listed = {str(image["file_name"]) for image in data.images}
        unknown = sorted(set(members[split]) - listed)
        if unknown:
            raise DataError(
                f"{self.source / _SPLIT_FILE}: '{split}' has {unknown[0]}, which {_ANNOTATIONS} does not list. "
                f"Both files come from one release. Get them again."
            )
        if split == _SPLITS[0]:
            for name in sorted(listed.difference(*members.values())):
                self.drops.add(split, "image in no split", f"{file} ({name})")
        wanted = set(members[split])
        return data.read(
            first_existing(folders),
            classes=self.classes,
            select=lambda image: str(image["file_name"]) in wanted,
            annotated_area=self.settings["area"] == "polygon",
        )

    def _read_splits(self) -> dict[str, list[str]]:
        file = self.source / _SPLIT_FILE
        if not file.is_file():
            raise DataError(
                f"{file} does not exist. It holds the official split, 540, 116 and 116 images. "
                f"Get it from the folder annotations/ of the authors' repository."
            )
        content = load_json(file)
        members: dict[str, list[str]] = {}
        seen: set[str] = set()
        for split in _SPLITS:
            names = content.get(split)
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise DataError(f"{file}: '{split}' is no list of file names. Each split is one. Correct the file.")
            for name in names:
                if name in seen:
                    raise DataError(
                        f"{file}: '{split}' has {name} a second time. An image is in one split. Correct it."
                    )
                seen.add(name)
            members[split] = names
        return members
