"""The modes of the command line that need PyTorch; each takes its options and returns an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import uavdet.environment  # noqa: F401  (before anything imports Ultralytics)
from uavdet.errors import DataError
from uavdet.json_output import print_json, write_results
from uavdet.video.command import StreamCommand
from uavdet.video.opening import needs_ultralytics, refuse_stream_options

Options = dict[str, Any]


@contextlib.contextmanager
def messages_apart(json_wanted: bool) -> Iterator[TextIO]:
    """Send everything that is printed to standard error while the result is to be JSON on standard output.

    Yields:
        Standard output, for the result.
    """
    from ultralytics.utils import LOGGER

    output = sys.stdout
    if not json_wanted:
        yield output
        return
    streams = [(handler, handler.stream) for handler in LOGGER.handlers if hasattr(handler, "setStream")]
    for handler, _ in streams:
        handler.setStream(sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield output
    finally:
        for handler, stream in streams:
            handler.setStream(stream)


def run_train(options: Options) -> int:
    """`uavdet train`."""
    from uavdet.engine.train import train

    wanted = options.pop("json", False)
    with messages_apart(wanted):
        result = train(options)
    summary = {"save_dir": result.save_dir, "best": result.best, "last": result.last, "metrics": result.metrics}
    if int(os.environ.get("RANK", "0")) == 0:  # a distributed run has one result
        print_json(summary) if wanted else print(f"Weights: {result.best}")
    return 0


def run_val(options: Options) -> int:
    """`uavdet val`."""
    wanted = options.pop("json", False)
    with messages_apart(wanted):
        metrics = _validate(options)
    if wanted:
        print_json(metrics)
    return 0


def _validate(options: Options) -> dict[str, Any]:
    if options.get("predictions"):
        from uavdet.evaluation.offline import score_predictions

        return score_predictions(**options)
    from uavdet.model import UAVDet

    return UAVDet(options.pop("model", None)).val(**options)


def run_predict(options: Options) -> int:
    """`uavdet predict` with weights or a model YAML."""
    return _run_results("predict", options)


def run_track(options: Options) -> int:
    """`uavdet track` with weights or a model YAML."""
    return _run_results("track", options)


def _run_results(mode: str, options: Options) -> int:
    if needs_ultralytics(options) is not None:
        return run_with_ultralytics(mode, options)
    command = StreamCommand(mode, options)
    with messages_apart(bool(options.get("json"))):
        from uavdet.model import UAVDet

        model = UAVDet(options.get("model"))
        detecting = {name: value for name, value in options.items() if name not in {"model", "source", "json"}}
        detector = model.frame_detector(mode, **detecting)
        size = f"{detector.imgsz[0]}x{detector.imgsz[1]}"
        about = f"{model.source}: {size} on {detector.device} (PyTorch)"
        return command.run(detector, about)


def run_with_ultralytics(mode: str, options: Options) -> int:
    """Run what only Ultralytics' predictors do, such as show=True and save_crop=True.

    Raises:
        UsageError: An option is given that they do not have.
    """
    wanted = options.pop("json", False)
    refuse_stream_options(options, needs_ultralytics(options))
    with messages_apart(wanted) as output:
        from uavdet.model import UAVDet

        options.setdefault("save", True)
        model = UAVDet(options.pop("model", None))
        source = options.pop("source", None)
        results = getattr(model, mode)(source, stream=True, **options)
        count = _print_results(results, output) if wanted else sum(1 for _ in results)
    if not count:
        raise DataError(f"source={source} holds nothing that could be read.")
    return 0


def _print_results(results: Iterable[Any], output: TextIO) -> int:
    """Write results as one JSON object, the entries of its list as they come; return their number."""
    folder: Path | None = None

    def entries() -> Iterator[dict[str, Any]]:
        nonlocal folder
        for index, result in enumerate(results):
            folder = Path(result.save_dir) if result.save_dir else folder
            yield _entry(result, index)

    return write_results(entries(), lambda: folder, output)


def _entry(result: Any, index: int) -> dict[str, Any]:
    return {
        "path": str(result.path),
        "frame": index,
        "shape": list(result.orig_shape),
        "detections": _rows(result),
    }


def _rows(result: Any) -> list[dict[str, Any]]:
    boxes = result.boxes.cpu()
    rows = []
    for index in range(len(boxes)):
        row: dict[str, Any] = {
            "class": int(boxes.cls[index]),
            "name": result.names[int(boxes.cls[index])],
            "confidence": round(float(boxes.conf[index]), 5),
            "box": dict(zip(("x1", "y1", "x2", "y2"), (round(v, 2) for v in boxes.xyxy[index].tolist()), strict=True)),
        }
        if boxes.id is not None:
            row["track_id"] = int(boxes.id[index])
        rows.append(row)
    return rows


def run_export(options: Options) -> int:
    """`uavdet export`."""
    wanted = options.pop("json", False)
    with messages_apart(wanted):
        from uavdet.export.flow import read_report
        from uavdet.model import UAVDet

        model = UAVDet(options.pop("model", None))
        out = model.export(**options)
        report = read_report(out)
    files = [path for path in out.rglob("*") if path.is_file()] if out.is_dir() else [out]
    size = sum(path.stat().st_size for path in files)
    if wanted:
        print_json({"file": out, "bytes": size, "parity": report})
    else:
        print(f"Exported {out} ({size / 1e6:.1f} MB)")
    return 0


def run_import(options: Options) -> int:
    """`uavdet import`."""
    from uavdet.engine.importing import import_checkpoint
    from uavdet.errors import UsageError

    wanted, weights = options.pop("json", False), options.pop("weights", None)
    if weights is None:
        raise UsageError("No checkpoint was given. Give one: uavdet import weights=x.pt trust=True.")
    with messages_apart(wanted):
        out = import_checkpoint(weights, options.get("out"), trust=options.get("trust", False))
    print_json({"file": out}) if wanted else print(f"Imported to {out}")
    return 0


def run_info(options: Options) -> int:
    """`uavdet info`."""
    wanted = options.pop("json", False)
    with messages_apart(wanted):
        from uavdet.model import UAVDet

        model = UAVDet(options.pop("model", None))
        profile = model.info(**options)
    print_json(profile.summary()) if wanted else print(profile.table())
    return 0


def run_demo(options: Options) -> int:
    """`uavdet demo`."""
    wanted = options.pop("json", False)
    with messages_apart(wanted):
        from uavdet.demo import run

        report = run(options)
    print_json(report.as_dict()) if wanted else print(report.table())
    return 0
