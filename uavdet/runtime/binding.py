"""Runs a network on a GPU through buffers that are made once and stay there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uavdet.runtime.providers import import_onnxruntime


class BoundBuffers:
    """Input and output buffers on a device, one set for each batch size.

    ONNX Runtime otherwise makes new ones in every run, and graphs that a driver records need fixed addresses.

    Args:
        session: ONNX Runtime's session.
        index: Number of the GPU.
        kind: Where the buffers lie, as ONNX Runtime calls it.
    """

    def __init__(self, session: Any, index: int, kind: str = "cuda") -> None:
        self._session, self._kind, self._index = session, kind, index
        self._sets: dict[int, tuple[Any, Any]] = {}

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Copy a batch to the device, run it, and copy the outputs back."""
        if len(batch) not in self._sets:
            self._sets[len(batch)] = self._bind(batch)
        binding, given = self._sets[len(batch)]
        given.update_inplace(batch)
        self._session.run_with_iobinding(binding)
        return [value.numpy() for value in binding.get_outputs()]

    def _bind(self, batch: np.ndarray) -> tuple[Any, Any]:
        values = import_onnxruntime().OrtValue
        binding = self._session.io_binding()
        given = values.ortvalue_from_numpy(batch, self._kind, self._index)
        binding.bind_ortvalue_input(self._session.get_inputs()[0].name, given)
        for output in self._session.get_outputs():
            shape = _shape(output.shape, len(batch))
            if shape is None or output.type != "tensor(float)":
                binding.bind_output(output.name, "cpu")  # of a size that shows in the run alone
            else:
                buffer = values.ortvalue_from_shape_and_type(shape, np.float32, self._kind, self._index)
                binding.bind_ortvalue_output(output.name, buffer)
        return binding, given


def _shape(sides: Sequence[Any], count: int) -> list[int] | None:
    """Return the shape of an output for `count` images; None where more than the batch size is open."""
    shape = [count, *sides[1:]]
    return shape if all(isinstance(side, int) for side in shape) else None
