"""Other people's networks, as tests and benches hold ours against them; nothing is downloaded."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from unittest import mock

import numpy as np


class Operators(importlib.abc.MetaPathFinder):
    """Declares two operators where torchvision's library, made for CUDA, cannot be loaded beside a
    torch made for the CPU: torchvision describes them when it is imported, and with it fail
    transformers and every package of metrics. Nothing here calls them."""

    library = None
    schemas = ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a) -> Tensor")

    def find_spec(self, name, path=None, target=None):
        if name != "torchvision" or Operators.library is not None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and importlib.util.find_spec("torch") is not None:
            import torch

            Operators.library = torch.library.Library("torchvision", "FRAGMENT")
            try:
                torch.ops.load_library(Path(spec.origin).with_name("_C.so"))
            except OSError:
                for schema in self.schemas:
                    Operators.library.define(schema)
        return spec


def importable():
    """Makes packages that import torchvision importable; may be called again."""
    if not any(isinstance(finder, Operators) for finder in sys.meta_path):
        sys.meta_path.insert(0, Operators())


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """{name: f32} for networks whose names are PyTorch's, the same at each call. Nothing in a norm
    is at its neutral value, which would hide it, and activations keep their size."""
    rng, arrays = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        if name.endswith("running_var"):
            a = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("bn.weight"):
            a = rng.uniform(0.7, 1.3, shape)
        elif len(shape) == 1:
            a = rng.normal(0, 0.2, shape)
        else:
            a = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        arrays[name] = a.astype(np.float32)
    return arrays


def pytorch_fid(weights: dict[str, np.ndarray]):
    """pytorch-fid's network (a torch module) with these weights: f32[B, 3, 299, 299] in [-1, 1] ->
    [f32[B, 2048, 1, 1]].

    Raises:
        ImportError: torch, torchvision or pytorch-fid is not here.
    """
    importable()
    import torch
    from pytorch_fid import inception

    weights = {name: torch.from_numpy(a) for name, a in weights.items()}
    with mock.patch.object(inception, "load_state_dict_from_url", lambda *_, **__: weights):
        return inception.InceptionV3(resize_input=False, normalize_input=False).eval()
