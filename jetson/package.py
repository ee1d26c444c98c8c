"""What an export left, read on the device: a folder of

    config.json            the network's fields, the process, how to sample
    params.safetensors     every parameter, named and laid out as in Flax
    schedule.npz           each sampling step's noise level and what it says to the network
    denoiser_fp32.onnx     the network's body: x, modulation -> out
    denoiser_fp16.onnx     the same, its inner parts in float16
    tokenizer.json         of text

A denoiser is a function (x, modulation f32[B, M]) -> f32[B, ...] of NumPy arrays, any B.
"""

import json
from pathlib import Path

import numpy as np


class Package:
    """An export, opened.

    Attributes:
        config: config.json.
        schedule: schedule.npz: times, alpha, sigma, dalpha, dsigma f32[S + 1] from noise to data;
            modulation f32[S + 1, K, M] for the classes labels i32[K], of which the last is "none".

    Raises:
        FileNotFoundError: the folder is none; tells what is missing.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        try:
            self.config = json.loads((self.folder / "config.json").read_text())
            self.schedule = dict(np.load(self.folder / "schedule.npz"))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{folder} is no export: it has no {Path(error.filename).name}; "
                "python jetson/export.py --load_dir RUN makes one"
            ) from None

    def modulation(self, step, labels):
        """f32[B, M] of the noise level before `step`, for classes i32[B].

        Raises:
            ValueError: a class that was not exported.
        """
        known = self.schedule["labels"]
        column = np.searchsorted(known, labels)
        strange = np.setdiff1d(labels, known)
        if len(strange):
            raise ValueError(
                f"class {strange[0]} was not exported; there are {', '.join(map(str, known[:-1]))}"
            )
        return self.schedule["modulation"][step][column]

    def denoiser(self, backend, precision="fp32"):
        """backend: a key of BACKENDS; precision: fp32 or fp16."""
        if backend not in BACKENDS:
            raise ValueError(f"no backend {backend!r}; there are {', '.join(BACKENDS)}")
        return BACKENDS[backend](self, precision)


def on_torch(package, precision):
    """The body by torch, on a GPU if there is one."""
    import torch
    from safetensors.numpy import load_file

    from jetson import models

    fields = dict(package.config["network"])
    network = models.create(fields.pop("name"), **fields)
    models.load(network, load_file(package.folder / "params.safetensors"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = (models.halved(network) if precision == "fp16" else network).to(device)

    @torch.inference_mode()
    def denoise(x, modulation):
        x = torch.from_numpy(x).to(device)
        out = network.body(x, torch.from_numpy(modulation).to(device))
        return out.float().cpu().numpy()

    return denoise


def on_onnxruntime(package, precision):
    """The body by onnxruntime; of a fixed batch as often as it takes."""
    import onnxruntime

    path = package.folder / f"denoiser_{precision}.onnx"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; there are fp32 and fp16")
    session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
    names = [i.name for i in session.get_inputs()]
    fixed = session.get_inputs()[0].shape[0]

    def denoise(x, modulation):
        size = fixed if isinstance(fixed, int) else len(x)
        parts = []
        for first in range(0, len(x), size):
            count = min(size, len(x) - first)
            rows = first + np.minimum(np.arange(size), count - 1)  # the last batch is filled up
            inputs = dict(zip(("x", "modulation"), (x[rows], modulation[rows]), strict=True))
            (out,) = session.run(None, {name: inputs[name] for name in names})
            parts.append(out[:count].astype(np.float32))
        return np.concatenate(parts)

    return denoise


BACKENDS = {"torch": on_torch, "onnxruntime": on_onnxruntime}
