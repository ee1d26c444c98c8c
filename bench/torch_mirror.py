"""The same networks in PyTorch, as its users would make them fast, and how they train.

The networks are those of jetson/models, with fused attention in place of products spelt out. A step
is that of torch_step.py; the loss is compiled. bfloat16 comes by autocast, so that what is added
up from layer to layer stays float32.
"""

import inspect
from functools import partial

from bench import torch_step


def training(work, steps: int, platform: str, compiled: bool):
    """`steps` steps; what a run finds is the last loss.

    Args:
        work: () -> (config, recipe, a batch), see mfu.py.
        platform: of JAX's devices.
        compiled: whether by torch.compile.

    Raises:
        ImportError: no torch, or one that does not know such devices.
    """
    import torch

    config, _, batch = work()
    device = on(platform)
    network = fused(mirror(config))
    loss = partial(LOSSES[config.model.name], network)
    loss = torch.compile(loss) if compiled else loss
    step = torch_step.update(
        list(network.parameters()), lr=config.lr, betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay, clip=config.clip, ema_decay=config.ema_decay,
    )  # fmt: skip

    def run():
        for _ in range(steps):
            there = {k: torch.as_tensor(v).to(device) for k, v in batch.items()}
            found = step(partial(loss, there))
        return float(found)

    return measured(run, device)


def on(platform: str) -> str:
    """Torch's name of such a device, where all that is made from now on lies."""
    import torch

    if platform != "cpu" and not (platform == "gpu" and torch.cuda.is_available()):
        raise ImportError(f"this torch is not made for a {platform}")
    device = "cuda" if platform == "gpu" else "cpu"
    torch.manual_seed(0)
    torch.set_default_device(device)  # the networks make waves and masks as they run
    return device


def measured(run, device: str):
    import torch

    if device == "cuda":
        run.memory = lambda: torch.cuda.max_memory_allocated() / 2**20
    return run


def mirror(config):
    """A network of jetson/models by the fields of a config's `model` group."""
    import models
    from bench import mfu
    from jetson.models import NETWORKS

    c = config.model
    fields = models.MODULES[c.name][1][c.preset] | {k: v for k, v in c.items() if v is not None}
    if c.name == "dit":
        fields |= {"shape": mfu.LATENTS, "num_classes": mfu.CLASSES}
    else:
        fields |= {"features": mfu.WORDS, "vocab_size": mfu.WORDS, "max_seq_len": mfu.LENGTH}
    known = inspect.signature(NETWORKS[c.name]).parameters
    network = NETWORKS[c.name](**{k: v for k, v in fields.items() if k in known})
    zeros = network.modulators() + ([network.head.out] if c.name == "dit" else [])
    for array in (array for part in zeros for array in part.parameters()):
        array.data.zero_()  # as it starts in Flax
    return network


def fused(network):
    """The network with attention as one operation, in place."""
    import torch.nn.functional as F

    from jetson.models import layers

    class Fused(layers.Attention):
        def forward(self, x, turn=None, bias=None):
            length, width = x.shape[1:]
            heads = lambda p: p.reshape(-1, length, self.heads, self.size)
            q, k, v = (heads(p) for p in self.qkv(x).chunk(3, -1))
            q, k = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2)
            if turn is not None:
                q, k = layers.rotate(q, *turn), layers.rotate(k, *turn)
            y = F.scaled_dot_product_attention(q, k, v.transpose(1, 2), attn_mask=bias)
            return self.out(y.transpose(1, 2).reshape(-1, length, width))

    for part in network.modules():
        if isinstance(part, layers.Attention):
            part.__class__ = Fused
    return network


def of_images(network, batch):
    """Flow matching: x_t = (1 - t) x_0 + t eps, the target eps - x_0; a tenth of the labels is
    hidden."""
    import torch

    x0 = batch["x"].float() / 127.5 - 1.0
    t, eps = torch.randn(len(x0)).sigmoid(), torch.randn(x0.shape)
    level = t[:, None, None, None]
    null = network.condition.label.num_embeddings - 1
    label = torch.where(torch.rand(len(x0)) < 0.1, null, batch["label"].long())
    with torch.autocast(x0.device.type, torch.bfloat16):
        out = network((1.0 - level) * x0 + level * eps, t, label)
    return (out.float() - (eps - x0)).square().mean()


def of_text(network, batch):
    """Masked diffusion: a token is hidden with probability t, and counts 1 / t."""
    import torch
    import torch.nn.functional as F

    from data.tokenizer import MASK

    x0 = batch["x"].long()
    t = 1e-3 + (1.0 - 1e-3) * (torch.arange(len(x0)) + torch.rand(len(x0))) / len(x0)
    hidden = torch.rand(x0.shape) < t[:, None]
    with torch.autocast(x0.device.type, torch.bfloat16):
        logits = network(torch.where(hidden, MASK, x0), t)
    nats = F.cross_entropy(logits.float().flatten(0, 1), x0.flatten(), reduction="none")
    return (nats.view_as(x0) * hidden / t[:, None]).mean()


LOSSES = {"dit": of_images, "transformer": of_text}
