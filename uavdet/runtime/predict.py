"""`uavdet predict` with an exported file, without PyTorch and Ultralytics."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from uavdet.argument_table import DETR
from uavdet.arguments import check_family
from uavdet.data.config import check_class_ids
from uavdet.errors import DataError, MissingDependencyError, UsageError
from uavdet.json_output import write_results
from uavdet.run_folders import output_folder
from uavdet.runtime.detections import Detections
from uavdet.runtime.detector import Detector
from uavdet.runtime.metadata import refuse_settled
from uavdet.runtime.results_folder import DrawingOptions, ResultsFolder
from uavdet.runtime.sources import Frame, Unreadable, beyond_files, find_files, read_frames

Options = dict[str, Any]

_CONFIDENCE = 0.25
_ULTRALYTICS_OPTIONS = ("show", "save_crop", "save_frames", "stream_buffer")


def run_predict(options: Options) -> int:
    """`uavdet predict model=x.onnx`: here where pictures or videos are read and saved, else by Ultralytics.

    Raises:
        CheckpointError: The file cannot be run.
        DataError: The source holds nothing that could be read, or files that could not.
        MissingDependencyError: What was asked for takes Ultralytics, which is not installed.
        UsageError: An option is not allowed.
    """
    reason = needs_ultralytics(options)
    if reason is None:
        return _Prediction(options).run()
    if not _has_ultralytics():
        raise MissingDependencyError(
            f"{reason} needs Ultralytics, which is not installed. It comes with: pip install 'uavdet[train]'. "
            "Pictures, folders, globs and video files go without it."
        )
    from uavdet.commands import run_predict as run_with_ultralytics

    return run_with_ultralytics(options)


def needs_ultralytics(options: Options) -> str | None:
    """Return what of the options takes Ultralytics; None where nothing does."""
    for name in _ULTRALYTICS_OPTIONS:
        if options.get(name):
            return f"{name}=True"
    source = options.get("source")
    kind = beyond_files(source) if source is not None else None
    return f"source={source}, {kind}," if kind else None


def _has_ultralytics() -> bool:
    try:
        return importlib.util.find_spec("ultralytics") is not None
    except ModuleNotFoundError:
        return False


class _Prediction:
    """One call of `uavdet predict`.

    Args:
        options: The options that were given.
    """

    def __init__(self, options: Options) -> None:
        check_family(options, DETR)
        self._options = options
        self._as_json = bool(options.get("json"))
        self._says: TextIO = sys.stderr if self._as_json else sys.stdout
        self._unreadable: list[Unreadable] = []

    def run(self) -> int:
        """Detect, write what was asked for, and return the exit code."""
        options = self._options
        detector = self._open()
        if options.get("source") is None:
            raise UsageError(
                "No source was given. Give an image, a folder, a glob or a video: uavdet predict source=X."
            )
        files = find_files(options["source"])
        folder = self._folder()
        entries = self._entries(detector, files, folder)
        if self._as_json:
            count = write_results(entries, lambda: folder.folder, sys.stdout, {"device": detector.session.device})
        else:
            count = sum(1 for _ in entries)
        if not count:
            raise DataError(f"source={options['source']} holds nothing that could be read: {self._first_reason()}")
        if folder.folder.is_dir():
            self._say(f"Results saved to {folder.folder}")
        return 0

    def _open(self) -> Detector:
        """Open the file, and refuse options that it has settled."""
        options = self._options
        self._check_batch()
        detector = Detector(
            options["model"],
            device=options.get("device"),
            conf=_CONFIDENCE if options.get("conf") is None else options["conf"],
            max_det=options.get("max_det"),
            classes=options.get("classes"),
            half=options.get("half"),
        )
        session = detector.session
        refuse_settled(options, Path(options["model"]), session.imgsz)
        check_class_ids(options.get("classes"), session.names, options["model"])
        self._say(f"{options['model']}: {session.imgsz[0]}x{session.imgsz[1]} on {session.device} ({session.provider})")
        return detector

    def _check_batch(self) -> None:
        batch = self._options.get("batch")
        if batch is not None and (batch < 1 or batch != int(batch)):
            raise UsageError(f"batch={batch} is for training alone. Give a whole number of at least 1.")

    def _folder(self) -> ResultsFolder:
        options = self._options
        drawing = DrawingOptions(
            boxes=options.get("show_boxes", True),
            labels=options.get("show_labels", True),
            conf=options.get("show_conf", True),
            line_width=options.get("line_width"),
        )
        return ResultsFolder(
            output_folder("predict", options),
            drawing if options.get("save", True) else None,
            labels=options.get("save_txt", False),
            label_scores=options.get("save_conf", False),
        )

    def _entries(self, detector: Detector, files: list[Path], folder: ResultsFolder) -> Iterator[dict[str, Any]]:
        """Detect in all files and yield a result as JSON has it; the unreadable files are told of at the end.

        Raises:
            DataError: Some files could not be read; the others have been.
        """
        index = 0
        try:
            for frames in self._batches(files, detector):
                start = time.perf_counter()
                several = detector.detect([frame.image for frame in frames])
                milliseconds = (time.perf_counter() - start) * 1e3 / len(frames)
                for frame, found in zip(frames, several, strict=True):
                    folder.write(frame, found)
                    self._say(_line(frame, found, index, milliseconds))
                    yield _entry(frame, found, index)
                    index += 1
        finally:
            folder.close()
        if index and self._unreadable:
            raise DataError(
                f"{len(self._unreadable)} of {len(files)} files could not be read, the others have been: "
                f"{self._first_reason()}"
            )

    def _batches(self, files: list[Path], detector: Detector) -> Iterator[list[Frame]]:
        """Yield as many pictures or frames as are detected in at a time."""
        size = int(self._options.get("batch") or detector.session.batch or 1)
        frames: list[Frame] = []
        for read in read_frames(files, detector.session.channels == 1, self._options.get("vid_stride", 1)):
            if isinstance(read, Unreadable):
                self._unreadable.append(read)
                print(f"skipped: {read.reason}", file=sys.stderr)
                continue
            frames.append(read)
            if len(frames) == size:
                yield frames
                frames = []
        if frames:
            yield frames

    def _first_reason(self) -> str:
        return self._unreadable[0].reason if self._unreadable else "it is empty."

    def _say(self, text: str) -> None:
        if self._options.get("verbose", True):
            print(text, file=self._says)


def _entry(frame: Frame, found: Detections, index: int) -> dict[str, Any]:
    height, width = frame.image.shape[:2]
    return {"path": str(frame.path), "frame": index, "shape": [height, width], "detections": found.to_json()}


def _line(frame: Frame, found: Detections, index: int, milliseconds: float) -> str:
    """Return what is said of a picture or a frame."""
    counted = Counter(found.class_names)
    what = ", ".join(f"{number} {name}" for name, number in counted.items()) or "nothing"
    where = f"{frame.path}" + (f" frame {frame.number}" if frame.number is not None else "")
    return f"{index + 1} {where}: {what}, {milliseconds:.1f} ms"
