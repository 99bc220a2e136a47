"""A computer with a GPU, CUDA and TensorRT that is none: the stand-ins of fake_cudart.c and fake_tensorrt.py."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def build_cuda(folder):
    """Compile the stand-in of CUDA's runtime library; skips the test where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C compiler here")
    library = folder / "libcudart.so.13"
    source = HERE / "fake_cudart.c"
    subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    return library


def install(monkeypatch, library, version="10.3.0.30", machine="aarch64", sm="87", cuda="12060"):
    """Let this process see a device."""
    from uavdet.export import cuda_memory, tensorrt_build

    for name, value in (("FAKE_TENSORRT_VERSION", version), ("FAKE_SM", sm), ("FAKE_CUDA", cuda)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cuda_memory, "load_cuda", lambda: ctypes.CDLL(str(library)))
    monkeypatch.setattr(tensorrt_build.platform, "machine", lambda: machine)
    spec = importlib.util.spec_from_file_location("tensorrt", HERE / "fake_tensorrt.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module
