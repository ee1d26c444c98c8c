"""bench.train_text: contestants that train on the same loss."""

import math

import numpy as np
import pytest

import diffusion
from bench import peers_text, torch_step, train_text
from diffusion import masked


def test_losses_over_the_full_vocabulary_are_one():
    """Both forms, beside a sum over hidden places by hand."""
    torch = pytest.importorskip("torch", reason="they are written in torch")
    torch.manual_seed(0)
    logits, tokens = torch.randn(2, 5, 9), torch.randint(4, 9, (2, 5))
    logits[..., 3] = -1e6  # <MASK>, which only one of them silences by itself
    hidden, weight = torch.rand(2, 5) < 0.5, torch.tensor([[2.0], [7.0]])
    logp = logits.numpy().astype(np.float64)
    logp -= np.log(np.exp(logp).sum(-1, keepdims=True))
    by_hand = -sum(
        weight[b, 0].item() * logp[b, place, tokens[b, place]]
        for b, place in np.argwhere(hidden.numpy())
    )
    for nats in peers_text.NATS.values():
        assert nats(logits, tokens, hidden, weight).item() == pytest.approx(by_hand, rel=1e-5)


def test_the_bound_of_a_uniform_guess_is_log_of_the_vocabulary():
    torch = pytest.importorskip("torch", reason="it is torch's")
    torch.manual_seed(0)
    loss = torch_step.masked(100, 64, 256, peers_text.full)
    found = loss(lambda x, t: torch.zeros(*x.shape, 100))
    assert found.item() == pytest.approx(math.log(100), rel=0.02)


def test_work_is_at_characters_and_at_a_large_vocabulary():
    small, large = train_text.contests(tiny=False)
    assert "vocabulary 66," in small.title and "vocabulary 8,192," in large.title
    names = [c.name for c in large.contestants]
    assert names[0] == "this project" and "md4" in names and "mdlm" in names
    assert small.amount == large.amount == 16 * 128


@pytest.mark.slow
def test_whoever_is_here_trains_and_those_of_our_network_have_as_many_parameters(monkeypatch):
    pytest.importorskip("torch", reason="the mirror is made of torch")
    for module, name in ((masked, "cross_entropy"), (diffusion, "unprojected")):
        monkeypatch.setattr(module, name, getattr(module, name))  # a contestant takes its place
    (contest,), found, absent = train_text.contests(tiny=True), {}, {}
    for contestant in contest.contestants:
        try:
            found[contestant.name] = contestant.setup()()
        except ImportError as error:
            absent[contestant.name] = str(error)
    sizes = [v for k, v in found.items() if k.startswith(("this project", "mirror"))]
    assert len(sizes) == 4 and min(sizes) == max(sizes) > 3_000
    assert "wants --peer-path" in absent["md4"] and "wants --peer-path" in absent["mdlm"]
