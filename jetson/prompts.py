"""What a person asks of an export, as arrays; and what was drawn, as pictures and texts."""

import numpy as np

from data import template
from data.tokenizer import EOS, PAD
from jetson import draw, threefry


def texts(package, denoise, words, prompt, n, *, seed=0, length=None, **knobs):
    """n texts, a document a line. knobs: draw.tokens' own."""
    known, allowed = asked(package.config, words, prompt, n, seed, length)
    ids = draw.tokens(package, denoise, np.arange(n), known, seed=seed, allowed=allowed, **knobs)
    return ["\n".join(documents(words, row, package.config["rows"]["begin"])) for row in ids]


def asked(config, words, prompt, n, seed, fixed=None):
    """Given tokens i64[n, L] of a prompt, -1 where nothing is given, and what else may stand where,
    bool[L, V] or None. Sample i's row is as long as the one that generate.py draws for (seed, i),
    with padding behind.

    Args:
        fixed: one length for all.

    Raises:
        ValueError: see data/template.py; a length that was not learnt; no such seed.
    """
    threefry.key(seed)  # refuses what is none
    (length,), rows = config["shape"], config["rows"]
    short = min(rows["lengths"])
    if fixed and not short <= fixed <= length:
        learnt = f"{short} to {length}" if short < length else str(length)
        raise ValueError(f"--seq_length {fixed}: this network learnt rows of {learnt} tokens")
    wish = template.read(prompt, words, fixed or length, rows["begin"])
    lengths = np.array([fixed or length] if fixed or wish.whole else rows["lengths"])
    fits = lengths[lengths > wish.size]
    lengths = fits if len(fits) else np.array([length])
    shares = [np.random.default_rng((seed, i)).random() for i in range(n)]
    ends = np.array([lengths[int(share * len(lengths))] for share in shares])
    known = np.pad(wish.known, (0, length - len(wish.known)), constant_values=template.FREE)
    known = np.where(np.arange(length) < ends[:, None], known, PAD).astype(np.int64)
    allowed = template.allowed(wish.options, length, words.size) if wish.options else None
    return known, allowed


def documents(words, row, one):
    """The documents in a row of ids, none empty; of a row that is `one`, what its EOS ends."""
    parts = np.split(row, np.flatnonzero(row == EOS) + 1)
    said = (words.decode(part).strip() for part in (parts[:1] if one else parts))
    return [text for text in said if text]


def pictures(package, denoise, classes, n, *, seed=0, **knobs):
    """(u8[n, H, W, C], classes i32[n]): those asked for, over and over; None: all exported.

    knobs: draw.images' own.
    """
    known = package.schedule["labels"]
    of = known[:-1] if len(known) > 1 else known
    labels = np.resize(np.asarray(of if classes is None else classes, np.int32), n)
    x = draw.images(package, denoise, np.arange(n), labels, seed=seed, **knobs)
    return np.clip(np.round((x + 1.0) * 127.5), 0, 255).astype(np.uint8), labels


def grid(x, columns=10):
    """Pictures u8[n, H, W, C] in rows, u8[H', W', C]; black where the last row ends early."""
    n, h, w, c = x.shape
    columns = min(n, columns)
    x = np.concatenate([x, np.zeros((-n % columns, h, w, c), np.uint8)])
    x = x.reshape(-1, columns, h, w, c).transpose(0, 2, 1, 3, 4)
    return x.reshape(-1, columns * w, c)


def numbers(flag, text):
    """[0, 5, 7, 8, 9] of "0,5,7-9".

    Raises:
        ValueError: it is no such list.
    """
    try:
        ends = [part.partition("-") for part in text.split(",")]
        found = [i for low, _, high in ends for i in range(int(low), int(high or low) + 1)]
    except ValueError:
        found = []
    if not found:
        raise ValueError(f"{flag} wants something like 3 or 0,5,7; got {text!r}")
    return found
