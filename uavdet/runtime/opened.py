"""A file that is open on a device, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from uavdet.errors import CheckpointError
from uavdet.runtime.metadata import NetworkMetadata
from uavdet.runtime.providers import Device


@dataclass(frozen=True)
class OpenedNetwork:
    """A file on a device.

    Attributes:
        network: What the file says of itself.
        device: What it runs on.
        half: Whether it computes in half precision because that was asked for, or is the device's way.
        run: Maps a batch, as the file takes it, to its outputs.
        skipped: What was tried before, and why it does not work.
    """

    network: NetworkMetadata
    device: Device
    half: bool
    run: Callable[[np.ndarray], list[np.ndarray]]
    skipped: tuple[str, ...] = ()


def check_finite(opened: OpenedNetwork, outputs: list[np.ndarray]) -> None:
    """Refuse outputs that hold NaN or infinity: a network that overflows would seem to see nothing.

    Raises:
        CheckpointError: They hold one.
    """
    for index, output in enumerate(outputs):
        if np.isfinite(output).all():
            continue
        bad = ~np.isfinite(output)
        images = np.flatnonzero(bad.reshape(len(output), -1).any(1))
        kind = "NaN" if np.isnan(output).any() else "infinity"
        how = f"device={opened.device}{' in half precision' if opened.half else ''}"
        again = "copy or export it again" + (" in single precision" if opened.network.precision != "fp32" else "")
        mend = f"{again.capitalize()}."
        if str(opened.device) != "cpu":
            mend = f"Try {'half=False' if opened.half else 'device=cpu'}, or {again}."
        raise CheckpointError(
            f"'{opened.network.path}' gave {kind} on {how}: {int(bad.sum())} of {bad.size} values of output {index}, "
            f"for image {int(images[0])} of the batch. {mend}"
        )
