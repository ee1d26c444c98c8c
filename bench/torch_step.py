"""A training step as PyTorch users write it: gradient, clipping, AdamW and an average of weights.

All of it in its fastest form: gradients are freed rather than zeroed, AdamW is fused, the average
is one call over all arrays. Losses are of the same processes as this project's, on the same kind
of data; what is drawn at random is not the same.
"""

import math


def update(params, *, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, clip=1.0, ema_decay=0.9999):
    """(loss) -> its value, a tensor, where loss() is a scalar of the parameters, which are changed:
    loop.update's PyTorch."""
    import torch

    ema = [p.detach().clone() for p in params]
    adam = torch.optim.AdamW(params, lr, betas, weight_decay=weight_decay, fused=True)

    def step(loss):
        adam.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(params, clip)
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(ema, params, 1.0 - ema_decay)
        return value.detach()

    return step


def stepping(network, loss, compiled=False):
    """run() of one step; it finds the number of parameters.

    Args:
        network: a torch module, in the mode that it trains in.
        loss: (network) -> a scalar tensor.
        compiled: by torch.compile, which wants a C++ compiler.
    """
    import torch

    params = [p for p in network.parameters() if p.requires_grad]
    step = update(params)
    called = torch.compile(network) if compiled else network
    size = float(sum(p.numel() for p in params))

    def run():
        value = step(lambda: loss(called)).item()
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        return size

    return run


def flow(shape, batch: int, classes: int = 0, channels_last=True):
    """The loss of flow matching on images of noise, t logit-normal: (call) -> scalar, where call is
    (x_t, t f32[B], label i64[B] or None) -> like x_t.

    channels_last: x_t is [B, H, W, C], else the same memory as [B, C, H, W].
    """
    import torch

    x = torch.randint(0, 256, (batch, *shape), dtype=torch.uint8)
    label = torch.randint(0, classes, (batch,)) if classes else None
    place = (lambda a: a) if channels_last else (lambda a: a.permute(0, 3, 1, 2))

    def loss(call):
        x0 = x.float() / 127.5 - 1.0
        eps, t = torch.randn_like(x0), torch.randn(batch).sigmoid()
        s = t[:, None, None, None]
        shown = label
        if classes:
            shown = torch.where(torch.rand(batch) < 0.1, classes, label)
        out = call(place((1.0 - s) * x0 + s * eps), t, shown)
        return (out - place(eps - x0)).square().mean()

    return loss


def masked(vocabulary: int, batch: int, length: int, nats):
    """The loss of masked diffusion on random tokens: (call) -> scalar, where call is
    (x_t i64[B, L], t f32[B]) -> whatever `nats` wants.

    nats: (out, tokens i64[B, L], hidden bool[B, L]) -> f32[B, L] or f32[N], of which those that
        are hidden count; weights 1 / t are given to it as f32[B, 1].
    """
    import torch

    from data.tokenizer import MASK, SPECIALS

    tokens = torch.randint(len(SPECIALS), vocabulary, (batch, length))

    def loss(call):
        t = 1e-3 + 0.999 * (torch.arange(batch) + torch.rand(batch)) / batch
        hidden = torch.rand(batch, length) < t[:, None]
        out = call(torch.where(hidden, MASK, tokens), t)
        return nats(out, tokens, hidden, 1.0 / t[:, None]) / (batch * length)

    return loss
