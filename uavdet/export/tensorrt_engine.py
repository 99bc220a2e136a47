"""Runs TensorRT engines with NumPy and CUDA's runtime library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.errors import CheckpointError, UsageError
from uavdet.export.cuda_memory import CudaRuntime
from uavdet.export.engine_file import check_origin, read_engine_file
from uavdet.export.tensorrt_build import collect_messages, this_platform


class Engine:
    """An engine that is loaded and ready.

    Args:
        file: Its file; see `uavdet.export.engine_file`.
        trt: The module `tensorrt`.
        cuda: CUDA's runtime.
        onnx_sha256: Hash of the ONNX file that it should have been built from, where that is known.

    Attributes:
        metadata: What the file says.
        input_shape: That of the input; the batch is -1 where it is open.

    Raises:
        CheckpointError: The file is missing or damaged, or holds an engine of another GPU, TensorRT or CUDA.
    """

    def __init__(self, file: Path, trt: Any, cuda: CudaRuntime, onnx_sha256: str | None = None) -> None:
        content, self.metadata = read_engine_file(file)
        check_origin(file, self.metadata, this_platform(trt, cuda), onnx_sha256)
        self._trt, self._cuda, self._messages = trt, cuda, collect_messages(trt)
        self._runtime = trt.Runtime(self._messages)  # has to live as long as the engine
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise CheckpointError(f"'{file}' is damaged: {self._messages.text()}. Copy it again, or build it here.")
        self._context = self._engine.create_execution_context()
        self._stream = cuda.create_stream()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._input, self._outputs = inputs[0], [name for name in names if name not in inputs]
        self.input_shape = tuple(self._engine.get_tensor_shape(self._input))
        self._memory: dict[str, tuple[int, int]] = {}

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run a batch and return the outputs in the order of the graph.

        Raises:
            UsageError: The engine does not take a batch of this shape, or TensorRT fails.
        """
        batch = np.ascontiguousarray(batch)
        if not self._fits(batch.shape) or not self._context.set_input_shape(self._input, batch.shape):
            raise UsageError(f"The engine takes {self.input_shape}, not {batch.shape}. Give it another batch size.")
        self._cuda.copy_to_device(self._address(self._input, batch.nbytes), batch)
        outputs = [self._prepare_output(name) for name in self._outputs]
        if not self._context.execute_async_v3(self._stream):
            raise UsageError(f"TensorRT failed: {self._messages.text()}. The GPU may be out of memory; free some.")
        self._cuda.synchronize(self._stream)
        for name, output in zip(self._outputs, outputs, strict=True):
            self._cuda.copy_to_host(output, self._memory[name][0])
        return outputs

    def _fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether a shape is the input's, whose open batch size counts as any."""
        wanted = self.input_shape
        return len(shape) == len(wanted) and all(side in (-1, given) for side, given in zip(wanted, shape, strict=True))

    def _prepare_output(self, name: str) -> np.ndarray:
        shape = tuple(self._context.get_tensor_shape(name))
        output = np.empty(shape, dtype=self._trt.nptype(self._engine.get_tensor_dtype(name)))
        self._address(name, output.nbytes)
        return output

    def _address(self, name: str, size: int) -> int:
        """Return a tensor's memory on the GPU, of `size` bytes at least; it is kept for the next run."""
        address, held = self._memory.get(name, (0, 0))
        if held < size:
            if held:
                self._cuda.free(address)
            address = self._cuda.allocate(size)
            self._memory[name] = (address, size)
        self._context.set_tensor_address(name, address)
        return address


def input_size(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (height, width) of the input, as metadata say."""
    size = metadata.get("imgsz")
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and len(size) == 2 else None


def takes_pictures(metadata: Mapping[str, Any]) -> bool:
    """Return whether the input is uint8 pictures rather than floating-point images, as metadata say."""
    ours = metadata.get("uavdet")
    told = ours.get("preprocessing") if isinstance(ours, dict) else None
    return isinstance(told, dict) and told.get("dtype") == "uint8"
