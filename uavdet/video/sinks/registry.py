"""Opens sinks by name, and writes to several as to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

from uavdet.errors import DataError, UsageError, suggest_name
from uavdet.video.frames import VideoFrame
from uavdet.video.sinks.base import CallbackSink, Sink, SinkOptions
from uavdet.video.sinks.coco import CocoSink
from uavdet.video.sinks.text import CsvSink, JsonLinesSink, MotSink
from uavdet.video.sinks.video import VideoSink
from uavdet.video.sinks.webhook import WebhookSink

SINKS: dict[str, type[Sink]] = {
    sink.name: sink for sink in (VideoSink, JsonLinesSink, CsvSink, MotSink, CocoSink, WebhookSink)
}
"""Name of a sink to its class."""


class Sinks:
    """Several sinks as one.

    Args:
        sinks: Those that every frame goes to, in this order.
    """

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self.sinks = list(sinks)

    def write(self, frame: VideoFrame) -> None:
        """Give a frame to every sink.

        Raises:
            DataError: A sink cannot write its file.
        """
        for sink in self.sinks:
            try:
                sink.write(frame)
            except OSError as error:
                raise _refusal(sink, error) from error

    def close(self) -> None:
        """Close every sink, also where one fails.

        Raises:
            DataError: A sink could not write the rest of its file.
        """
        errors: list[Exception] = []
        for sink in self.sinks:
            try:
                sink.close()
            except OSError as error:
                errors.append(_refusal(sink, error))
            except Exception as error:  # whatever it is, the others are closed
                errors.append(error)
        if errors:
            raise errors[0]

    def __enter__(self) -> Sinks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refusal(sink: Sink, error: OSError) -> DataError:
    file = error.filename or sink.folder
    reason = error.strerror or str(error)
    return DataError(
        f"sinks={sink.name} cannot write {file}: {reason}. It needs a folder with room that may be written to. "
        "Give another: project=FOLDER."
    )


def open_sinks(
    given: str | Iterable[str | Sink | Callable[[VideoFrame], object]],
    folder: Path,
    names: Mapping[int, str],
    options: SinkOptions | None = None,
) -> Sinks:
    """Open sinks.

    Args:
        given: Names of `SINKS`, separated by commas or as a list, which may hold sinks and functions of a frame as
            well; an address in the options adds the webhook.
        folder: Of the run; it is made with the first file.
        names: Class id to class name.
        options: Settings of sinks.

    Raises:
        UsageError: There is no sink of that name, or one is named twice, or lacks a setting.
    """
    options = options or SinkOptions()
    entries = [entry.strip() for entry in given.split(",")] if isinstance(given, str) else list(given)
    entries = [entry for entry in entries if entry]
    if options.webhook and WebhookSink.name not in entries:
        entries.append(WebhookSink.name)
    for entry in entries:
        _check(entry, entries)
    return Sinks([_open(entry, folder, names, options) for entry in entries])


def _check(entry: object, entries: list[str | Sink | Callable[[VideoFrame], object]]) -> None:
    """Refuse what is no sink."""
    if isinstance(entry, str):
        if entry not in SINKS:
            raise UsageError(f"sinks={entry} is unknown.{suggest_name(entry, SINKS)} Known: {', '.join(SINKS)}.")
        if entries.count(entry) > 1:
            raise UsageError(f"sinks={entry} is given twice. Name each sink once.")
    elif not isinstance(entry, Sink) and not callable(entry):
        raise UsageError(f"sinks={entry!r} is no sink. It is a name of {', '.join(SINKS)}, a function, or a Sink.")


def _open(
    entry: str | Sink | Callable[[VideoFrame], object], folder: Path, names: Mapping[int, str], options: SinkOptions
) -> Sink:
    if isinstance(entry, str):
        return SINKS[entry](folder, names, options)
    return entry if isinstance(entry, Sink) else CallbackSink(entry)
