"""The one loss: what it draws, from which keys, and what it averages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import (
    SCHEDULES,
    TIMES,
    Gaussian,
    diffusion_loss,
    draws,
    logit_normal,
    loss_at,
    stratified,
    uniform,
)
from diffusion.loss import T_MIN

B, KEY = 16, jax.random.key(0)
PROCESS = Gaussian(schedule=SCHEDULES["cosine"], target="v")
BATCH = {
    "x": jax.random.normal(jax.random.key(1), (B, 4, 4, 1)),
    "label": jnp.arange(B, dtype=jnp.int32) % 5,
    "index": jnp.arange(B),
}
LABEL = 9  # the null label


def apply(params, x, t, cond, keys):
    """A network with a use for everything that it is given, its own noise among it."""
    own = t + 0.1 * cond.get("label", 0 * t) + draws.normal(keys)
    return params * x + own.reshape(-1, 1, 1, 1)


class Echo:
    """A process that lets a test see what the network was given: its loss is the output."""

    def corrupt(self, keys, x0, t):
        return x0, None

    def loss(self, out, target, t):
        return out, {"seen": out}


ECHO = Echo()


def labels_of(params, x, t, cond, keys):
    return cond["label"].astype(jnp.float32)


def levels_of(params, x, t, cond, keys):
    return t


def scale(params, x, t, cond, keys):
    return params * x


def half(batch, part):
    return {k: jnp.split(v, 2)[part] for k, v in batch.items()}


def loss_of(batch, key=KEY, **kw):
    return diffusion_loss(PROCESS, apply, 0.5, key, batch, **kw)[0]


def test_the_same_key_gives_the_same_loss_and_another_key_another():
    assert loss_of(BATCH) == loss_of(BATCH)
    assert abs(loss_of(BATCH) - loss_of(BATCH, jax.random.key(1))) > 1e-4


@pytest.mark.parametrize("name", TIMES)
def test_loss_and_gradient_do_not_depend_on_how_the_batch_is_shared_out(name):
    how = dict(draw_t=TIMES[name](0.0, 1.0), drop=0.5, null_label=LABEL, total=B)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def both(params, batch):
        return diffusion_loss(PROCESS, apply, params, KEY, batch, **how)

    (whole, _), slope = both(0.5, BATCH)
    parts = [both(0.5, half(BATCH, i)) for i in range(2)]
    losses, slopes = [p[0][0] for p in parts], [p[1] for p in parts]
    np.testing.assert_allclose(np.mean(losses), whole, rtol=1e-6)
    np.testing.assert_allclose(np.mean(slopes), slope, rtol=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-4


def test_examples_count_from_zero_if_no_index_says_otherwise():
    assert loss_of({k: v for k, v in BATCH.items() if k != "index"}) == loss_of(BATCH)
    assert loss_of(BATCH | {"index": jnp.arange(B) + B}, total=2 * B) != loss_of(BATCH)


def test_the_metrics_hold_the_loss():
    loss, metrics = diffusion_loss(PROCESS, apply, 0.5, KEY, BATCH)
    assert metrics["loss"] == loss and set(metrics) == {"loss", "out_power", "target_power"}


def test_the_index_is_not_part_of_the_condition():
    seen = []

    def spy(params, x, t, cond, keys):
        seen.append(set(cond))
        return x

    diffusion_loss(PROCESS, spy, {}, KEY, BATCH)
    assert seen == [{"label"}]


def test_stratified_puts_one_level_in_each_stratum():
    n = 64
    order = jax.random.permutation(KEY, n)  # an example's stratum is its index, not its place
    t = stratified(jax.random.split(KEY, n), order, n)
    strata = jnp.floor((t - T_MIN) / (1 - T_MIN) * n).astype(int)
    np.testing.assert_array_equal(strata, order)


def test_stratified_is_the_default_and_is_spread_over_the_global_batch():
    parts = [diffusion_loss(ECHO, levels_of, {}, KEY, half(BATCH, i), total=B) for i in range(2)]
    t = jnp.concatenate([metrics["seen"] for _, metrics in parts])
    strata = jnp.floor((t - T_MIN) / (1 - T_MIN) * B).astype(int)
    np.testing.assert_array_equal(strata, jnp.arange(B))


def test_uniform_levels_fill_their_range_independently():
    n = 4000
    t = uniform(jax.random.split(KEY, n), jnp.zeros(n, int), n)
    assert t.min() >= T_MIN and t.max() < 1.0
    deciles = jnp.quantile(t, jnp.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(deciles, np.linspace(0.1, 0.9, 9), atol=0.03)


@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (-0.5, 0.7)])
def test_logit_normal_has_its_moments_in_logit_space(mean, scale):
    n = 4000
    t = logit_normal(mean, scale)(jax.random.split(KEY, n), jnp.arange(n), n)
    logits = jnp.log(t / (1 - t))
    # strata leave far less error than 1 / sqrt(n)
    np.testing.assert_allclose(logits.mean(), mean, atol=0.005)
    np.testing.assert_allclose(logits.std(), scale, rtol=0.01)


@pytest.mark.parametrize("name", TIMES)
def test_no_level_leaves_its_range_in_a_large_batch(name):
    """u next to 0 and next to 1, in the first and in the last stratum, is where rounding bites."""
    n = 2**20
    index = jnp.concatenate([jnp.zeros(1000, int), jnp.full(1000, n - 1)])
    t = TIMES[name](0.0, 3.0)(jax.random.split(KEY, 2000), index, n)
    assert t.min() >= T_MIN and t.max() <= 1.0


def test_no_label_is_dropped_unless_asked():
    seen = diffusion_loss(ECHO, labels_of, {}, KEY, BATCH, null_label=LABEL)[1]["seen"]
    np.testing.assert_array_equal(seen, BATCH["label"])


def test_labels_are_dropped_at_their_rate_and_become_the_null_label():
    n, drop = 4000, 0.15
    batch = {"x": jnp.zeros((n, 1)), "label": jnp.full(n, 3)}
    how = dict(null_label=LABEL, drop=drop)
    seen = diffusion_loss(ECHO, labels_of, {}, KEY, batch, **how)[1]["seen"]
    assert set(np.unique(seen)) == {3, LABEL}
    rate = (seen == LABEL).mean()
    assert abs(rate - drop) < 4 * np.sqrt(drop * (1 - drop) / n)


def test_all_labels_can_be_dropped():
    how = dict(null_label=LABEL, drop=1.0)
    assert (diffusion_loss(ECHO, labels_of, {}, KEY, BATCH, **how)[1]["seen"] == LABEL).all()


def test_dropping_needs_no_label_to_be_there():
    batch = {"x": BATCH["x"]}
    assert loss_of(batch, drop=0.5, null_label=LABEL) == loss_of(batch)


@pytest.mark.parametrize("t", [0.1, 0.9])
def test_the_loss_at_a_level_is_the_processs_own(t):
    keys, cond = jax.random.split(KEY, B), {"label": BATCH["label"]}
    levels = jnp.full(B, t)
    xt, y = PROCESS.corrupt(keys, BATCH["x"], levels)
    wanted = PROCESS.loss(0.5 * xt, y, levels)[0]
    found = loss_at(PROCESS, scale, 0.5, keys, BATCH["x"], cond, t)
    assert found.shape == (B,)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_loss_at_a_level_is_measured_without_dropout():
    seen = []

    def network(params, x, t, cond, keys):
        seen.append(keys)
        return x

    loss_at(PROCESS, network, {}, jax.random.split(KEY, B), BATCH["x"], {}, 0.5)
    assert seen == [None]
