"""Memory of a GPU, through CUDA's runtime library alone: what running an engine takes without PyTorch."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from uavdet.errors import MissingDependencyError, UsageError

_LIBRARIES = (
    "libcudart.so.13",
    "libcudart.so.12",
    "libcudart.so.11.0",
    "libcudart.so",
    "/usr/local/cuda/lib64/libcudart.so",
)
_MAJOR, _MINOR = 75, 76  # attributes of a device: its compute capability
_TO_DEVICE, _TO_HOST = 1, 2


def load_cuda() -> Any:
    """Return CUDA's runtime library.

    Raises:
        MissingDependencyError: It is not there.
    """
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise MissingDependencyError(
        "CUDA's runtime library (libcudart.so) is not here. Engines are built and run on a computer with an NVIDIA "
        "GPU, such as a Jetson with JetPack."
    )


class CudaRuntime:
    """The few functions of CUDA that building and running an engine takes.

    Args:
        library: CUDA's runtime library; by default the one that is here.

    Raises:
        MissingDependencyError: There is none.
        UsageError: It finds no GPU.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = load_cuda() if library is None else library
        count = ctypes.c_int()
        error = self._library.cudaGetDeviceCount(ctypes.byref(count))
        if error or not count.value:
            raise UsageError(
                f"No NVIDIA GPU works here (CUDA error {error}). Engines are built and run on the GPU that they are "
                "for: run this on the Jetson, or write a folder for it here with format=jetson."
            )

    @property
    def version(self) -> str:
        """The version of the library, such as '12.6'."""
        number = ctypes.c_int()
        self._call("cudaRuntimeGetVersion", ctypes.byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    @property
    def compute_capability(self) -> str:
        """The first GPU's, such as '8.7'."""
        parts = []
        for attribute in (_MAJOR, _MINOR):
            value = ctypes.c_int()
            self._call("cudaDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), ctypes.c_int(0))
            parts.append(str(value.value))
        return ".".join(parts)

    def allocate(self, size: int) -> int:
        """Return the address of new memory of `size` bytes."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(size))
        return int(address.value or 0)

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cudaFree", ctypes.c_void_p(address))

    def copy_to_device(self, address: int, array: np.ndarray) -> None:
        """Copy a contiguous array to an address."""
        self._copy(ctypes.c_void_p(address), ctypes.c_void_p(array.ctypes.data), array.nbytes, _TO_DEVICE)

    def copy_to_host(self, array: np.ndarray, address: int) -> None:
        """Copy from an address into a contiguous array."""
        self._copy(ctypes.c_void_p(array.ctypes.data), ctypes.c_void_p(address), array.nbytes, _TO_HOST)

    def create_stream(self) -> int:
        """Return a new stream of work."""
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(stream))
        return int(stream.value or 0)

    def synchronize(self, stream: int) -> None:
        """Wait until the work of a stream is done."""
        self._call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def _copy(self, target: Any, source: Any, size: int, kind: int) -> None:
        self._call("cudaMemcpy", target, source, ctypes.c_size_t(size), ctypes.c_int(kind))

    def _call(self, name: str, *arguments: Any) -> None:
        error = getattr(self._library, name)(*arguments)
        if error:
            raise UsageError(f"CUDA failed: {name} gave error {error}. The GPU may be out of memory; free some.")
