"""Reads COCO instances JSONs, whoever wrote them, and says what is wrong with them, by file and line.

    data = CocoJson(file)
    for image in data.read(lambda name: folder / name, rename={"airplane": "plane"}): ...

A box that is no box (NaN, no area, outside of the image) is returned as it stands; conversions drop it with its reason.
Everything else that cannot be meant is an error: a reader that guesses makes another dataset.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from uavdet.data.annotations import AnnotatedImage, Annotation, Box, IgnoreRegion
from uavdet.data.labels import read_image_shape
from uavdet.errors import DataError

Entry = Mapping[str, Any]

_IMAGE_KEYS = frozenset({"id", "file_name", "width", "height"})
_ANNOTATION_KEYS = frozenset({"id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore", "track_id"})
_REGION_KEYS = frozenset({"id", "image_id", "bbox", "name"})
_SECTION_ALIASES = {"annotation": "annotations"}  # HIT-UAV's own JSONs spell these two keys so
_IMAGE_ALIASES = {"filename": "file_name"}
_LIMIT = 10**300


def is_ignored(annotation: Entry) -> bool:
    """Return whether an annotation is a crowd, or one that the authors do not score."""
    return bool(annotation.get("iscrowd")) or bool(annotation.get("ignore"))


class CocoJson:
    """A COCO instances JSON whose structure has been checked.

    Attributes:
        file: The file.
        categories: Category id to name, in the file's order; ids are whatever the file has, 0 too.
        images: The entries of `images`, in the file's order.
        annotations: Image id to the (index, entry) pairs of `annotations`.
        regions: Image id to the (index, entry) pairs of `ignore_regions`.
        excluded: Image id to the (index, entry) pairs of `excluded`, which our conversions write.
        marks: The keys of annotations that say yes or no.
    """

    marks: ClassVar[tuple[str, ...]] = ("iscrowd", "ignore")

    def __init__(self, file: Path, annotated: bool = True) -> None:
        """Read and check the file.

        Args:
            file: The JSON.
            annotated: Whether `annotations` and `categories` must be there; a test set may have images alone.

        Raises:
            DataError: It is missing, is no JSON, or breaks a rule of COCO; the message names the line.
        """
        self.file = file
        self._content = _respelt(load_json(file), _SECTION_ALIASES)
        self.categories = self._read_categories(annotated)
        self.images = [_respelt(image, _IMAGE_ALIASES) for image in self._section("images", required=True)]
        self._check_images()
        known = {image["id"]: index for index, image in enumerate(self.images)}
        self.annotations = self._group("annotations", known, annotated)
        self._check_annotations()
        self.regions = self._group("ignore_regions", known, False)
        self.excluded = self._group("excluded", known, False)

    def read(
        self,
        locate: Callable[[str], Path],
        *,
        rename: Mapping[str, str] | None = None,
        classes: Collection[str] | None = None,
        exclude: Collection[str] = (),
        regions: Collection[str] = (),
        ignored: Callable[[Entry], bool] = is_ignored,
        region: Callable[[Entry], str | None] = lambda annotation: None,
        select: Callable[[Entry], bool] = lambda image: True,
        image_name: Callable[[str], str] = lambda name: name,
        annotated_area: bool = True,
    ) -> Iterator[AnnotatedImage]:
        """Yield the images, sorted by name.

        Args:
            locate: `file_name` to the image file.
            rename: Category name to class name, for those that differ.
            classes: Class names that are allowed; None allows all.
            exclude: Class names of objects that go to `excluded`.
            regions: Class names of annotations that are ignore regions (HIT-UAV's DontCare).
            ignored: Whether an annotation entry is an ignored object.
            region: The name of the ignore region that an annotation entry is, or None for an object; asked for those
                that `regions` does not decide.
            select: Whether an image entry belongs to the wanted split.
            image_name: `file_name` to the image's path below `images/<split>`.
            annotated_area: Whether to keep the entries' `area`; else objects have that of their box.

        Raises:
            DataError: An image is missing, unreadable or of another size than the JSON says; a category is not
                among `classes`.
        """
        names = self.class_names(rename, classes, {*exclude, *regions})
        entries = [(index, image) for index, image in enumerate(self.images) if select(image)]
        for index, entry in sorted(entries, key=lambda pair: image_name(str(pair[1]["file_name"]))):
            image = self._open_image(index, entry, locate, image_name)
            for number, annotation in self.annotations.get(entry["id"], ()):
                category = names[annotation["category_id"]]
                name = category if category in regions else region(annotation)
                if name is not None:
                    image.ignore_regions.append(self._region(number, annotation, "annotations", name))
                    continue
                read = self._annotation(number, annotation, names, annotated_area)
                read.ignored = ignored(annotation)
                (image.excluded if read.category in exclude else image.objects).append(read)
            for number, entry_region in self.regions.get(entry["id"], ()):
                name = str(entry_region.get("name", "ignored"))
                image.ignore_regions.append(self._region(number, entry_region, "ignore_regions", name))
            image.excluded += [self._excluded(*pair) for pair in self.excluded.get(entry["id"], ())]
            yield image

    def class_names(
        self,
        rename: Mapping[str, str] | None = None,
        classes: Collection[str] | None = None,
        exclude: Collection[str] = (),
    ) -> dict[Any, str]:
        """Return category id to class name after renaming.

        Raises:
            DataError: A name is not among `classes`, which hold all that is allowed apart from `exclude`.
        """
        names = {key: (rename or {}).get(name, name) for key, name in self.categories.items()}
        for index, name in enumerate(names.values()):
            if classes is not None and name not in classes and name not in exclude:
                allowed = ", ".join(classes)
                raise self.error("categories", index, f"the category '{name}' is unknown. Allowed are {allowed}")
        return names

    def error(self, section: str, index: int, problem: str) -> DataError:
        """Return the error that an entry deserves; `problem` is the sentence without its full stop."""
        line = _line_of_entry(self.file, section, index)
        where = f" line {line}:" if line else ""
        return DataError(f"{self.file}{where} {section}[{index}]: {problem}. Correct the file.")

    def _section(self, name: str, required: bool) -> list[Entry]:
        entries = self._content.get(name, None if required else [])
        if not isinstance(entries, list):
            has = ", ".join(list(self._content)[:8]) or "nothing"
            raise DataError(f"{self.file} has no list '{name}', it has {has}. A COCO JSON has images, annotations "
                            "and categories. Give the instances file of the dataset.")  # fmt: skip
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise self.error(name, index, f"{json.dumps(entry)[:40]} is no mapping")
        return entries

    def _require(self, section: str, index: int, entry: Entry, *keys: str) -> None:
        for key in keys:
            if entry.get(key) is None:
                raise self.error(section, index, f"'{key}' is missing")
            if isinstance(entry[key], list | dict) and key != "bbox":
                raise self.error(section, index, f"'{key}' is {json.dumps(entry[key])[:40]}, no number or text")

    def _read_categories(self, required: bool) -> dict[Any, str]:
        categories: dict[Any, str] = {}
        for index, entry in enumerate(self._section("categories", required)):
            self._require("categories", index, entry, "id", "name")
            if entry["id"] in categories:
                raise self.error("categories", index, f"the category id {entry['id']!r} stands twice")
            if str(entry["name"]) in categories.values():
                raise self.error("categories", index, f"the category name '{entry['name']}' stands twice")
            categories[entry["id"]] = str(entry["name"])
        return categories

    def _check_images(self) -> None:
        ids: dict[Any, int] = {}
        files: dict[str, int] = {}
        for index, entry in enumerate(self.images):
            self._require("images", index, entry, "id", "file_name")
            if (first := ids.setdefault(entry["id"], index)) != index:
                raise self.error("images", index, f"the image id {entry['id']!r} is that of images[{first}], too")
            if (first := files.setdefault(str(entry["file_name"]), index)) != index:
                raise self.error("images", index, f"'{entry['file_name']}' is listed by images[{first}], too")

    def _group(self, section: str, known: Mapping[Any, int], required: bool) -> dict[Any, list[tuple[int, Entry]]]:
        groups: dict[Any, list[tuple[int, Entry]]] = {}
        for index, entry in enumerate(self._section(section, required)):
            self._require(section, index, entry, "image_id", "bbox")
            if entry["image_id"] not in known:
                raise self.error(section, index, f"the image id {entry['image_id']!r} is not among the images")
            self._check_box(section, index, entry["bbox"])
            groups.setdefault(entry["image_id"], []).append((index, entry))
        return groups

    def _check_box(self, section: str, index: int, box: Any) -> None:
        numbers = isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)
        if not numbers:
            raise self.error(
                section, index, f"bbox is {json.dumps(box)[:60]}; it has 4 numbers, left, top, width, height"
            )

    def _check_annotations(self) -> None:
        ids: dict[Any, int] = {}
        for index, entry in sorted((pair for pairs in self.annotations.values() for pair in pairs), key=lambda p: p[0]):
            self._require("annotations", index, entry, "category_id")
            if entry["category_id"] not in self.categories:
                listed = ", ".join(map(str, list(self.categories)[:20]))
                unknown = f"the category id {entry['category_id']!r} is not among the categories, which are {listed}"
                raise self.error("annotations", index, unknown)
            if "id" in entry:
                self._require("annotations", index, entry, "id")
            for key in self.marks:
                if not isinstance(entry.get(key), int | float | None):  # "0" would count as a mark
                    raise self.error("annotations", index, f"{key} is {json.dumps(entry[key])[:40]}; it is 0 or 1")
            number = entry.get("id", ("none", index))
            if (first := ids.setdefault(number, index)) != index:
                raise self.error("annotations", index, f"the id {number!r} is that of annotations[{first}], too")

    def _open_image(
        self, index: int, entry: Entry, locate: Callable[[str], Path], image_name: Callable[[str], str]
    ) -> AnnotatedImage:
        file = locate(str(entry["file_name"]))
        try:
            height, width = read_image_shape(file)
        except ValueError as error:
            raise self.error("images", index, f"{file} {error}") from None
        for key, size in (("width", width), ("height", height)):
            if entry.get(key) is not None and entry[key] != size:
                raise self.error(
                    "images",
                    index,
                    f"{key} is {entry[key]}, but that of {file}, turned as its EXIF tag says, is {size}",
                )
        flags = {key: value for key, value in entry.items() if key not in _IMAGE_KEYS}
        return AnnotatedImage(file, image_name(str(entry["file_name"])), (width, height), flags=flags)

    def _annotation(self, index: int, entry: Entry, names: Mapping[Any, str], annotated_area: bool) -> Annotation:
        flags = {key: value for key, value in entry.items() if key not in _ANNOTATION_KEYS}
        track = entry.get("track_id")
        if not isinstance(track, int | None) or isinstance(track, bool):  # an identity of another kind is kept as it is
            flags["track_id"], track = track, None
        return Annotation(
            box=_box(entry),
            category=names[entry["category_id"]],
            area=self._area(index, entry) if annotated_area else None,
            track_id=track,
            flags=flags,
            origin=self._origin("annotations", index),
        )

    def _area(self, index: int, entry: Entry) -> float | None:
        area = entry.get("area")
        if area is None:
            return None
        if not _is_number(area) or not 0 <= area < math.inf:
            raise self.error("annotations", index, f"area is {json.dumps(area)[:40]}; it is in square pixels")
        return float(area)

    def _region(self, index: int, entry: Entry, section: str, name: str) -> IgnoreRegion:
        keys = _REGION_KEYS if section == "ignore_regions" else _ANNOTATION_KEYS
        flags = {key: value for key, value in entry.items() if key not in keys}
        return IgnoreRegion(_box(entry), name, flags, self._origin(section, index))

    def _excluded(self, index: int, entry: Entry) -> Annotation:
        flags = {key: value for key, value in entry.items() if key not in _REGION_KEYS}
        name = str(entry.get("name", "excluded"))
        return Annotation(_box(entry), name, flags=flags, origin=self._origin("excluded", index))

    def _origin(self, section: str, index: int) -> str:
        return f"{self.file} {section}[{index}]"


def _box(entry: Entry) -> Box:
    left, top, width, height = (float(value) for value in entry["bbox"])
    return left, top, width, height


def _respelt(entry: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return a mapping with other spellings of a key, where the right one is not there."""
    return {key if aliases.get(key, key) in entry else aliases.get(key, key): value for key, value in entry.items()}


def _is_number(value: Any) -> bool:
    """Return whether a value is a number, NaN and infinities among them, that fits into a float."""
    return isinstance(value, float) or (isinstance(value, int) and type(value) is not bool and abs(value) < _LIMIT)


def load_json(file: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds.

    Raises:
        DataError: It is missing, is no JSON, or holds something else; the message names line and column.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}). Give a folder that has it.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no text in UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{file} line {error.lineno}: {_syntax_problem(text, error)}. Correct the file.") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} holds no mapping but a {type(content).__name__}. A COCO JSON is a mapping with "
                        "images, annotations and categories. Give the instances file of the dataset.")  # fmt: skip
    return content


def _syntax_problem(text: str, error: json.JSONDecodeError) -> str:
    before = text[: error.pos + 1].rstrip().rstrip("]}").rstrip()  # Python 3.13 points at the comma, others behind it
    if before.endswith(",") and text[len(before) :].lstrip()[:1] in {"]", "}"}:
        return f"a comma stands before the closing '{text[len(before) :].lstrip()[0]}', which JSON does not allow"
    return f"this is no JSON, column {error.colno}: {error.msg}"


def _line_of_entry(file: Path, section: str, index: int) -> int | None:
    """Return the line that an entry of a top-level list begins in; made for messages, so the slow way will do."""
    decoder = json.JSONDecoder()
    try:
        text = file.read_text(encoding="utf-8-sig")
        position = text.index("{") + 1
        while True:
            key, position = decoder.raw_decode(text, _skip(text, position))
            position = _skip(text, position)
            if _SECTION_ALIASES.get(key, key) == section:
                position += 1
                for _ in range(index):
                    _, position = decoder.raw_decode(text, _skip(text, position))
                return text.count("\n", 0, _skip(text, position)) + 1
            _, position = decoder.raw_decode(text, position)
    except (OSError, ValueError, IndexError):
        return None


def _skip(text: str, position: int) -> int:
    while text[position] in " \t\r\n,:":
        position += 1
    return position
