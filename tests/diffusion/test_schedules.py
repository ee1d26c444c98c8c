"""Laws of the noise schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import schedules
from diffusion.schedules import SCHEDULES, levels, preserving, shifted

EVERY = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=list(SCHEDULES))
INTERIOR = jnp.linspace(0.02, 0.98, 25)


@EVERY
def test_a_schedule_starts_at_data_and_ends_in_noise(schedule):
    alpha, sigma = schedule(jnp.array([0.0, 1.0]))
    # geometric keeps sigma_min = 0.01 at the start and 1 / sigma_max = 0.02 of the data at the end
    np.testing.assert_allclose(alpha, [1.0, 0.0], atol=0.021)
    np.testing.assert_allclose(sigma, [0.0, 1.0], atol=0.011)


@EVERY
def test_the_signal_to_noise_ratio_only_falls(schedule):
    snr = levels(schedule, jnp.linspace(0.01, 1.0, 100)).snr
    assert (jnp.diff(snr) < 0).all()


@pytest.mark.parametrize("name", [*SCHEDULES, "ve", "shifted"])
def test_derivatives_equal_finite_differences(name):
    more = {"ve": schedules.ve, "shifted": shifted(schedules.cosine, 3.0)}
    schedule = (SCHEDULES | more)[name]
    found = levels(schedule, INTERIOR)
    with jax.enable_x64(True):  # float32 leaves too few digits for a difference
        t, h = jnp.asarray(np.asarray(INTERIOR), jnp.float64), 1e-6
        ahead, behind = schedule(t + h), schedule(t - h)
        slopes = [np.asarray((a - b) / (2 * h)) for a, b in zip(ahead, behind, strict=True)]
    np.testing.assert_allclose(found.dalpha, slopes[0], rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(found.dsigma, slopes[1], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cosine", "ddpm", "geometric"])
def test_variance_preserving_schedules_keep_unit_power(name):
    alpha, sigma = SCHEDULES[name](jnp.linspace(0.0, 1.0, 50))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-6)


@pytest.mark.parametrize("schedule", [schedules.linear, schedules.ve])
def test_preserving_gives_unit_power_and_leaves_the_ratio(schedule):
    before, after = levels(schedule, INTERIOR), levels(preserving(schedule), INTERIOR)
    np.testing.assert_allclose(after.alpha**2 + after.sigma**2, 1.0, rtol=1e-6)
    np.testing.assert_allclose(after.snr, before.snr, rtol=1e-5)


@EVERY
def test_a_shift_of_one_changes_nothing(schedule):
    before, after = levels(schedule, INTERIOR), levels(shifted(schedule, 1.0), INTERIOR)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@EVERY
def test_a_shift_keeps_both_ends(schedule):
    ends = jnp.array([0.0, 1.0])
    before, after = schedule(ends), shifted(schedule, 3.0)(ends)
    np.testing.assert_allclose(before, after, atol=1e-6)


@pytest.mark.parametrize("shift", [0.5, 2.0, 3.0])
def test_a_shift_divides_the_linear_schedules_ratio_by_its_square(shift):
    """arXiv:2403.03206, sec. 5.3.2: t_m = r t_n / (1 + (r - 1) t_n) with r = sqrt(m / n)."""
    before = levels(schedules.linear, INTERIOR)
    after = levels(shifted(schedules.linear, shift), INTERIOR)
    np.testing.assert_allclose(after.snr, before.snr / shift**2, rtol=1e-4)
    np.testing.assert_allclose(
        after.sigma, shift * INTERIOR / (1 + (shift - 1) * INTERIOR), rtol=1e-6
    )


def test_levels_take_the_rank_of_the_data():
    t = jnp.array([0.2, 0.6])
    found = levels(schedules.cosine, t, like=jnp.zeros((2, 4, 4, 3)))
    assert {leaf.shape for leaf in found} == {(2, 1, 1, 1)}
    np.testing.assert_array_equal(found.alpha.ravel(), levels(schedules.cosine, t).alpha)
