"""A stand-in for the module `tensorrt`, of the version that FAKE_TENSORRT_VERSION names.

Its engines are ONNX files, which it runs with ONNX Runtime on the CPU; GPU memory is memory of the process. It knows
what differs between versions: flags that 11 no longer has raise AttributeError, networks of 8.6 have to be asked for
with an explicit batch.
"""

import ctypes
import enum
import os
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime

__version__ = os.environ.get("FAKE_TENSORRT_VERSION", "10.3.0.30")
MAJOR = int(__version__.split(".")[0])
BUILDS = []  # what was asked for, build by build

_TYPES = {
    "Constant": "CONSTANT",
    "GridSample": "GRID_SAMPLE",
    "LayerNormalization": "NORMALIZATION",
    "QuantizeLinear": "QUANTIZE",
    "Shape": "SHAPE",
    "Softmax": "SOFTMAX",
    "TopK": "TOPK",
}
LayerType = enum.Enum("LayerType", [*_TYPES.values(), "ELEMENTWISE"])
float32, float16, int32, int64, int8, uint8 = (
    f"DataType.{name}" for name in ("FLOAT", "HALF", "INT32", "INT64", "INT8", "UINT8")
)
_KINDS = {1: float32, 10: float16, 6: int32, 7: int64, 3: int8, 2: uint8}
_NUMPY = {float32: np.float32, float16: np.float16, uint8: np.uint8}
TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")
MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE")
_FLAGS = {8: {"EXPLICIT_BATCH": 0}, 10: {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, 11: {"STRONGLY_TYPED": 1}}
NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", _FLAGS[MAJOR])
_WEAK = "" if MAJOR >= 11 else "FP16 INT8 OBEY_PRECISION_CONSTRAINTS "
BuilderFlag = enum.Enum("BuilderFlag", f"{_WEAK}TF32")


def nptype(kind):
    return _NUMPY[kind]


class ILogger:
    Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")


class Layer:
    def __init__(self, node, kinds):
        self.name, self.type = node.name, LayerType[_TYPES.get(node.op_type, "ELEMENTWISE")]
        self._kinds = [kinds.get(name) for name in node.output]
        self.num_outputs, self.output_types = len(self._kinds), {}

    def get_output(self, index):
        return SimpleNamespace(dtype=self._kinds[index])

    def __setattr__(self, name, value):
        if name == "precision" and MAJOR >= 11:
            raise AttributeError("precision")
        super().__setattr__(name, value)

    def set_output_type(self, index, kind):
        assert self._kinds[index] == float32, "a type was set on a layer of integers"
        self.output_types[index] = kind


class Network:
    def __init__(self, flags):
        self.flags, self.layers, self.content = flags, [], b""

    @property
    def num_layers(self):
        return len(self.layers)

    def get_layer(self, index):
        return self.layers[index]

    def get_input(self, index):
        return SimpleNamespace(name="images", shape=self.shape)

    @property
    def strong(self):
        return MAJOR >= 11 or bool(self.flags >> 1 & 1)


class OnnxParser:
    def __init__(self, network, logger):
        self.network, self._errors = network, []

    def parse_from_file(self, path):
        graph = onnx.shape_inference.infer_shapes(onnx.load(path))
        values = [*graph.graph.value_info, *graph.graph.output]
        kinds = {value.name: _KINDS.get(value.type.tensor_type.elem_type) for value in values}
        self.network.layers = [Layer(node, kinds) for node in graph.graph.node]
        self.network.content = onnx.load(path).SerializeToString()
        sides = graph.graph.input[0].type.tensor_type.shape.dim
        self.network.shape = tuple(side.dim_value or -1 for side in sides)
        if MAJOR == 8 and not self.network.flags & 1:
            self._errors = [("", "", "explicit batch is needed")]
        self._errors += [("DFT", node.name, "no importer") for node in graph.graph.node if node.op_type == "DFT"]
        return not self._errors

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        operator, name, reason = self._errors[index]
        return SimpleNamespace(node_operator=lambda: operator, node_name=lambda: name, desc=lambda: reason)


class Cache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return self.content or b"measured"


class Config:
    def __init__(self):
        self.flags, self.pools, self.profiles, self.cache = {BuilderFlag.TF32}, {}, [], None

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, size):
        self.pools[pool] = size

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)

    def create_timing_cache(self, content):
        return Cache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        if cache.content not in (b"", b"measured"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        return Network(flags)

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        profile = SimpleNamespace(shapes={})
        profile.set_shape = lambda name, *shapes: profile.shapes.update({name: shapes})
        return profile

    def build_serialized_network(self, network, config):
        BUILDS.append(SimpleNamespace(network=network, config=config))
        names = {flag.name for flag in config.flags}
        if network.strong and names & {"FP16", "INT8"}:
            self.logger.log(ILogger.Severity.ERROR, "precision flags\nin a strongly typed network")
            return None
        return b"ENGINE" + network.content


class Runtime:
    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, content):
        if not content.startswith(b"ENGINE") or len(content) < 100:
            self.logger.log(ILogger.Severity.ERROR, "magic tag does not match")
            return None
        return Engine(content[6:])


class Engine:
    def __init__(self, content):
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.given, self.outputs = self.session.get_inputs()[0], self.session.get_outputs()
        self.num_io_tensors = 1 + len(self.outputs)

    def get_tensor_name(self, index):
        return [self.given, *self.outputs][index].name

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == self.given.name else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        return [side if isinstance(side, int) else -1 for side in self._find(name).shape]

    def get_tensor_dtype(self, name):
        return {"tensor(float)": float32, "tensor(uint8)": uint8}[self._find(name).type]

    def _find(self, name):
        return next(entry for entry in [self.given, *self.outputs] if entry.name == name)

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self.engine, self.addresses, self.shape = engine, {}, None

    def set_input_shape(self, name, shape):
        self.shape = tuple(shape)
        return self.shape[0] <= 8

    def get_tensor_shape(self, name):
        return [self.shape[0], *self.engine.get_tensor_shape(name)[1:]]

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        given = self.engine.given
        kind = nptype(self.engine.get_tensor_dtype(given.name))
        size = int(np.prod(self.shape)) * np.dtype(kind).itemsize
        batch = np.frombuffer(ctypes.string_at(self.addresses[given.name], size), dtype=kind).reshape(self.shape)
        outputs = self.engine.session.run(None, {given.name: batch})
        for entry, output in zip(self.engine.outputs, outputs, strict=True):
            ctypes.memmove(self.addresses[entry.name], np.ascontiguousarray(output).ctypes.data, output.nbytes)
        return True
