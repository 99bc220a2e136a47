"""HIT-UAV: thermal drone images, as Pascal VOC XML or as COCO JSON.

Both are the authors' own (normal_xml and normal_json). Objects named DontCare are crowds that nobody counted: ignore
regions. Coordinates are taken as written, width = xmax - xmin, which is what the authors' JSON has. Objects marked
`difficult` are objects like others there, so they are here; the flag is kept. Where a folder has both, the XML is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from uavdet.data.annotations import AnnotatedImage, IgnoreRegion
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.coco_json import CocoJson
from uavdet.data.formats.folders import UNLISTED, ListedImages, first_existing, image_size, wrong_layout
from uavdet.data.formats.image_pairs import images_by_stem, require_pairs
from uavdet.data.formats.text_lines import read_image_list
from uavdet.data.formats.voc_xml import read_voc_xml
from uavdet.errors import DataError

CLASSES = ("Person", "Car", "Bicycle", "OtherVehicle")
REGION = "DontCare"
_SPLITS = ("train", "val", "test")
_JSONS = ("annotations/instances_{}.json", "annotations/{}.json")
_IMAGES = ("images/{}", "{}", "images", "JPEGImages")


class HITUAV(DatasetFormat):
    """HIT-UAV."""

    name = "hit-uav"
    title = "HIT-UAV"
    dataset = "hit-uav"
    classes = CLASSES
    layout = (
        "Annotations/*.xml, JPEGImages/ and ImageSets/Main/{train,val,test}.txt (normal_xml)",
        "voc/{train,val,test}/*.xml and images/{train,val,test}/",
        "annotations/{train,val,test}.json and {train,val,test}/ (normal_json)",
        "annotations/instances_{train,val,test}.json and images/{train,val,test}/",
    )

    def splits(self) -> list[str]:
        """Return the splits that have XML, or else JSON files."""
        splits = [split for split in _SPLITS if self._xml_files(split) is not None]
        splits = splits or [split for split in _SPLITS if self._json_file(split)]
        if not splits:
            raise wrong_layout(self)
        return splits

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split."""
        if (files := self._xml_files(split)) is not None:
            yield from self._read_xml(split, *files)
            return
        file = self._json_file(split)
        if file is None:
            raise wrong_layout(self)
        folders = [self.source / place.format(split) for place in _IMAGES]
        listed = ListedImages()
        yield from listed.pass_on(CocoJson(file).read(first_existing(folders), classes=CLASSES, regions=(REGION,)))
        for path in listed.others(lambda folder: folder.name == split):
            self.drops.add(split, UNLISTED, str(path))

    def _json_file(self, split: str) -> Path | None:
        return next((file for name in _JSONS if (file := self.source / name.format(split)).is_file()), None)

    def _xml_files(self, split: str) -> tuple[dict[str, Path], dict[str, Path]] | None:
        """Return the XML files and the images of a split by stem, or None where it has no XML."""
        names = self.source / "ImageSets" / "Main" / f"{split}.txt"
        if (self.source / "voc" / split).is_dir():
            files = {file.stem: file for file in sorted((self.source / "voc" / split).glob("*.xml"))}
            return files, images_by_stem(self.source / "images" / split)
        if names.is_file() and (self.source / "Annotations").is_dir():
            stems = read_image_list(names)
            images = images_by_stem(self.source / "JPEGImages")
            missing = [stem for stem in stems if stem not in images]
            if missing:
                raise DataError(
                    f"{names} line {stems[missing[0]]}: {missing[0]} has no image in JPEGImages. "
                    "Add it, or remove the line."
                )
            files = {stem: file for stem in stems if (file := self.source / "Annotations" / f"{stem}.xml").is_file()}
            return files, {stem: images[stem] for stem in sorted(stems)}
        return None

    def _read_xml(self, split: str, files: dict[str, Path], images: dict[str, Path]) -> Iterator[AnnotatedImage]:
        folder = next(iter(files.values())).parent if files else self.source / "Annotations"
        require_pairs(images, files, lambda stem: folder / f"{stem}.xml")
        for stem, file in images.items():
            image = AnnotatedImage(file, file.name, image_size(file))
            voc = read_voc_xml(files[stem])
            if voc.size not in (None, image.size):
                raise DataError(f"{voc.file}: the size is {voc.size}, but {file} has {image.size}. Correct the file.")
            for entry in voc.objects:
                if entry.category == REGION:
                    image.ignore_regions.append(IgnoreRegion(entry.box, REGION, entry.flags, entry.origin))
                elif entry.category in CLASSES:
                    entry.ignored = False
                    image.objects.append(entry)
                else:
                    allowed = ", ".join((*CLASSES, REGION))
                    raise DataError(
                        f"{entry.origin}: unknown class '{entry.category}'. Allowed are {allowed}. Correct it."
                    )
            yield image
