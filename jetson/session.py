"""A TensorRT engine that runs: its tensors are torch's, and it is bound to them once."""

import torch

from jetson.engine import last, listener, ready
from jetson.package import in_parts

DEVICE = "cuda"
TYPES = {
    "FLOAT": torch.float32, "HALF": torch.float16, "INT64": torch.int64, "INT32": torch.int32,
}  # fmt: skip


class Session:
    """An engine, and its tensors on the GPU, which it is bound to once.

    Attributes:
        tensors: {those of package.Package.inputs, "out"}: torch's, of `rows` rows. They stay where
            they are, so that a CUDA graph may be captured of `enqueue`.
        rows: of the largest batch; of each, where the graph's batch is fixed.
    """

    def __init__(self, package, precision, batch=None, say=print):
        trt, path, self.rows = ready(package, precision, batch, say)
        self.log, heard = listener(trt)  # has to outlive the rest
        self.runtime = trt.Runtime(self.log)
        self.engine = self.runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise ValueError(f"TensorRT does not load {path}: {last(heard)}; delete it")
        self.context = self.engine.create_execution_context()
        if self.context is None:
            raise ValueError(f"there is no memory to run {path}: {last(heard)}")
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        shapes = {name: tuple(self.engine.get_tensor_shape(name)) for name in names}
        self.free = [name for name in names if name != "out" and shapes[name][0] < 0]
        self.tensors = {}
        for name in names:
            dtype = TYPES[self.engine.get_tensor_dtype(name).name]
            shape = (self.rows, *shapes[name][1:])
            self.tensors[name] = torch.zeros(shape, dtype=dtype, device=DEVICE)
            self.context.set_tensor_address(name, self.tensors[name].data_ptr())
        self.resize(self.rows)

    def resize(self, count):
        """The next calls are of `count` rows, the first ones of the tensors."""
        for name in self.free:
            self.context.set_input_shape(name, (count, *self.tensors[name].shape[1:]))

    def enqueue(self, stream):
        """Starts one call on a torch.cuda.Stream; nothing is waited for."""
        if not self.context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("TensorRT did not start the network")


def denoiser(package, precision, batch=None, say=print):
    """A denoiser of NumPy arrays; more rows than the engine takes go through it in parts."""
    session = Session(package, precision, batch, say)
    stream = torch.cuda.Stream()  # TensorRT waits once more on the default one

    def run(*arrays):
        count = len(arrays[0])
        with torch.cuda.stream(stream):
            if session.free:
                session.resize(count)
            for name, array in zip(package.inputs, arrays, strict=False):  # no empty modulation
                session.tensors[name][:count].copy_(torch.from_numpy(array))
            session.enqueue(stream)
            out = session.tensors["out"][:count].to("cpu", torch.float32, copy=True)
        stream.synchronize()
        return out.numpy()

    def denoise(*inputs):
        rows = min(session.rows, len(inputs[0])) if session.free else session.rows
        return in_parts(run, rows, *inputs)

    return denoise
