"""`uavdet predict` and `uavdet track` by way of the pipeline, whatever detects."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TextIO

from uavdet.errors import DataError
from uavdet.json_output import write_results
from uavdet.run_folders import output_folder
from uavdet.tiling.detector import TileableDetector
from uavdet.video.frames import VideoFrame
from uavdet.video.opening import check_source_and_tracker, open_stream
from uavdet.video.pipeline import Stream
from uavdet.video.progress import Progress, open_progress
from uavdet.video.report import StreamReport
from uavdet.video.sinks.base import describe_frame

Options = dict[str, Any]


class StreamCommand:
    """One call of `uavdet predict` or `uavdet track`.

    Args:
        mode: predict or track.
        options: The options that were given. With json=True standard output takes the result and nothing else.

    Raises:
        DataError: A source does not exist, or holds nothing.
        UsageError: No source is given, or an option is not allowed.
    """

    def __init__(self, mode: str, options: Options) -> None:
        tracker = (options.get("tracker") or "botsort") if mode == "track" else None
        self._options = {"save": True, **options, "tracker": tracker}
        check_source_and_tracker(self._options)
        self._mode = mode
        self._output: TextIO = sys.stdout
        self._as_json = bool(options.get("json"))
        self._says: TextIO = sys.stderr if self._as_json else self._output

    def run(self, detector: TileableDetector, about: str) -> int:
        """Detect, write what was asked for, and return the exit code.

        Args:
            detector: What detects.
            about: What is said of it.

        Raises:
            DataError: The sources hold nothing that could be read, or files that could not.
        """
        folder = output_folder(self._mode, self._options)
        self.say(about)
        try:
            with (
                _log_to(sys.stderr),
                _refuse_unwritable(folder),
                open_stream(detector, self._options, folder, on_plan=self.say) as stream,
            ):
                more: dict[str, Any] = {"device": detector.device}
                with contextlib.closing(self._entries(stream, more)) as entries:
                    if self._as_json:
                        count = write_results(entries, lambda: folder, self._output, more)
                    else:
                        count = sum(1 for _ in entries)
        finally:  # what an interrupted or failed run has written is of use, too
            if folder.is_dir() and any(folder.iterdir()):
                self.say(f"Results saved to {folder}")
        if not count:
            raise DataError(f"source={self._options['source']} holds nothing that could be read: it is empty.")
        return 0

    def say(self, text: str) -> None:
        """Tell people something, unless they want to hear nothing."""
        if self._options.get("verbose", True):
            print(text, file=self._says)

    def _entries(self, stream: Stream, more: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Yield a result a frame as JSON has it; the report of the run is added to `more` at its end."""
        progress = None
        try:
            for number, frame in enumerate(stream):
                if frame.pts is None:
                    self.say(_line(frame, number))
                else:
                    progress = progress or self._open_progress(stream)
                    progress.show(frame, stream.report)
                yield _entry(frame, number)
            _refuse_failed(stream.report)
        finally:
            stream.close()
            if progress is not None:
                progress.close()
            report = stream.report
            more["report"] = report.as_dict()
            if report.sources and any(source.received for source in report.sources):
                self.say(f"\n{report.table()}\n")

    def _open_progress(self, stream: Stream) -> Progress:
        return open_progress(stream.sources, self._says) if self._options.get("verbose", True) else Progress()


@contextlib.contextmanager
def _log_to(output: TextIO) -> Iterator[None]:
    """Print what is logged of sources."""
    logger, handler = logging.getLogger("uavdet"), logging.StreamHandler(output)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


@contextlib.contextmanager
def _refuse_unwritable(folder: Path) -> Iterator[None]:
    """Turn the system's refusal to write into the folder of the run into an error for users."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"The disk is full. What {folder} holds was written before.") from error
        if not isinstance(error.filename, str):
            raise
        path = Path(error.filename)
        if not (path.is_relative_to(folder) or folder.is_relative_to(path)):
            raise
        raise DataError(f"{path} cannot be written: {error.strerror}. Give another folder: project=FOLDER.") from error


def _refuse_failed(report: StreamReport) -> None:
    """Say at the end that some sources failed; where all of them did, the stream has said it."""
    failed = [row.error for row in report.sources if row.error]
    if failed:
        count = len(report.sources)
        raise DataError(f"{len(failed)} of {count} sources failed, the others have been read: {failed[0]}")


def _entry(frame: VideoFrame, number: int) -> dict[str, Any]:
    """Return a frame as JSON: of a video or a stream with its index, its time and what else is known of it."""
    record = describe_frame(frame)
    entry: dict[str, Any] = {"path": str(frame.path or frame.source), "frame": number, "shape": record["shape"]}
    if frame.pts is not None:
        entry |= {name: record[name] for name in ("source", "index", "pts")}
    if frame.fields:
        entry["fields"] = record["fields"]
    return entry | {"detections": record["detections"]}


def _line(frame: VideoFrame, number: int) -> str:
    """Return what is said of a picture."""
    counted = Counter(frame.detections.class_names if frame.detections is not None else [])
    what = ", ".join(f"{count} {name}" for name, count in counted.items()) or "nothing"
    spent = sum(frame.timings.get(stage, 0.0) for stage in ("preprocess", "inference", "postprocess"))
    return f"{number + 1} {frame.path}: {what}, {spent:.1f} ms"
