"""bench.train_text: contestants that train on the same loss."""

import math

import numpy as np
import pytest

from bench import checkout, harness, machine, peers_text, torch_step, train_text

SIZE = dict(hidden_size=16, depth=1, num_heads=2, d_ff=32)


def test_our_step_and_the_mirror_train_as_many_parameters():
    pytest.importorskip("torch", reason="the mirror is made of torch")
    ours, mirror, *_ = train_text.contest(16, 2, 8, SIZE, {}, compiled=False).contestants
    assert ours.name == "this project" and ours.env
    assert ours.setup()() == mirror.setup()() > 3_000


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
def test_whoever_is_here_takes_part(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the mirror is made of torch")
    monkeypatch.setattr(machine, "confine", lambda threads: None)
    words = ["--tiny", "--rounds", "1", "--out", str(tmp_path)]
    found = harness.main("train_text", "", train_text.contests, words, flags=checkout.FLAG)
    rows = {row["name"]: row for row in found["contests"][0]["rows"]}
    assert rows["mirror, full vocabulary, torch eager"]["difference"] == 0.0
    assert rows["this project, as MD4 writes the loss"]["difference"] == 0.0
    assert "wants --peer-path" in found["contests"][0]["absent"]["mdlm"]
