"""The verbs of `UAVDet` that detect: predict and track by Ultralytics' predictors, stream by the pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from uavdet.arguments import parse_options
from uavdet.data.config import check_class_ids
from uavdet.engine import calls
from uavdet.engine.checkpoint import Checkpoint
from uavdet.engine.exported import Exported
from uavdet.engine.families import Family
from uavdet.engine.predictor import LetterboxPredictor, StretchPredictor
from uavdet.engine.torch_detector import TorchDetector
from uavdet.run_folders import output_folder
from uavdet.runtime.detector import Detector
from uavdet.runtime.exported import open_exported
from uavdet.runtime.postprocess import CONFIDENCE, NMS_IOU
from uavdet.video.opening import STREAM_OPTIONS, open_stream, parse_stream_options, refuse_stream_options
from uavdet.video.tracker_config import read_tracker
from uavdet.video.tracking import SourceTracker

if TYPE_CHECKING:
    from ultralytics.engine.results import Results

    from uavdet.video.events import EventCallback
    from uavdet.video.frames import VideoFrame
    from uavdet.video.pipeline import Stream


class Detecting(ABC):
    """What detects with a model; `UAVDet` is the model."""

    source: str
    exported: Exported | None
    checkpoint: Checkpoint | None

    @property
    @abstractmethod
    def names(self) -> dict[int, str]:
        """Class id to class name."""

    @property
    @abstractmethod
    def family(self) -> Family:
        """Which image layout the model has."""

    @abstractmethod
    def _resolve(self, mode: str, options: dict[str, Any]) -> dict[str, Any]:
        """Return all options of a mode, checked."""

    @abstractmethod
    def _model_for(self, options: dict[str, Any]) -> nn.Module | str:
        """Return what a call runs: the module, or the exported file."""

    def _forget_predictor(self) -> None:
        """Forget the predictor and the tracks of earlier calls."""
        self._predictor: tuple[dict[str, Any], Any] | None = None
        self._tracks: SourceTracker | None = None

    def __call__(self, source: Any, *, stream: bool = False, **options: Any) -> list[Results] | Iterator[Results]:
        """Detect objects; see `predict`."""
        return self.predict(source, stream=stream, **options)

    def predict(self, source: Any = None, *, stream: bool = False, **options: Any) -> list[Results] | Iterator[Results]:
        """Detect objects in images, folders, videos or streams.

        Args:
            source: A path, glob, URL, camera number, array (H, W, 3) BGR, PIL image, or a list of them.
            stream: Return an iterator that holds one result at a time, as long videos and streams need.
            **options: The arguments of `uavdet predict`.

        Returns:
            Ultralytics `Results`, boxes clipped to the image.
        """
        return self._predict("predict", source, stream, options)

    def track(self, source: Any = None, *, stream: bool = False, **options: Any) -> list[Results] | Iterator[Results]:
        """Detect and track objects in videos or streams; `boxes.id` of the results holds identities.

        Only confirmed tracks are returned. Args as `predict`, and `tracker`; `persist=True` keeps the tracks of the
        call before, for videos that are given frame by frame.
        """
        return self._predict("track", source, stream, options)

    def _predict(
        self, mode: str, source: Any, stream: bool, options: dict[str, Any]
    ) -> list[Results] | Iterator[Results]:
        refuse_stream_options(options, None)
        options = self._resolve(mode, {"save": False, **options})
        options = {name: value for name, value in options.items() if name not in STREAM_OPTIONS}
        given = options.pop("source", None)
        source = given if source is None else source
        calls.check_source(source, mode)
        if self.names:
            check_class_ids(options["classes"], self.names, self.source)
        output_folder(mode, options)
        tracks = self._tracks_for(options) if mode == "track" else None
        results = self._results(mode, source, stream, options, tracks)
        return results if stream else list(results)

    def _results(
        self, mode: str, source: Any, stream: bool, options: dict[str, Any], tracks: SourceTracker | None
    ) -> Iterator[Results]:
        """Yield the results; the predictor is chosen when the first one is asked for, and held until the last one."""
        predictor = self._free_predictor(mode, options)
        predictor.tracks = tracks
        predictor.save_dir = output_folder(mode, options)
        yield from predictor(source=source, stream=stream)

    def _tracks_for(self, options: dict[str, Any]) -> SourceTracker:
        """Return new tracks, or with persist those of the call before if its tracker had the same settings."""
        config = read_tracker(options["tracker"])
        if self._tracks is None or not options["persist"] or self._tracks.config != config:
            self._tracks = SourceTracker(config)
        self._tracks.resume()
        return self._tracks

    def _free_predictor(self, mode: str, options: dict[str, Any]) -> Any:
        """Return the predictor of the last call where its settings still hold and it is free, else a new one.

        A predictor holds a fused copy of the model, so making one takes longer than detecting in a picture. While its
        results are being read it is locked.
        """
        key = {**{name: value for name, value in options.items() if name not in {"persist", "tracker"}}, "mode": mode}
        if self._predictor is None or self._predictor[0] != key or self._predictor[1].busy:
            self._predictor = (key, self._make_predictor(mode, options))
        return self._predictor[1]

    def _make_predictor(self, mode: str, options: dict[str, Any]) -> Any:
        predictor_class = LetterboxPredictor if self.family is Family.STOCK_YOLO else StretchPredictor
        conf = CONFIDENCE[mode] if options["conf"] is None else options["conf"]
        folder = output_folder(mode, options)
        predictor = predictor_class(overrides=calls.ultralytics_overrides(options, mode, folder, conf))
        if isinstance(predictor, StretchPredictor):
            predictor.nms = NMS_IOU if options["iou"] is None else options["iou"]
        predictor.setup_model(self._model_for(options), verbose=bool(options["verbose"]))
        return predictor

    def stream(
        self,
        source: Any,
        *,
        callback: Callable[[VideoFrame], Any] | None = None,
        on_event: EventCallback | None = None,
        **options: Any,
    ) -> Stream:
        """Detect, and track where asked to, in videos, streams and cameras, in threads of their own.

        >>> for frame in model.stream("rtsp://...", tile="auto", tracker="botsort"):  # doctest: +SKIP
        ...     print(frame.pts, frame.detections)

        Args:
            source: Path, glob, address, camera number, pipeline of GStreamer, or a list of them.
            callback: Called with every frame, in a thread of the stream.
            on_event: Called with what happens to the sources, each in the thread that reads it.
            **options: The arguments of `uavdet predict`, or with `tracker=` those of `uavdet track`; nothing is saved
                unless `save`, `save_txt` or `sinks` asks for it.

        Returns:
            The frames, to iterate over once; `report` tells of the run.
        """
        mode, parsed = parse_stream_options(source, options)
        detecting = {name: value for name, value in parsed.items() if name != "source"}
        detector = self.frame_detector(mode, **detecting)
        return open_stream(detector, parsed, output_folder(mode, parsed), callback=callback, on_event=on_event)

    def frame_detector(self, mode: str = "predict", **options: Any) -> TorchDetector | Detector:
        """Return what detects in single frames as `predict` does, for streams and tiles.

        Weights run in PyTorch, exported files in the torch-free runtime.

        Args:
            mode: predict or track, whose arguments and defaults are taken.
            **options: The arguments that say how to detect: imgsz, conf, iou, max_det, classes, queries, device, half.
        """
        if self.exported is not None:
            return open_exported(mode, {**parse_options(options, mode), "model": self.source})
        options = self._resolve(mode, {**options, "save": False})
        check_class_ids(options["classes"], self.names, self.source)
        options = {name: value for name, value in options.items() if name not in STREAM_OPTIONS}
        predictor = self._make_predictor(mode, options)
        meta = self.checkpoint.meta if self.checkpoint is not None else {}
        return TorchDetector(predictor, options["imgsz"], meta.get("statistics"))
