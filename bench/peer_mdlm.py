"""MDLM's own sampler from a checkout of kuleshov-group/mdlm, around our network in torch.

Its file diffusion.py asks for packages that sampling has no use for (lightning, hydra, ...) and
has neighbours called as rooms of this project are. All those are given names without content for
as long as it is imported; only its noise_schedule.py is real.
"""

import contextlib
import importlib.util
import sys
import types
from pathlib import Path

HOLLOW = (
    "dataloader", "hydra", "hydra.utils", "lightning", "models", "torchmetrics", "transformers",
    "utils",
)  # fmt: skip


class Hollow(types.ModuleType):
    """A module that has whatever it is asked for: Names are classes, other names hollow too."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {}) if name[0].isupper() else Hollow(name)


@contextlib.contextmanager
def hollowed():
    before = {name: sys.modules.get(name) for name in (*HOLLOW, "noise_schedule")}
    sys.modules.update({name: Hollow(name) for name in HOLLOW})
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def load(folder: Path, name: str):
    """FOLDER/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sampler(folder: Path, network, vocabulary: int, mask_id: int, batch: int, length: int, steps):
    """() -> i64[batch, length], by its default: ancestral, answers kept while nothing changes.

    Args:
        network: (x i64[B, L], t f32[B]) -> logits f32[B, L, V].

    Raises:
        ImportError: no such files there.
    """
    if not all((folder / name).is_file() for name in ("diffusion.py", "noise_schedule.py")):
        raise ImportError(f"{folder} is no checkout of mdlm: want diffusion.py, noise_schedule.py")
    ours = {n: m for n, m in sys.modules.items() if n.split(".")[0] == "diffusion"}
    with hollowed():
        noise = load(folder, "noise_schedule").LogLinearNoise()
        cls = load(folder, "diffusion").Diffusion
    sys.modules.pop("diffusion")
    sys.modules.update(ours)
    space = types.SimpleNamespace
    self = object.__new__(cls)
    self.config = space(
        noise=space(type="loglinear"), loader=space(eval_batch_size=batch),
        model=space(length=length), sampling=space(steps=steps, noise_removal=True),
    )  # fmt: skip
    self.sampler, self.parameterization, self.time_conditioning = "ddpm_cache", "subs", False
    self.mask_index, self.vocab_size, self.neg_infinity = mask_id, vocabulary, -1e6
    self.backbone, self.noise, self.device = network, noise, "cpu"
    return self._sample
