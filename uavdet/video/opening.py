"""From the options of a run to its stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uavdet.arguments import parse_options
from uavdet.errors import UsageError
from uavdet.tiling import TiledDetector, TilingOptions
from uavdet.tiling.detector import TileableDetector
from uavdet.video.detecting import FrameDetector
from uavdet.video.drawing import DrawingOptions
from uavdet.video.events import EventCallback
from uavdet.video.frames import VideoFrame
from uavdet.video.pipeline import Stream, live_slots
from uavdet.video.sinks import Sink, SinkOptions, open_sinks
from uavdet.video.sinks.save import SaveSink
from uavdet.video.sources import Reconnection, Source, open_sources
from uavdet.video.stages import FrameSink
from uavdet.video.tracker_config import read_tracker
from uavdet.video.tracking import SourceTracker

Options = Mapping[str, Any]

_TILING = ("overlap", "full_frame", "merge", "merge_metric", "merge_threshold")
STREAM_OPTIONS = ("tile", *_TILING, "latency", "sinks", "max_retries", "stall_timeout", "webhook")
"""Arguments that the pipeline takes and Ultralytics' predictors do not."""

_ULTRALYTICS_OPTIONS = ("show", "save_crop", "save_frames", "persist")
_ULTRALYTICS_ADDRESSES = ("youtube.com/", "youtu.be/")
_ULTRALYTICS_PICTURES = frozenset({".dng", ".heic", ".heif"})


def open_stream(
    detector: TileableDetector,
    options: Options,
    folder: Path,
    *,
    callback: Callable[[VideoFrame], Any] | None = None,
    on_event: EventCallback | None = None,
    on_plan: Callable[[str], None] | None = None,
) -> Stream:
    """Open the sources of a run and return the stream of their frames.

    Args:
        detector: What detects.
        options: The arguments of `uavdet predict` or `uavdet track`, parsed; those that are missing or None have their
            defaults, `save` is off unless it is on, and without `tracker` nothing is tracked.
        folder: Folder of the run, which is made when there is something to write.
        callback: Called with every frame, in a thread of the stream.
        on_event: Called with what happens to the sources, each in the thread that reads it.
        on_plan: Called with the line that says which tiles were chosen.

    Raises:
        DataError: A source does not exist, or holds nothing.
        MissingDependencyError: A package is needed that is not installed.
        UsageError: An option is not allowed.
    """
    tracker = SourceTracker(read_tracker(str(options["tracker"]))) if options.get("tracker") else None
    tiled = _tile(detector, options, on_plan)
    sources = _sources(options, on_event, detector.grey)
    return Stream(
        sources,
        tiled,
        tracker=tracker,
        sinks=_sinks(options, folder, detector.names, sources),
        callback=callback,
        latency=_latency(options),
        batch=int(options["batch"]) if options.get("batch") else None,
    )


def check_source_and_tracker(options: Options) -> None:
    """Refuse a source or a tracker that does not exist, before time is spent on loading a model.

    Raises:
        ConfigError: The tracker's YAML cannot be read.
        DataError: A source does not exist, or holds nothing.
        MissingDependencyError: A package is needed that is not installed.
        UsageError: An option is not allowed.
    """
    if options.get("tracker"):
        read_tracker(str(options["tracker"]))
    _sources(options)


def _sources(options: Options, on_event: EventCallback | None = None, grey: bool = False) -> list[Source]:
    """Return the sources of a run, none of them connected to."""
    if options.get("source") is None:
        raise UsageError("No source was given. Give an image, a folder, a glob, a video or an address: source=X.")
    return open_sources(
        options["source"],
        reconnection=Reconnection(options.get("max_retries"), _given(options, "stall_timeout", 10.0)),
        on_event=on_event,
        grey=grey,
        stride=_given(options, "vid_stride", 1),
    )


def _sinks(options: Options, folder: Path, names: Mapping[int, str], sources: Sequence[Source]) -> list[FrameSink]:
    """Return what writes the frames of a run: what `save=` and `save_txt=` ask for, and `sinks=`."""
    drawing = DrawingOptions(
        boxes=_given(options, "show_boxes", True),
        labels=_given(options, "show_labels", True),
        conf=_given(options, "show_conf", True),
        line_width=options.get("line_width"),
    )
    settings = SinkOptions(
        drawing=drawing,
        sources=len(sources),
        webhook=options.get("webhook"),
        live=bool(live_slots(sources, _latency(options))),
    )
    opened: list[FrameSink] = [open_sinks(options.get("sinks") or [], folder, names, settings)]
    if options.get("save") or options.get("save_txt"):
        opened.append(_save_sink(options, folder, names, settings))
    return opened


def _save_sink(options: Options, folder: Path, names: Mapping[int, str], settings: SinkOptions) -> Sink:
    return SaveSink(
        folder,
        names,
        settings,
        drawing=settings.drawing if options.get("save") else None,
        labels=bool(options.get("save_txt")),
        label_scores=bool(options.get("save_conf")),
    )


def parse_stream_options(source: Any, given: Options) -> tuple[str, dict[str, Any]]:
    """Return the mode of a stream of the Python API, predict or track, and its options with the source.

    Raises:
        UsageError: An option is not allowed, or only Ultralytics' predictors do it.
    """
    mode = "track" if given.get("tracker") else "predict"
    chosen = {
        name: value for name, value in given.items() if value is not None and (name, mode) != ("tracker", "predict")
    }
    parsed = {**parse_options(chosen, mode), "source": source}
    check_batch(parsed.get("batch"))
    reason = needs_ultralytics(parsed)
    if reason is not None:
        raise UsageError(
            f"{reason.rstrip(',')} is nothing that streams do. Use UAVDet.predict for it, or leave it out."
        )
    return mode, parsed


def needs_ultralytics(options: Options) -> str | None:
    """Return what of the options only Ultralytics' predictors do; None where nothing is."""
    for name in _ULTRALYTICS_OPTIONS:
        if options.get(name):
            return f"{name}=True"
    source = options.get("source")
    if not isinstance(source, str | Path):
        return None
    text = str(source)
    if text.lower() == "screen" or (text.lower().startswith("screen ") and not Path(text).exists()):
        return f"source={text}, the screen,"
    if "://" in text:
        return f"source={text}, a video of YouTube," if any(name in text for name in _ULTRALYTICS_ADDRESSES) else None
    found = _special_picture(Path(text).expanduser())
    return f"source={text}, a {found.suffix} picture," if found else None


def _special_picture(path: Path) -> Path | None:
    """Return the first picture of a file or a folder that OpenCV does not read."""
    listed = sorted(path.iterdir()) if path.is_dir() else [path]
    return next((entry for entry in listed if entry.suffix.lower() in _ULTRALYTICS_PICTURES), None)


def refuse_stream_options(options: Options, reason: str | None) -> None:
    """Refuse options of the pipeline where it is not taken.

    Args:
        options: The options that were given.
        reason: What it is not taken for, or None where it is a call of `UAVDet.predict` or `UAVDet.track`.

    Raises:
        UsageError: There is one.
    """
    given = next((name for name in STREAM_OPTIONS if options.get(name) is not None), None)
    if given is None:
        return
    if reason is not None:
        raise UsageError(f"{given}={options[given]} does not go with {reason.rstrip(',')}. Leave out one of them.")
    raise UsageError(
        f"{given}={options[given]} is for streams of frames. Use it with UAVDet.stream, or on the command line."
    )


def check_batch(batch: float | None) -> None:
    """Refuse batch sizes that only training understands.

    Raises:
        UsageError: It is no whole number of at least 1.
    """
    if batch is not None and (batch < 1 or batch != int(batch)):
        raise UsageError(f"batch={batch} is for training alone. Give a whole number of at least 1.")


def _tile(detector: TileableDetector, options: Options, on_plan: Callable[[str], None] | None) -> FrameDetector:
    """Return what detects tile by tile where that was asked for."""
    given = {name: options[name] for name in _TILING if options.get(name) is not None}
    if options.get("tile") is None:
        defaults = TilingOptions()
        for name, value in given.items():
            if value != getattr(defaults, name):
                raise UsageError(f"{name}={value} has no effect without tile=. Set tile=auto, or leave {name} out.")
        return detector
    return TiledDetector(
        detector, TilingOptions(tile=options["tile"], **given), max_det=options.get("max_det"), on_plan=on_plan
    )


def _latency(options: Options) -> str | None:
    """Return which frames count; `stream_buffer=True` is Ultralytics' word for all of them."""
    latency = options.get("latency")
    if not options.get("stream_buffer"):
        return latency
    if latency == "live":
        raise UsageError("stream_buffer=True queues all frames, latency=live keeps the newest alone. Give one of them.")
    return "complete"


def _given(options: Options, name: str, default: Any) -> Any:
    value = options.get(name)
    return default if value is None else value
