"""bench.drawing: both sides draw samples of the same network in as many steps."""

from functools import partial

import numpy as np
import pytest

from bench import drawing, mfu
from tests.bench.test_mfu import one_thread  # noqa: F401

torch = pytest.importorskip("torch", reason="the other side is made of torch")


def test_pytorch_samples_by_euler_from_noise_to_data():
    """A network that says where all images lie, from wherever it is: one straight line."""
    from bench.torch_sampling import euler

    goal = torch.full((2, 4, 4, 1), 0.25)
    velocity = lambda x, t, label: (x - goal) / t[:, None, None, None]
    x = torch.randn(goal.shape)
    for t, s in ((1.0, 0.4), (0.4, 0.1), (0.1, 0.0)):
        x = euler(velocity, x, torch.tensor(t), torch.tensor(s), None)
    torch.testing.assert_close(x, goal)


def test_pytorch_reveals_what_the_network_says_and_all_of_it_by_the_end():
    from bench.torch_sampling import masks, reveal

    said = torch.tensor([5, 9]).repeat(500)[None]
    logits = lambda x, t: 50.0 * torch.nn.functional.one_hot(said, 12).float()
    x = reveal(logits, masks(said.shape), torch.tensor(1.0), torch.tensor(0.4), None)
    shown = x != masks(said.shape)
    assert abs(shown.float().mean() - 0.6) < 0.08 and (x == said)[shown].all()
    x = reveal(logits, x, torch.tensor(0.4), torch.tensor(0.0), None)
    assert (x == said).all()


@pytest.mark.parametrize("kind", ["image", "text"])
def test_pytorch_draws_a_whole_batch(kind):
    work = partial(mfu.build, kind, "debug", 2)
    assert drawing.torch_sampling.sampling(work, 2, "cpu", None)() is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "text"])
def test_ours_is_the_product_s_sampler(kind):
    assert drawing.ours(partial(mfu.build, kind, "debug", 2), 2)() is None


def test_a_token_and_an_image_cost_a_forward_pass_a_step(monkeypatch):
    monkeypatch.setattr(mfu, "device_here", lambda: ("gpu", "NVIDIA H100 80GB HBM3"))
    monkeypatch.setattr(drawing, "operations", lambda work: 3.0)
    found = drawing.contests(tiny=False, batch=16)
    assert [(c.unit, c.amount) for c in found[:2]] == [("image", 1), ("image", 16)]
    assert (found[-1].unit, found[-1].amount) == ("token", 16 * mfu.LENGTH)
    assert [c.operations for c in found[:2]] == [50 * 3.0, 16 * 50 * 3.0]
    assert [c.name for c in found[0].contestants] == ["Tandem", *drawing.THEIRS]


def test_a_forward_pass_is_counted_a_third_of_a_training_step():
    work = partial(mfu.build, "image", "debug", 4)
    assert drawing.operations(work) == pytest.approx(mfu.operations(work) / 4 / 3, rel=0.01)
    assert np.isfinite(drawing.operations(partial(mfu.build, "text", "debug", 1)))
