"""The training and validation dataset: our label reader under Ultralytics' augmentations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import uavdet.environment  # noqa: F401  (prepares what Ultralytics finds when it is imported next)

# isort: split
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.rtdetr.val import RTDETRDataset
from ultralytics.utils import LOGGER, remove_colorstr

from uavdet.data.augmentation import REGION, with_regions
from uavdet.data.ignore import disjoint, fill_regions, read_ignored
from uavdet.data.labels import SplitLabels, label_file, list_images, read_split
from uavdet.errors import DataError

_NO_REGIONS = np.zeros((0, 4), np.float32)

if TYPE_CHECKING:
    from ultralytics.data.dataset import YOLODataset as _Dataset
else:
    _Dataset = object


class CheckedLabels(_Dataset):
    """Reads images and labels by `uavdet.data.labels`; mixed in before a dataset class of Ultralytics.

    A problem with an image or a label row is an error, unless the run was told to go on without such images
    (`skip_bad=True`). Ignored regions, from the annotations that the dataset names for the split, are kept apart from
    the boxes and move with the image; with `ignore_fill=mean` they are painted over in the place of that.
    """

    data: dict[str, Any]
    im_files: list[str]
    labels: list[dict[str, Any]]
    label_files: list[str]
    augment: bool
    prefix: str
    fraction: float | int
    ignored: dict[str, np.ndarray]

    @property
    def fills_regions(self) -> bool:
        """Whether ignored regions are painted over in the place of being ignored."""
        return self.data.get("ignore_fill") == "mean"

    @property
    def _plain_prefix(self) -> str:
        """The name of the split for error messages, which are not coloured as the log is."""
        return remove_colorstr(self.prefix)

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
        classes = self.data.get("label_names") or self.data["names"]
        given = len(self.im_files)
        split = read_split([Path(file) for file in self.im_files], len(classes))
        self.im_files = [str(labels.image) for labels in split.images]
        self.label_files = [str(label_file(labels.image)) for labels in split.images]
        annotations = (self.data.get("annotations") or {}).get(self.data.get("split"))
        shapes = {str(labels.image): labels.shape for labels in split.images}
        self.ignored = read_ignored(annotations, classes, shapes) if annotations else {}
        self._report(split, given)
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
                "ignore_regions": self.ignored.get(str(labels.image), _NO_REGIONS),
            }
            for labels in split.images
        ]

    def update_labels_info(self, label: dict[str, Any]) -> dict[str, Any]:
        """Put the ignored regions of an image among its instances, so that augmentations move them, or paint them over.

        Not in `load_image`: what that returns may be kept in memory, and would be painted again.
        """
        regions, boxes = label.pop("ignore_regions"), label["bboxes"]
        if len(regions) and self.fills_regions:
            corners = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])
            label["img"] = fill_regions(label["img"], regions, corners)
        elif len(regions):
            sides = regions[:, 2:] - regions[:, :2]
            label["bboxes"] = np.concatenate([boxes, np.hstack([regions[:, :2] + sides / 2, sides])])
            label["cls"] = np.concatenate([label["cls"], np.full((len(regions), 1), REGION, label["cls"].dtype)])
        return super().update_labels_info(label)

    def build_transforms(self, hyp: Any = None) -> Any:
        """Return the augmentations, which keep ignored regions."""
        return with_regions(super().build_transforms(hyp))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an augmented image, its objects, and apart from them its ignored regions (M, 4) xyxy in [0, 1]."""
        sample = super().__getitem__(index)
        regions = sample["cls"].reshape(-1) == REGION
        boxes = sample["bboxes"][regions]
        for key in ("cls", "bboxes", "batch_idx"):
            sample[key] = sample[key][~regions]
        corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1).clamp(0, 1)
        sample["ignore_bboxes"] = torch.from_numpy(disjoint(corners.numpy()))
        return sample

    @staticmethod
    def collate_fn(batch: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch; `ignore_bboxes` (M, 4) and the images that they belong to, `ignore_batch_idx` (M,)."""
        regions = [sample["ignore_bboxes"] for sample in batch]
        rest = [{key: value for key, value in sample.items() if key != "ignore_bboxes"} for sample in batch]
        counts = torch.tensor([len(boxes) for boxes in regions])
        index = torch.arange(len(batch)).repeat_interleave(counts)
        return {**YOLODataset.collate_fn(rest), "ignore_bboxes": torch.cat(regions), "ignore_batch_idx": index}

    def set_rectangle(self) -> None:
        """Sort images by aspect ratio; their shapes, which Ultralytics drops here, stay in the labels."""
        shapes = [(label, label["shape"]) for label in self.labels]
        super().set_rectangle()
        for label, shape in shapes:
            label["shape"] = shape

    def _report(self, split: SplitLabels, given: int) -> None:
        if split.problems and not self.data.get("skip_bad"):
            shown = "; ".join(split.problems[:3]) + ("; ..." if len(split.problems) > 3 else "")
            raise DataError(
                f"{self._plain_prefix}{len(split.problems)} of {given} images cannot be used: {shown}. "
                "Mend or remove them, or go on without them: skip_bad=True."
            )
        if not split.images:
            raise DataError(f"{self._plain_prefix}no usable image is left.")
        if split.problems:
            LOGGER.warning(f"{self.prefix}{len(split.problems)} images left out:\n" + "\n".join(split.problems))
        boxes = sum(len(labels.rows) for labels in split.images)
        empty = sum(not len(labels.rows) for labels in split.images)
        repeated = f", {split.duplicates} repeated rows removed" if split.duplicates else ""
        regions = sum(len(found) for found in self.ignored.values())
        ignored = f", {regions} ignored regions{' (painted over)' * self.fills_regions}" if regions else ""
        text = f"{len(split.images)} images, {boxes} boxes, {empty} without a box"
        LOGGER.info(f"{self.prefix}{text}{ignored}{repeated}")
        if self.augment and not boxes:
            where = label_file(split.images[0].image)
            raise DataError(f"{self._plain_prefix}no image has a box. Label files are looked for as {where}.")

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
