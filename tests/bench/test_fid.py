"""bench.fid: contestants that do the same work."""

import pytest

from bench import fid


def test_distances_are_the_same_number():
    distance, *_ = fid.contests(tiny=True)
    found = [contestant.setup()() for contestant in distance.contestants]
    assert len(found) == 4 and found[0] > 0.01
    assert found == pytest.approx([found[0]] * 4, rel=1e-6)


def test_a_kept_factor_is_made_once(monkeypatch):
    from utils import fid as scored

    calls, factor = [], scored.factor
    monkeypatch.setattr(scored, "factor", lambda c: calls.append(1) or factor(c))
    for kept, made in ((True, 1), (False, 3)):
        calls.clear()
        run = fid.ours(8, kept)
        assert run() == run() == run() and len(calls) == made


@pytest.mark.slow
def test_networks_find_the_same_features():
    pytest.importorskip("torch", reason="the peers are made of torch")
    pytest.importorskip("pytorch_fid", reason="the network held against is its")
    import torch

    _, features = fid.contests(tiny=True)
    assert features.amount == 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # they wait for each other, which takes minutes on a busy machine
    try:
        found = [contestant.setup()() for contestant in features.contestants]
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 4 and found == pytest.approx([found[0]] * 4, rel=1e-5)
