"""An ONNX Runtime session over a file that `uavdet export` wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uavdet.errors import CheckpointError, UsageError, one_line
from uavdet.export.layouts import decode_outputs
from uavdet.runtime.files import check_threads, processors
from uavdet.runtime.opened import check_finite
from uavdet.runtime.opening import open_network
from uavdet.runtime.providers import PROVIDERS, TENSORRT_BATCH


class Session:
    """Loads an exported detector and runs it.

    Args:
        path: The `.onnx` file.
        device: 'cpu', 'cuda' (or a GPU's number), 'tensorrt' or 'openvino', with a part such as 'cuda:1' or
            'openvino:gpu'; by default the first of TensorRT, CUDA, OpenVINO and the CPU that works here.
        threads: CPU threads; by default one for each processor.
        half: Compute a single-precision file in half precision: fp16 in TensorRT and on OpenVINO's GPU, bf16 on a CPU
            with OpenVINO. By default TensorRT does, as the boards that it is for are made for it.

    Attributes:
        path: The file.
        network: What the file says of itself.
        names: Class id to class name.
        imgsz: (height, width) of the input in pixels.
        channels: Channels of the input: 3 (colour) or 1 (grey) as a rule.
        stride: What the sides are multiples of.
        batch: Images a run, or None where the batch size is open.
        metadata: Everything that the file says of itself, by key.
        device: What it runs on, such as 'cpu' or 'cuda:1'.
        provider: ONNX Runtime's name for that, such as 'CPUExecutionProvider'.
        half: Whether it computes in half precision for the sake of `half` or of the device.
        skipped: What was tried before and why it does not work, one line each.
        largest_batch: Most images a run, or None for any number: TensorRT's engines are built for a range of batch
            sizes, where the file leaves them open.

    Raises:
        CheckpointError: The file is missing, damaged, for a newer ONNX Runtime or not written by `uavdet export`, or it
            gives NaN on this device.
        MissingDependencyError: ONNX Runtime is not installed.
        UsageError: The device is not available, or the number of threads is not allowed.
    """

    def __init__(
        self,
        path: str | Path,
        device: str | int | None = None,
        threads: int | None = None,
        half: bool | None = None,
    ) -> None:
        check_threads(threads)
        self.path = Path(path).expanduser()
        self._opened = open_network(self.path, device, threads or processors(), half)
        self.network = network = self._opened.network
        self.names, self.imgsz, self.channels = network.names, network.images.imgsz, network.images.channels
        self.stride, self.batch, self.metadata = network.stride, network.batch, network.values
        self.device, self.half, self.skipped = str(self._opened.device), self._opened.half, self._opened.skipped
        name = str(self._opened.device.name)
        self.provider = PROVIDERS[name]
        self.largest_batch = TENSORRT_BATCH if self.batch is None and name == "tensorrt" else self.batch
        self._last_class = max(self.names)

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            batch: Images as the file takes them, at least one: (B, C, H, W) float32 in [0, 1], RGB or grey; or, of a
                file for uint8, (B, H, W, C), BGR or grey. More or fewer than the file's fixed batch are split or
                filled up.

        Returns:
            (B, K, 6) float32: cx, cy, w, h normalised, score, class, whatever layout the file gives.

        Raises:
            CheckpointError: The network gave NaN, infinity or a class that has no name.
            UsageError: The batch has another shape or type.
        """
        self._check(batch)
        size = self.largest_batch or len(batch)
        return np.concatenate([self._run_part(batch[start : start + size]) for start in range(0, len(batch), size)])

    def infer(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run the network alone, on a batch of the file's size, and return its outputs as they are, unchecked."""
        return self._opened.run(batch)

    def warm_up(self, runs: int = 3) -> None:
        """Run black images, so that the first real one does not wait for memory, kernels or an engine."""
        images = self.network.black_images()
        for _ in range(runs):
            self.run(images)

    def _check(self, batch: np.ndarray) -> None:
        images, is_array = self.network.images, isinstance(batch, np.ndarray)
        if is_array and batch.size and batch.dtype == images.dtype and batch.shape == images.shape(len(batch)):
            return
        given = f"{batch.dtype} {batch.shape}" if is_array else type(batch).__name__
        wanted = ", ".join(map(str, images.shape(1)[1:]))
        raise UsageError(
            f"The batch is {given}; '{self.path}' takes {np.dtype(images.dtype)} (B, {wanted}), B at least 1."
        )

    def _run_part(self, part: np.ndarray) -> np.ndarray:
        """Run as many images as one run takes, or fewer, and return their rows."""
        count = len(part)
        if self.batch and count < self.batch:
            part = np.concatenate([part, np.zeros((self.batch - count, *part.shape[1:]), part.dtype)])
        try:
            outputs = self.infer(np.ascontiguousarray(part))
        except Exception as error:  # ONNX Runtime's, of which each provider has its own
            raise CheckpointError(
                f"'{self.path}' failed on device={self.device} with a batch of {len(part)}: {one_line(error)[:200]}"
            ) from error
        check_finite(self._opened, outputs)
        network = self.network
        rows = decode_outputs(outputs, network.output, self.imgsz, self._last_class + 1, network.rows)[:count]
        self._check_classes(rows)
        return rows

    def _check_classes(self, rows: np.ndarray) -> None:
        if not rows.size:
            return
        classes = rows[..., 5]
        wrong = classes[(classes < 0) | (classes > self._last_class) | (classes != np.rint(classes))]
        if wrong.size:
            raise CheckpointError(
                f"'{self.path}' gave class {wrong[0]:g}, but names classes 0 to {self._last_class}. Export it again."
            )
