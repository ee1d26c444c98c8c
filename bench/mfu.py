"""Training steps beside PyTorch's: steps a second, TFLOP/s, their share of the device's peak (MFU).

    python -m bench.mfu --threads 8     one GPU; half an hour or so, most of it compiling
    python -m bench.mfu --batch 64      examples a step, in place of those below; --rounds 3, --out
    python -m bench.mfu --tiny          small networks on a processor, PyTorch's not compiled

DiT-B, L and XL with patches of 2 on latents 32x32x4 (256 tokens), by flow matching; transformers
small to xlarge over 256 tokens of 8,192 words, by masked diffusion. Activations are bfloat16,
parameters, AdamW and the average of weights float32. The step is that of train_flow.py and
train_text.py; whether layers are scanned, and whether what they compute is kept or done twice
(remat), is what one may choose. PyTorch's is bench/torch_mirror.py.

TFLOP/s are of useful work (utils/flops.py), the same number for all rows of a table: what remat
does twice is not in it, nor that PyTorch's masked text projects places that are not hidden.
"difference" is of the loss after as many steps, from other random numbers. MiB are the device's at
most where it tells them, else the process's.
"""

import subprocess
import sys
from functools import partial

from bench import harness, torch_mirror
from bench.harness import Contest, Contestant

# Examples a step. All rows of a table are in memory at once: in 80 GB or less, by estimate.
IMAGES = {"DiT-B": 128, "DiT-L": 64, "DiT-XL": 32}
TEXTS = {"small": 128, "medium": 128, "large": 64, "xlarge": 64}
LATENTS, CLASSES = (32, 32, 4), 1000
LENGTH, WORDS = 256, 8192
WAYS = {
    "Tandem, scanned": {"scan_layers": True},
    "Tandem, unrolled": {},
    "Tandem, scanned, remat": {"scan_layers": True, "remat": True},
}
ENV = (("XLA_PYTHON_CLIENT_PREALLOCATE", "false"),)  # or the first to come takes the memory of all
FAST = (("XLA_FLAGS", "--xla_backend_optimization_level=0"),)  # to compile, not to run


def contests(tiny: bool, batch: int | None = None) -> list[Contest]:
    from utils import flops

    images, texts = ({"debug": 4}, {"debug": 4}) if tiny else (IMAGES, TEXTS)
    ways, env = (dict([*WAYS.items()][:1]), ENV + FAST) if tiny else (WAYS, ENV)
    steps, compiled = (1, False) if tiny else (10, True)
    platform, device = device_here()
    found = []
    for kind, presets in (("image", images), ("text", texts)):
        for preset, usual in presets.items():
            work = partial(build, kind, preset, batch or usual)
            rows = [
                Contestant(name, partial(ours, work, steps, **way), env)
                for name, way in ways.items()
                if way or preset != "DiT-XL"  # unrolled it would be one too many for 80 GB
            ]
            theirs = partial(torch_mirror.training, work, steps, platform, compiled)
            rows.append(Contestant("torch.compile" if compiled else "torch", theirs))
            title = f"{preset}, {batch or usual} {kind}s a step, on {device}"
            work = steps * operations(work)
            found.append(Contest(title, rows, "step", steps, work, flops.peak_of(device)))
    return found


def build(kind: str, preset: str, batch: int, **model):
    """(config, recipe, a batch) of the work."""
    import numpy as np

    from configs import flow, text
    from utils import recipe, recipe_text

    c = flow.get_config() if kind == "image" else text.get_config()
    c.model.preset, c.model.dtype, c.batch_size = preset, "bfloat16", batch
    c.model.update(model)
    rng, index = np.random.default_rng(0), np.arange(batch, dtype=np.int32)
    if kind == "image":
        x = rng.integers(0, 256, (batch, *LATENTS), np.uint8)
        label = rng.integers(0, CLASSES, batch, np.int32)
        return c, recipe.image(c, LATENTS, CLASSES), {"x": x, "label": label, "index": index}
    c.max_seq_len, c.vocab_size = LENGTH, WORDS
    x = rng.integers(8, WORDS, (batch, LENGTH)).astype(np.uint16)  # those before are special
    return c, recipe_text.text(c, WORDS), {"x": x, "index": index}


def operations(work) -> float:
    """Of a step in floating point; counted on the processor, the device is for the contestants."""
    import jax

    from utils import flops

    jax.config.update("jax_platforms", "cpu")
    config, built, batch = work(scan_layers=True, attention="xla")
    params = jax.eval_shape(lambda: initial(built))
    one = jax.tree.map(lambda a: a[:1], batch)
    return flops.per_example(built.loss, params, one) * config.batch_size


def initial(built):
    import jax

    from utils import recipe, recipe_text

    text = isinstance(built, recipe_text.Recipe)
    return (recipe_text if text else recipe).initial(built, jax.random.key(0))


def device_here() -> tuple[str, str]:
    """(platform, kind) of the device that contestants find; who looks has left by then."""
    look = "import jax; d = jax.devices()[0]; print(d.platform, d.device_kind, sep=':')"
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    platform, _, kind = told.stdout.strip().rpartition("\n")[2].partition(":")
    return platform, kind


def ours(work, steps: int, **way):
    """`steps` training steps as the scripts do them; what a run finds is the last loss."""
    import jax

    from utils import loop

    config, built, batch = work(**way)
    state, step, _ = loop.learner(config, built.loss, partial(initial, built), jax.random.key(1))

    def run():
        nonlocal state
        for _ in range(steps):
            state, metrics = step(state, batch)
        return float(metrics["loss"])

    return measured(run)


def measured(run):
    """With the MiB that the device had in use at most, where it tells."""
    import jax

    device = jax.devices()[0]
    if device.memory_stats():
        run.memory = lambda: device.memory_stats()["peak_bytes_in_use"] / 2**20
    return run


if __name__ == "__main__":
    told = "examples a step, instead of each network's own"
    harness.command("mfu", __doc__, contests, flags={"--batch": dict(type=int, help=told)})
