"""What every export is held to: its backends say what Flax says, and write what JAX writes."""

import numpy as np

from data import tokenizer
from jetson import checks, draw, prompts
from jetson.package import Package
from utils import writing


def says_what_flax_says(run, folder):
    """Every backend of an export, at noise levels of the whole schedule."""
    package = Package(folder)
    tried = checks.probes(run, package)
    assert len({t for t, *_ in tried}) >= 6
    for t, inputs, theirs in tried:
        assert theirs.std() > 0.05
        for backend in ("torch", "onnxruntime"):
            ours = package.denoiser(backend)(*inputs)
            assert np.abs(ours - theirs).max() <= 5e-5 * max(1, np.abs(theirs).max()), (backend, t)
        ours = package.denoiser("onnxruntime", "fp16")(*inputs)
        assert 1e-6 < np.linalg.norm(ours - theirs) <= 3e-3 * np.linalg.norm(theirs)


def writes_what_jax_writes(run, folder, prompt, n, steps, seed, knobs):
    """n texts of a run and of its export. Rows that differ would be near-ties of two tokens; in
    what is asked for here there is none."""
    run = writing.restored(run)
    run.config.model.dtype = "float32"  # it was trained in bfloat16; an export computes as finely
    run = writing.changed(run, **knobs)
    known, allowed = writing.asked(run, prompt, n, seed)
    write = writing.writer(run, steps=steps, batch_size=n)
    theirs = np.concatenate([*write(known, allowed, seed=seed)])
    package = Package(folder)
    mine, may = prompts.asked(package.config, package.words(), prompt, n, seed)
    assert (mine == known).all() and ((may is None) == (allowed is None))
    for backend in ("torch", "onnxruntime"):
        ours = draw.tokens(
            package, package.denoiser(backend), np.arange(n), mine,
            seed=seed, steps=steps, allowed=may, **knobs,
        )  # fmt: skip
        ours[np.cumsum(ours == tokenizer.EOS, -1) > (ours == tokenizer.EOS)] = tokenizer.PAD
        assert len({tuple(row) for row in ours}) > 4
        assert (ours == theirs).all()
