"""One step, and ten, held against the schedulers of diffusers on the same model outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion import Ddim, Dpm2m, Gaussian, draws, sample
from diffusion.schedules import ddpm, linear, shifted

torch = pytest.importorskip("torch", reason="the schedulers held against are torch's")
diffusers = pytest.importorskip("diffusers", reason="the schedulers held against are diffusers'")

SHAPE = (4, 8)
TARGETS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
BETAS = dict(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", num_train_timesteps=1000)


def their_levels(t):
    """(alpha, sigma) of their table: their step i is t = (i + 1) / 1000, and t = 0 is data."""
    table = np.append(1.0, np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000)))
    power = jnp.asarray(table, jnp.float32)[jnp.round(1000 * t).astype(int)]
    return jnp.sqrt(power), jnp.sqrt(1.0 - power)


@functools.cache
def process_for(prediction):
    return Gaussian(schedule=their_levels, target=TARGETS[prediction])


def level(i):
    """Our t f32[...] of their step i."""
    return jnp.asarray((np.asarray(i) + 1) / 1000, jnp.float32)


def states(seed=0):
    """(x_t, model output)."""
    return tuple(jax.random.normal(k, SHAPE) for k in jax.random.split(jax.random.key(seed)))


def tensor(x):
    return torch.tensor(np.asarray(x))


def network(x, t):
    """Any smooth function will do: jax arrays and tensors alike, t in [0, 1]."""
    library = torch if isinstance(x, torch.Tensor) else jnp
    return library.tanh(0.7 * x) + 0.3 * library.sin(2.0 * x + 5.0 * t)


def apart(draw):
    """(mean, standard deviation) of a step that adds noise: draw(seed) -> (x_s, noise)."""
    (one, noise), (two, other) = (map(np.asarray, draw(seed)) for seed in range(2))
    by = noise - other
    std = np.sum((one - two) * by) / np.sum(by * by)
    return one - std * noise, std


def ours(solver, process, out, x, i, j):
    """seed -> (x_s, noise) of one step from their step i to j."""

    def draw(seed):
        keys = jax.random.split(jax.random.key(seed), len(x))
        step = solver.step(process, lambda x, t: out, keys, x, level(i), level(j), solver.start(x))
        return step[0], draws.normal(keys, x.shape[1:])

    return draw


def test_the_ddpm_schedule_is_their_thousand_linear_betas_in_the_limit():
    """Continuous time leaves out the terms beta^2 / 2, worth 0.4 % of power at most."""
    theirs = diffusers.DDPMScheduler(**BETAS).alphas_cumprod.numpy()
    alpha, _ = ddpm(level(np.arange(1000)))
    np.testing.assert_allclose(alpha**2, theirs, atol=0.004)
    np.testing.assert_allclose(their_levels(level(np.arange(1000)))[0] ** 2, theirs, rtol=1e-5)


@pytest.mark.parametrize("prediction", TARGETS)
@pytest.mark.parametrize("steps, i", [(1000, 999), (1000, 500), (1000, 7), (10, 900), (10, 300)])
def test_ddim_with_eta_one_is_their_ddpm_step(prediction, steps, i):
    scheduler = diffusers.DDPMScheduler(**BETAS, prediction_type=prediction, clip_sample=False)
    scheduler.set_timesteps(steps)
    x, out = states()

    def theirs(seed):
        step = scheduler.step(tensor(out), i, tensor(x), torch.Generator().manual_seed(seed))
        return step.prev_sample, torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))

    j = i - 1000 // steps
    mean, std = apart(ours(Ddim(eta=1.0), process_for(prediction), out, x, i, j))
    their_mean, their_std = apart(theirs)
    np.testing.assert_allclose(std, their_std, rtol=1e-3)
    # float32 loses digits to 1 / alpha at the first step, and to 1 - alpha^2 near the last
    np.testing.assert_allclose(mean, their_mean, atol=1e-4, rtol=2e-4)


@pytest.mark.parametrize("prediction", TARGETS)
def test_the_last_ddpm_step_draws_nothing(prediction):
    scheduler = diffusers.DDPMScheduler(**BETAS, prediction_type=prediction, clip_sample=False)
    x, out = states()
    theirs = scheduler.step(tensor(out), 0, tensor(x)).prev_sample
    found, _ = ours(Ddim(eta=1.0), process_for(prediction), out, x, 0, -1)(0)
    np.testing.assert_allclose(found, theirs, atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("prediction", TARGETS)
@pytest.mark.parametrize("i", [900, 400, 0])
def test_ddim_is_their_ddim_step_with_the_same_noise(prediction, eta, i):
    scheduler = diffusers.DDIMScheduler(**BETAS, prediction_type=prediction, clip_sample=False)
    scheduler.set_timesteps(10)
    x, out = states()
    j = max(i - 100, -1)
    found, noise = ours(Ddim(eta=eta), process_for(prediction), out, x, i, j)(0)
    step = scheduler.step(tensor(out), i, tensor(x), eta=eta, variance_noise=tensor(noise))
    np.testing.assert_allclose(found, step.prev_sample, atol=2e-5)


@pytest.mark.parametrize("prediction", TARGETS)
def test_clipping_is_their_clipping(prediction):
    scheduler = diffusers.DDIMScheduler(**BETAS, prediction_type=prediction, clip_sample=True)
    scheduler.set_timesteps(10)
    x, out = states()
    found, _ = ours(Ddim(clip=1.0), process_for(prediction), out, 2.0 * x, 600, 500)(0)
    step = scheduler.step(tensor(out), 600, tensor(2.0 * x), use_clipped_model_output=True)
    np.testing.assert_allclose(found, step.prev_sample, atol=2e-5)


def chain(solver, process, times):
    """(first state, last state) of the sampling loop."""
    x, path = sample(
        process, solver, network, jax.random.key(0), jnp.arange(SHAPE[0]), SHAPE[1:],
        steps=len(times) - 1, times=times, trajectory=True,
    )  # fmt: skip
    return path[0], x


def their_chain(scheduler, x):
    for i in scheduler.timesteps:
        x = scheduler.step(network(x, (i + 1) / 1000), i, x).prev_sample
    return x.numpy()


@pytest.mark.parametrize("prediction", TARGETS)
def test_ten_ddim_steps_end_where_theirs_do(prediction):
    scheduler = diffusers.DDIMScheduler(**BETAS, prediction_type=prediction, clip_sample=False)
    scheduler.set_timesteps(10)
    times = level(np.append(scheduler.timesteps, -1))
    first, last = chain(Ddim(), process_for(prediction), times)
    np.testing.assert_allclose(last, their_chain(scheduler, tensor(first)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", TARGETS)
@pytest.mark.parametrize("steps", [10, 25])  # below 15 steps they lower the order at the end
def test_dpm2m_steps_end_where_theirs_do(prediction, steps):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **BETAS, prediction_type=prediction, algorithm_type="dpmsolver++", solver_order=2,
        solver_type="midpoint", final_sigmas_type="zero",
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    times = level(np.append(scheduler.timesteps, -1))
    first, last = chain(Dpm2m(), process_for(prediction), times)
    np.testing.assert_allclose(last, their_chain(scheduler, tensor(first)), rtol=2e-4, atol=2e-4)


def test_ten_euler_steps_of_flow_matching_end_where_theirs_do():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    sigmas = np.linspace(1.0, 0.1, 10)
    scheduler.set_timesteps(sigmas=sigmas)
    first, last = chain(
        Ddim(), Gaussian(schedule=linear, target="velocity"), np.append(sigmas, 0.0)
    )
    x = tensor(first)
    for i, sigma in zip(scheduler.timesteps, sigmas, strict=True):
        x = scheduler.step(network(x, torch.tensor(sigma)), i, x).prev_sample
    np.testing.assert_allclose(last, x, atol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_shifted_levels_are_theirs(shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    t = np.linspace(1.0, 0.1, 10)
    scheduler.set_timesteps(sigmas=t)
    alpha, sigma = shifted(linear, shift)(jnp.append(t, 0.0))
    np.testing.assert_allclose(sigma, scheduler.sigmas, rtol=1e-6)
    np.testing.assert_allclose(alpha, 1.0 - scheduler.sigmas, atol=1e-6)
