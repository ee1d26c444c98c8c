"""A denoiser beside itself: as onnxruntime runs the export, and as PyTorch runs the network.

    python -m bench.export              about three minutes on one core
    python -m bench.export --threads 2  --rounds 3, --out FOLDER
    python -m bench.export --tiny       seconds: one layer

One call at batch 1 of a DiT on 32x32x3 in patches of 4 (width 192, 4 layers) and of a transformer
(width 384, 6 layers, 8,192 tokens, rows of 64), and a text of 64 tokens in 25 steps from nothing to
tokens, by jetson/draw.py. Weights are at random, none at its neutral value. TorchScript is frozen.
Column "difference" is between the first row's answer and another's: the mean square of what the
network says, or of a text the mean of its ids.
"""

import atexit
import shutil
import tempfile
from functools import partial
from pathlib import Path

from bench import harness
from bench.harness import Contest, Contestant

DIT = dict(name="dit", shape=(32, 32, 3), patch_size=4, num_classes=10)
DIT |= dict(hidden_size=192, depth=4, num_heads=3)
TEXT = dict(name="transformer", features=8192, vocab_size=8192, max_seq_len=64)
TEXT |= dict(hidden_size=384, depth=6, num_heads=6, d_ff=1536)
SMALL = {"dit": dict(hidden_size=32, depth=1, num_heads=2)}
SMALL["transformer"] = dict(
    hidden_size=32, depth=1, num_heads=2, d_ff=64, features=64, vocab_size=64, max_seq_len=16
)
WAYS = {"onnxruntime": "onnxruntime", "eager": "torch", "frozen": "torch.jit.trace, frozen"}


def contests(tiny: bool) -> list[Contest]:
    dit, text = (fields | (SMALL[fields["name"]] if tiny else {}) for fields in (DIT, TEXT))
    steps = 4 if tiny else 25
    kinds = (
        ("a DiT", dit, call, 1),
        ("a transformer", text, call, 1),
        ("a text", text, write, steps),
    )
    return [
        Contest(
            f"{title}, {what(fields, run, count)}",
            [Contestant(name, partial(run, fields, way, count)) for way, name in WAYS.items()],
            "call" if run is call else "step",
            count,
        )
        for title, fields, run, count in kinds
    ]


def what(fields, run, count) -> str:
    size = f"width {fields['hidden_size']}, {fields['depth']} layers"
    return f"{size}, one call" if run is call else f"{size}, {count} steps of all its tokens"


def network(fields):
    """A network of jetson/models with weights at random, the same at each call."""
    import torch

    from jetson import models

    fields = dict(fields)
    torch.manual_seed(0)
    made = models.create(fields.pop("name"), **fields)
    with torch.no_grad():
        for parameter in made.parameters():
            spread = 0.1 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            parameter.add_(spread * torch.randn(parameter.shape))
    return made


def package(fields, steps, way):
    """The network as a folder that jetson.package reads, for as long as this process lives; with
    the graph where that is asked."""
    import numpy as np
    import torch
    from safetensors.numpy import save_file

    from jetson import convert, export, graph
    from jetson.package import Package, seal

    folder, made = Path(tempfile.mkdtemp()), network(fields)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    text = fields["name"] == "transformer"
    shape = (fields["max_seq_len"],) if text else fields["shape"]
    times = np.linspace(1.0, 0.0, steps + 1, dtype=np.float32)
    rows = export.table(made, times, np.zeros(1, np.int32))
    levels = {"alpha": 1 - times, "sigma": times, "dalpha": 0 * times, "dsigma": 0 * times}
    np.savez(folder / "schedule.npz", labels=[0], times=times, modulation=rows, **levels)
    sampler = {"solver": "ancestral", "temperature": 1.0}
    facts = {"network": fields, "shape": shape, "sampler": sampler, "mask_id": 3, "pad_id": 0}
    flat = {k: np.ascontiguousarray(a) for k, a in convert.to_flax(made).items()}
    save_file(flat, folder / "params.safetensors")  # of a transposed array it would keep the bytes
    if way == "onnxruntime":
        x = torch.zeros(1, *shape, dtype=torch.long if text else torch.float32)
        inputs = {"x": x, "modulation": torch.from_numpy(rows[0])}
        graph.to_onnx(made, inputs, folder / "denoiser_fp32.onnx")
    seal(folder, facts)
    return Package(folder)


def denoiser(made, way):
    """package's denoiser by one of WAYS."""
    import torch

    from jetson import graph

    if way != "frozen":
        return made.denoiser("torch" if way == "eager" else way)
    body = graph.Body(network(made.config["network"]))
    x, modulation = (torch.from_numpy(a) for a in example(made))
    with torch.no_grad():
        traced = torch.jit.freeze(torch.jit.trace(body, (x, modulation)).eval())

    @torch.inference_mode()
    def denoise(x, modulation):
        return traced(torch.from_numpy(x), torch.from_numpy(modulation)).numpy()

    return denoise


def example(made):
    """(x, modulation) of a middle noise level, of batch 1."""
    import numpy as np

    rng, shape = np.random.default_rng(0), (1, *made.config["shape"])
    modulation = made.modulation(len(made.schedule["times"]) // 2, np.zeros(1, int))
    if len(shape) == 2:
        return rng.integers(5, made.config["network"]["vocab_size"], shape), modulation
    return rng.standard_normal(shape).astype(np.float32), modulation


def call(fields, way, count):
    """One call of the network."""
    made = package(fields, count, way)
    denoise, (x, modulation) = denoiser(made, way), example(made)
    run = lambda: float((denoise(x, modulation) ** 2).mean())
    for _ in range(3):
        run()  # TorchScript rewrites itself in its first runs
    return run


def write(fields, way, count):
    """One text."""
    import numpy as np

    from jetson import draw

    made = package(fields, count, way)
    denoise, known = denoiser(made, way), np.full((1, *made.config["shape"]), -1)

    def run():
        return float(draw.tokens(made, denoise, np.arange(1), known, seed=0).mean())

    run()
    return run


if __name__ == "__main__":
    harness.command("export", __doc__, contests)
