"""Guided generation of images beside others: a DiT, 25 steps of DDIM, guidance of 2.

    python -m bench.sample_image                about five minutes on one core; --threads 2
    python -m bench.sample_image --tiny         seconds; --rounds 3, --out FOLDER

One network for all: width 256, 6 layers of 4 heads, patches of 2 of 32x32x3, 10 classes, random
weights. A run is a whole generation: every step asks the network with and without the class, as
one batch of twice the size, except where it says otherwise. Ours is what generate.py calls.
Diffusers' pipeline wants an autoencoder, which pixels have none of, so its loop is written out
here, around its network and its scheduler.
"""

import itertools
from functools import partial
from typing import NamedTuple

from bench import harness, peers
from bench.harness import Contest, Contestant
from bench.sample_text import random_like

SCALE = 2.0


class Size(NamedTuple):
    """Of a batch, its generation, and the network."""

    batch: int
    steps: int = 25
    side: int = 32
    width: int = 256
    depth: int = 6
    classes: int = 10


def contests(tiny: bool) -> list[Contest]:
    sizes = [Size(2, 3, 8, 32, 1)] if tiny else [Size(1), Size(4)]
    return [
        Contest(
            f"guided images, batches of {size.batch}",
            [
                Contestant("generate.py", partial(ours, size)),
                Contestant("a jitted call for each half, a loop", partial(halves, size)),
                Contestant("diffusers, DiT and DDIM, a loop", partial(diffusers, size)),
                Contestant("our network in torch, a loop", partial(mirror, size)),
            ],
            "image",
            size.batch,
        )
        for size in sizes
    ]


def recipe_of(size: Size):
    """The recipe of a config of train_flow.py."""
    from configs import flow
    from utils import recipe

    c = flow.get_config()
    c.model.preset, c.model.patch_size, c.model.mlp_ratio = None, 2, 4.0
    c.model.hidden_size, c.model.depth, c.model.num_heads = size.width, size.depth, 4
    c.sampler.solver = "ddim"
    return recipe.image(c, (size.side, size.side, 3), size.classes)


def labels(size: Size):
    import numpy as np

    return np.resize(np.arange(size.classes, dtype=np.int32), size.batch)


def ours(size: Size):
    import jax
    import numpy as np

    from utils import recipe

    built = recipe_of(size)
    params = random_like(partial(recipe.initial, built))
    draw = recipe.drawer(built, size.steps, guide=True)
    keys, index = map(jax.random.key, itertools.count()), np.arange(size.batch)
    return lambda: np.asarray(draw(params, next(keys), index, labels(size), SCALE)).size and None


def halves(size: Size):
    """A step is two calls of a jitted network and some arithmetic, from Python."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from utils import recipe

    built = recipe_of(size)
    params, call = random_like(partial(recipe.initial, built)), jax.jit(built.model.apply)
    keys, label = map(jax.random.key, itertools.count()), labels(size)
    none = np.full_like(label, size.classes)

    def run():
        x = jax.random.normal(next(keys), (size.batch, *built.shape))
        for number in range(size.steps):
            t = jnp.full(size.batch, 1.0 - number / size.steps)
            free, said = (call(params, x, t, {"label": y}) for y in (none, label))
            x = x - (free + SCALE * (said - free)) / size.steps
        np.asarray(x)

    return run


def diffusers(size: Size):
    peers.importable()
    import torch
    from diffusers import DDIMScheduler, DiTTransformer2DModel

    network = DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=size.width // 4, in_channels=3, out_channels=3,
        num_layers=size.depth, sample_size=size.side, patch_size=2,
        num_embeds_ada_norm=size.classes,
    ).eval()  # fmt: skip
    randomised(network)
    scheduler, label = DDIMScheduler(), torch.from_numpy(labels(size)).long()
    both = torch.cat([label, torch.full_like(label, size.classes)])

    @torch.inference_mode()
    def run():
        scheduler.set_timesteps(size.steps)
        x = torch.randn(size.batch, 3, size.side, size.side)
        for t in scheduler.timesteps:
            out = network(torch.cat([x, x]), t.expand(len(both)), both).sample
            said, free = out.chunk(2)
            x = scheduler.step(free + SCALE * (said - free), t, x).prev_sample

    return run


def mirror(size: Size):
    import torch

    from jetson.models.dit import DiT

    network = DiT((size.side, size.side, 3), size.width, size.depth, 4, 2, num_classes=size.classes)
    randomised(network)
    label = torch.from_numpy(labels(size)).long()
    both = torch.cat([label, torch.full_like(label, size.classes)])

    @torch.inference_mode()
    def run():
        x = torch.randn(size.batch, size.side, size.side, 3)
        for number in range(size.steps):
            t = torch.full((len(both),), 1.0 - number / size.steps)
            said, free = network(torch.cat([x, x]), t, both).chunk(2)
            x = x - (free + SCALE * (said - free)) / size.steps

    return run


def randomised(network):
    """Torch's network, with no weight at the zero that it is born with."""
    import torch

    torch.manual_seed(0)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.05)


if __name__ == "__main__":
    harness.command("sample_image", __doc__, contests)
