"""What a step costs, held against XLA's own count, the published one, and counts by hand."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import text
from diffusion.sparse import Beliefs
from utils import flops, recipe_text
from utils.progress import Reporter

S = jax.ShapeDtypeStruct
SIZE = dict(hidden_size=128, num_heads=2, depth=2)
WORDS = SIZE | dict(d_ff=512, features=50, vocab_size=50)
IMAGE, IDS = S((2, 16, 16, 4), jnp.float32), S((2, 32), jnp.int32)
SLOTS = Beliefs(S((2, 32, 4), jnp.int32), S((2, 32, 4), jnp.float32))
NETWORKS = {
    "dit": ("dit", SIZE | {"patch_size": 2, "num_classes": 3}, IMAGE),
    "unet": (
        "unet", dict(width=64, multipliers=(1, 2), num_res_blocks=1, attention_sides=(32,)),
        S((2, 64, 64, 3), jnp.float32),
    ),
    "transformer": ("transformer", WORDS, IDS),
    "causal": ("transformer", WORDS | {"causal": True, "conditioning": "none"}, IDS),
    "bilateral": ("bilateral", WORDS, SLOTS),
    "slots": ("bilateral", WORDS | {"full": True, "positions": "learned"}, SLOTS),
}  # fmt: skip


def built(name, fields, x):
    """(apply, shapes of parameters)"""
    network = models.create(name, **fields)
    return network.apply, jax.eval_shape(
        lambda x: network.init(jax.random.key(0), x, jnp.zeros(len(jax.tree.leaves(x)[0])), {}), x
    )


def step(apply, params, x):
    """(ours an example, XLA's program of the gradient)"""

    def loss(params, key, batch):
        return jnp.square(apply(params, batch["x"], batch["t"], {})).mean(), {}

    batch = {"x": x, "t": S((2,), jnp.float32), "index": S((2,), jnp.int32)}
    grad = jax.jit(lambda params, batch: jax.grad(lambda p: loss(p, None, batch)[0])(params))
    return flops.per_example(loss, params, batch), grad.lower(params, batch)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_costs_what_xla_counts(network):
    """Which also has the little that is no product, and none where padding is."""
    apply, params = built(*NETWORKS[network])
    ours, program = step(apply, params, NETWORKS[network][2])
    assert program.cost_analysis()["flops"] / 2 == pytest.approx(ours, rel=0.03)
    once = flops.forward(apply, params, NETWORKS[network][2], S((2,), jnp.float32), {}) / 2
    assert 2.98 < ours / once <= 3.0, "backward twice forward, less what the first layer spares"


def test_a_compiled_step_costs_that_too():
    apply, params = built("transformer", WORDS | {"depth": 1}, IDS)
    ours, program = step(apply, params, IDS)
    assert program.compile().cost_analysis()["flops"] / 2 == pytest.approx(ours, rel=0.05)


@pytest.mark.parametrize(
    "preset, published",
    [("DiT-S", 6.06), ("DiT-B", 23.01), ("DiT-L", 80.71), ("DiT-XL", 118.64)],
)
def test_dit_costs_what_is_published(preset, published):
    """arXiv:2212.09748, table 4, in billions of multiply-adds at 256 tokens."""
    x = S((1, 32, 32, 4), jnp.float32)
    fields = {"preset": preset, "patch_size": 2, "num_classes": 1000}
    counts = []
    for scan in (True, False) if preset == "DiT-S" else (True,):
        apply, params = built("dit", fields | {"scan_layers": scan}, x)
        counts.append(flops.forward(apply, params, x, S((1,), jnp.float32), {}) / 2e9)
    assert counts == pytest.approx([published] * len(counts), rel=1e-3)
    assert len(set(counts)) == 1, "scanned or not"


def of_text(size=50, **changed):
    c = flops.spelt_out(text.get_config())
    c.model.preset, c.max_seq_len = "debug", 16
    for name, value in changed.items():
        c.process[name] = value
    recipe = recipe_text.text(c, size)
    params = jax.eval_shape(lambda: recipe_text.initial(recipe, jax.random.key(0)))
    return flops.per_example(
        recipe.loss, params, {"x": np.zeros((3, 16), np.uint16), "index": np.arange(3)}
    )


def test_masked_text_projects_half_of_its_places_and_others_all():
    project = 3 * 2 * 16 * 64  # of each word: forward and backward, 16 places of width 64
    assert of_text(1050) - of_text(50) == 1000 * project / 2
    others = [of_text(size, name="autoregressive") for size in (50, 1050)]
    assert others[1] - others[0] == 1000 * project


def test_a_first_answer_without_gradient_costs_a_forward_pass():
    once, twice = (of_text(name="sparse", self_conditioning=how) for how in ("none", "topk"))
    assert twice / once == pytest.approx(4 / 3, rel=2e-3)


def test_products_in_a_loop_without_end_are_refused():
    again = lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 1.0, lambda x: x @ x, x)
    with pytest.raises(ValueError, match="while loop"):
        flops.forward(again, S((2, 2), jnp.float32))
    assert flops.forward(lambda x: jax.lax.fori_loop(0, 5, lambda _, x: x @ x, x), jnp.eye(2)) == 80


def test_peaks_are_those_of_the_device_and_of_no_cpu():
    for kind, teras in (
        ("TPU v4", 275), ("TPU v5 lite", 197), ("TPU v5", 459), ("TPU v5p", 459),
        ("TPU v6 lite", 918), ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756), ("NVIDIA H200", 989),
    ):  # fmt: skip
        assert flops.peak_of(kind) == teras * 1e12
    assert flops.peak_of("cpu") is None
    assert flops.speed(3e9) == {"flops_per_second": 3e9}


def test_a_line_tells_the_share_of_a_known_peak_and_no_other(monkeypatch, capsys):
    logged = []
    metrics = SimpleNamespace(log=lambda number, **values: logged.append(values))
    config = SimpleNamespace(max_steps=10, batch_size=4)
    with Reporter(config, metrics, lambda step: 0.1, "images", 0, operations=25e12) as report:
        for peak in (None, 400e12 / jax.device_count()):
            monkeypatch.setattr(flops, "peak_of", lambda kind, peak=peak: peak)
            report(SimpleNamespace(step=5), {"loss": 0.5, "steps_per_second": 2.0})
    plain, known = capsys.readouterr().out.splitlines()
    assert plain == "step      5/10  loss 0.5000  8 images/s  0:02 left"
    assert known == "step      5/10  loss 0.5000  8 images/s  200 TFLOP/s (MFU 50%)  0:02 left"
    assert [(v["flops_per_second"], v.get("mfu")) for v in logged] == [
        (200e12, None),
        (200e12, 0.5),
    ]
