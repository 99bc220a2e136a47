"""Pascal VOC: one XML an image, and lists of the images of each split, or a folder a split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.folders import files_by_stem, image_size, wrong_layout
from uavdet.data.formats.image_pairs import images_by_stem, require_pairs
from uavdet.data.formats.text_lines import read_image_list
from uavdet.data.formats.voc_xml import read_voc_xml
from uavdet.data.labels import IMAGE_SUFFIXES
from uavdet.errors import DataError

_SPLIT_LISTS = {"train": ("train", "trainval"), "val": ("val",), "test": ("test",)}


class VocFormat(DatasetFormat):
    """Reads Pascal VOC in two layouts: with lists of the images of each split, or with a folder a split.

    An image and its XML have one name. Objects marked `difficult` become ignored ones, which Pascal VOC's evaluation
    neither asks for nor punishes. Coordinates are taken as written: width = xmax - xmin. Where there is a `trainval`
    list but no `train` list, it is the training split. Images that no list names are not part of the dataset.

    Attributes:
        list_folders: Folders that may hold the lists, below `source`.
        annotation_folders: Folders that may hold the XML files of listed images; the first that has some is read.
        image_folders: Folders that may hold listed images; all are.
        split_folders: Split name to the names that its folder may have.
    """

    name = "voc"
    title = "Pascal VOC"
    layout: ClassVar[tuple[str, ...]] = (
        "ImageSets/Main/{train,val,test}.txt with Annotations/*.xml and JPEGImages/*.jpg",
        "{train,val,test}/*.xml with the images beside them",
    )
    list_folders: ClassVar[tuple[str, ...]] = ("ImageSets/Main",)
    annotation_folders: ClassVar[tuple[str, ...]] = ("Annotations",)
    image_folders: ClassVar[tuple[str, ...]] = ("JPEGImages",)
    split_folders: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": ("train",),
        "val": ("val", "valid", "validation"),
        "test": ("test",),
    }

    def splits(self) -> list[str]:
        """Return the splits that have a list, or without lists those that have a folder with XML files."""
        splits = [split for split in _SPLIT_LISTS if self._list_file(split)]
        if splits and not self._annotation_folder():
            raise wrong_layout(self)
        splits = splits or [split for split in self.split_folders if self._split_folder(split)]
        if not splits:
            raise wrong_layout(self)
        return splits

    def class_names(self) -> tuple[str, ...]:
        """Return the fixed classes, or those found in the files, sorted without regard to case."""
        if self.classes:
            return self.classes
        files = [xml for split in self.splits() for _, xml in self._pairs(split)]
        names = {entry.category for file in files for entry in read_voc_xml(file).objects}
        if not names:
            raise DataError(f"{self.source} has no object in its {len(files)} XML files. Give another source=.")
        return tuple(sorted(names, key=lambda name: (name.casefold(), name)))

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split."""
        for image, xml in self._pairs(split):
            voc, size = read_voc_xml(xml), image_size(image)
            if voc.size not in (None, size):
                given, found = ("x".join(map(str, sides)) for sides in (voc.size or size, size))
                raise DataError(
                    f"{xml}: its size is {given}, but {image}, turned as its EXIF tag says, has {found}. "
                    f"Give the image that was annotated, or correct the file."
                )
            for entry in voc.objects:
                entry.category = self.class_of(entry.category, entry.origin)
            yield AnnotatedImage(image, image.name, size, voc.objects)

    def class_of(self, name: str, place: str) -> str:
        """Return the class that an XML's name is; formats with fixed classes refuse what they do not know."""
        return name

    def _pairs(self, split: str) -> list[tuple[Path, Path]]:
        """Return the (image, XML) files of a split, sorted by name."""
        list_file, folder = self._list_file(split), self._split_folder(split)
        if list_file is not None:
            images, folder = self._listed_images(list_file), self._annotation_folder()
        else:
            images = images_by_stem(folder or self.source)
        folder = folder or self.source
        files = {file.stem: file for file in folder.glob("*.xml") if list_file is None or file.stem in images}
        require_pairs(images, files, lambda stem: folder / f"{stem}.xml")
        return [(images[stem], files[stem]) for stem in sorted(images)]

    def _listed_images(self, list_file: Path) -> dict[str, Path]:
        """Return the images that a list names, by stem."""
        images = files_by_stem((self.source / folder for folder in self.image_folders), IMAGE_SUFFIXES)
        listed = {}
        for stem, line in read_image_list(list_file).items():
            if stem not in images:
                raise DataError(
                    f"{list_file} line {line}: {stem} has no image in {', '.join(self.image_folders)}. "
                    f"Add it, or remove the line."
                )
            listed[stem] = images[stem]
        return listed

    def _list_file(self, split: str) -> Path | None:
        places = [f"{folder}/{name}.txt" for name in _SPLIT_LISTS[split] for folder in self.list_folders]
        return next((self.source / place for place in places if (self.source / place).is_file()), None)

    def _annotation_folder(self) -> Path | None:
        return _first_with_xml(self.source / folder for folder in self.annotation_folders)

    def _split_folder(self, split: str) -> Path | None:
        return _first_with_xml(self.source / name for name in self.split_folders.get(split, ()))


def _first_with_xml(folders: Iterator[Path]) -> Path | None:
    return next((folder for folder in folders if any(folder.glob("*.xml"))), None)
