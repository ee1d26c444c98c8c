"""What an export left, read on the device: a folder of

    config.json            the network's fields, the process, how to sample; SHA-256 of each file
    params.safetensors     every parameter, named and laid out as in Flax
    schedule.npz           each sampling step's noise level and what it says to the network
    denoiser_fp32.onnx     the network's body: x, modulation -> out; of candidates ids, probs, ...
    denoiser_fp16.onnx     the same, its inner parts in float16
    tokenizer.json         of text

and of what was asked for besides

    denoiser_int8.onnx     the same, its products in int8 (--int8, quantize.py)
    model_jetson.pt        the same in float16 as TorchScript (--torchscript, trace.py), and
                           model_jetson_config.json, what that takes
    model.trt              the same as a TensorRT engine for one kind of GPU (--tensorrt, engine.py)

A denoiser is a function (x, modulation f32[B, M]) -> f32[B, ...] of NumPy arrays, any B; or of
candidates (ids, probs, modulation).
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from jetson import levels
from jetson.files import write

FORMAT = 1  # of the folder; grows when what an older program reads would mislead it
PRECISIONS = ("fp32", "fp16", "int8")
MADE_BY = {"denoiser_int8.onnx": " --int8", "model_jetson.pt": " --torchscript"}


class Package:
    """An export, opened.

    Attributes:
        config: config.json.
        schedule: schedule.npz: times, alpha, sigma, dalpha, dsigma f32[S + 1] from noise to data;
            modulation f32[S + 1, K, M] for the classes labels i32[K], of which the last is "none";
            or, where levels differ by place, what any level says, see levels.py.

    Raises:
        FileNotFoundError: the folder is none; tells what is missing.
        ValueError: it was written by another version, or a file is not what was written.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.config = config_of(self.folder)
        with np.load(self.file("schedule.npz")) as schedule:
            self.schedule = dict(schedule)

    def file(self, name):
        """The path of a file that is as it was written.

        Raises:
            FileNotFoundError, ValueError: it is not there, or not as it was written.
        """
        path, known = self.folder / name, self.config["files"].get(name)
        if known is None or not path.exists():
            what = f"{self.folder}{MADE_BY[name]}" if name in MADE_BY else "RUN"
            raise FileNotFoundError(
                f"{self.folder} has no {name}; python jetson/export.py --load_dir {what} makes one"
            )
        if digest(path) != known:
            raise ValueError(
                f"{path} is not what was exported: it is damaged, or of another export; "
                "copy the folder once more, whole"
            )
        return path

    def add(self, name, data):
        """Writes one more file, bytes, and notes it in config.json."""
        write(self.folder / name, data)
        seal(self.folder, self.config, self.config["files"] | {name: digest(self.folder / name)})

    @property
    def process(self):
        """Which diffusion of text: "masked" or "sparse"."""
        return self.config.get("process", {"name": "masked"})["name"]

    @property
    def inputs(self):
        """{name: (NumPy's type, shape without the batch)} of what a denoiser takes, in order;
        without a modulation where that is empty."""
        config, table = self.config, self.schedule.get("modulation")
        shape, kind = config["shape"], "int64" if config["kind"] == "text" else "float32"
        named = {"x": (kind, [*shape])}
        if slots := config.get("process", {}).get("candidates"):
            named = {"ids": (kind, [*shape, slots]), "probs": ("float32", [*shape, slots])}
        width = levels.width(self.schedule) if table is None else table.shape[-1]
        return named | ({"modulation": ("float32", [width])} if width else {})

    def said(self, t):
        """f32[B, M] of any noise levels f32[B], of a network of candidates."""
        return levels.said(self.schedule, self.config["network"].get("time_embedding"), t)

    def modulation(self, step, labels):
        """f32[B, M] of the noise level before `step`, for classes i32[B].

        Raises:
            ValueError: a class that was not exported.
        """
        if "modulation" not in self.schedule:
            return self.said(np.full(len(labels), self.schedule["times"][step]))
        known = self.schedule["labels"]
        column = np.searchsorted(known, labels)
        strange = np.setdiff1d(labels, known)
        if len(strange):
            raise ValueError(
                f"class {strange[0]} was not exported; there are {', '.join(map(str, known[:-1]))}"
            )
        return self.schedule["modulation"][step][column]

    def words(self):
        """The tokenizer of text."""
        from data import tokenizer

        return tokenizer.load(self.file("tokenizer.json"))

    def denoiser(self, backend, precision="fp32"):
        """backend: a key of BACKENDS; precision: one of PRECISIONS."""
        if backend not in BACKENDS:
            raise ValueError(f"no backend {backend!r}; there are {', '.join(BACKENDS)}")
        return BACKENDS[backend](self, precision)


def config_of(folder):
    """config.json of an export."""
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} is no export: it has no config.json; "
            "python jetson/export.py --load_dir RUN makes one"
        )
    try:
        config = json.loads(path.read_text())
        found = config.get("format", 0)
    except (ValueError, AttributeError):
        raise ValueError(f"{path} is damaged; copy the folder once more, whole") from None
    if found != FORMAT:
        raise ValueError(
            f"{folder} is an export of format {found}, this reads {FORMAT}; "
            "export it again with this version"
        )
    return config


def seal(folder, config, files=None):
    """Writes config.json with the SHA-256 of each file; None: of all that are in the folder."""
    if files is None:
        paths = sorted(path for path in folder.iterdir() if path.name != "config.json")
        files = {path.name: digest(path) for path in paths}
    config.update(format=FORMAT, files=files)
    write(folder / "config.json", (json.dumps(config, indent=1) + "\n").encode())


def digest(path):
    """SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def in_parts(run, size, *inputs):
    """run(*inputs) of a batch that is fixed, as often as inputs [B, ...] take.

    The last batch is filled up with its last row; its outputs for those are dropped.
    """
    parts = []
    for first in range(0, len(inputs[0]), size):
        count = min(size, len(inputs[0]) - first)
        rows = first + np.minimum(np.arange(size), count - 1)
        parts.append(run(*(array[rows] for array in inputs))[:count])
    return np.concatenate(parts)


def network(package, precision):
    """The network in torch, on the CPU, with the parameters of the export."""
    from safetensors.numpy import load_file

    from jetson import models

    if precision == "int8":
        raise ValueError("torch runs fp32 and fp16; int8 wants --backend onnxruntime or trt")
    fields = dict(package.config["network"])
    made = models.create(fields.pop("name"), **fields)
    models.load(made, load_file(package.file("params.safetensors")))
    return models.halved(made) if precision == "fp16" else made


def on_torch(package, precision):
    """The body by torch, on a GPU if there is one."""
    made = network(package, precision)
    return of_tensors(made.body, made)


def of_tensors(body, module):
    """A denoiser of a function of tensors, whose module goes to the GPU if there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    module.to(device)

    @torch.inference_mode()
    def denoise(*inputs):
        out = body(*(torch.from_numpy(array).to(device) for array in inputs))
        return out.float().cpu().numpy()

    return denoise


def on_onnxruntime(package, precision):
    """The body by onnxruntime, on what it finds of GPUs."""
    return by_session(str(package.file(f"denoiser_{precision}.onnx")))


def by_session(model):
    """A denoiser of an ONNX model, its path or bytes; of a fixed batch as often as it takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if hasattr(os, "sched_getaffinity"):  # its own count is the machine's
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Threads that spin between calls take half of the processor's time, and from the solver.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    names = [i.name for i in session.get_inputs()]
    fixed = session.get_inputs()[0].shape[0]

    def run(*inputs):
        (out,) = session.run(None, dict(zip(names, inputs, strict=False)))  # no empty modulation
        return out.astype(np.float32)

    if not isinstance(fixed, int):
        return run
    return lambda *inputs: in_parts(run, fixed, *inputs)


def on_tensorrt(package, precision):
    """The body by TensorRT; an engine is built where there is none that fits."""
    from jetson import session

    return session.denoiser(package, precision)


def on_torchscript(package, precision):
    """The body by torch from a trace."""
    from jetson import trace

    return trace.denoiser(package, precision)


def on_graph(package, precision):
    """The body by torch; whole generations as CUDA graphs."""
    from jetson import captured

    return captured.Backend(package, precision)


BACKENDS = {
    "torch": on_torch,
    "onnxruntime": on_onnxruntime,
    "trt": on_tensorrt,
    "torchscript": on_torchscript,
    "graph": on_graph,
}
