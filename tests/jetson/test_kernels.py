"""The kernels' own source, its lanes run one by one on this CPU: held against NumPy, jax, torch."""

import ctypes

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the kernels' wrappers want torch")

from data.tokenizer import MASK, PAD  # noqa: E402
from diffusion import draws  # noqa: E402
from jetson import kernels, reveal, setup_kernels, solvers, threefry, unmask  # noqa: E402
from jetson.logits import categorical  # noqa: E402

B, L = 3, 12
INDEX = np.array([0, 7, 2**20])
KEYS = threefry.fold(threefry.key(2**32 - 5), INDEX)


@pytest.fixture(params=["forward", "backward"])
def lanes(request, emulated):
    """The kernels, each lane run after the one before it, or before: it must not matter."""
    emulated.library.tandem_backward(request.param == "backward")
    yield emulated
    emulated.library.tandem_backward(0)


def words(keys):
    return torch.from_numpy(keys.view(np.int32).copy())


def test_random_numbers_are_jaxs(emulated):
    theirs = draws.fold(jax.random.key(2**32 - 5), jax.numpy.asarray(INDEX))
    n = 700
    bits = jax.vmap(lambda k: jax.random.bits(k, (n,)))(theirs)
    assert (emulated.random("bits", words(KEYS), n).numpy().view(np.uint32) == bits).all()
    assert (emulated.random("uniform", words(KEYS), n).numpy() == draws.uniform(theirs, (n,))).all()
    step = torch.tensor([5], dtype=torch.int32)
    folded = draws.uniform(draws.fold(theirs, 5), (n,))
    assert (emulated.random("uniform", words(KEYS), n, step).numpy() == folded).all()
    normal = emulated.random("normal", words(KEYS), n).numpy()
    np.testing.assert_allclose(normal, draws.normal(theirs, (n,)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(normal, threefry.normal(KEYS, (n,)), rtol=3e-7)
    gumbel = jax.vmap(lambda k: jax.random.gumbel(k, (n,)))(theirs)
    np.testing.assert_allclose(emulated.random("gumbel", words(KEYS), n), gumbel, atol=2e-6)
    np.testing.assert_allclose(threefry.gumbel(KEYS, (n,)), gumbel, atol=2e-6)


def case(size, seed, dtype=np.float32):
    """Logits, and ids of which some are hidden, some rows have none hidden."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (B, L, size)).astype(dtype)
    x = np.where(rng.random((B, L)) < 0.7, MASK, rng.integers(1, 3, (B, L)))
    x[1] = np.where(x[1] == MASK, 2, x[1])
    return logits, x


def by_numpy(logits, x, kept, step, temperature, order, draw):
    """A step by jetson/unmask.py."""

    def ask(keys, x, i):
        raw = logits.astype(np.float32)
        raw[..., [MASK, PAD]] = -np.inf
        warm = raw / np.float32(temperature)
        if draw == "gumbel":
            tokens = (warm + threefry.gumbel(keys, warm.shape[1:])).argmax(-1)
        else:
            tokens = categorical(threefry.uniform(keys, x.shape[1:]), warm)
        return tokens, raw[x == MASK]

    sigma = np.cumprod(np.append(np.float32(1.0), kept)).astype(np.float32)
    levels = solvers.Schedule(1 - sigma, sigma, None, None)
    keys = threefry.fold(KEYS, step)
    return unmask.SOLVERS[order]()(ask, levels, keys, x, step, step + 1)


def by_kernel(library, logits, x, kept, step, temperature, order, draw, keys=KEYS):
    x = torch.from_numpy(x.copy())
    one = reveal.Fused(library, *x.shape, kept, order, (MASK, PAD), "cpu", draw)
    one.fill(keys, temperature)
    one(torch.from_numpy(logits), x, step)
    return x.numpy()


@pytest.mark.parametrize("draw", kernels.DRAWS)
@pytest.mark.parametrize("order", kernels.ORDERS)
@pytest.mark.parametrize("size, dtype", [(5, np.float32), (128, np.float16), (2100, np.float32)])
def test_unmasking_is_numpys(lanes, size, dtype, order, draw):
    """In one level and in two, whole groups and a part of one, with and without a temperature."""
    kept = np.array([0.75, 0.5, 0.0], np.float32)
    for step, temperature in ((0, 1.0), (1, 0.7), (2, 1.3)):
        logits, x = case(size, step, dtype)
        ask = (logits, x, kept, step, temperature, order, draw)
        ours, theirs = by_kernel(lanes, *ask), by_numpy(*ask)
        assert (ours == theirs).all()
        assert (ours != x).any() and ((ours == MASK).any() == (step < 2))


@pytest.mark.parametrize("order", kernels.ORDERS)
def test_unmasking_is_jaxs_own_solver(emulated, order):
    """By diffusion/unmask.py, from t = 0.8 to 0.4; with Gumbel noise by jax.random's."""
    from diffusion.masked import Masked
    from diffusion.tokens import temperature
    from diffusion.unmask import Ancestral, Ordered

    logits, x = case(700, 3)
    solver = {"ancestral": Ancestral, "confidence": Ordered}[order](filters=(temperature(0.9),))
    process, index = Masked(mask_id=MASK, pad_id=PAD), jax.numpy.asarray(INDEX)
    keys = draws.fold(draws.fold(jax.random.key(2**32 - 5), index), 1)
    predict = lambda *_: jax.numpy.asarray(logits)
    theirs, _ = solver.step(process, predict, keys, x, np.float32(0.8), np.float32(0.4), ())
    ours = by_kernel(emulated, logits, x, [1.0, 0.5], 1, 0.9, order, "inverse")
    assert (ours == theirs).all() and (ours != x).any()

    noise = jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[1:]))(draws.split(keys, 3)[0])
    best = (process.speakable(logits) / 0.9 + noise).argmax(-1)
    ours = by_kernel(emulated, logits, x, [1.0, 0.0], 1, 0.9, order, "gumbel")
    assert (ours == np.where(x == MASK, best, x)).all()


def test_pruned_noise_draws_what_noise_on_all_draws(emulated):
    """With logits so far apart that most draw none, and with one that wins by its noise alone."""
    rng = np.random.default_rng(0)
    logits = (rng.normal(0, 12, (B, L, 1000))).astype(np.float32)
    noise = threefry.gumbel(threefry.fold(KEYS, 0), (L, 1000))  # what is drawn below, by count
    assert noise.max() < 15.95
    x = np.full((B, L), MASK)
    kept = np.zeros(1, np.float32)
    ask = (logits, x, kept, 0, 1.0, "ancestral", "gumbel")
    assert (by_kernel(emulated, *ask) == by_numpy(*ask)).all()
    favourite = threefry.gumbel(threefry.split(threefry.fold(KEYS, 0))[0], (L, 1000))
    favourite[..., [PAD, MASK]] = -np.inf
    lucky = favourite.argmax(-1)
    flat = np.zeros_like(logits)
    ask = (flat, x, kept, 0, 1.0, "ancestral", "gumbel")
    assert (by_kernel(emulated, *ask) == lucky).all()


@pytest.mark.parametrize("draw", kernels.DRAWS)
def test_tokens_follow_the_softmax(emulated, draw):
    """Chi-square over 4 ids, 3 degrees of freedom: above 16.3 once in a thousand."""
    from scipy import stats

    n, logits = 1200, np.array([9.0, 0.0, 1.0, 9.0, -1.0, 0.5], np.float32)
    said = [1, 2, 4, 5]
    keys = threefry.fold(threefry.key(3), np.arange(1))
    tiled, x = np.tile(logits, (1, n, 1)), np.full((1, n), MASK)
    drawn = by_kernel(emulated, tiled, x, [0.0], 0, 2.0, "ancestral", draw, keys)
    law = np.exp(logits[said].astype(float) / 2.0)
    counts = np.bincount(drawn[0], minlength=6)
    assert counts[said].sum() == n
    assert stats.chisquare(counts[said], n * (law / law.sum())).pvalue > 1e-3


def test_ids_that_were_ruled_out_are_not_drawn_even_a_whole_group_of_them(emulated):
    logits, x = case(400, 0)
    logits[..., 4:300] = -np.inf
    for order in kernels.ORDERS:
        ask = (logits, x, np.zeros(1, np.float32), 0, 1.0, order, "inverse")
        ours = by_kernel(emulated, *ask)
        assert (ours == by_numpy(*ask)).all()
        assert ((ours < 3) | (ours >= 300))[x == MASK].all()


def table(dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    x, h = (torch.randn(B, L, 70, generator=rng) * 3 + 1 for _ in range(2))
    six = torch.randn(B, 6 * 70, generator=rng)
    return x, h.to(dtype), six.chunk(6, -1)


@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-6), (torch.float16, 1e-3)])
def test_norms_and_residuals_are_torchs(lanes, dtype, near):
    """Held against float64; width is no multiple of a warp, and rows are chunks of a table. The sum
    is in float32 whatever the branch and the norm are in."""
    from jetson.models import layers

    x, h, (shift, scale, gate, *_) = table(dtype)
    deep = [v.double() for v in (x, h, shift, scale, gate)]
    total = deep[0] + deep[4][:, None] * deep[1]
    exact = lambda x: layers.modulate(x.double(), deep[2], deep[3], torch.float64)

    def close(ours, exact, dtype=torch.float32, near=1e-6):
        assert ours.dtype == dtype
        assert ((ours.double() - exact).abs() <= near * exact.abs().clamp(min=1.0)).all()

    close(lanes.modulate(x, shift, scale, dtype), exact(x), dtype, near)
    close(lanes.residual(x, gate, h), total)
    summed, both = lanes.both(x, gate, h, shift, scale)
    close(summed, total)
    close(both, exact(summed), dtype, near)


@pytest.mark.parametrize("name", ["dit", "transformer"])
@pytest.mark.parametrize("half", [False, True])
def test_a_network_is_the_same_with_them(emulated, name, half):
    from jetson import models

    torch.manual_seed(0)
    fields = dict(hidden_size=48, depth=2, num_heads=2, num_classes=3)
    if name == "dit":
        network = models.create("dit", **fields, shape=(8, 8, 1), patch_size=4)
        x = torch.randn(2, 8, 8, 1)
    else:
        sizes = dict(features=20, vocab_size=20, max_seq_len=9, d_ff=64)
        network = models.create("transformer", **fields, **sizes)
        x = torch.randint(0, 20, (2, 9))
    for p in network.parameters():
        p.data = torch.randn(p.shape) * 0.2
    network = models.halved(network) if half else network
    with torch.no_grad():
        modulation = network.modulation(torch.tensor([0.3, 0.8]), torch.tensor([0, 2]))
        without = network.body(x, modulation).float()
        ours = models.fused(network, emulated).body(x, modulation).float()
    assert without.std() > 0.1
    assert (ours - without).norm() <= (3e-3 if half else 2e-6) * without.norm()


def test_a_norm_of_large_numbers_in_half_does_not_overflow(emulated):
    x, _, (shift, scale, *_) = table()
    x = x * 3e4 + 2e6  # beyond float16
    ours = emulated.modulate(x, shift, scale, torch.float16).double()
    from jetson.models import layers

    exact = layers.modulate(x.double(), shift.double(), scale.double(), torch.float64)
    assert ((ours - exact).abs() <= 1e-3 * exact.abs().clamp(min=1.0)).all()


def test_what_a_kernel_cannot_take_is_said_in_a_line(emulated):
    x, _, (shift, scale, *_) = table()
    with pytest.raises(
        ValueError, match="a kernel wants contiguous torch.float32; got torch.float6"
    ):
        emulated.modulate(x.double(), shift, scale)
    with pytest.raises(ValueError, match="shift, scale and gate want torch.float32, as x"):
        emulated.modulate(x, shift.half(), scale.half())
    with pytest.raises(ValueError, match="want .3, 70., chunks of one table"):
        emulated.modulate(x, shift[:2], scale)
    with pytest.raises(ValueError, match="these kernels want cpu tensors; got meta"):
        emulated.modulate(x.to("meta"), shift.to("meta"), scale.to("meta"))
    with pytest.raises(ValueError, match=r"unmask wants logits \[3, 12, V\], .*; got \[3, 5, 9\]"):
        logits, x = np.zeros((B, 5, 9), np.float32), np.full((B, L), MASK)
        by_kernel(emulated, logits, x, [0.0], 0, 1.0, "ancestral", "inverse")
    with pytest.raises(RuntimeError, match="tandem_random did not run: CUDA error 1, invalid arg"):
        emulated.random("bits", words(KEYS), 0)


def test_without_cuda_the_reason_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert kernels.find() == (None, "no CUDA here: torch does what the kernels would do")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(kernels, "LIBRARY", tmp_path / "tandem_kernels.so")
    found, why = kernels.find()
    assert found is None and "kernels are not built (python jetson/setup_kernels.py" in why
    kernels.LIBRARY.write_text("no library")
    found, why = kernels.find()
    assert found is None and "kernels do not load" in why


@pytest.mark.slow
def test_nvcc_compiles_them_for_two_gpus_and_a_machine_without_one_says_so(tmp_path, monkeypatch):
    try:
        nvcc = setup_kernels.compiler()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    chosen = setup_kernels.architectures(nvcc, "1,87,90")
    assert chosen == ["87", "90"]
    said = setup_kernels.device(nvcc, chosen, tmp_path / "tandem_kernels.so")
    spilled = [line for line in said.splitlines() if "bytes spill stores" in line]
    assert len(spilled) == 2 * 17 and all(" 0 bytes spill stores" in line for line in spilled)
    built = kernels.Kernels(tmp_path / "tandem_kernels.so")
    assert built.device == "cuda"
    with pytest.raises(ValueError, match="these kernels want cuda tensors; got cpu"):
        built.pointer(words(KEYS), torch.int32)
    if torch.cuda.is_available():
        return
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: ctypes.c_void_p)
    monkeypatch.setattr(ctypes.c_void_p, "cuda_stream", None, raising=False)
    with pytest.raises(RuntimeError, match="tandem_random did not run: CUDA error 35, CUDA driver"):
        built.call("tandem_random", 0, None, None, None, 1, 1)


@pytest.fixture
def checked(monkeypatch, emulated):
    """The check of a GPU's owner, as a function of its words, on this CPU's kernels."""
    import runpy
    import sys
    from pathlib import Path

    monkeypatch.setattr(kernels, "LIBRARY", Path(emulated.library._name))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["check.py", *words])
        runpy.run_path("jetson/kernels/check.py", run_name="__main__")

    return run


def test_the_check_of_a_gpus_owner_finds_all_right_here(checked, capsys):
    checked("--host", "--batch_size", "2")
    said = capsys.readouterr().out.splitlines()
    assert sum(" right: " in line for line in said) == 21 and said[-1] == "all right"


def test_the_check_says_what_is_wrong(checked, monkeypatch, capsys):
    monkeypatch.setattr(
        kernels.Kernels, "modulate", lambda self, x, shift, scale, dtype: (1.01 * x).to(dtype)
    )
    with pytest.raises(SystemExit, match="check.py: WRONG: modulate fp32, modulate fp16"):
        checked("--host")
    assert "modulate fp32                      WRONG: " in capsys.readouterr().out


class Event:
    """A CUDA event that is always half a millisecond after another."""

    def __init__(self, enable_timing):
        self.record = self.synchronize = lambda: None

    def elapsed_time(self, other):
        return 0.5


def test_on_a_gpu_the_check_tells_times_and_shares_of_the_roof(emulated, monkeypatch, capsys):
    """Here with events that are not CUDA's, of steps that are not captured."""
    from jetson.kernels import check

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 7))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Orin")
    monkeypatch.setattr(check, "SPREAD", 2**10)
    monkeypatch.setattr(check, "REPEATS", 1)
    bench = check.Bench(emulated, 1, check.TINY | {"length": 6, "size": 50, "steps": 2})
    bench.gpu = True
    bench.bandwidth = bench.copied()
    bench.machine()
    bench.normed(torch.float32, 1e-5)
    bench.unmasked([torch.randn(1, 6, 50)], "confidence", "inverse")
    bench.generated(torch.float32)
    assert bench.wrong == ["graph fp32"]
    said = capsys.readouterr().out
    copied = 2 * 2**10 * 5 / 0.5e-3
    assert f"Orin, sm_87, CUDA None, torch {torch.__version__}, batch 1" in said
    assert f"a copy moves {copied / 1e9:.1f} GB/s" in said
    share = 100 * (6 * 50 * 4) / copied / 0.5e-3
    assert f"6 of 6 tokens are torch's; 500.0 us in a graph; {share:.0f} % of the copy's" in said
    assert "kernels, as a graph: 0.17 ms, 36000 tokens/s" in said


def test_the_check_wants_a_gpu_or_a_library(checked, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="check.py: no CUDA here"):
        checked()
    monkeypatch.setattr(kernels, "LIBRARY", tmp_path / "tandem_kernels.so")
    with pytest.raises(SystemExit, match="there is no tandem_host.so: .* --inplace --host"):
        checked("--host")


@pytest.mark.parametrize(
    "words, message",
    [
        (["build_ext", "--inplace"], "no nvcc in CUDA_HOME, PATH or /usr/local/cuda"),
        (["build_ext", "--inplace", "--host"], "no C++ compiler: c++, g++ or clang++"),
    ],
)
def test_without_a_compiler_the_build_ends_in_a_line(monkeypatch, words, message):
    import runpy
    import sys

    monkeypatch.setattr(sys, "argv", ["setup_kernels.py", *words])
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(SystemExit) as end:
        runpy.run_path("jetson/setup_kernels.py", run_name="__main__")
    assert message in str(end.value)
