"""The detector for deployment: an exported file in, detections out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uavdet.arguments import arguments_of, parse_value
from uavdet.errors import CheckpointError, DataError, UsageError
from uavdet.runtime.detections import Detections
from uavdet.runtime.postprocess import CONFIDENCE, NMS_IOU, decode_rows
from uavdet.runtime.preprocess import InputBuffer
from uavdet.runtime.session import Session
from uavdet.runtime.timing import StageTimer

if TYPE_CHECKING:
    from uavdet.video.events import EventCallback
    from uavdet.video.frames import VideoFrame
    from uavdet.video.pipeline import Stream

_SETTLED = ("model", "imgsz", "queries", "device", "half", "conf", "iou", "max_det", "classes")


class Detector:
    """Detects objects with an exported file.

    It may be called from several threads, which then wait for one another: they share the memory of the input.

    Args:
        path: The `.onnx` file that `uavdet export` wrote, with any of its inputs and outputs.
        device: 'cpu', 'cuda' (or a GPU's number), 'tensorrt' or 'openvino'; by default the fastest that works here. See
            `Session`, which `detector.session` is, and whose `device` and `provider` tell what it was.
        threads: CPU threads; by default one for each processor.
        conf: Lowest score.
        max_det: Most detections an image; by default all that the file gives.
        classes: Class ids to keep, or None for all.
        half: Compute in half precision; by default TensorRT does. See `Session`.
        iou: IoU from which the weaker of two boxes of a class goes (NMS); by default 0.7. 1 keeps all but equal ones.

    Raises:
        CheckpointError: The file is missing, damaged or not written by `uavdet export`, or takes images that are
            neither in colour nor grey.
        MissingDependencyError: ONNX Runtime is not installed.
        UsageError: The device is not available, or a setting is not allowed.
    """

    def __init__(
        self,
        path: str | Path,
        device: str | int | None = None,
        threads: int | None = None,
        conf: float = CONFIDENCE["predict"],
        max_det: int | None = None,
        classes: Collection[int] | None = None,
        half: bool | None = None,
        iou: float | None = None,
    ) -> None:
        known = arguments_of("predict")
        self.conf: float = parse_value(known["conf"], conf)
        self.iou: float = parse_value(known["iou"], NMS_IOU if iou is None else iou)
        self.max_det: int | None = None if max_det is None else parse_value(known["max_det"], max_det)
        self.session = Session(path, device, threads, half)
        if self.session.channels not in {1, 3}:
            raise CheckpointError(
                f"'{path}' takes images of {self.session.channels} channels. Give a file for 3 (colour) or 1 (grey), "
                "or prepare the images yourself for uavdet.runtime.Session."
            )
        _check_classes(classes, self.session)
        self.classes = classes
        self._input = InputBuffer(self.session.network.images)
        self._lock = threading.Lock()
        self._timer = StageTimer()

    @property
    def names(self) -> dict[int, str]:
        """Class id to class name."""
        return self.session.names

    @property
    def batch(self) -> int | None:
        """Images a run, or None where any number goes."""
        return self.session.batch

    @property
    def imgsz(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.session.imgsz

    @property
    def grey(self) -> bool:
        """Whether the network reads grey pictures."""
        return self.session.channels == 1

    @property
    def device(self) -> str:
        """What it runs on, such as 'cpu' or 'cuda:1'."""
        return self.session.device

    @property
    def statistics(self) -> Mapping[str, Any] | None:
        """What the file says of the training's objects, or None; see `uavdet.data.statistics`."""
        ours = self.session.metadata.get("uavdet")
        return ours.get("statistics") if isinstance(ours, Mapping) else None

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds of the last call over all its images, by step: preprocess, inference, postprocess."""
        return self._timer.timings

    def __call__(self, image: np.ndarray) -> Detections:
        """Detect objects in one image, (H, W, 3) uint8 BGR or (H, W) grey."""
        return self.detect([image])[0]

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect objects in several images, whose sizes may differ; no image gives no result.

        Raises:
            CheckpointError: The network gave NaN or infinity.
            DataError: An image has another shape or type, or is given in the place of several.
        """
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise DataError(f"The images are one array of {images.shape}. Give a list of images, or call the detector.")
        size = self.session.largest_batch or len(images)
        with self._lock, self._timer.call():
            return [
                found
                for start in range(0, len(images), size or 1)
                for found in self._detect_part(images[start : start + size])
            ]

    def stream(
        self,
        source: Any,
        *,
        callback: Callable[[VideoFrame], Any] | None = None,
        on_event: EventCallback | None = None,
        **options: Any,
    ) -> Stream:
        """Detect, and track where asked to, in videos, streams and cameras, in threads of their own.

        >>> for frame in detector.stream("rtsp://...", tile="auto", tracker="botsort"):  # doctest: +SKIP
        ...     print(frame.pts, frame.detections)

        Trackers use weak detections to keep a track alive: for tracking, open the detector with `conf=0.1`.

        Args:
            source: Path, glob, address, camera number, pipeline of GStreamer, or a list of them.
            callback: Called with every frame, in a thread of the stream.
            on_event: Called with what happens to the sources, each in the thread that reads it.
            **options: The arguments of `uavdet predict`, or with `tracker=` those of `uavdet track`, but for those that
                the detector was made with; nothing is saved unless `save`, `save_txt` or `sinks` asks for it.

        Returns:
            The frames, to iterate over once; `report` tells of the run.

        Raises:
            DataError: The source does not exist, or holds nothing.
            MissingDependencyError: A package is needed that is not installed.
            UsageError: An option is not allowed.
        """
        from uavdet.run_folders import output_folder
        from uavdet.video.opening import open_stream, parse_stream_options

        settled = next((name for name in _SETTLED if options.get(name) is not None), None)
        if settled is not None:
            raise UsageError(
                f"{settled}={options[settled]} is settled. Give it when the detector is made: Detector(...)."
            )
        mode, parsed = parse_stream_options(source, {"max_det": self.max_det, **options})
        return open_stream(self, parsed, output_folder(mode, parsed), callback=callback, on_event=on_event)

    def warm_up(self, runs: int = 3) -> None:
        """Run black images, so that the first real one does not wait; see `Session.warm_up`."""
        self.session.warm_up(runs)

    def _detect_part(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect in as many images as one run takes, or fewer."""
        with self._timer.measure("preprocess"):
            batch = self._input.fill(images, self.session.batch or len(images))
        with self._timer.measure("inference"):
            outputs = self.session.run(batch)
        with self._timer.measure("postprocess"):
            return [
                decode_rows(rows, image.shape[:2], self.session.names, self.conf, self.max_det, self.classes, self.iou)
                for rows, image in zip(outputs, images, strict=False)
            ]


def _check_classes(classes: Collection[int] | None, session: Session) -> None:
    """Refuse what is no list of the file's class ids, of which nothing would be found."""
    if isinstance(classes, str) or not isinstance(classes, Collection | None):
        raise UsageError(f"classes={classes} is not allowed. It is a list of class ids.")
    for index in classes or ():
        if index not in session.names:
            raise UsageError(f"classes={index} is no class of {session.path}, which has 0 to {max(session.names)}.")
