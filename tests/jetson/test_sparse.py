"""Sparse-distribution text on a device: its pieces are JAX's, and so are the texts."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

for module in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason="exports want '.[edge]'")

import diffusion  # noqa: E402
from diffusion import clocks as theirs  # noqa: E402
from diffusion import draws, schedules, sparse  # noqa: E402
from jetson import (  # noqa: E402
    checks,
    clocks,
    draw,
    engine,
    quantize,
    resample,
    states,
    threefry,
    trace,
)  # fmt: skip
from jetson.package import Package  # noqa: E402
from tests.jetson import alike  # noqa: E402

B, L, K, V, SEED = 3, 9, 4, 21, 11


@pytest.mark.parametrize("name", clocks.SURVIVALS)
def test_schedules_are_jaxs(name):
    t = np.linspace(0, 1, 50, dtype=np.float32)
    wanted = schedules.shifted(diffusion.SURVIVALS[name], 8.0)(jnp.asarray(t))
    for a, b in zip(clocks.survival(name, 8.0)(t), wanted, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=2e-7, rtol=2e-6)


@pytest.mark.parametrize("spread, rounds, steps", [(0.0, 1, 7), (0.95, 1, 12), (0.6, 3, 24)])
def test_clocks_are_jaxs(spread, rounds, steps):
    """Levels of 0 and of 1 exactly, or a place would be drawn where the likeliest is wanted."""
    process = diffusion.Sparse(vocab_size=V, spread=spread)
    solver = diffusion.Resample(rounds=rounds)
    keys, index = jax.random.key(SEED), jnp.arange(B)
    given = np.zeros((B, L), bool)
    given[1, 2:5] = True

    @jax.jit
    def wanted():
        own = draws.fold(keys, index)
        even = jnp.linspace(1.0, 0.0, steps + 1)
        along, levels = theirs.rounds(process, solver, own, (L,), even, jnp.asarray(given))
        return [levels(*(v[i] for v in along)) for i in range(steps)]

    at = clocks.clocks(spread, rounds, threefry.fold(threefry.key(SEED), np.arange(B)), given)
    seen = 0
    for step, exact in zip(clocks.steps(steps, rounds), wanted(), strict=True):
        for ours, level in zip(at(*step)[:2], exact[:2], strict=True):
            level = np.broadcast_to(level, ours.shape)
            np.testing.assert_allclose(ours, level, atol=1e-6)
            assert ((ours == 0) == (level == 0)).all() and ((ours == 1) == (level == 1)).all()
        again = at(*step)[2]
        if exact[2] is not None and again is not None:
            assert (again == exact[2]).all()
            seen += again.sum()
        else:
            assert exact[2] is None or not exact[2].any()
    assert seen == (rounds - 1) * (B * L - 3)


def slots(keys):
    """Ids i64[B, L, K], half of each place one id."""
    ids = np.array(draws.uniform(draws.fold(keys, jnp.arange(B)), (L, K)) * V).astype(int)
    ids[..., : K // 2] = ids[..., :1]
    return ids


@pytest.mark.parametrize("t", [0.0, 0.02, 0.7, 1.0])
def test_what_slots_say_by_themselves_is_jaxs(t):
    process = diffusion.Sparse(vocab_size=V, candidates=K)
    ids = slots(jax.random.key(2))
    x = sparse.even(jnp.asarray(ids))
    t = jnp.full((B, L), t)
    rho = resample.log_rho([np.asarray(v) for v in process.schedule(t)], V)
    shares = diffusion.believed(process)(x, t, None).probs
    np.testing.assert_allclose(resample.believed(ids, rho, V), shares, rtol=1e-5)
    everywhere = np.ones((B, L), bool)
    said = resample.evidence(ids, rho, V, everywhere).reshape(B, L, V)
    np.testing.assert_allclose(said, process.evidence(x, t), rtol=1e-6)


@pytest.mark.parametrize("t, s", [(1.0, 0.8), (0.5, 0.05), (0.3, 0.3)])
def test_the_step_back_draws_what_jax_draws(t, s):
    process = diffusion.Sparse(vocab_size=V, candidates=K)
    ids, token = slots(jax.random.key(3)), slots(jax.random.key(4))[..., 0]
    keys = jax.random.key(SEED)
    back = jax.jit(lambda *x: process.back(draws.fold(keys, jnp.arange(B)), *x))
    wanted = back(sparse.even(jnp.asarray(ids)), jnp.asarray(token), t, s)
    level = lambda t: clocks.survival("linear", 1.0)(np.full((B, 1), t, np.float32))
    own = threefry.fold(threefry.key(SEED), np.arange(B))
    ours = resample.back(own, ids, token[..., None], level(t), level(s), V)
    assert (ours == np.asarray(wanted.ids)).all()
    assert (ours != ids).any() or s == t
    assert (resample.decode(ours) == np.asarray(process.decode(wanted))).all()


@pytest.mark.parametrize("name", ["candidates", "bilateral", "slots"])
def test_every_backend_says_what_flax_says(sparse_exports, name):
    alike.says_what_flax_says(*sparse_exports[name])


@pytest.mark.parametrize(
    "name, steps, prompt, knobs",
    [
        ("candidates", 12, "", dict(temperature=0.9)),
        ("candidates", 32, "the cat [2] dog", dict(rounds=2, top_k=6)),
        ("candidates", 15, "[*] {cat|dog}", dict(top_p=0.8)),
        ("bilateral", 12, "a [1] {on|and}", dict()),
        ("slots", 16, "the [1] sat", dict(rounds=4, temperature=0.0)),
    ],
)
def test_tokens_are_jaxs(sparse_exports, sparse_runs, name, steps, prompt, knobs):
    folder = sparse_exports[name][1]
    alike.writes_what_jax_writes(sparse_runs[name], folder, prompt, 16, steps, SEED, knobs)


def test_a_sample_does_not_depend_on_its_batch(sparse_exports):
    package = Package(sparse_exports["candidates"][1])
    denoise, known = package.denoiser("onnxruntime"), np.full((5, 10), -1)
    all_ = draw.tokens(package, denoise, np.arange(5), known, seed=3)
    assert (draw.tokens(package, denoise, np.arange(4, 5), known[4:], seed=3) == all_[4:]).all()


@pytest.mark.parametrize("name", ["candidates", "bilateral"])
def test_an_engine_is_bound_to_all_that_it_takes(device, sparse_exports, tmp_path, name, capsys):
    package = Package(shutil.copytree(sparse_exports[name][1], tmp_path / name))
    assert "relative L2 off float32" in engine.add(package, "fp16")[1]
    assert ("--maxShapes=ids:8x10x3,probs:8x10x3,modulation:8x128" in capsys.readouterr().out) == (
        name == "candidates"
    )
    met = states.visited(package, "torch")
    assert states.relative(met, package.denoiser("trt", "fp32")) <= 1e-5


@pytest.mark.parametrize("name", ["candidates", "bilateral"])
def test_it_is_traced_and_quantised_as_other_networks_are(sparse_exports, tmp_path, name):
    folder = shutil.copytree(sparse_exports[name][1], tmp_path / name)
    package = Package(folder)
    for add, backend, precision in (
        (trace.add, "torchscript", "fp16"), (quantize.add, "onnxruntime", "int8"),
    ):  # fmt: skip
        assert "relative L2 off float32 by at most" in add(package)[1]
        out = package.denoiser(backend, precision)(
            *checks.probes(sparse_exports[name][0], package)[3][1]
        )
        assert np.isfinite(out).all() and out.shape == (checks.ROWS, 10, 17)


@pytest.mark.parametrize(
    "name, words, message",
    [
        ("candidates", ["--backend", "graph"], "this is sparse text, which --backend onnxruntime,"),
        ("candidates", ["--solver", "margin"], "--solver margin wants masked text; this is sparse"),
        ("candidates", ["--block_size", "4"], "--block_size 4 wants masked text; this is sparse text"),
        ("bilateral", ["--rounds", "2"], "or sparse text trained with process.spread; this is"),
        ("slots", ["--rounds", "9", "--num_steps", "8"], "--rounds 9 wants as many steps; --num_st"),
        ("slots", ["--num_steps", "0"], "--num_steps wants at least 1; got 0"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_said_in_a_line(
    sparse_exports, script, tmp_path, name, words, message
):
    folder = sparse_exports[name][1]
    said, _ = script("jetson/inference.py", "--load_dir", folder, "--out", tmp_path / "o", *words)
    assert message in said and not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "process, message",
    [
        (dict(name="sparse", self_conditioning="topk"), "is sparse text with self_conditioning topk;"),
        (dict(name="uniform"), "is uniform text; what can be exported is masked and sparse text"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_refused_by_name(text_with, script, process, message):
    run = text_with(None, process)
    refusal, _ = script("jetson/export.py", "--load_dir", run)
    assert message in refusal and not (run / "jetson").exists()


def test_the_script_writes_in_more_steps_than_were_exported(sparse_exports, script, tmp_path):
    words = [
        "--load_dir",
        sparse_exports["candidates"][1],
        "--out",
        tmp_path,
        "--prompt",
        "the cat",
    ]
    refusal, out = script("jetson/inference.py", *words, "--num_steps", 17, "--num_samples", 3)
    said = (tmp_path / "samples.txt").read_text().strip().split("\n\n")
    assert not refusal and "steps exported" not in out
    assert len(said) == 3 and all(text.startswith("the cat") for text in said)
