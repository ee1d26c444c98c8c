"""Samples beside PyTorch's: images and tokens a second, one sample at a time and many.

    python -m bench.drawing --threads 8     one GPU
    python -m bench.drawing --batch 256     samples at a time, in place of 64; --rounds 3, --out
    python -m bench.drawing --tiny          small networks on a processor, PyTorch's not compiled

DiT-B and XL with patches of 2 on latents 32x32x4, 50 steps of DDIM (Euler's along the velocity),
without guidance; transformers small and xlarge, 256 tokens of 8,192 words, 64 steps of ancestral
masked diffusion. Activations are bfloat16. Ours is one program from noise to sample; PyTorch's is
compiled step by step, with CUDA graphs in the third row. TFLOP/s are of the network's forward pass.
"""

from functools import partial

from bench import harness, mfu, torch_sampling
from bench.harness import Contest, Contestant

PRESETS = (("image", "DiT-B"), ("image", "DiT-XL"), ("text", "small"), ("text", "xlarge"))
STEPS = {"image": 50, "text": 64}
THEIRS = {"torch.compile": "default", "torch.compile, CUDA graphs": "reduce-overhead"}


def contests(tiny: bool, batch: int | None = None) -> list[Contest]:
    from utils import flops

    presets = (("image", "debug"), ("text", "debug")) if tiny else PRESETS
    theirs = {"torch": None} if tiny else THEIRS
    env = mfu.ENV + mfu.FAST if tiny else mfu.ENV
    platform, device = mfu.device_here()
    found = []
    for kind, preset in presets:
        steps = 2 if tiny else STEPS[kind]
        for many in (1, 2 if tiny else batch or 64):
            work = partial(mfu.build, kind, preset, many)
            rows = [Contestant("Tandem", partial(ours, work, steps), env)]
            for name, mode in theirs.items():
                call = partial(torch_sampling.sampling, work, steps, platform, mode)
                rows.append(Contestant(name, call))
            unit, amount = ("image", many) if kind == "image" else ("token", many * mfu.LENGTH)
            title = f"{preset}, {many} {kind}(s) at a time in {steps} steps, on {device}"
            costs = steps * many * operations(work)
            found.append(Contest(title, rows, unit, amount, costs, flops.peak_of(device)))
    return found


def operations(work) -> float:
    """Of a step of one sample."""
    import jax
    import jax.numpy as jnp

    from utils import flops

    jax.config.update("jax_platforms", "cpu")
    _, built, batch = work(scan_layers=True, attention="xla")
    params = jax.eval_shape(lambda: mfu.initial(built))
    x = jax.ShapeDtypeStruct((1, *built.shape), jnp.float32 if "label" in batch else jnp.int32)
    return flops.forward(built.model.apply, params, x, jnp.zeros(1), {})


def ours(work, steps: int):
    import jax
    import numpy as np

    from utils import recipe, recipe_text

    _, built, batch = work(scan_layers=True)
    params = jax.jit(lambda: mfu.initial(built))()
    key, index = jax.random.key(1), batch["index"]
    if "label" in batch:
        draw, given = recipe.drawer(built, steps, guide=False), batch["label"]
    else:
        draw, given = recipe_text.drawer(built, steps), np.full(batch["x"].shape, -1, np.int32)

    def run():
        np.asarray(draw(params, key, index, given))

    return mfu.measured(run)


if __name__ == "__main__":
    told = "samples at a time in the second table of each network"
    harness.command("drawing", __doc__, contests, flags={"--batch": dict(type=int, help=told)})
