"""From logits to token ids in NumPy, as diffusion/tokens.py has it: filters, and a draw.

A filter is a function of logits f32[..., V] that rules tokens out by -inf.
"""

import numpy as np


def temperature(value):
    """Divides the logits; 0 leaves the likeliest alone."""
    return (lambda logits: logits / np.float32(value)) if value > 0 else top_k(1)


def top_k(k):
    """Leaves the k likeliest; of equals those with the lower id."""

    def keep(logits):
        if k >= logits.shape[-1]:
            return logits
        least = np.partition(logits, -k, axis=-1)[..., -k, None]
        above, equal = logits > least, logits == least
        room = k - above.sum(-1, keepdims=True)
        return np.where(above | (equal & (np.cumsum(equal, -1) <= room)), logits, -np.inf)

    return keep


def top_p(p, first=256):
    """Leaves the fewest likeliest that hold a share p of the probability, at least one.

    first: so many are sorted where they are enough: to sort all can cost more than the network.
    """

    def keep(logits):
        share, size = softmax(logits), logits.shape[-1]
        if size > first:
            some = np.sort(np.argpartition(-logits, first, axis=-1)[..., :first], axis=-1)
            stay, enough = holding(p, share, logits, some)
            if enough:
                return np.where(stay, logits, -np.inf)
        stay, _ = holding(p, share, logits, np.broadcast_to(np.arange(size), logits.shape))
        return np.where(stay, logits, -np.inf)

    return keep


def holding(p, share, logits, ids):
    """(bool[..., V], those of ids i64[..., K], which ascend, that hold a share p; whether the rest
    cannot matter, even as the equal of one of them)."""
    values = np.take_along_axis(logits, ids, -1)
    order = np.argsort(-values, axis=-1, kind="stable")
    ids, values = (np.take_along_axis(a, order, -1) for a in (ids, values))
    held = np.take_along_axis(share, ids, -1)
    fits = np.cumsum(held, -1) - held < np.float32(p)  # what the likelier ones hold
    fits[..., 0] = True
    stay = np.zeros(logits.shape, bool)
    np.put_along_axis(stay, ids, fits, -1)
    return stay, not (fits & (values == values[..., -1:])).any()


def filters(temperature_, k, p):
    """Those that are not neutral, in the order in which generate.py applies them."""
    found = [] if temperature_ == 1.0 else [temperature(temperature_)]
    return found + ([top_k(k)] if k else []) + ([top_p(p)] if p < 1.0 else [])


def softmax(logits):
    mass = np.exp(logits - logits.max(-1, keepdims=True))
    return mass / mass.sum(-1, keepdims=True)


def categorical(u, logits, width=128):
    """Ids i64[...] by inverse CDF from uniforms f32[...], in two levels as diffusion/tokens.py."""
    size = logits.shape[-1]
    mass = np.exp(logits - logits.max(-1, keepdims=True))
    if size <= width:
        return first_above(u * mass.sum(-1), mass)[0]
    groups = -(-size // width)
    mass = np.pad(mass, [(0, 0)] * u.ndim + [(0, groups * width - size)])
    mass = mass.reshape(*u.shape, groups, width)
    held = mass.sum(-1)
    level = u * held.sum(-1)
    group, before = first_above(level, held)
    inside = np.take_along_axis(mass, group[..., None, None], -2)[..., 0, :]
    place, _ = first_above(np.maximum(level - before, 0.0), inside)
    return group * width + place


def first_above(level, mass):
    """The first place where the running sum of mass exceeds level, and the sum before it; the
    heaviest place where rounding leaves none."""
    upto = np.cumsum(mass, -1)
    fits = (upto > level[..., None]) & (mass > 0)
    place = np.where(fits.any(-1), fits.argmax(-1), mass.argmax(-1))
    at = lambda v: np.take_along_axis(v, place[..., None], -1)[..., 0]
    return place, at(upto) - at(mass)
