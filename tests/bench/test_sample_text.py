"""bench.sample_text: samplers that draw from the same law, and contests that run."""

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench import peer_mdlm, sample_text, samplers

V, L, MASK = 3, 3, 3
WORLD = np.array(list(itertools.product(range(V), repeat=L)))
P = np.random.default_rng(0).dirichlet(np.full(V**L, 0.5))
HOLED = np.array(list(itertools.product(range(V + 1), repeat=L)))
FITS = ((HOLED[:, None] == MASK) | (HOLED[:, None] == WORLD)).all(-1)
LOGITS = np.log(np.einsum("bn,nlv->blv", FITS * P, np.eye(V + 1)[WORLD]) + 1e-30)
LOGITS[..., MASK] = 9.0  # nobody may listen to it
N, STEPS = 4000, 60


def distance(x):
    """Total variation between samples i32[N, L] and the joint."""
    return 0.5 * abs(np.bincount(np.asarray(x) @ [9, 3, 1], minlength=V**L) / len(x) - P).sum()


def in_jax():
    predict = lambda x, t: jnp.asarray(LOGITS, jnp.float32)[x @ jnp.array([16, 4, 1])]
    return samplers.joint(predict, MASK, N, L, STEPS)(jax.random.key(0))


def in_torch(kind, steps, **more):
    torch = pytest.importorskip("torch", reason="the sampler is made of torch")
    torch.manual_seed(0)
    calls, logits = [], torch.from_numpy(LOGITS).float()

    def predict(x, t):
        calls.append(t)
        return logits[x @ torch.tensor([16, 4, 1])]

    return getattr(samplers, kind)(predict, MASK, steps=steps, length=L, **more)(), len(calls)


def test_what_others_do_has_the_law_of_the_joint():
    assert distance(in_jax()) < 0.05
    assert distance(in_torch("joint_torch", STEPS, batch=N)[0]) < 0.05


def test_a_kept_answer_saves_calls_and_not_more():
    x, calls = in_torch("joint_torch", STEPS, batch=1, kept=True)
    assert (x != MASK).all() and 2 <= calls <= 1 + L + 1
    assert in_torch("joint_torch", STEPS, batch=1)[1] == STEPS + 1


def test_the_surest_first_reveals_all_and_prefers_what_is_likely():
    x, calls = in_torch("surest_torch", L, batch=N)
    assert calls == L and (x < V).all()
    assert -np.log(P[np.asarray(x) @ [9, 3, 1]]).mean() < -(P * np.log(P)).sum()
    x, calls = in_torch("surest_torch", 2, batch=5)
    assert calls == 2 and (x < V).all()


def test_every_contestant_runs():
    pytest.importorskip("torch", reason="the peers are made of torch")
    for contest in sample_text.contests(tiny=True):
        assert contest.amount == 2 * 16
        for contestant in contest.contestants:
            assert contestant.setup()() is None


def test_a_checkouts_sampler_is_given_what_it_asks_for_and_leaves_our_modules_alone(tmp_path):
    """A made-up checkout that imports as MDLM's does, and reveals token 2 everywhere."""
    import diffusion
    import models

    (tmp_path / "noise_schedule.py").write_text("class LogLinearNoise:\n    level = 7\n")
    (tmp_path / "diffusion.py").write_text(
        "import hydra.utils, lightning as L, torchmetrics, dataloader, models, noise_schedule\n"
        "class NLL(torchmetrics.aggregation.MeanMetric): pass\n"
        "class Diffusion(L.LightningModule):\n"
        "    def _sample(self):\n"
        "        c = self.config\n"
        "        assert c.sampling.steps == 5 and self.noise.level == 7\n"
        "        return self.backbone(c.loader.eval_batch_size, c.model.length), self.mask_index\n"
    )
    draw = peer_mdlm.sampler(tmp_path, lambda b, n: np.full((b, n), 2), 9, 4, 3, 6, 5)
    x, mask_id = draw()
    assert x.shape == (3, 6) and mask_id == 4
    assert sys.modules["diffusion"] is diffusion and sys.modules["models"] is models
    assert "noise_schedule" not in sys.modules and "lightning" not in sys.modules
    with pytest.raises(ImportError, match="no checkout of mdlm"):
        peer_mdlm.sampler(tmp_path / "nothing", None, 9, 4, 3, 6, 5)
