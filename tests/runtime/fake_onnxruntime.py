"""A stand-in for ONNX Runtime with execution providers that this machine does not have."""

from __future__ import annotations

import types
from typing import ClassVar

import numpy as np

TENSORRT, CUDA = "TensorrtExecutionProvider", "CUDAExecutionProvider"
OPENVINO, CPU = "OpenVINOExecutionProvider", "CPUExecutionProvider"


class FakeRuntime(types.ModuleType):
    """The module.

    Args:
        **providers: Execution provider to what it does: 'works', 'falls back' when it is created, 'raises' then,
            'fails' in its first run, 'fails later', 'falls back later' in the first run, or 'gives NaN'. The CPU works.
    """

    def __init__(self, metadata: dict[str, str], shape=(1, 3, 32, 64), **providers: str) -> None:
        super().__init__("onnxruntime")
        self.__version__ = "1.20.1"
        self.behaviour = {**providers, CPU: "works"}
        self.metadata, self.shape = metadata, list(shape)
        self.sessions: list[FakeSession] = []
        self.OrtValue = FakeValue
        self.SessionOptions = FakeOptions
        self.GraphOptimizationLevel = types.SimpleNamespace(ORT_DISABLE_ALL=0)

    def get_available_providers(self) -> list[str]:
        return list(self.behaviour)

    def InferenceSession(self, path, options, providers, **settings):  # noqa: N802 (ONNX Runtime's name)
        session = FakeSession(self, options, providers)
        self.sessions.append(session)
        return session


class FakeOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class FakeValue:
    """A buffer on a device."""

    made: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, array: np.ndarray, kind: str, index: int) -> None:
        self.array, self.updates = array.copy(), 0
        FakeValue.made.append((kind, index))

    @classmethod
    def ortvalue_from_numpy(cls, array, kind, index):
        return cls(array, kind, index)

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape, dtype, kind, index):
        return cls(np.zeros(shape, dtype), kind, index)

    def update_inplace(self, array: np.ndarray) -> None:
        assert array.shape == self.array.shape
        self.array[:] = array
        self.updates += 1

    def numpy(self) -> np.ndarray:
        return self.array.copy()


class FakeBinding:
    def __init__(self) -> None:
        self.input, self.outputs = None, []

    def bind_ortvalue_input(self, name, value):
        self.input = value

    def bind_ortvalue_output(self, name, value):
        self.outputs.append(value)

    def get_outputs(self):
        return self.outputs


class FakeSession:
    """Gives one row an image, whose score is the mean of the image."""

    def __init__(self, runtime: FakeRuntime, options: FakeOptions, providers: list) -> None:
        self.runtime, self.options, self.asked = runtime, options, providers
        names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        does = runtime.behaviour[names[0]]
        if does == "raises":
            raise RuntimeError("libnvinfer.so.10: cannot open shared object file")
        self.does, self.providers = does, [CPU] if does == "falls back" else names
        self.bound: list[FakeBinding] = []
        self.fallback, self.runs = True, 0

    def disable_fallback(self) -> None:
        self.fallback = False

    def get_providers(self) -> list[str]:
        return self.providers

    def get_modelmeta(self):
        return types.SimpleNamespace(custom_metadata_map=self.runtime.metadata)

    def get_inputs(self):
        return [types.SimpleNamespace(name="images", type="tensor(float)", shape=self.runtime.shape)]

    def get_outputs(self):
        batch = self.runtime.shape[0]
        return [types.SimpleNamespace(name="output0", type="tensor(float)", shape=[batch, 1, 6])]

    def io_binding(self) -> FakeBinding:
        self.bound.append(FakeBinding())
        return self.bound[-1]

    def run(self, names, feed):
        assert not self.fallback
        self.runs += 1
        if self.does == "fails" or (self.does == "fails later" and self.runs > 1):
            raise RuntimeError("no kernel image is available for execution on the device")
        if self.does == "falls back later":
            self.providers = [CPU]
        (batch,) = feed.values()
        rows = np.tile(np.array([0.5, 0.5, 0.2, 0.2, 0, 1], np.float32), (len(batch), 1, 1))
        rows[:, 0, 4] = np.nan if self.does == "gives NaN" else batch.reshape(len(batch), -1).mean(1)
        return [rows]

    def run_with_iobinding(self, binding: FakeBinding) -> None:
        (rows,) = self.run(None, {"images": binding.input.array})
        binding.outputs[0].array[:] = rows
