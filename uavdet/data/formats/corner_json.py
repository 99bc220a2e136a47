"""The COCO JSONs of TinyPerson and SeaPerson: what their authors mark, and images that are parts of files.

Annotations carry the booleans `ignore`, `uncertain` (nobody could say whether it is a person), `logo` (a person printed
on something) and `in_dense_image` (the image has too many persons to box each). The benchmark scores none of the first
three, and no image of the fourth kind. An image entry with `corner` [left, top, right, bottom] is that part of its
file: many entries share a file, `width` and `height` are those of the part, and boxes are relative to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.coco_json import CocoJson, Entry, is_ignored

PERSON = "person"
_ORIGINAL_NAMES = ("sea_person", "earth_person")
_UNSCORED = ("uncertain", "logo")
_DENSE = "in_dense_image"
_FILE = "whole_image"


class CornerJson(CocoJson):
    """A COCO JSON whose images may be parts of files.

    A part is named as a tile is, after its file and its corner: `folder/name__left_top.png`. The flags `whole_image`
    and `corner` say where it comes from.
    """

    marks = (*CocoJson.marks, *_UNSCORED, _DENSE)

    def _check_images(self) -> None:
        self.images = [_name_part(entry) for entry in self.images]
        super()._check_images()

    def _open_image(
        self, index: int, entry: Entry, locate: Callable[[str], Path], image_name: Callable[[str], str]
    ) -> AnnotatedImage:
        if "corner" not in entry:
            return super()._open_image(index, entry, locate, image_name)
        if not _is_corner(entry["corner"]):
            given = json.dumps(entry["corner"])[:60]
            raise self.error("images", index, f"corner is {given}; it has 4 whole numbers, left, top, right, bottom")
        file_name = str(entry.get(_FILE, entry["file_name"]))
        whole = {key: value for key, value in entry.items() if key not in ("width", "height")}
        image = super()._open_image(index, whole, lambda name: locate(file_name), image_name)
        left, top, right, bottom = (int(value) for value in entry["corner"])
        if not (0 <= left < right <= image.size[0] and 0 <= top < bottom <= image.size[1]):
            outside = f"corner [{left}, {top}, {right}, {bottom}] is no part of {file_name}"
            raise self.error("images", index, f"{outside}, which has {image.size[0]}x{image.size[1]} pixels")
        for key, side in (("width", right - left), ("height", bottom - top)):
            if entry.get(key, side) != side:
                raise self.error("images", index, f"{key} is {entry[key]}, but the corner's is {side}")
        image.crop, image.size = (left, top, right - left, bottom - top), (right - left, bottom - top)
        return image


def read_persons(file: Path, locate: Callable[[str], Path]) -> Iterator[AnnotatedImage]:
    """Yield the images of a TinyPerson or SeaPerson JSON, sorted by name.

    Every box is a `person`; what the file calls it otherwise, sea_person or earth_person, is the flag `category`. Boxes
    marked `ignore`, `uncertain` or `logo` are ignored objects. An image with a box marked `in_dense_image` has the flag
    `dense`, and the evaluation leaves it out.

    Args:
        file: The JSON.
        locate: `file_name` to the image file.

    Raises:
        DataError: The file or an image is missing or malformed.
    """
    data = CornerJson(file)
    for image in data.read(locate, classes=(PERSON, *_ORIGINAL_NAMES), ignored=is_unscored):
        for entry in image.objects:
            if entry.category != PERSON:
                entry.flags["category"], entry.category = entry.category, PERSON
        if any(entry.flags.get(_DENSE) for entry in image.objects):
            image.flags["dense"] = True
        yield image


def is_unscored(annotation: Entry) -> bool:
    """Return whether the benchmark neither asks for a box nor punishes a detection of it."""
    return is_ignored(annotation) or any(annotation.get(key) for key in _UNSCORED)


def _name_part(entry: Entry) -> dict[str, Any]:
    if "corner" not in entry or "file_name" not in entry or not _is_corner(entry["corner"]):
        return dict(entry)
    whole = PurePosixPath(str(entry["file_name"]))
    if not whole.name:
        return dict(entry)
    left, top = (int(value) for value in entry["corner"][:2])
    return {**entry, _FILE: str(whole), "file_name": str(whole.with_name(f"{whole.stem}__{left}_{top}.png"))}


def _is_corner(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 4 and all(isinstance(v, int | float) and v == v // 1 for v in value)
    )
