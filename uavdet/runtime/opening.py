"""Opens an exported file on the device that was asked for, or on the fastest one that works here.

ONNX Runtime goes on with the CPU, and no more than a line in its log, where a device does not work. So what it took is
checked, and one inference run, before a device other than the CPU counts as working.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.errors import CheckpointError, UsageError, one_line
from uavdet.other_formats import refuse_other_format
from uavdet.runtime.binding import BoundBuffers
from uavdet.runtime.files import create_session, open_on_cpu
from uavdet.runtime.metadata import NetworkMetadata, describe_network
from uavdet.runtime.opened import OpenedNetwork, check_finite
from uavdet.runtime.openvino_session import open_openvino
from uavdet.runtime.providers import (
    HALF,
    PROVIDERS,
    Device,
    candidates,
    check_tensorrt,
    import_onnxruntime,
    provider_options,
    read_device,
    what_is_missing,
)

_LOG = logging.getLogger(__name__)
_FALLBACK = "ONNX Runtime fell back to the CPU"


def open_network(path: Path, device: str | int | None, threads: int, half: bool | None) -> OpenedNetwork:
    """Open a file or, for OpenVINO, a folder; see `uavdet.runtime.Session` for arguments and errors."""
    refuse_other_format(path)
    if path.name.endswith("_openvino_model"):
        return open_openvino(path, device, threads, half)
    wanted = read_device(device)
    tried = candidates(wanted, import_onnxruntime().get_available_providers())
    if half:
        tried = _with_half(wanted, tried)
    if [each.name for each in tried] == ["cpu"]:
        session = open_on_cpu(path, threads)
        return OpenedNetwork(describe(path, session), tried[0], False, plain_run(session))
    network = describe(path, open_on_cpu(path, threads, optimize=False))
    if wanted.name:
        return _open_on(wanted, network, threads, half)
    return _open_on_first(tried, network, threads, half)


def describe(path: Path, session: Any) -> NetworkMetadata:
    """Return what an opened file says of its network.

    Raises:
        CheckpointError: See `uavdet.runtime.metadata.describe_network`.
    """
    told = session.get_modelmeta().custom_metadata_map
    return describe_network(path, session.get_inputs(), session.get_outputs(), told)


def plain_run(session: Any) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return a function that runs a session on arrays, which ONNX Runtime reads where they lie."""
    name = session.get_inputs()[0].name
    return lambda batch: list(session.run(None, {name: batch}))


def _with_half(wanted: Device, tried: list[Device]) -> list[Device]:
    able = [device for device in tried if device.name in HALF]
    if not able:
        where = f"on device={wanted}" if wanted.name else "here"
        raise UsageError(
            f"half=True has no effect {where}: {' and '.join(HALF)} alone compute what is in single precision in half. "
            "Leave it out, or export the weights with half=True."
        )
    return able


def _open_on_first(tried: list[Device], network: NetworkMetadata, threads: int, half: bool | None) -> OpenedNetwork:
    """Open a file on the first device that works, and tell of those that do not.

    Raises:
        CheckpointError, UsageError: None works; the error is the last one's.
    """
    skipped: list[str] = []
    for device in tried:
        try:
            opened = _open_on(device, network, threads, half)
        except (UsageError, CheckpointError) as error:
            if device is tried[-1]:
                raise
            skipped.append(one_line(error))
            continue
        for reason in skipped:
            _LOG.warning("%s Going on with device=%s.", reason, device)
        return replace(opened, skipped=tuple(skipped))
    raise UsageError(f"ONNX Runtime has no provider that '{network.path}' runs on. Install it again.")


def _open_on(device: Device, network: NetworkMetadata, threads: int, half: bool | None) -> OpenedNetwork:
    """Open a file on a device, and run it once there.

    Raises:
        CheckpointError: It gives numbers that are not finite.
        UsageError: The device does not work, or is a TensorRT that is known to be wrong.
    """
    if device.name == "tensorrt":
        check_tensorrt()
    in_half = device.name == "tensorrt" if half is None else half
    name = PROVIDERS[str(device.name)]
    try:
        session = create_session(network.path, provider_options(device, network, in_half, threads), threads)
        if session.get_providers()[0] != name:
            raise RuntimeError(_FALLBACK)
        on_gpu = device.name in {"cuda", "tensorrt"}
        run = BoundBuffers(session, device.index).run if on_gpu else plain_run(session)
        outputs = run(network.black_images())
        if session.get_providers()[0] != name:
            raise RuntimeError(f"{_FALLBACK} in the first run")
    except Exception as error:
        reason = one_line(error)[:200].rstrip(". ")
        raise UsageError(
            f"device={device} does not work here: {reason}. {what_is_missing(str(device.name), built_with=True)}"
        ) from error
    opened = OpenedNetwork(network, device, in_half, run)
    check_finite(opened, outputs)
    return opened
