"""One step of masked text on torch tensors, x changed in place: by the kernels, or by torch alone.

    step = Fused(library, ...) or Plain(...)
    step.fill(keys u32[B, 2], temperature)     before a generation
    step(logits [B, L, V], x i64[B, L], i)     one step of it

Both are jetson/unmask.py's to the last bits, and neither ever waits for the device: what differs
from one generation to the next lies in tensors that `fill` overwrites, so that a CUDA graph can be
captured of the steps and replayed.
"""

import numpy as np
import torch

from jetson import threefry


class Fused:
    """By one kernel, two for "confidence"; see kernels/unmask.cu.

    Attributes:
        keys: i32[B, 2], the bits of u32. kept: f32[S], P(hidden after a step | hidden before).
        steps: i32[S], 0, 1, ... temperature: f32[1]. tokens, said: [B, L], work space.
    """

    def __init__(self, library, batch, length, kept, order, silent, device, draw="inverse"):
        self.library, self.order, self.silent, self.draw = library, order, silent, draw
        empty = lambda *shape, dtype=torch.float32: torch.zeros(shape, dtype=dtype, device=device)
        self.keys = empty(batch, 2, dtype=torch.int32)
        self.kept = torch.tensor(np.asarray(kept, np.float32)).to(device)
        self.steps = torch.arange(len(kept), dtype=torch.int32).to(device)
        self.temperature = empty(1)
        self.tokens, self.said = empty(batch, length, dtype=torch.int32), empty(batch, length)

    def fill(self, keys, temperature):
        self.keys.copy_(torch.from_numpy(np.ascontiguousarray(keys).view(np.int32)))
        self.temperature.fill_(temperature)

    def __call__(self, logits, x, i):
        self.library.unmask(logits, x, self, self.steps[i : i + 1])


class Plain:
    """By torch, from uniforms that NumPy drew beforehand: u f32[S, B, L] and coins f32[S, B, L or
    1]. Its tokens are drawn by inverse CDF: Gumbel noise would be a table of S B L V."""

    def __init__(self, batch, length, kept, order, silent, device):
        self.order, self.silent = order, silent
        self.kept = torch.tensor(np.asarray(kept, np.float32)).to(device)
        places = length if order == "ancestral" else 1
        self.u = torch.zeros(len(kept), batch, length, device=device)
        self.coins = torch.zeros(len(kept), batch, places, device=device)
        self.temperature = torch.ones(1, device=device)

    def fill(self, keys, temperature):
        self.temperature.fill_(temperature)
        last = 1 if self.order == "ancestral" else 2
        for i in range(len(self.u)):
            parts = threefry.split(threefry.fold(keys, i), last + 1)
            for table, part in ((self.u, parts[0]), (self.coins, parts[last])):
                table[i].copy_(torch.from_numpy(threefry.uniform(part, table.shape[2:])))

    def __call__(self, logits, x, i):
        logits = logits.float()
        for token in self.silent:
            logits[..., token] = -torch.inf
        tokens = categorical(self.u[i], logits / self.temperature)
        hidden = x == self.silent[0]
        if self.order == "ancestral":
            shown = self.coins[i] >= self.kept[i]
        else:
            total = hidden.sum(-1, keepdim=True).float()
            stay = torch.floor(total * self.kept[i] + self.coins[i])
            said = logits.softmax(-1).gather(-1, tokens[..., None])[..., 0]
            order = torch.where(hidden, -said, torch.inf).argsort(dim=-1, stable=True)
            shown = order.argsort(dim=-1, stable=True) < total - stay
        x.copy_(torch.where(hidden & shown, tokens, x))


def categorical(u, logits, width=128):
    """logits.categorical of tensors: ids i64[...] from uniforms f32[...]."""
    mass = (logits - logits.amax(-1, keepdim=True)).exp()
    size = mass.shape[-1]
    if size <= width:
        return first_above(u * mass.sum(-1), mass)[0]
    mass = torch.nn.functional.pad(mass, (0, -size % width)).unflatten(-1, (-1, width))
    held = mass.sum(-1)
    level = u * held.sum(-1)
    group, before = first_above(level, held)
    inside = mass.gather(-2, group[..., None, None].expand(*u.shape, 1, width))[..., 0, :]
    place, _ = first_above((level - before).clamp(min=0.0), inside)
    return group * width + place


def first_above(level, mass):
    """logits.first_above of tensors."""
    upto = mass.cumsum(-1)
    fits = (upto > level[..., None]) & (mass > 0)
    place = torch.where(fits.any(-1), fits.int().argmax(-1), mass.argmax(-1))
    at = lambda v: v.gather(-1, place[..., None])[..., 0]
    return place, at(upto) - at(mass)
