"""Stands for the package tensorrt where there is no GPU: it shows in which order it is called and
with what, not that TensorRT would build or run the network.

Names, arguments and enumerations are those of the bindings 10.3.0, 10.16.1 and 11.4.0, read off
their docstrings; an argument of another name or type fails here too. An engine is the ONNX file
behind a mark, and runs by onnxruntime on the very memory whose addresses it was given.
"""

import ctypes
import enum
import types

import numpy as np
import onnx
import onnxruntime

__version__ = "10.3.0"
MARK = b"engine:"
calls = []  # of the builder, as (name, value)


class ILogger:
    Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    def __init__(self):
        self.ready = True


NetworkDefinitionCreationFlag = enum.IntEnum(
    "NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
)
MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE TACTIC_DRAM")
BuilderFlag = enum.Enum("BuilderFlag", "TF32 REFIT DEBUG")
DataType = enum.Enum("DataType", "FLOAT HALF INT64 INT32")
KINDS = {1: "FLOAT", 10: "HALF", 7: "INT64", 6: "INT32"}  # of onnx.TensorProto
NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64, "INT32": np.int32}


def shape_of(value):
    return tuple(d.dim_value or -1 for d in value.type.tensor_type.shape.dim)


class Cache:
    def __init__(self, data):
        self.data = data

    def serialize(self):
        return memoryview(b"timings" + self.data[7:])


class Config:
    profile = None

    def __setattr__(self, name, value):
        assert name in ("builder_optimization_level", "max_aux_streams", "profile", "cache"), name
        calls.append((name, value))
        super().__setattr__(name, value)

    def set_memory_pool_limit(self, pool, pool_size):
        calls.append(("set_memory_pool_limit", (MemoryPoolType(pool).name, int(pool_size))))

    def clear_flag(self, flag):
        calls.append(("clear_flag", BuilderFlag(flag).name))

    def add_optimization_profile(self, profile):
        self.profile = profile
        return 0

    def create_timing_cache(self, serialized_timing_cache):
        return Cache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        calls.append(("set_timing_cache", cache.data))
        self.cache = cache
        return cache.data in (b"", b"timings")

    def get_timing_cache(self):
        return self.cache


class Profile:
    def set_shape(self, input, min, opt, max):
        calls.append(("set_shape", (input, min, opt, max)))


class Builder:
    def __init__(self, logger):
        assert isinstance(logger, ILogger) and logger.ready

    def create_network(self, flags=0):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return types.SimpleNamespace(model=None)

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        calls.append(("build", bool(config.profile)))
        return memoryview(MARK + network.model.SerializeToString())


class OnnxParser:
    num_errors = 0

    def __init__(self, network, logger):
        self.network = network

    def parse(self, model):
        try:
            self.network.model = onnx.load_from_string(model)
        except Exception:
            self.num_errors = 1
            return False
        values = self.network.model.graph.input
        self.network.num_inputs = len(values)
        described = [types.SimpleNamespace(name=v.name, shape=shape_of(v)) for v in values]
        self.network.get_input = lambda index: described[index]
        return True

    def get_error(self, index):
        return types.SimpleNamespace(desc=lambda: "no model of ONNX")


class Runtime:
    def __init__(self, logger):
        assert isinstance(logger, ILogger) and logger.ready
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        if not serialized_engine.startswith(MARK):
            self.logger.log(ILogger.Severity.ERROR, "Magic tag  does not match")
            return None
        return Engine(serialized_engine[len(MARK) :])


class Engine:
    def __init__(self, data):
        self.data, graph = data, onnx.load_from_string(data).graph
        self.values = [*graph.input, *graph.output]
        self.num_io_tensors = len(self.values)
        self.inputs = len(graph.input)

    def value(self, name):
        return next(v for v in self.values if v.name == name)

    def get_tensor_name(self, index):
        return self.values[index].name

    def get_tensor_shape(self, name):
        return shape_of(self.value(name))

    def get_tensor_dtype(self, name):
        return DataType[KINDS[self.value(name).type.tensor_type.elem_type]]

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self.engine, self.addresses, self.shapes = engine, {}, {}
        self.session = onnxruntime.InferenceSession(engine.data)

    def set_tensor_address(self, name, memory):
        self.addresses[name] = int(memory)
        return True

    def set_input_shape(self, name, shape):
        assert self.engine.get_tensor_shape(name)[0] == -1
        self.shapes[name] = tuple(shape)
        return True

    def memory(self, name, shape):
        dtype = np.dtype(NUMPY[self.engine.get_tensor_dtype(name).name])
        size = int(np.prod(shape)) * dtype.itemsize
        raw = (ctypes.c_char * size).from_address(self.addresses[name])
        return np.frombuffer(raw, dtype).reshape(shape)

    def execute_async_v3(self, stream_handle):
        assert isinstance(stream_handle, int)
        names = [v.name for v in self.engine.values[: self.engine.inputs]]
        shapes = {n: self.shapes.get(n, self.engine.get_tensor_shape(n)) for n in names}
        if any(-1 in shape for shape in shapes.values()):
            return False
        (out,) = self.session.run(None, {n: self.memory(n, shapes[n]) for n in names})
        self.memory("out", out.shape)[...] = out
        return True
