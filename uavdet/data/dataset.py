"""The training and validation dataset: our label reader under Ultralytics' augmentations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import uavdet.environment  # noqa: F401  (prepares what Ultralytics finds when it is imported next)

# isort: split
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.rtdetr.val import RTDETRDataset
from ultralytics.utils import LOGGER

from uavdet.data.labels import SplitLabels, label_file, list_images, read_split
from uavdet.errors import DataError

if TYPE_CHECKING:
    from ultralytics.data.dataset import YOLODataset as _Dataset
else:
    _Dataset = object


class CheckedLabels(_Dataset):
    """Reads images and labels by `uavdet.data.labels`; mixed in before a dataset class of Ultralytics.

    A problem with an image or a label row is an error, unless the run was told to go on without such images
    (`skip_bad=True`).
    """

    data: dict[str, Any]
    im_files: list[str]
    labels: list[dict[str, Any]]
    label_files: list[str]
    augment: bool
    prefix: str
    fraction: float | int

    def get_img_files(self, img_path: str | list[str]) -> list[str]:
        """Return the image files, sorted, cut to `fraction` of them or to its number."""
        files = list_images([Path(p) for p in (img_path if isinstance(img_path, list) else [img_path])])
        count = self.fraction if isinstance(self.fraction, int) else max(1, round(len(files) * self.fraction))
        return [str(file) for file in files[:count]]

    def get_labels(self) -> list[dict[str, Any]]:
        """Return Ultralytics' label dicts.

        Raises:
            DataError: An image or a label row cannot be used, or a training split has no box at all.
        """
        classes = self.data.get("label_classes") or len(self.data["names"])
        split = read_split([Path(file) for file in self.im_files], classes)
        self._report(split)
        self.im_files = [str(labels.image) for labels in split.images]
        self.label_files = [str(label_file(labels.image)) for labels in split.images]
        return [
            {
                "im_file": str(labels.image),
                "shape": labels.shape,
                "cls": labels.rows[:, :1].copy(),
                "bboxes": labels.rows[:, 1:].copy(),
                "segments": [],
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
            }
            for labels in split.images
        ]

    def set_rectangle(self) -> None:
        """Sort images by aspect ratio; their shapes, which Ultralytics drops here, stay in the labels."""
        shapes = [(label, label["shape"]) for label in self.labels]
        super().set_rectangle()
        for label, shape in shapes:
            label["shape"] = shape

    def _report(self, split: SplitLabels) -> None:
        if split.problems and not self.data.get("skip_bad"):
            shown = "; ".join(split.problems[:3]) + ("; ..." if len(split.problems) > 3 else "")
            raise DataError(
                f"{self.prefix}{len(split.problems)} of {len(self.im_files)} images cannot be used: {shown}. "
                "Mend or remove them, or go on without them: skip_bad=True."
            )
        if not split.images:
            raise DataError(f"{self.prefix}no usable image is left.")
        if split.problems:
            LOGGER.warning(f"{self.prefix}{len(split.problems)} images left out:\n" + "\n".join(split.problems))
        boxes = sum(len(labels.rows) for labels in split.images)
        empty = sum(not len(labels.rows) for labels in split.images)
        repeated = f", {split.duplicates} repeated rows removed" if split.duplicates else ""
        LOGGER.info(f"{self.prefix}{len(split.images)} images, {boxes} boxes, {empty} without a box{repeated}")
        if self.augment and not boxes:
            where = label_file(split.images[0].image)
            raise DataError(f"{self.prefix}no image has a box. Label files are looked for as {where}.")

    def load_image(self, i: int, *args: Any, **kwargs: Any) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
        """Return an image, its original and its resized (height, width).

        Raises:
            DataError: The file vanished or cannot be decoded.
        """
        try:
            return super().load_image(i, *args, **kwargs)
        except FileNotFoundError as error:
            raise DataError(f"{self.im_files[i]} cannot be decoded. Mend or remove it.") from error


class StretchDataset(CheckedLabels, RTDETRDataset):
    """Images stretched to the network's size, as RT-DETR trains."""


class LetterboxDataset(CheckedLabels, YOLODataset):
    """Images scaled to fit and padded, as YOLO trains."""
