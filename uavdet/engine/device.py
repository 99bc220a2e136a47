"""Checks `device=` against what the machine has."""

from __future__ import annotations

from typing import Any

import torch

from uavdet.errors import UsageError


def check_device(given: Any, *, several: bool = False) -> str | None:
    """Return a device as Ultralytics takes it: 'cpu', 'mps', a GPU's number such as '0', or '0,1'.

    Args:
        given: cpu, mps, GPU numbers (0, '0,1', [0, 1], 'cuda:0'), or None for the first GPU, else the CPU.
        several: Whether more than one GPU can be used, as in training.

    Raises:
        UsageError: It is no device, the machine lacks it, or it names several GPUs where one is used.
    """
    if given is None or given == "":
        return None
    parts = given if isinstance(given, list | tuple) else str(given).strip("[]() ").split(",")
    names = [_plain_name(part) for part in parts]
    if names in (["cpu"], ["mps"]):
        known = names[0] in available_devices()
    else:
        known = (
            bool(names) and len(set(names)) == len(names) and set(names) <= set(available_devices()) - {"cpu", "mps"}
        )
    if not known:
        raise UsageError(f"device={_text(given)} is not available. This machine has {', '.join(available_devices())}.")
    if len(names) > 1 and not several:
        raise UsageError(f"device={_text(given)} names several GPUs, which training alone uses. Give one: {names[0]}.")
    return ",".join(names)


def available_devices() -> list[str]:
    """Return the devices of this machine: cpu, mps, and the numbers of its GPUs."""
    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return ["cpu", *(["mps"] if torch.backends.mps.is_available() else []), *map(str, gpus)]


def runs_on_cpu(device: str | None) -> bool:
    """Return whether a checked device is the CPU."""
    return device == "cpu" or (device is None and not torch.cuda.is_available())


def _plain_name(part: Any) -> str:
    """Return 'cuda' and 'cuda:N' as the number, anything else in lower case."""
    name = str(part).strip().lower()
    return "0" if name == "cuda" else name.removeprefix("cuda:")


def _text(given: Any) -> str:
    return ",".join(map(str, given)) if isinstance(given, list | tuple) else str(given)
