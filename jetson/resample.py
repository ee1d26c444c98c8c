"""Sparse-distribution text in NumPy, as diffusion/sparse.py and diffusion/resample.py have it.

A place is K slots that count alike, ids i64[B, L, K]. In each step one token is drawn for a place
and its slots are drawn again given that token.
"""

import numpy as np

from jetson import clocks, threefry
from jetson.logits import categorical


def tokens(package, denoise, keys, known, steps, own, keepers, allowed=None):
    """i64[B, L].

    Args:
        keys: u32[B, 2] twice, for the prior and for the steps.
        known: i64[B, L], given tokens, -1 where nothing is given.
        steps: how many. own: a value for each of draw.KNOBS; keepers: those that are filters.
        allowed: bool[L, V], ids that may stand at each place; None: all.
    """
    process, size = package.config["process"], package.config["network"]["vocab_size"]
    schedule = clocks.survival(process["schedule"], process["shift"])
    keys_prior, keys_steps = keys
    given, shape = known >= 0, (known.shape[1], process["candidates"])
    put = lambda ids: np.where(given[..., None], known[..., None], ids)
    levels = clocks.clocks(process["spread"], own["rounds"], keys_prior, given)

    def ask(ids, t, places):
        """Logits f32[N, V] of N places, bool[B, L]."""
        rho = log_rho(schedule(t), size)
        out = denoise(ids, believed(ids, rho, size), package.said(t.mean(-1)))
        logits = out[places] + evidence(ids, rho, size, places)
        if allowed is not None:
            logits[~np.broadcast_to(allowed, (*places.shape, size))[places]] = -np.inf
        for keep in keepers:
            logits = keep(logits)
        return logits

    ids = put(noise(keys_prior, shape, size))
    for i, (t, s, number) in enumerate(clocks.steps(steps, own["rounds"])):
        keys_step = threefry.fold(keys_steps, i)
        t, s, again = levels(t, s, number)
        if again is not None:
            ids = np.where(again[..., None], noise(threefry.fold(keys_step, 1), shape, size), ids)
        moved = np.broadcast_to(s < t, known.shape)
        if not moved.any():  # those whose turn it is are given
            continue
        keys_token, keys_back = threefry.split(keys_step)
        logits = ask(ids, t, moved)
        u = threefry.uniform(keys_token, known.shape[1:])[moved]
        last = np.broadcast_to(s == 0.0, known.shape)[moved]
        token = np.zeros(known.shape, np.int64)
        token[moved] = np.where(last, logits.argmax(-1), categorical(u, logits))
        new = back(keys_back, ids, token[..., None], schedule(t), schedule(s), size)
        new = np.where(s[..., None] > 0.0, new, token[..., None])
        ids = put(np.where(moved[..., None], new, ids))
    return decode(ids)


def refuse(process, own):
    """Raises ValueError for knobs that mean nothing to sparse text, of values of draw.KNOBS."""
    for name, only in (("solver", "resample"), ("block_size", 0)):
        if own[name] != only:
            raise ValueError(f"--{name} {own[name]} wants masked text; this is sparse text")
    if own["rounds"] > 1 and not process["spread"]:
        raise ValueError(
            f"--rounds {own['rounds']} wants masked text, or sparse text trained with "
            "process.spread; this is sparse text without"
        )


def noise(keys, shape, size):
    """Ids i64[B, *shape], each as likely as any other."""
    ids = (threefry.uniform(keys, shape) * np.float32(size)).astype(np.int64)
    return np.minimum(ids, size - 1)


def log_rho(level, size):
    """log of how much likelier a slot is the token than any other id, of (alpha, sigma)."""
    alpha, sigma = level
    return np.log1p(alpha * np.float32(size) / np.maximum(sigma, np.float32(1e-12)))


def believed(ids, log_rho, size):
    """Shares f32[B, L, K]: what each place by itself makes of its slots, see
    diffusion/self_conditioning.py. log_rho: f32[B, L] or f32[B, 1], of a slot."""
    same = (ids[..., :, None] == ids[..., None, :]).sum(-1).astype(np.float32)
    worth = same * log_rho[..., None]
    top = worth.max(-1, keepdims=True)
    mass = np.exp(worth - top) / same
    others = np.float32(size) - (1.0 / same).sum(-1, keepdims=True)
    return mass / (mass.sum(-1, keepdims=True) + others * np.exp(-top))


def evidence(ids, log_rho, size, places):
    """What the slots of N places say of each id, f32[N, V]."""
    here, out = ids[places], np.zeros((places.sum(), size), np.float32)
    each = np.broadcast_to(log_rho, places.shape)[places]
    for slot in here.T:
        out[np.arange(len(out)), slot] += each
    return out


def back(keys, ids, token, now, then, size):
    """Slots ~ q(c_s | c_t, token i64[B, L, 1]); now, then: (alpha, sigma) at t and at s."""
    keys_choice, keys_fresh = threefry.split(keys)
    (alpha_t, _), (alpha_s, sigma_s) = ([v[..., None] for v in level] for level in (now, then))
    kept = alpha_t / np.maximum(alpha_s, np.float32(1e-12))  # survival from s to t
    even = sigma_s / np.float32(size)
    stay = kept * (even + alpha_s * (ids == token))
    move = (np.float32(1.0) - kept) * alpha_s / np.float32(size)
    fresh = (np.float32(1.0) - kept) * even
    u = threefry.uniform(keys_choice, ids.shape[1:]) * (stay + move + fresh)
    other = noise(keys_fresh, ids.shape[1:], size)
    return np.where(u < stay, ids, np.where(u < stay + move, token, other))


def decode(ids):
    """The id that most slots have, i64[B, L]."""
    same = (ids[..., :, None] == ids[..., None, :]).sum(-1)
    return np.take_along_axis(ids, same.argmax(-1)[..., None], -1)[..., 0]
