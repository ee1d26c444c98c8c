"""The bound on held-out rows: of a network that knows nothing, and of one with an opinion."""

import jax
import numpy as np
import pytest

from data.tokenizer import PAD
from utils import config as flags
from utils import recipe_text, scoring

V, L = 20, 12
TINY = ["--model.hidden_size", "16", "--model.depth", "1", "--model.num_heads", "2"]
TINY += ["--model.d_ff", "32", "--max_seq_len", str(L), "--batch_size", "8"]


def built(*words):
    recipe = recipe_text.text(flags.parse(["x", *TINY, *words], "configs/text.py"), V, padded=True)
    return recipe, recipe_text.initial(recipe, jax.random.key(0))


def rows(n, seed=0):
    """Rows of 4 to L tokens, PAD behind them."""
    rng = np.random.default_rng(seed)
    x = rng.integers(5, V, (n, L))
    return np.where(np.arange(L) < rng.integers(4, L + 1, (n, 1)), x, PAD)


@pytest.mark.parametrize("form", ["count", "mean", "weight"])
def test_a_network_that_knows_nothing_costs_log_v_a_token(form):
    """Its outputs start at zero: every id but <MASK> and padding is as likely."""
    recipe, params = built("--process.form", form)
    found = scoring.bound(recipe_text.scorer(recipe), params, rows(64), jax.random.key(1))
    assert abs(found.nats - np.log(V - 2)) < (1e-5 if form == "count" else 5 * found.error)
    assert found.tokens == (rows(64) != PAD).sum() and found.rows == 64
    rates = [m["mask_rate"] for m in found.metrics]
    assert len(rates) == 32 and rates[0] > 0.9 and rates[-1] < 0.2, "part 0 is the noisiest"


def test_unequal_rows_weigh_as_many_as_they_have_tokens():
    recipe, params = built("--process.name", "autoregressive")
    keys = iter(jax.random.split(jax.random.key(2), 99))
    params = jax.tree.map(lambda p: p + 0.5 * jax.random.normal(next(keys), p.shape), params)
    score, x = recipe_text.scorer(recipe), rows(8)
    found = scoring.bound(score, params, x, jax.random.key(1), levels=1)
    each = [
        scoring.bound(score, params, x[i : i + 1], jax.random.key(1), levels=1) for i in range(8)
    ]
    assert found.total == pytest.approx(sum(one.total for one in each), rel=1e-2)
    assert found.nats == pytest.approx(found.total / sum(one.tokens for one in each), rel=1e-6)
    assert found.error > 0


def test_the_questions_are_the_same_whatever_the_batch():
    recipe, params = built()
    keys = iter(jax.random.split(jax.random.key(2), 99))
    params = jax.tree.map(lambda p: p + 0.5 * jax.random.normal(next(keys), p.shape), params)
    score = recipe_text.scorer(recipe)
    one, two = (
        scoring.bound(score, params, rows(32), jax.random.key(1), levels=4, batch_size=b)
        for b in (32, 8)
    )
    assert one.nats == pytest.approx(two.nats, rel=1e-5)
