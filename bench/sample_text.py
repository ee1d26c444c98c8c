"""Generation of text beside others: 128 tokens in 32 steps, from nothing.

    python -m bench.sample_text                 --threads 2; long on one core: see --rounds
    python -m bench.sample_text --tiny          seconds; --rounds 3, --out FOLDER
    python -m bench.sample_text --peer-path mdlm      a checkout of MDLM: its own sampler as well

One network for all: width 256, 4 layers of 4 heads, random weights; in JAX, and its mirror in
torch (jetson/models). A run is a whole generation, as generate.py asks for it. What others do is
in samplers.py. Their draw from V + 1 Gumbels in float32 is not quite the law of the process (see
diffusion/unmask.py); ours is.
"""

import itertools
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench import checkout, harness, peer_mdlm, samplers
from bench.harness import Contest, Contestant


class Size(NamedTuple):
    """Of a vocabulary, of a batch, of a row and of its generation; and of the network."""

    vocabulary: int
    batch: int
    length: int = 128
    steps: int = 32
    width: int = 256
    depth: int = 4


def contests(tiny: bool, peer_path=()) -> list[Contest]:
    peer = checkout.recognise(peer_path, ["mdlm"]).get("mdlm")
    sizes = [Size(300, 2, 16, 4, 32, 1)]
    if not tiny:
        sizes = [Size(size, batch) for size in (64, 8192) for batch in (1, 16)]
    return [contest(size, peer) for size in sizes] + [surest(sizes[-2:][0])]


def contest(size: Size, peer: str | None = None) -> Contest:
    """By chance, as the reverse process has it."""
    own = [Contestant("MDLM's own, torch", partial(mdlm, size, peer))] if peer else []
    return Contest(
        f"by chance, {size.vocabulary} tokens, batches of {size.batch}",
        [
            Contestant("generate.py", partial(ours, size, "ancestral")),
            Contestant("all places, V + 1 Gumbels, JAX, as MD4", partial(joint, size)),
            Contestant("the same, torch, a loop, as MDLM", partial(in_torch, size, "joint_torch")),
            *own,
        ],
        "token",
        size.batch * size.length,
    )


def surest(size: Size) -> Contest:
    """A fixed number a step, the surest first."""
    return Contest(
        f"the surest first, {size.vocabulary} tokens, batches of {size.batch}",
        [
            Contestant("generate.py", partial(ours, size, "confidence")),
            Contestant("float64 Gumbels, torch, as LLaDA", partial(in_torch, size, "surest_torch")),
        ],
        "token",
        size.batch * size.length,
    )


def config(size: Size, solver="ancestral"):
    """A config of train_text.py."""
    from configs import text

    c = text.get_config()
    c.max_seq_len, c.model.preset = size.length, None
    c.model.hidden_size, c.model.depth, c.model.num_heads = size.width, size.depth, 4
    c.model.d_ff = 4 * size.width
    c.sampler.solver = solver
    return c


def random_like(initial):
    """Parameters like initial(key)'s, of which none is at the zero that it is born with."""
    import jax
    import jax.numpy as jnp

    key = jax.random.key(0)
    draw = lambda a: 0.05 * jax.random.normal(key, a.shape, jnp.float32)
    return jax.tree.map(draw, jax.eval_shape(initial, key))


def ours(size: Size, solver: str):
    import jax
    import numpy as np

    from utils import recipe_text

    recipe = recipe_text.text(config(size, solver), size.vocabulary)
    draw = recipe_text.drawer(recipe, size.steps)
    params, index = random_like(partial(recipe_text.initial, recipe)), np.arange(size.batch)
    known = np.full((size.batch, size.length), -1, np.int32)
    keys = map(jax.random.key, itertools.count())
    return lambda: np.asarray(draw(params, next(keys), index, known)).size and None


def joint(size: Size):
    import jax
    import numpy as np

    from data.tokenizer import MASK
    from utils import recipe_text

    recipe = recipe_text.text(config(size), size.vocabulary)
    params = random_like(partial(recipe_text.initial, recipe))
    predict = lambda x, t: recipe.apply(params, x, t, {})
    draw = samplers.joint(predict, MASK, size.batch, size.length, size.steps)
    keys = map(jax.random.key, itertools.count())
    return lambda: np.asarray(draw(next(keys))).size and None


def torch_network(size: Size):
    import torch

    from jetson.models.transformer import Transformer

    network = Transformer(
        size.vocabulary, size.width, size.depth, 4, 4 * size.width, size.vocabulary, size.length
    )
    torch.manual_seed(0)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.05)
    return network


def in_torch(size: Size, sampler: str):
    from data.tokenizer import MASK

    make, network = getattr(samplers, sampler), torch_network(size)
    draw = make(network, MASK, size.batch, size.length, size.steps)
    return lambda: draw().numel() and None


def mdlm(size: Size, folder: str):
    from data.tokenizer import MASK

    sizes = size.vocabulary, MASK, size.batch, size.length, size.steps
    draw = peer_mdlm.sampler(Path(folder), torch_network(size), *sizes)
    return lambda: draw().numel() and None


if __name__ == "__main__":
    harness.command("sample_text", __doc__, contests, flags=checkout.FLAG)
