"""Reads one Pascal VOC XML file, for every format that uses them.

Coordinates are taken as they are written: width = xmax - xmin, nothing is subtracted. (Pascal VOC itself counts pixels
from 1; the aerial datasets that borrowed its files count from 0, and one rule for all is the one that can be undone.)
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from uavdet.data.annotations import Annotation, Box
from uavdet.data.labels import read_number
from uavdet.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("difficult", "truncated", "occluded", "pose")
_TRUTHS = {"1": True, "true": True, "0": False, "false": False, "unspecified": False, "": False}


@dataclass(slots=True)
class VocFile:
    """What one XML says.

    Attributes:
        file: The XML.
        image_name: Its `filename` entry, or "" where it has none.
        size: (width, height) in pixels; None where the XML gives none, or zeros, as some tools write.
        objects: Its objects, categories as written. One marked `difficult` is ignored, neither found nor missed, which
            is the rule of Pascal VOC's evaluation. Flags: `difficult`, `truncated`, `occluded`, `pose`, where given.
    """

    file: Path
    image_name: str
    size: tuple[int, int] | None
    objects: list[Annotation] = field(default_factory=list)


def read_voc_xml(file: Path) -> VocFile:
    """Read a Pascal VOC XML.

    A box that is no box (NaN, no area, corners in the wrong order) is returned as it stands; conversions drop it with
    its reason.

    Raises:
        DataError: The file is missing or malformed, or an object has no name or no box; the message names the line.
    """
    root, lines = _parse_with_lines(file)
    if root.tag != "annotation":
        raise DataError(f"{file} line {lines[root]}: the root is <{root.tag}>, not <annotation>. Correct the file.")
    objects = [_read_object(element, file, lines) for element in root.findall("object")]
    return VocFile(file, _text(root, "filename"), _read_size(root, file, lines), objects)


def _parse_with_lines(file: Path) -> tuple[ET.Element, dict[ET.Element, int]]:
    """Return the root of an XML file and the line that each element begins in."""
    parser, builder, lines = expat.ParserCreate(), ET.TreeBuilder(), {}

    def start(tag: str, attributes: dict[str, str]) -> None:
        lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(file.read_bytes(), True)
    except FileNotFoundError:
        raise DataError(f"{file} does not exist. Every listed image needs its XML. Correct source=.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}). Correct source=.") from None
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise DataError(f"{file} line {error.lineno}: malformed XML ({reason}). Correct the file.") from None
    except LookupError as error:
        raise DataError(f"{file}: {error}. Save the file as UTF-8.") from None
    return builder.close(), lines


def _text(element: ET.Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _read_size(root: ET.Element, file: Path, lines: dict[ET.Element, int]) -> tuple[int, int] | None:
    size = root.find("size")
    if size is None:
        return None
    sides = [_number(size, tag, file, lines) if _text(size, tag) else 0.0 for tag in ("width", "height")]
    if not all(map(math.isfinite, sides)):
        raise DataError(f"{file} line {lines[size]}: <size> is not finite. It is in pixels. Correct the file.")
    return (int(sides[0]), int(sides[1])) if min(sides) >= 1 else None


def _read_object(element: ET.Element, file: Path, lines: dict[ET.Element, int]) -> Annotation:
    place = f"{file} line {lines[element]}"
    name = _text(element, "name")
    if not name:
        raise DataError(f"{place}: an object without <name>. Every object names its class. Correct the file.")
    flags = {tag: _flag(_text(element, tag)) for tag in _FLAGS if element.find(tag) is not None}
    difficult = _TRUTHS.get(_text(element, "difficult").lower())
    if difficult is None:
        raise DataError(f"{place}: <difficult> is '{flags['difficult']}'. It is 0 or 1. Correct the file.")
    return Annotation(_read_box(element, place, file, lines), name, ignored=difficult, flags=flags, origin=place)


def _flag(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _read_box(element: ET.Element, place: str, file: Path, lines: dict[ET.Element, int]) -> Box:
    corners = element.find("bndbox")
    if corners is None:
        raise DataError(f"{place}: the object has no <bndbox>. Every object has one. Correct the file.")
    left, top, right, bottom = (_number(corners, tag, file, lines) for tag in _CORNERS)
    return left, top, right - left, bottom - top


def _number(parent: ET.Element, tag: str, file: Path, lines: dict[ET.Element, int]) -> float:
    element = parent.find(tag)
    if element is None:
        raise DataError(f"{file} line {lines[parent]}: <{parent.tag}> has no <{tag}>. Correct the file.")
    text = (element.text or "").strip()
    try:
        return read_number(text)
    except ValueError:
        raise DataError(f"{file} line {lines[element]}: <{tag}> is '{text}', no number. Correct the file.") from None
