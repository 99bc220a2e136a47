"""The process of one model: opens it, and runs it as often as it is told to.

    python -m uavdet.benchmark.worker

A line of JSON on standard input is a request, a line on standard output its answer: `SubjectSettings` to open a model,
"run" for one pass, "finish" for the peak of memory and GFLOPs. Whatever else is printed goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from uavdet.errors import UAVDetError, one_line

_STATUS = Path("/proc/self/status")


def main() -> int:
    """Answer requests until there are no more."""
    answers = _take_standard_output()
    try:
        _serve(answers)
    except UAVDetError as error:
        _answer(answers, {"error": str(error), "kind": type(error).__name__})
    except Exception as error:
        _answer(answers, {"error": f"{type(error).__name__}: {one_line(error)}", "kind": "UAVDetError"})
    return 0


def _take_standard_output() -> TextIO:
    """Return standard output, and send to standard error what libraries print there, native ones included."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _serve(answers: TextIO) -> None:
    requests = (json.loads(line) for line in sys.stdin)
    settings = next(requests, None)
    if settings is None:
        return
    import cv2

    from uavdet.benchmark.settings import SubjectSettings
    from uavdet.benchmark.subjects import open_subject

    cv2.setNumThreads(settings["threads"])
    subject = open_subject(SubjectSettings(**settings))
    _answer(answers, asdict(subject.description))
    for request in requests:
        if request == "run":
            _answer(answers, asdict(subject.run()))
        else:
            peak = peak_memory()  # before the operations are counted, which takes a copy of the model
            _answer(answers, {"peak_mb": peak, "gflops": subject.gflops()})


def _answer(answers: TextIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def peak_memory() -> float | None:
    """Return the most memory that this process ever held, in MB of 10^6 bytes; None where the system does not tell.

    On Linux it is the kernel's high-water mark, which unlike `getrusage` leaves out what stood here before this
    program was loaded. Memory of a GPU is no part of it.
    """
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    sys.exit(main())
