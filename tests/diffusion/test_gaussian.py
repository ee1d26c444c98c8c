"""Laws of the Gaussian process: one 2x2 solve stands behind every target."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import SCHEDULES, TARGETS, WEIGHTS, Gaussian, diffusion_loss, draws
from diffusion.gaussian import flat, min_snr, sigmoid
from diffusion.schedules import levels, ve

PAIRS = [(s, t) for s in SCHEDULES for t in TARGETS if (s, t) != ("linear", "eps")]
EVERY = pytest.mark.parametrize("schedule, target", PAIRS)
T = jnp.array([0.02, 0.3, 0.6, 0.95])


def gaussian(schedule, target, weight=flat):
    return Gaussian(schedule=SCHEDULES[schedule], target=target, weight=weight)


def some(seed, shape=(4, 6)):
    return jax.random.normal(jax.random.key(seed), shape)


@EVERY
def test_splitting_the_target_gives_back_data_and_noise(schedule, target):
    process, x0 = gaussian(schedule, target), 0.5 * some(0)
    keys = jax.random.split(jax.random.key(1), 4)
    xt, y = process.corrupt(keys, x0, T)
    found, eps = process.split(y, xt, T)
    # the solve loses a factor 1 / det, up to a hundred at both ends of [0, 1]
    np.testing.assert_allclose(found, x0, atol=2e-4)
    np.testing.assert_allclose(eps, draws.normal(keys, (6,)), atol=2e-4)


@EVERY
def test_joining_inverts_splitting(schedule, target):
    process, out, x = gaussian(schedule, target), some(0), some(1)
    np.testing.assert_allclose(process.join(*process.split(out, x, T), T), out, atol=2e-4)


@EVERY
def test_split_agrees_with_the_state(schedule, target):
    process, out, x = gaussian(schedule, target), some(0), some(1)
    (x0, eps), now = process.split(out, x, T), levels(process.schedule, T, like=x)
    np.testing.assert_allclose(now.alpha * x0 + now.sigma * eps, x, atol=2e-4)


@EVERY
def test_pure_noise_can_be_read(schedule, target):
    process, noise = gaussian(schedule, target), some(0)
    t = jnp.float32(1.0)
    x0, eps = process.split(process.join(jnp.zeros_like(noise), noise, t), noise, t)
    assert jnp.isfinite(x0).all()
    np.testing.assert_allclose(eps, noise, atol=2e-3)


def test_noise_is_refused_as_a_target_where_it_says_nothing_of_the_data():
    with pytest.raises(ValueError, match=r"'eps' says nothing of x_0 at t = 1.*alpha = 0") as error:
        gaussian("linear", "eps")
    for target in TARGETS:
        assert target in str(error.value)


def test_a_process_can_be_made_while_tracing():
    x0, eps = jax.jit(lambda x: Gaussian().split(x, x, 0.5))(jnp.ones((2, 3)))
    np.testing.assert_allclose(x0, 0.5, atol=1e-6)  # x - t v
    np.testing.assert_allclose(eps, 1.5, atol=1e-6)  # x + (1 - t) v


def test_the_targets_are_what_their_papers_say():
    x0, eps = some(0), some(1)

    def join(schedule, target):
        return gaussian(schedule, target).join(x0, eps, 0.3)

    np.testing.assert_allclose(join("linear", "velocity"), eps - x0, rtol=1e-6)
    np.testing.assert_allclose(join("cosine", "eps"), eps)
    np.testing.assert_allclose(join("cosine", "x0"), x0)
    angle = 0.3 * 0.9999 * np.pi / 2
    v = np.cos(angle) * eps - np.sin(angle) * x0
    np.testing.assert_allclose(join("cosine", "v"), v, rtol=1e-5, atol=1e-6)


def test_on_circles_velocity_is_v_times_the_speed_of_the_angle():
    x0, eps = some(0), some(1)
    v, velocity = (gaussian("cosine", y).join(x0, eps, 0.3) for y in ("v", "velocity"))
    np.testing.assert_allclose(velocity, 0.9999 * np.pi / 2 * v, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
@pytest.mark.parametrize("schedule", ["cosine", "ddpm", "geometric"])
@pytest.mark.parametrize(
    "target, wanted",
    [
        ("eps", lambda snr, least: least / snr),
        ("x0", lambda snr, least: least),
        ("v", lambda snr, least: least / (snr + 1)),
    ],
)
def test_min_snr_is_its_papers_weight_of_each_target(schedule, target, wanted, gamma):
    """arXiv:2303.09556, sec. 3.4."""
    process, now = gaussian(schedule, target), levels(SCHEDULES[schedule], T)
    weight = min_snr(now, process.determinant(now), gamma)
    np.testing.assert_allclose(weight, wanted(now.snr, jnp.minimum(now.snr, gamma)), rtol=1e-4)


def test_sigmoid_weighs_noise_by_the_slope_of_the_log_ratio():
    """On the cosine schedule -d log SNR / dt is pi / sin(2 angle) times two."""
    now = levels(SCHEDULES["cosine"], T)
    angle = 0.9999 * np.pi / 2 * np.asarray(T)
    slope = 2 * 0.9999 * np.pi / np.sin(2 * angle)
    wanted = slope / (1 + np.exp(1.0 - 2 * np.log(np.tan(angle))))
    np.testing.assert_allclose(sigmoid(now, now.alpha), wanted, rtol=1e-4)


@pytest.mark.parametrize("weight", [min_snr, sigmoid])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_weight_of_meaning_is_blind_to_the_target(schedule, weight):
    """Networks that mean the same (x0, eps) have the same loss, whatever they put out."""
    x0, eps, wrong = some(0), some(1), some(2)
    now = levels(SCHEDULES[schedule], T, like=x0)
    xt = now.alpha * x0 + now.sigma * eps
    wrong_eps = (xt - now.alpha * wrong) / now.sigma
    losses = {}
    for target in (t for s, t in PAIRS if s == schedule):
        process = gaussian(schedule, target, weight)
        out, y = process.join(wrong, wrong_eps, T), process.join(x0, eps, T)
        losses[target] = process.loss(out, y, T)[0]
    for loss in losses.values():
        np.testing.assert_allclose(loss, losses["x0"], rtol=5e-3)


def test_the_flat_weight_is_not_blind_to_the_target():
    x0, eps, zero = some(0), some(1), jnp.zeros((4, 6))
    v, x = (gaussian("cosine", target) for target in ("v", "x0"))
    one, two = (p.loss(zero, p.join(x0, eps, T), T)[0] for p in (v, x))
    assert not np.allclose(one, two, rtol=0.1)


@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=list(WEIGHTS))
@EVERY
def test_weights_are_finite_and_positive_wherever_levels_are_drawn(schedule, target, weight):
    """t = 1 is among them: (127 + u) / 128 rounds up to it."""
    drawn = levels(SCHEDULES[schedule], jnp.array([1e-3, 0.5, 1.0 - 1e-6, 1.0]))
    weights = weight(drawn, gaussian(schedule, target).determinant(drawn))
    assert jnp.isfinite(weights).all()
    assert (weights[:3] > 0).all() and weights[3] >= 0


@pytest.mark.parametrize(
    "schedule, target, wanted",
    [
        ("cosine", "eps", 1.0),
        ("cosine", "x0", 4.0),
        ("linear", "velocity", 5.0),
        ("cosine", "v", 2.5),  # the mean of 4 sin^2 + cos^2
        ("ddpm", "eps", 1.0),
    ],
)
def test_a_silent_network_loses_the_power_of_the_target(schedule, target, wanted):
    """On data of power 4; 2048 x 16 draws leave a standard error below 1 %."""

    def silent(params, x, t, cond, keys):
        return jnp.zeros_like(x)

    batch = {"x": 2.0 * some(0, (2048, 16))}
    process = gaussian(schedule, target)
    loss, metrics = diffusion_loss(process, silent, {}, jax.random.key(1), batch)
    np.testing.assert_allclose(loss, wanted, rtol=0.04)
    np.testing.assert_allclose(metrics["target_power"], wanted, rtol=0.04)
    assert metrics["out_power"] == 0.0


def test_losses_are_float32_for_narrow_outputs():
    process, y = Gaussian(), some(1)
    loss, metrics = process.loss(some(0).astype(jnp.bfloat16), y, T)
    assert loss.dtype == jnp.float32 and loss.shape == (4,)
    assert all(m.dtype == jnp.float32 and m.shape == () for m in metrics.values())


def test_the_prior_has_the_spread_of_the_last_level():
    keys = jax.random.split(jax.random.key(0), 500)
    process = Gaussian(schedule=functools.partial(ve, sigma_max=20.0), target="eps")
    x = process.prior(keys, (16,))
    np.testing.assert_allclose(jnp.std(x), 20.0, rtol=0.04)
    assert process.decode(x) is x


def test_an_examples_noise_is_its_keys_alone():
    process, x0 = Gaussian(), some(0)
    keys = jax.random.split(jax.random.key(1), 4)
    whole, _ = process.corrupt(keys, x0, T)
    part, _ = process.corrupt(keys[2:], x0[2:], T[2:])
    np.testing.assert_array_equal(whole[2:], part)
