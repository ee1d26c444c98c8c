"""Sampling from the same networks in PyTorch: a step is compiled, the loop is Python's."""

import itertools
from functools import partial

from bench.torch_mirror import fused, measured, mirror, on


def sampling(work, steps: int, platform: str, mode: str | None):
    """A batch of samples in `steps` steps.

    Args:
        work: () -> (config, recipe, a batch).
        mode: torch.compile's; None: not compiled.
    """
    import torch

    config, _, batch = work()
    device = on(platform)
    network = fused(mirror(config)).eval()
    step = partial(STEPS[config.model.name], network)
    step = torch.compile(step, mode=mode) if mode else step
    times = torch.linspace(1.0, 0.0, steps + 1)
    label = torch.as_tensor(batch["label"]).to(device).long() if "label" in batch else None

    @torch.inference_mode()
    def run():
        x = STARTS[config.model.name](batch["x"].shape)
        for t, s in itertools.pairwise(times):
            x = step(x, t, s, label).clone()  # CUDA graphs write into the same place again
        x.cpu()

    return measured(run, device)


def noise(shape):
    import torch

    return torch.randn(shape)


def masks(shape):
    import torch

    from data.tokenizer import MASK

    return torch.full(shape, MASK)


def euler(network, x, t, s, label):
    """From noise level t to s along the velocity."""
    import torch

    with torch.autocast(x.device.type, torch.bfloat16):
        return x + (s - t) * network(x, t.expand(len(x)), label).float()


def reveal(network, x, t, s, label):
    """Each hidden token shows with probability (t - s) / t, drawn from all words at once."""
    import torch

    from data.tokenizer import MASK

    with torch.autocast(x.device.type, torch.bfloat16):
        logits = network(x, t.expand(len(x))).float()
    drawn = (logits.softmax(-1) / torch.empty_like(logits).exponential_()).argmax(-1)
    shown = (x == MASK) & (torch.rand(x.shape) < (t - s) / t)
    return torch.where(shown, drawn, x)


STARTS = {"dit": noise, "transformer": masks}
STEPS = {"dit": euler, "transformer": reveal}
