"""What the analyses look at: a detector, and annotated images as it gets them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import uavdet.environment  # noqa: F401  (before anything imports Ultralytics)

# isort: split
from ultralytics.cfg import get_cfg
from ultralytics.utils import LOGGER

from uavdet.arguments import defaults_of
from uavdet.data.config import DataConfig, load_data_config
from uavdet.data.dataset import LetterboxDataset, StretchDataset
from uavdet.engine import calls
from uavdet.engine.device import check_device
from uavdet.engine.families import Family, model_family
from uavdet.engine.logs import quiet
from uavdet.engine.plan import check_imgsz
from uavdet.errors import DataError, UsageError
from uavdet.methods.features import FeatureRecorder, look_at_empty_image
from uavdet.model import UAVDet
from uavdet.nn.contiguous_gradients import make_gradients_contiguous
from uavdet.nn.thumbnail import TRUNK_STRIDE, input_stride

SIZES = {
    "very tiny": (0.0, 8.0),
    "tiny": (8.0, 16.0),
    "small": (16.0, 32.0),
    "medium": (32.0, 64.0),
    "large": (64.0, math.inf),
}
"""Sides of objects, the square root of their boxes' area in pixels of the image file: AI-TOD's sizes and one above.

From the first number up to, and without, the second.
"""


def size_of(side: float) -> str:
    """Return the name in `SIZES` of an object of a side in pixels."""
    return next(name for name, (_, end) in SIZES.items() if side < end)


def describe_size(name: str) -> str:
    """Return a name in `SIZES` with its limits, e.g. `tiny, 8-16 px`."""
    start, end = SIZES[name]
    if not start:
        return f"{name}, < {end:.0f} px"
    return f"{name}, \u2265 {start:.0f} px" if math.isinf(end) else f"{name}, {start:.0f}\u2013{end:.0f} px"


@dataclass(frozen=True)
class Sample:
    """One annotated image in the geometry of the network's input.

    Attributes:
        name: Name of the image file.
        image: (1, C, H, W) float32 in [0, 1], on the model's device.
        boxes: (N, 4) float32 cxcywh, divided by the size of the network's input, on that device.
        classes: (N,) int64.
        sides: (N,) float64, square roots of the boxes' areas in pixels of the image file.
        scale: Pixels of the image file for a pixel of the network's input, (across, down).
        content: The part of the input that the image covers, xyxy divided by the input's size and right to
            a pixel; the rest is padding.
        regions: Ignored regions (M, 4) float32 xyxy, divided by the size of the input; None where there are none.
        picture: (H, W, 3) uint8 RGB, to be drawn on.
    """

    name: str
    image: Tensor
    boxes: Tensor
    classes: Tensor
    sides: np.ndarray
    scale: tuple[float, float]
    content: tuple[float, float, float, float]
    regions: Tensor | None
    picture: np.ndarray


class Samples:
    """A detector in evaluation mode and the images to show it; iterating reads them one by one.

    Args:
        model: The network; it is frozen and moved to the device.
        dataset: A dataset without augmentation.
        chosen: Rows of the dataset to look at.
        data: The dataset's YAML.
        size: (height, width) of the network's input in pixels.
        device: Where the network runs.

    Attributes:
        recorder: The feature maps of the network's last pass.
        strides: Of the levels that enter the head, in pixels of the input, finest first.
        size: (height, width) of the network's input in pixels.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Any,
        chosen: list[int],
        data: DataConfig,
        size: tuple[int, int],
        device: torch.device,
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.dataset, self.chosen, self.data, self.size, self.device = dataset, chosen, data, size, device
        make_gradients_contiguous(self.model)
        self.recorder = FeatureRecorder(self.model)
        side = max(size)
        look_at_empty_image(self.model, side)
        self.strides = [round(side / maps.shape[2]) for maps in self.recorder.head_inputs]

    @property
    def levels(self) -> list[str]:
        """Names of the levels that enter the head: P3 where the stride is 8."""
        return [level_name(stride) for stride in self.strides]

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Sample]:
        shown = 0
        for index in self.chosen:
            try:
                yield self._read(index)
                shown += 1
            except DataError as error:
                if not self.dataset.data.get("skip_bad"):
                    raise
                LOGGER.warning(f"Left out: {error}")
        if not shown:
            raise DataError(f"{self.data.yaml_file}: none of the chosen images can be decoded. Mend or remove them.")

    def check_classes(self, source: str) -> None:
        """Refuse data whose classes are not the model's.

        Args:
            source: The model as it was given, for the message.

        Raises:
            UsageError: Their numbers or their names differ.
        """
        try:
            calls.check_class_names(self.model.names, self.data.names, self.data.yaml_file)  # type: ignore[arg-type]
        except UsageError as error:
            text = str(error).replace("Validate on data", "Look at data")
            raise UsageError(f"model={source}: {text}") from None

    def _read(self, index: int) -> Sample:
        """Read an image.

        Raises:
            DataError: It cannot be decoded.
        """
        label, sample = self.dataset.labels[index], self.dataset[index]
        pixels, regions = sample["img"], sample["ignore_bboxes"]
        height, width = label["shape"]
        sides = np.sqrt(label["bboxes"][:, 2].astype(np.float64) * width * label["bboxes"][:, 3] * height)
        scale = self._scale(width, height)
        return Sample(
            name=Path(label["im_file"]).name,
            image=pixels[None].to(self.device).float() / 255,
            boxes=sample["bboxes"].to(self.device).float(),
            classes=sample["cls"].to(self.device).long().view(-1),
            sides=sides,
            scale=scale,
            content=self._content(width / scale[0], height / scale[1]),
            regions=regions.to(self.device) if len(regions) else None,
            picture=_to_picture(pixels),
        )

    def _scale(self, width: int, height: int) -> tuple[float, float]:
        """Return how many pixels of an image file a pixel of the input is wide and high."""
        across, down = width / self.size[1], height / self.size[0]
        if isinstance(self.dataset, LetterboxDataset):
            across = down = max(across, down)
        return across, down

    def _content(self, width: float, height: float) -> tuple[float, float, float, float]:
        """Return the part of the input, xyxy in [0, 1], that an image of (width, height) input pixels covers."""
        across, down = width / self.size[1] / 2, height / self.size[0] / 2
        return 0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down


def level_name(stride: int) -> str:
    """Return the name of a level: P3 for a stride of 8 pixels, `stride 12` where it is no power of two."""
    power = round(math.log2(stride))
    return f"P{power}" if stride == 2**power else f"stride {stride}"


def _to_picture(pixels: Tensor) -> np.ndarray:
    """Return (C, H, W) uint8 as (H, W, 3) RGB; of an image of other channels than three, the first one in grey."""
    shown = pixels if pixels.shape[0] == 3 else pixels[:1].expand(3, -1, -1)
    return np.ascontiguousarray(shown.permute(1, 2, 0).numpy())


def open_samples(options: Mapping[str, Any]) -> Samples:
    """Open a detector and choose the images to show it.

    Of a split's images that hold objects, `images` are taken at even distances, so that they are not all of one flight.
    Our models and RT-DETR get images that are stretched to their size, YOLOs such as are scaled to fit and padded.

    Args:
        options: `model` and `data`; optionally `split`, `images`, `imgsz`, `device` and `skip_bad` of mode `analyze`.

    Raises:
        UsageError: The model is an exported file, or the size or the device cannot be used.
        ConfigError: The dataset YAML cannot be used.
        CheckpointError: The model cannot be read.
        DataError: A label or an image is damaged and `skip_bad` is not set, or no image of the split holds an object.
    """
    options = {**defaults_of("analyze"), **options}
    opened = open_model(options["model"])
    module: Any = opened.module
    data = load_data_config(options["data"])
    data.require(options["split"])
    calls.check_channels(module, data)
    height, width = _input_size(opened, options["imgsz"])
    given = check_device(options["device"])
    dataset = _open_dataset(module, data, options, (height, width))
    chosen = _choose(dataset, options["images"], data, options["split"])
    return Samples(module, dataset, chosen, data, (height, width), _torch_device(given))


def open_model(given: str) -> UAVDet:
    """Open weights or a model YAML.

    Raises:
        UsageError: It is an exported file.
        CheckpointError: The weights cannot be read, or are not finite.
        ConfigError: The model YAML cannot be used.
    """
    opened = UAVDet(given)
    if opened.module is None:
        raise UsageError(
            f"model={given} is an exported file, which shows its detections and none of its features. "
            "Give the weights that it was made from."
        )
    return opened


def _input_size(opened: UAVDet, given: int | list[int] | None) -> tuple[int, int]:
    """Return (height, width) of the network's input: as given, else as the weights were trained for."""
    trained_for = opened.checkpoint.meta.get("imgsz") if opened.checkpoint is not None else None
    module: Any = opened.module
    stride = input_stride(module.yaml) if opened.family is Family.OURS else TRUNK_STRIDE
    size = check_imgsz(given or trained_for or 640, stride=stride)
    return (size[0], size[1]) if isinstance(size, list) else (size, size)


def _torch_device(given: str | None) -> torch.device:
    if given is None:
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    return torch.device(given if given in {"cpu", "mps"} else f"cuda:{given}")


def _open_dataset(module: nn.Module, data: DataConfig, options: Mapping[str, Any], size: tuple[int, int]) -> Any:
    dataset_class = LetterboxDataset if model_family(module) is Family.STOCK_YOLO else StretchDataset
    split = options["split"]
    resolved = {**data.as_ultralytics(), "split": split, "skip_bad": options["skip_bad"]}
    with quiet():
        return dataset_class(
            img_path=resolved[split],
            imgsz=list(size) if size[0] != size[1] else size[0],
            augment=False,
            hyp=get_cfg(),
            stride=TRUNK_STRIDE,
            prefix=f"{split}: ",
            data=resolved,
        )


def _choose(dataset: Any, most: int, data: DataConfig, split: str) -> list[int]:
    """Return rows of at most so many images with objects, at even distances.

    Raises:
        DataError: There is none.
    """
    filled = [index for index, label in enumerate(dataset.labels) if len(label["bboxes"])]
    if not filled:
        raise DataError(
            f"{data.yaml_file}: no image of '{split}:' has an object to look at. "
            "Correct its labels, or look at another split: split=train."
        )
    count = min(most, len(filled))
    return [filled[round(place)] for place in np.linspace(0, len(filled) - 1, count)]
