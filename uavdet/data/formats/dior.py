"""DIOR: 23,463 satellite images of 800x800 pixels, 20 classes, Pascal VOC XML files."""

from __future__ import annotations

from typing import ClassVar

from uavdet.data.formats.voc import VocFormat
from uavdet.errors import DataError, suggest_name


def _simplified(name: str) -> str:
    return name.replace("-", "").casefold()


class DiorFormat(VocFormat):
    """Reads DIOR; class names are compared without regard to case and hyphens, which its releases write differently."""

    name = "dior"
    title = "DIOR"
    dataset = "dior"
    classes = (
        "airplane", "airport", "baseballfield", "basketballcourt", "bridge", "chimney", "dam",
        "Expressway-Service-area", "Expressway-toll-station", "golffield", "groundtrackfield", "harbor", "overpass",
        "ship", "stadium", "storagetank", "tenniscourt", "trainstation", "vehicle", "windmill",
    )  # fmt: skip
    layout = (
        "ImageSets/Main/{train,val,test}.txt with Annotations/Horizontal Bounding Boxes/*.xml (or Annotations/*.xml) "
        "and JPEGImages-{trainval,test}/*.jpg (or JPEGImages/*.jpg)",
    )
    list_folders = ("ImageSets/Main", "ImageSets", "Main")
    annotation_folders = ("Annotations/Horizontal Bounding Boxes", "Annotations")
    image_folders = ("JPEGImages-trainval", "JPEGImages-test", "JPEGImages")
    split_folders: ClassVar[dict[str, tuple[str, ...]]] = {}

    def class_of(self, name: str, place: str) -> str:
        """Return the class whose letters a name has.

        Raises:
            DataError: There is none.
        """
        known = {_simplified(known): known for known in self.classes}
        found = known.get(_simplified(name))
        if found is None:
            hint = suggest_name(name, self.classes)
            raise DataError(f"{place}: unknown class '{name}'.{hint} DIOR's are {', '.join(self.classes)}. Correct it.")
        return found
