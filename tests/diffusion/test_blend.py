"""Two experts on toys: a diffusion model of one line, and a next-token table with a memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import draws
from diffusion.autoregressive import Fed
from diffusion.blend import Expert, blended, unigram
from diffusion.embedding import Embedding
from diffusion.masked import Masked
from diffusion.resample import Resample
from diffusion.sample import sample
from diffusion.solvers import Ddim
from diffusion.sparse import Sparse
from diffusion.tokens import temperature
from diffusion.uniform_state import Uniform
from diffusion.unmask import Ancestral, Blocks, FirstHitting, Ordered, Remask

V, L, MASK, START = 5, 6, 5, 7
RNG = np.random.default_rng(0)
NEXT = RNG.normal(size=(13, V + 1)).astype(np.float32) * 2  # by all that was read, see `hashed`
LINE = RNG.normal(size=(L, V + 1)).astype(np.float32) * 2
LEFT = RNG.normal(size=(V + 1, V + 1)).astype(np.float32)
COMMON = np.log(RNG.dirichlet(np.ones(V + 1))).astype(np.float32)
COLD = (temperature(0.0),)
ROWS = np.linalg.qr(RNG.normal(size=(8, 8)))[0][:V].astype(np.float32)


def hashed(past, token):
    return (3 * past + token + 1) % 13


def expert():
    """Logits of the next token that depend on every token before."""

    def predict(x, t):
        assert isinstance(x, Fed) and x.token.shape[1:] == (1,)
        past = hashed(x.past, x.token[:, 0])
        return jnp.asarray(NEXT)[past][:, None], past

    return Expert(predict, lambda batch, length: jnp.zeros(batch, jnp.int32), START)


def masked_line(x, t):
    """Logits of each place that depend on what stands to its left."""
    left = jnp.pad(x[:, :-1], ((0, 0), (1, 0)), constant_values=MASK)
    return jnp.asarray(LINE) + jnp.asarray(LEFT)[left]


def line(x, t):
    """The same for any state, of which it takes no notice."""
    batch = len(jax.tree.leaves(x)[0])
    return jnp.broadcast_to(jnp.asarray(LINE[:, :V]), (batch, L, V))


def small(expert):
    """One that has no <MASK> among its tokens."""
    predict = expert.predict
    return expert._replace(predict=lambda x, t: (predict(x, t)[0][..., :V], predict(x, t)[1]))


def log_softmax(v):
    return v - np.log(np.exp(v).sum(-1, keepdims=True))


def reference(log_p, given, alpha):
    """Mixed logits [L, V] of one row, place by place, in numpy over ids 0..V-1."""
    past, token, out = 0, START, []
    for place in range(L):
        past = hashed(past, token)
        log_next = log_softmax(NEXT[past].astype(np.float64))[:V]
        out.append((1 - alpha) * log_next + alpha * (log_p[place] - COMMON[:V]))
        token = out[-1].argmax() if given[place] < 0 else given[place]
    return np.array(out)


def greedy(given=(-1,) * L):
    """The text of the next-token table alone, around what is given."""
    best = reference(np.zeros((L, V)), given, 0.0).argmax(-1)
    return np.where(np.array(given) < 0, best, given)


def hidden_or_not(x):
    return jnp.where(x == MASK, -1, x)


def nothing(x):
    return jnp.full((len(jax.tree.leaves(x)[0]), L), -1)


PAIRS = {
    "ancestral": (Masked(mask_id=MASK), Ancestral(filters=COLD)),
    "ordered": (Masked(mask_id=MASK), Ordered(order="confidence", filters=COLD)),
    "remask": (Masked(mask_id=MASK), Remask(strategy="rescale", amount=0.3, filters=COLD)),
    "first hitting": (Masked(mask_id=MASK), FirstHitting(filters=COLD)),
    "blocks": (Masked(mask_id=MASK), Blocks(size=2, inner=Ancestral(filters=COLD))),
    "uniform": (Uniform(vocab_size=V), Resample(filters=COLD)),
    "sparse": (Sparse(vocab_size=V, candidates=3), Resample(filters=COLD, likeliest_last=True)),
    "embedding": (Embedding(table=ROWS), Resample(filters=COLD)),
    "embedding, ddim": (Embedding(table=ROWS, filters=COLD), Ddim()),
}


@functools.cache
def compiled(name, blend, given=None):
    """alpha -> 3 texts of one pair, with the blend or of the diffusion model alone."""
    process, solver = PAIRS[name]
    hides = hasattr(process, "mask_id")
    predict, other = (masked_line, expert()) if hides else (line, small(expert()))
    common = COMMON if hides else COMMON[:V]
    seen = hidden_or_not if hides else nothing
    clamp = given and (lambda x, t: jnp.where(jnp.array(given) < 0, x, jnp.array(given)))

    @jax.jit
    def draw(alpha):
        mix = blended(process, predict, other, seen, alpha, common) if blend else predict
        key, index = jax.random.key(1), jnp.arange(3)
        return sample(process, solver, mix, key, index, (L,), steps=7, clamp=clamp)

    return draw


def drawn(name, alpha, blend=True, given=None):
    return np.asarray(compiled(name, blend, given)(alpha))


def some_x():
    x = np.full((2, L), MASK)
    x[0, 2], x[1, 0], x[1, 4] = 3, 1, 2
    return jnp.asarray(x)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8])
def test_the_mix_is_that_of_a_loop_in_numpy(alpha):
    process, x = Masked(mask_id=MASK), some_x()
    out = blended(process, masked_line, expert(), hidden_or_not, alpha, COMMON)(x, jnp.float32(0.5))
    log_p = log_softmax(np.asarray(masked_line(x, 0.5), np.float64)[..., :V])
    for i, given in enumerate(np.asarray(hidden_or_not(x))):
        wanted = reference(log_p[i], given, alpha)
        np.testing.assert_allclose(np.asarray(out)[i, :, :V], wanted, atol=2e-5)


def test_the_next_token_model_reads_what_can_be_seen():
    """Another visible token changes the mix of the places behind it, and of none before it."""
    process, x = Masked(mask_id=MASK), some_x()[:1]
    other = x.at[0, 2].set(1)
    mix = blended(process, lambda x, t: line(x, t), small(expert()), hidden_or_not, 0.5, COMMON[:V])
    one, two = (np.asarray(mix(v, jnp.float32(0.5)))[0] for v in (x, other))
    np.testing.assert_array_equal(one[:3], two[:3])
    assert not np.allclose(one[3], two[3])


@pytest.mark.parametrize("name", PAIRS)
def test_alpha_zero_is_the_greedy_text_of_the_next_token_model(name):
    assert (drawn(name, 0.0) == greedy()).all()
    assert (drawn(name, 0.0, blend=False) != greedy()).any(), "and no accident"


@pytest.mark.parametrize("name", PAIRS)
def test_alpha_one_is_the_diffusion_model_alone(name):
    np.testing.assert_array_equal(drawn(name, 1.0), drawn(name, 1.0, blend=False))
    assert (drawn(name, 1.0) != drawn(name, 0.3)).any()


def test_without_filters_alpha_one_draws_the_very_same_tokens():
    process = Masked(mask_id=MASK)
    mix = blended(process, masked_line, expert(), hidden_or_not, jnp.float32(1.0), COMMON)
    draw = lambda predict: sample(
        process, Ancestral(), predict, jax.random.key(0), jnp.arange(50), (L,), steps=4
    )
    np.testing.assert_array_equal(draw(mix), draw(masked_line))


def test_given_tokens_stay_and_are_gone_on_from():
    given = (-1, 4, -1, -1, 0, -1)
    for name in ("ancestral", "ordered"):
        assert (drawn(name, 0.0, given=given) == greedy(given)).all()
        assert (drawn(name, 0.5, given=given)[:, [1, 4]] == [4, 0]).all()
    assert (greedy(given) != greedy())[[0, 2, 3, 5]].any()


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_what_the_diffusion_model_cannot_say_stays_unsaid_and_nothing_is_nan(alpha):
    process, x = Masked(mask_id=MASK, pad_id=0), some_x()
    closed = lambda x, t: masked_line(x, t).at[:, 3, 2].set(-jnp.inf)
    common = unigram(process, closed, draws.fold(jax.random.key(0), jnp.arange(2)), (L,))
    out = blended(process, closed, expert(), hidden_or_not, alpha, common)(x, jnp.float32(0.5))
    assert not jnp.isnan(out).any()
    assert (out[..., [0, MASK]] == -jnp.inf).all() and (out[:, 3, 2] == -jnp.inf).all()
    assert jnp.isfinite(out[:, :3, 1:MASK]).all()


def test_another_alpha_does_not_compile_again():
    traces = []

    @jax.jit
    def draw(alpha):
        traces.append(alpha)
        process, x = Masked(mask_id=MASK), some_x()
        mix = blended(process, masked_line, expert(), hidden_or_not, alpha, COMMON)
        return mix(x, jnp.float32(0.5)).argmax(-1)

    texts = [np.asarray(draw(alpha)) for alpha in (0.0, 0.5, 1.0)]
    assert len(traces) == 1 and (texts[0] != texts[2]).any()


def test_a_common_token_counts_once():
    """What is common to both goes off the diffusion's share: a rarer token wins."""
    process, x = Masked(mask_id=MASK), jnp.full((1, L), MASK)
    flat = jnp.zeros(V + 1)
    best = [
        blended(process, masked_line, expert(), hidden_or_not, 0.5, common)(x, jnp.float32(1.0))
        for common in (flat, flat.at[2].set(-30.0))
    ]
    assert (best[1][0, 0].argmax() == 2) and (best[0][0, 0].argmax() != 2)


def test_the_unigram_is_the_mean_of_what_is_said_of_noise():
    process, shape = Uniform(vocab_size=V), (L,)
    keys = draws.fold(jax.random.key(0), jnp.arange(4))
    table = jnp.asarray(LEFT[:V, :V])

    def predict(x, t):
        return table[x] * t  # anything but t = 1 would be flatter

    x = np.asarray(process.prior(keys, shape))
    wanted = np.exp(log_softmax(LEFT[:V, :V].astype(np.float64)))[x].mean((0, 1))
    np.testing.assert_allclose(np.exp(unigram(process, predict, keys, shape)), wanted, rtol=1e-5)


def test_of_a_masked_model_the_unigram_has_no_mask():
    keys = draws.fold(jax.random.key(0), jnp.arange(2))
    found = np.exp(unigram(Masked(mask_id=MASK), masked_line, keys, (L,)))
    assert found[MASK] == 0.0 and abs(found.sum() - 1.0) < 1e-5 and (found[:V] > 0).all()
