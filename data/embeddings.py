"""Tables of embeddings, one row a token, for `diffusion.Embedding`.

    random_table(size, dim, seed)   rows as far apart as can be: what is there without any file
    read(path, words)               rows of somebody's vectors: GloVe text, npz, safetensors
    prepared(table, dim)            centred, perhaps fewer dimensions, unit length

Nothing is unpickled. Tables are frozen: they are made once, before training.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

NUDGE = 0.3  # length of the random part of a made-up row, as a share of the real rows' spread


def random_table(size: int, dim: int, seed: int = 0) -> np.ndarray:
    """f32[size, dim], rows of unit length: orthogonal to each other where size <= dim, else rows
    of a random tight frame (orthonormal columns), which are as even as chance has it.

    Raises:
        ValueError: size or dim is below 1.
    """
    if size < 1 or dim < 1:
        raise ValueError(f"a table wants 1 row and 1 column or more; got {size} x {dim}")
    normal = np.random.default_rng(seed).normal(size=(max(size, dim), min(size, dim)))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.diag(r))  # the same on every LAPACK
    return unit(q if size > dim else q.T)


def read(path: str | Path, words: Sequence[str | None]) -> tuple[np.ndarray, float]:
    """Rows f32[V, D] for the words of a tokenizer (`Tokenizer.pieces`), and the share found.

    Files with names are .txt and .vec (`word v1 v2 ...` a line: GloVe, fastText) and .npz with
    arrays "words" and "vectors". A word is looked up as it is, then without spaces around it,
    then in small letters; one found under another spelling is moved a little, so that " The"
    and "the" are two rows. One not found, or None, becomes the mean of those found, moved a
    little: after `prepared` a random direction. Equal calls return equal rows.

    Files without names have a row a word, in order, and the share is 1: .npz with one array,
    .safetensors with one matrix of V rows, or one of V rows that has "embed" in its name.

    Raises:
        ValueError: no such file, not of a kind named here, rows of a wrong shape, or not one of
            the words is in it.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise ValueError(f"cannot read embeddings from {path}; wanted {', '.join(READERS)}")
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    spellings = [[] if w is None else [w, w.strip(), w.strip().lower()] for w in words]
    found = READERS[path.suffix](path, len(words), {s for each in spellings for s in each})
    if isinstance(found, np.ndarray):
        if found.ndim != 2 or len(found) != len(words):
            shape = " x ".join(map(str, found.shape))
            raise ValueError(f"{path} holds {shape} numbers; wanted a row for each of {len(words)}")
        return found.astype(np.float32), 1.0
    hits = [next((s for s in each if s in found), None) for each in spellings]
    rows = [i for i, hit in enumerate(hits) if hit is not None]
    if not rows:
        raise ValueError(f"{path} has none of the {len(words)} words")
    real = np.stack([found[hits[i]] for i in rows]).astype(np.float64)
    spread = np.sqrt(np.square(real - real.mean(0)).sum(-1).mean()) or 1.0
    away = np.random.default_rng(0).normal(size=(len(words), real.shape[1]))
    away *= NUDGE * spread / np.linalg.norm(away, axis=-1, keepdims=True)
    table = real.mean(0) + away
    table[rows] = real
    other = [i for i in rows if hits[i] != words[i]]
    table[other] += away[other]
    return table.astype(np.float32), len(rows) / len(words)


def prepared(table: np.ndarray, dim: int | None = None) -> np.ndarray:
    """f32[V, dim or D]: centred, turned to its first `dim` principal axes, rows of unit length.

    Equal rows stay equal: tokens that share one are told apart by their context alone.

    Raises:
        ValueError: not a matrix; a number that is not finite; rows that are all equal, or one
            without a direction once centred; more axes than the rows span.
    """
    table = np.asarray(table, np.float64)
    if table.ndim != 2:
        raise ValueError(f"a table has rows and columns; got shape {table.shape}")
    bad = np.flatnonzero(~np.isfinite(table).all(-1))
    if len(bad):
        raise ValueError(f"{len(bad)} rows are not finite, the first is row {bad[0]}")
    size = np.abs(table).max(initial=0.0)
    table = table - table.mean(0)
    if np.abs(table).max(initial=0.0) <= 1e-6 * size:
        raise ValueError(f"all {len(table)} rows are equal: they say nothing of their tokens")
    if dim is not None:
        values, axes = np.linalg.eigh(table.T @ table)
        span = int((values > 1e-10 * values[-1]).sum())
        if not 1 <= dim <= span:
            raise ValueError(f"dim {dim} is not in 1..{span}, what the rows span")
        axes = axes[:, ::-1][:, :dim]
        table = table @ (axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(dim)]))
    lost = np.flatnonzero(np.linalg.norm(table, axis=-1) <= 1e-6 * size)
    if len(lost):
        raise ValueError(f"{len(lost)} rows equal the mean of all, the first is row {lost[0]}")
    return unit(table)


def unit(table):
    """f32, rows of unit length."""
    return (table / np.linalg.norm(table, axis=-1, keepdims=True)).astype(np.float32)


def from_text(path, count, wanted):
    """{word: f32[D]} of the wanted ones; words of the file may have spaces in them."""
    found, dim = {}, None
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            parts = line.rstrip().split(" ")
            if number == 1 and len(parts) == 2 and all(p.isdigit() for p in parts):
                continue  # fastText begins with the number of words and their length
            dim = dim or len(parts) - 1
            word = " ".join(parts[:-dim]) if dim else ""
            if not word:
                raise ValueError(f"{path}, line {number}: wanted a word and {dim or 1} numbers")
            if word in wanted and word not in found:
                try:
                    found[word] = np.array(parts[-dim:], np.float32)
                except ValueError:
                    raise ValueError(f"{path}, line {number}: {word!r} has no numbers") from None
    return found


def from_npz(path, count, wanted):
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no npz file")
    with np.load(path, allow_pickle=False) as file:
        try:
            arrays = {name: file[name] for name in file.files}
        except ValueError:
            raise ValueError(
                f"{path} has Python objects in it, which are not read; save words as strings"
            ) from None
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    if not {"words", "vectors"} <= arrays.keys():
        raise ValueError(f"{path} has arrays {', '.join(arrays)}; wanted words and vectors, or one")
    names, vectors = arrays["words"], arrays["vectors"]
    if names.ndim != 1 or vectors.ndim != 2 or len(names) != len(vectors):
        raise ValueError(
            f"{path} has words of shape {names.shape} and vectors of shape {vectors.shape}; "
            "wanted a vector a word"
        )
    return {w: v for w, v in zip(map(str, names), vectors, strict=True) if w in wanted}


def from_safetensors(path, count, wanted):
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            fits = [n for n, shape in shapes.items() if len(shape) == 2 and shape[0] == count]
            named = [n for n in fits if "embed" in n.lower()]
            chosen = fits if len(fits) == 1 else named
            if len(chosen) != 1:
                raise ValueError(
                    f"{path} has {len(fits)} matrices of {count} rows, {len(named)} of them named "
                    f"embed; wanted one"
                )
            return file.get_tensor(chosen[0])
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}") from None


READERS = {".txt": from_text, ".vec": from_text, ".npz": from_npz, ".safetensors": from_safetensors}
