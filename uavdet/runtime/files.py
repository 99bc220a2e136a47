"""Opens an ONNX file, and says in a line why one cannot be opened."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uavdet.errors import CheckpointError, UsageError, one_line
from uavdet.runtime.providers import PROVIDERS, import_onnxruntime

MOST_THREADS = 1024
"""More are a mistake: ONNX Runtime starts them all, and each takes memory."""

SLOW_FUSIONS = ["SkipLayerNormFusion"]
"""Optimisations that slow ONNX Runtime's CPU down: Add and LayerNormalization in one node take several times longer."""

_PREFIX = re.compile(r"^.*?failed: ?")
_VERSION = re.compile(r"IR version: (\d+), max supported IR version: (\d+)")
_OPSET = re.compile(r"Opset (\d+) is under development.*?is till opset (\d+)")


def processors() -> int:
    """Return how many threads to compute with: `OMP_NUM_THREADS` where set, else the processors of this process."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that is none.

    Raises:
        UsageError: It is no whole number from 1 to `MOST_THREADS`.
    """
    if threads is not None and (type(threads) is not int or not 1 <= threads <= MOST_THREADS):
        raise UsageError(
            f"threads={threads} is not allowed. It is a whole number from 1 to {MOST_THREADS}; leave it out for one "
            "for each processor."
        )


def open_on_cpu(path: Path, threads: int | None = None, optimize: bool = True) -> Any:
    """Return ONNX Runtime's session of a file on the CPU.

    Args:
        path: The file.
        threads: CPU threads; by default one for each processor.
        optimize: Optimise the graph; without it a file opens faster and runs slower.

    Raises:
        CheckpointError: The file is missing, empty, damaged or for a newer ONNX Runtime.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    onnxruntime = import_onnxruntime()
    if not path.is_file() or path.stat().st_size == 0:
        state = "is empty" if path.is_file() else "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"'{path}' {state}. Write it with: uavdet export model=best.pt format=onnx.")
    try:
        return create_session(path, [PROVIDERS["cpu"]], threads, optimize)
    except Exception as error:
        raise CheckpointError(f"'{path}' {_reason(error, onnxruntime.__version__)}") from error


def create_session(path: Path, providers: Sequence[Any], threads: int | None = None, optimize: bool = True) -> Any:
    """Return ONNX Runtime's session with execution providers, some of which it may have left out with a log line.

    What ONNX Runtime prints on standard output is dropped. Threads do not spin while they wait: those of a camera or a
    tracker need the processors as well.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or processors()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with contextlib.redirect_stdout(io.StringIO()):
        if any(provider[0] == PROVIDERS["cuda"] for provider in providers) and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # of the wheels that bring CUDA and cuDNN, from ONNX Runtime 1.21 on
        session = onnxruntime.InferenceSession(
            str(path),
            options,
            providers=list(providers),
            enable_fallback=0,
            disabled_optimizers=SLOW_FUSIONS if list(providers) == [PROVIDERS["cpu"]] else None,
        )
    session.disable_fallback()
    return session


def _reason(error: Exception, version: str) -> str:
    """Return what is wrong with a file that ONNX Runtime refuses, and what mends it."""
    text = one_line(error)
    update = "Update ONNX Runtime, or export again: uavdet export model=best.pt format=onnx."
    if found := _VERSION.search(text):
        return f"has ONNX's format {found[1]}; ONNX Runtime {version} reads up to {found[2]}. {update}"
    if found := _OPSET.search(text):
        return f"has operator set {found[1]}; ONNX Runtime {version} knows up to {found[2]}. {update}"
    if "Protobuf parsing failed" in text:
        return "is damaged or no ONNX file: it cannot be parsed. Copy or export it again."
    return f"cannot be run by ONNX Runtime {version}: {_PREFIX.sub('', text)[:200].rstrip('. ')}. {update}"
